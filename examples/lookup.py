"""A device whose far end is a TCP service: the guest writes a line, a server somewhere answers it with a line.

    devmodel run --board examples/lookup.py:build --board-option address=127.0.0.1:7070

The chip does no I/O: it gives a whole question to `ask`, and is told of the answer by `answered`. What waits for the
network is a task beside it (`Service`), so that a slow server never delays the guest or another device.
"""

from collections.abc import Callable
from typing import Final

import attrs
import structlog
import trio

from devmodel.board.lines import IrqLine, Line
from devmodel.board.pc import Board
from devmodel.config import host_port

log = structlog.get_logger()

BASE: Final = 0x520
LONGEST: Final = 256
"""Bytes of a question at most, and of an answer; what is more is cut off."""
PATIENCE: Final = 5.0
"""Seconds that the service may take for an answer."""


class Reg:
    """Offsets, each of a byte."""

    DATA: Final = 0  # written: the question, up to a line feed; read: the answer
    STATUS: Final = 1


READY: Final = 0x01  # there is some of the answer to read
BUSY: Final = 0x02  # a question is under way; what is written now is lost
FAILED: Final = 0x04  # the last question has no answer


@attrs.define
class LookupState:
    """Everything the chip remembers."""

    question: bytes = b""
    answer: bytes = b""
    busy: bool = False
    failed: bool = False


@attrs.define(kw_only=True)
class Lookup:
    """`irq` is high while there is something to read, or the last question has failed."""

    ask: Callable[[bytes], None] = lambda _question: None
    irq: IrqLine = attrs.field(factory=Line)
    state: LookupState = attrs.field(factory=LookupState)

    def reset(self) -> None:
        """Power on. An answer that is still under way finds nobody who wants it."""
        self.state = LookupState()
        self._drive()

    def resumed(self) -> None:
        """Ask again: the server that waited for the answer is gone."""
        if self.state.busy:
            self.ask(self.state.question)

    def read(self, offset: int, _size: int) -> int:
        """Read a byte of the answer, or the status."""
        s = self.state
        if offset == Reg.STATUS:
            return READY * bool(s.answer) | BUSY * s.busy | FAILED * s.failed
        if offset != Reg.DATA or not s.answer:
            return 0
        byte, s.answer = s.answer[0], s.answer[1:]
        self._drive()
        return byte

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a byte of the question; a line feed ends it."""
        s = self.state
        if offset != Reg.DATA or s.busy:
            return
        if value != ord("\n"):
            s.question = (s.question + bytes([value]))[:LONGEST]
            return
        s.busy, s.failed, s.answer = True, False, b""
        self._drive()
        self.ask(s.question)

    def answered(self, question: bytes, answer: bytes | None) -> None:
        """Take the answer to a question; None if there will be none."""
        s = self.state
        if not s.busy or s.question != question:
            return  # there has been a reset since
        s.question, s.busy = b"", False
        s.answer, s.failed = answer or b"", answer is None
        self._drive()

    def _drive(self) -> None:
        self.irq.set(bool(self.state.answer) or self.state.failed)


class Service:
    """The far end: asks the server, one question at a time, on a connection for each."""

    def __init__(self, address: str, answered: Callable[[bytes, bytes | None], None]) -> None:
        self._address = host_port(address)
        self._answered = answered
        self._send, self._questions = trio.open_memory_channel[bytes](4)

    def ask(self, question: bytes) -> None:
        """Take a question; its answer comes later. More than a few at a time are not asked at all."""
        try:
            self._send.send_nowait(question)
        except trio.WouldBlock:
            self._answered(question, None)

    async def run(self) -> None:
        """Ask for ever. Cancel to stop."""
        async for question in self._questions:
            answer = None
            try:
                with trio.fail_after(PATIENCE):
                    answer = await self._talk(question)
            except (OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
                log.warning("lookup.failed", question=question, why=str(error) or "no answer in time")
            self._answered(question, answer)

    async def _talk(self, question: bytes) -> bytes | None:
        """Ask on a connection of its own; None for an answer that breaks off before its line feed."""
        async with await trio.open_tcp_stream(*self._address) as stream:
            await stream.send_all(question + b"\n")
            answer = b""
            async for data in stream:
                answer += bytes(data)
                if b"\n" in answer or len(answer) >= LONGEST:
                    return answer[:LONGEST]
            return None


def build(board: Board, *, address: str = "127.0.0.1:7070", irq: str = "7") -> None:
    """Add the device to a PC, and its far end beside it."""
    chip = Lookup()

    def answered(question: bytes, answer: bytes | None) -> None:
        chip.answered(question, answer)
        board.rearm()  # the chip has changed, and no access of the guest's has done it

    service = Service(address, answered)
    chip.ask = service.ask
    board.add(chip, name="lookup", ports=range(BASE, BASE + 2), irq=int(irq, 0))
    board.beside(service.run)
