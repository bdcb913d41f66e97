"""`devmodel screen --live`: the guest's screen in a terminal, as it changes, until a key is pressed.

Lines are written again only if they differ from what stands there. The terminal's other screen is used, and put back.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Final

from devmodel import ConfigError, DevmodelError

LOOK: Final = 0.1
"""Seconds between two looks while the screen changes."""
SLOWEST: Final = 0.5
"""The same when it has not for a while."""
ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The other screen, without a cursor, long lines cut (xterm's private modes)."""
LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"


class Lines:
    """What stands on the terminal."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._size = (0, 0)

    def show(self, text: str, columns: int, rows: int) -> str:
        """Return what to write so that the terminal of this size shows `text`; empty if it does."""
        out = []
        if (columns, rows) != self._size:
            self._shown, self._size = [], (columns, rows)
            out.append("\x1b[0m\x1b[2J")
        lines = text.rstrip("\n").split("\n")[:rows]
        before = self._shown
        out += [
            f"\x1b[{number};1H\x1b[0m\x1b[2K{line}"
            for number, line in enumerate(lines, 1)
            if number > len(before) or before[number - 1] != line
        ]
        out += [f"\x1b[{number};1H\x1b[0m\x1b[2K" for number in range(len(lines) + 1, len(before) + 1)]
        self._shown = lines
        return "".join(out)


def live(look: Callable[[int], str]) -> None:
    """Show what `look` returns for a number of columns, until q, Ctrl-C or the machine's end.

    Raises:
        ConfigError: this is no terminal.
        DevmodelError: no machine answers.

    """
    if not (os.isatty(0) and os.isatty(1)):
        raise ConfigError("screen --live wants a terminal")
    text = look(shutil.get_terminal_size().columns)  # what is wrong is said before the screen changes
    lines, wait = Lines(), LOOK
    with _terminal():
        while True:
            size = shutil.get_terminal_size()
            change = lines.show(text, size.columns, size.lines)
            wait = LOOK if change else min(1.25 * wait, SLOWEST)
            if change:
                sys.stdout.write(change)
                sys.stdout.flush()
            if select.select([0], [], [], wait)[0] and os.read(0, 64)[:1] in {b"", b"q", b"\x03", b"\x1d"}:
                return
            try:
                text = look(shutil.get_terminal_size().columns)
            except DevmodelError:
                return  # the machine has ended


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """Have the terminal to ourselves for the length of the block, whatever ends it."""
    before = termios.tcgetattr(0)
    ending = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setcbreak(0)
        sys.stdout.write(ENTER)
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write(LEAVE)
            sys.stdout.flush()
            termios.tcsetattr(0, termios.TCSAFLUSH, before)
        for number, handler in ending.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)
