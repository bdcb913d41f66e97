"""`devmodel monitor`: a prompt on a terminal with history and completion, lines of a pipe, or one command."""

import contextlib
import readline
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import trio

from devmodel import DevmodelError, log
from devmodel.control.access import Remote, drives
from devmodel.control.human import Human, complete

PROMPT: Final = "(devmodel) "
ENDINGS: Final = ("exit", "bye", "EOF")
FAILED: Final = 1


def once(domain: str, words: Sequence[str]) -> int:
    """Do one command of the machine at a domain socket, and print what it prints.

    Raises:
        DevmodelError: it cannot be done.

    """
    sys.stdout.write(trio.run(Human(Remote(domain)).do, " ".join(words)))
    return 0


def converse(domain: str) -> int:
    """Do the lines of standard input; return 1 if one of a pipe's failed. A mistake at a prompt is only told.

    Raises:
        DevmodelError: the machine does not answer.

    """
    human = Human(Remote(domain))
    by_hand = sys.stdin.isatty()
    status = 0
    with _completed(human) if by_hand else contextlib.nullcontext():
        sys.stdout.write(trio.run(human.do, "info version") if by_hand else "")
        if by_hand:
            log.say("'help' lists commands, 'quit' switches the machine off, Ctrl-D leaves")
        for line in _lines(by_hand):
            if line.strip() in ENDINGS:
                break
            try:
                sys.stdout.write(trio.run(human.do, line))
            except DevmodelError as error:
                log.say(str(error) if by_hand else f"devmodel: {error}")
                status = 0 if by_hand else FAILED
            sys.stdout.flush()
    return status


def _lines(by_hand: bool) -> Iterator[str]:
    if not by_hand:
        yield from sys.stdin
        return
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")  # of the line, as in a shell


@contextlib.contextmanager
def _completed(human: Human) -> Iterator[None]:
    """Complete words by Tab, for the length of the block."""
    names: list[str] = []
    with contextlib.suppress(DevmodelError):
        names = [drive.name for drive in trio.run(drives, human.access)]
    found: list[str] = []

    def completer(_text: str, number: int) -> str | None:
        nonlocal found
        if number == 0:
            found = complete(readline.get_line_buffer()[: readline.get_endidx()], names)
        return found[number] + " " if number < len(found) else None

    before = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(completer)
    readline.set_completer_delims(" \t")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])
