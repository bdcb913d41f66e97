"""Asking a machine from another process, by the sockets of its monitors: plain and blocking, for the command line.

Who asks goes from one server to the next until one has what is wanted.
"""

import base64
import contextlib
import socket
import time
from typing import Final

import msgspec

from devmodel import ConfigError, DevmodelError
from devmodel.control.messages import (
    KEY_PATIENCE,
    MAX_KEYS,
    Answer,
    Command,
    Info,
    Key,
    Mouse,
    MouseAction,
    Upgrade,
    decode_answer,
    encode,
)
from devmodel.control.sockets import SUFFIX, paths
from devmodel.devices.keyboard import Keyboard

PATIENCE: Final = 10.0
"""Seconds that a server may take to answer."""
NEIGHBOUR_PATIENCE: Final = 1.0
"""Seconds that another server of the machine may take to say what it has."""


def png_of(answer: Answer) -> bytes:
    """Return the picture in an answer."""
    return base64.b64decode(answer.png)


def upgrade(domain_socket: str, patience: float) -> list[Answer]:
    """Upgrade every server of the machine at a domain socket, one after the other, and return what each is now.

    Raises:
        DevmodelError: one cannot be upgraded, or is not there again after `patience` seconds.

    """
    answers = []
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        begun = ask_at(path, Upgrade())
        if begun.error:
            raise DevmodelError(begun.error)
        deadline = time.monotonic() + patience
        while True:
            time.sleep(0.05)
            try:
                answer = ask_at(path, Info())
            except DevmodelError:
                answer = begun
            if answer.upgrades > begun.upgrades:
                answers.append(answer)
                break
            if time.monotonic() > deadline:
                raise DevmodelError(f"the server on {path} has not come back in {patience:.0f} seconds")
    return answers


def type_keys(domain_socket: str, keys: list[str], hold: int = 0) -> None:
    """Type keys at the machine at a domain socket, in as many commands as it takes, each held for `hold` ms.

    Raises:
        DevmodelError: nobody answers, a name is no key's (then none is typed), or the guest does not take them.

    """
    for combination in keys:
        try:
            Keyboard.check(combination)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    for at in range(0, len(keys), MAX_KEYS):
        some = keys[at : at + MAX_KEYS]
        each = KEY_PATIENCE + hold / 1000
        ask(domain_socket, Key(keys=some, hold=hold), patience=PATIENCE + each * len(some))


def use_mouse(domain_socket: str, actions: list[MouseAction]) -> None:
    """Do things with the mouse of the machine at a domain socket.

    Raises:
        DevmodelError: nobody answers, or the guest does not take them.

    """
    ask(domain_socket, Mouse(actions=actions), patience=PATIENCE + 4 * KEY_PATIENCE * len(actions))


def ask_all(domain_socket: str, command: Command) -> list[Answer]:
    """Ask every server of the machine at a domain socket, and return the answers of those that give one.

    Raises:
        DevmodelError: none does.

    """
    failure: DevmodelError | None = None
    answers = []
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        try:
            answer = ask_at(path, command)
        except DevmodelError as error:
            failure = failure or error
            continue
        if answer.error:
            failure = failure or DevmodelError(answer.error)
        else:
            answers.append(answer)
    if not answers:
        assert failure is not None
        raise failure
    return answers


def neighbours(domain_socket: str, own: str) -> list[Answer]:
    """Return what every other server of a machine says of itself, asked by one whose monitor is at `own`.

    Who does not answer in `NEIGHBOUR_PATIENCE` is left out.
    """
    answers = []
    for path in paths(domain_socket):
        if path != own:
            with contextlib.suppress(DevmodelError):
                answers.append(ask_at(path, Info(), NEIGHBOUR_PATIENCE))
    return answers


def ask(domain_socket: str, command: Command, patience: float = PATIENCE) -> Answer:
    """Ask the machine at a domain socket. For the command line: plain and blocking.

    Raises:
        DevmodelError: nobody answers there, or the answer is an error.

    """
    failure: DevmodelError | None = None
    for path in paths(domain_socket.removesuffix(SUFFIX)):
        try:
            answer = ask_at(path, command, patience)
        except DevmodelError as error:
            failure = failure or error
            continue
        if not answer.error:
            return answer
        failure = DevmodelError(answer.error)
        if not answer.elsewhere:
            break
    assert failure is not None
    raise failure


def ask_at(path: str, command: Command, patience: float = PATIENCE) -> Answer:
    """Ask the server whose monitor is at a path.

    Raises:
        DevmodelError: nobody answers there.

    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience)
        try:
            sock.connect(path)
            sock.sendall(encode(command) + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline()
        except OSError as error:
            raise DevmodelError(f"no machine answers on {path}: {error.strerror or error}") from error
    try:
        return decode_answer(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DevmodelError(f"no machine answers on {path}: {error}") from error
