"""A keyboard controller on a bench, with the keyboard and the mouse behind it."""

import attrs

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices.kbc import Kbc

DATA, COMMAND = 0, 4


@attrs.define
class Bench:
    clock: ManualClock = attrs.field(factory=ManualClock)
    line: Line = attrs.field(factory=Line)
    aux_line: Line = attrs.field(factory=Line)
    a20: Line = attrs.field(factory=lambda: Line(level=True))
    resets: list[str] = attrs.field(factory=list)
    kbc: Kbc = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kbc = Kbc(
            clock=self.clock,
            irq=self.line,
            aux_irq=self.aux_line,
            a20=self.a20,
            reset_processor=lambda: self.resets.append("reset"),
        )

    def command(self, *values: int) -> None:
        self.kbc.write(COMMAND, 1, values[0])
        for value in values[1:]:
            self.kbc.write(DATA, 1, value)

    def keyboard(self, *values: int) -> None:
        for value in values:
            self.kbc.write(DATA, 1, value)

    def status(self) -> int:
        return self.kbc.read(COMMAND, 1)

    def answers(self) -> list[int]:
        """All that comes without a pause of 100 ms, with the time it needs."""
        found = []
        for _ in range(1000):
            if self.status() & 1:
                found.append(self.kbc.read(DATA, 1))
            elif (deadline := self.kbc.deadline()) is None or deadline > self.clock.time + 10**8:
                return found
            else:
                self.clock.time = max(self.clock.time, deadline)
                self.kbc.tick()
        raise AssertionError("it never ends")


def raw(bench: Bench) -> None:
    """Let scan codes through as the keyboard sends them (set 2)."""
    bench.command(0x60, 0x01)


def mouse(bench: Bench, *values: int) -> list[int]:
    """Say something to the mouse, and return what it answers."""
    answers = []
    for value in values:
        bench.command(0xD4, value)
        answers += bench.answers()
    return answers
