"""`devmodel list`: which machines run here, whoever started them, as far as their monitors may be asked."""

import contextlib
from typing import Final

import msgspec

from devmodel import DevmodelError
from devmodel.control import asking, sockets
from devmodel.control.messages import Answer, Info
from devmodel.control.sockets import SUFFIX

TITLE: Final = f"{'NAME':<16} {'STATE':<8} {'MEMORY':>8} {'PIDS':<16} {'CONSOLE':<22} DOMAIN"


class Running(msgspec.Struct, frozen=True):
    """A machine that runs: by its domain socket, what its servers say of it."""

    domain: str
    name: str
    state: str
    memory: int
    """Bytes."""
    pids: list[int]
    """Of its servers."""
    consoles: list[str]
    parts: list[str]


def machines() -> list[Running]:
    """Return the machines that run here and answer us, by domain socket."""
    answers: dict[str, list[Answer]] = {}
    for path in sorted(set(sockets.listening())):
        with contextlib.suppress(DevmodelError):
            answer = asking.ask_at(path, Info())
            if answer.program:
                answers.setdefault(domain_of(path, answer), []).append(answer)
    return [_machine(domain, found) for domain, found in answers.items()]


def domain_of(path: str, answer: Answer) -> str:
    """Return the domain socket of a monitor that says what parts it has."""
    own = sockets.path_of("", frozenset(answer.parts)) if answer.parts else SUFFIX
    return path.removesuffix(own)


def _machine(domain: str, answers: list[Answer]) -> Running:
    return Running(
        domain=domain,
        name=answers[0].machine,
        state="paused" if any(answer.paused for answer in answers) else "running",
        memory=answers[0].memory,
        pids=[answer.pid for answer in answers],
        consoles=[console for answer in answers for console in answer.consoles],
        parts=[part for answer in answers for part in answer.parts],
    )


def table(running: list[Running]) -> str:
    """Return machines as a table, a line each."""
    lines = [TITLE]
    for machine in running:
        pids = ",".join(map(str, machine.pids))
        console = next(filter(None, machine.consoles), "-")
        memory = f"{machine.memory >> 20}M"
        name = machine.name or "-"
        lines.append(f"{name:<16} {machine.state:<8} {memory:>8} {pids:<16} {console:<22} {machine.domain}")
    return "\n".join(lines) + "\n"
