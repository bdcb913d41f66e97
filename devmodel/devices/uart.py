"""National Semiconductor 16550A UART (data sheet PC16550D, June 1995), wired as a PC serial port.

The chip is `Uart` and does no I/O: a console joins one to a stream. Sent bytes go to `transmit`: at once, so that the
transmitter is always idle again, or if `paced` one by one at the baud rate. Received ones come by `receive` as far as
there is `room`, and `drained` says when the guest has read all it had; `clear_to_send` is the pin by which the far end
says that it takes no more. On a PC OUT2's pin enables the interrupt line; in loopback that pin, as all, is inactive.
Not modelled: words of five bits before LCR is first written (small kernels rely on emulators there), DMA mode, the
delay of a transmitter's interrupt by a character where fewer than two bytes were in its FIFO (8.4.2).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock
from devmodel.board.lines import IrqLine
from devmodel.board.mirror import BY_ITSELF, Mirror

CRYSTAL: Final = 1_843_200  # Hz
FIFO_SIZE: Final = 16
TRIGGERS: Final = (1, 4, 8, 14)  # FCR7-6


class Reg:
    """Offsets (data sheet table II)."""

    DATA: Final = 0  # RBR on read, THR on write; DLL while LCR.DLAB
    IER: Final = 1  # DLM while LCR.DLAB
    IIR: Final = 2  # FCR on write
    LCR: Final = 3
    MCR: Final = 4
    LSR: Final = 5
    MSR: Final = 6
    SCR: Final = 7


IER_RECEIVED: Final = 0x01
IER_THRE: Final = 0x02
IER_LINE: Final = 0x04
IER_MODEM: Final = 0x08
IIR_NONE: Final = 0x01
IIR_LINE: Final = 0x06
IIR_RECEIVED: Final = 0x04
IIR_TIMEOUT: Final = 0x0C
IIR_THRE: Final = 0x02
IIR_MODEM: Final = 0x00
IIR_FIFOS: Final = 0xC0
FCR_ENABLE: Final = 0x01
FCR_CLEAR_RX: Final = 0x02
FCR_CLEAR_TX: Final = 0x04
LCR_WORD: Final = 0x03  # the length of a word, less five bits
LCR_BREAK: Final = 0x40
LCR_DLAB: Final = 0x80
MCR_DTR: Final = 0x01
MCR_RTS: Final = 0x02
MCR_OUT1: Final = 0x04
MCR_OUT2: Final = 0x08
MCR_LOOP: Final = 0x10
LSR_DR: Final = 0x01
LSR_OE: Final = 0x02
LSR_PE: Final = 0x04
LSR_FE: Final = 0x08
LSR_BI: Final = 0x10
LSR_FIFO_ERROR: Final = 0x80
LSR_OF_BYTE: Final = LSR_PE | LSR_FE | LSR_BI
LSR_THRE: Final = 0x20
LSR_TEMT: Final = 0x40
BUT_BY_SENDING: Final = BY_ITSELF & ~(1 << Reg.DATA)
MSR_PRESENT: Final = 0xB0  # DCD, DSR and CTS: a terminal is there
MSR_RI: Final = 0x40
MSR_CTS: Final = 0x10


@attrs.define
class UartState:
    """Everything the chip remembers."""

    ier: int = 0
    fcr: int = 0  # ENABLE and the trigger, which outlasts it
    lcr: int = 0
    lcr_written: bool = False
    mcr: int = 0
    scr: int = 0
    divisor: int = 12  # 9600 baud; the data sheet leaves it undefined
    modem: int = MSR_PRESENT  # MSR7-4
    modem_deltas: int = 0  # MSR3-0
    overrun: bool = False
    thre_pending: bool = False
    # Each received character has its errors in bits 15 to 8, as LSR's bits.
    received: deque[int] = attrs.field(factory=deque[int])
    rbr: int = 0  # without FIFOs the last byte stays to be read again
    timeout_at: int | None = None  # guest time in ns
    timeout_pending: bool = False
    clear_to_send: bool = True  # level of the pin
    waiting: deque[int] = attrs.field(factory=deque[int])  # in the transmitter's holding register or FIFO
    shifting: int | None = None  # in its shift register
    shifted_at: int = 0  # guest time in ns at which that is sent


def _nobody_listens(_byte: int) -> None:
    pass


def _nobody_types() -> None:
    pass


@attrs.define(kw_only=True)
class Uart:
    """One serial port."""

    clock: Clock
    irq: IrqLine
    transmit: Callable[[int], None] = _nobody_listens
    drained: Callable[[], None] = _nobody_types
    paced: bool = False
    """Whether sending takes the time that it takes at the baud rate."""
    mirror: Mirror = attrs.field(factory=lambda: Mirror(8))
    state: UartState = attrs.field(factory=UartState)

    def __attrs_post_init__(self) -> None:
        self._show_settings()
        self._show_modem()
        self._drive()

    def reset(self) -> None:
        """Master reset. CTS is the far end's."""
        cts = self.state.clear_to_send
        self.state = UartState(clear_to_send=cts)
        self.state.modem = self._modem_pins()
        self._show_settings()
        self._show_modem()
        self._drive()
        self.drained()

    # -- the line's side ----------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many bytes `receive` can take without losing one. In loopback the line is cut off."""
        s = self.state
        if s.mcr & MCR_LOOP:
            return 0
        return (FIFO_SIZE if s.fcr & FCR_ENABLE else 1) - len(s.received)

    def clear_to_send(self, level: bool) -> None:
        """Drive CTS: whether the far end takes more."""
        s = self.state
        if level != s.clear_to_send:
            s.clear_to_send = level
            if not s.mcr & MCR_LOOP:
                self._modem_changes(self._modem_pins())
                self._drive()

    def receive(self, byte: int, errors: int = 0) -> None:
        """Take a byte from the line, with errors as in LSR: a break is 0 with LSR_BI. Without room: an overrun."""
        if not self.state.mcr & MCR_LOOP:
            self._received(byte, errors)
            self._drive()

    def _received(self, byte: int, errors: int = 0) -> None:
        s = self.state
        byte = self._word(byte) | (errors & LSR_OF_BYTE) << 8
        if not s.fcr & FCR_ENABLE:
            s.overrun = s.overrun or bool(s.received)
            s.received.clear()
            s.rbr = byte & 0xFF  # the newest overwrites
        elif len(s.received) >= FIFO_SIZE:
            s.overrun = True  # the FIFO keeps what it has, the shift register is overwritten
            return
        s.received.append(byte)
        if not s.timeout_pending:
            self._restart_timeout()  # one that has struck is over when RBR is read, not before (8.4.1 C)

    def _word(self, byte: int) -> int:
        """Cut a byte to the length of a word: 5 to 8 bits (LCR1-0). Who never wrote LCR gets whole bytes."""
        if not self.state.lcr_written:
            return byte
        return byte & (0x20 << (self.state.lcr & LCR_WORD)) - 1

    def _restart_timeout(self) -> None:
        """Interrupt after four character times without a byte going in or out (data sheet 8.4)."""
        s = self.state
        s.timeout_pending = False
        if s.fcr & FCR_ENABLE and s.received:
            s.timeout_at = self.clock.now() + self._characters(4)
        else:
            s.timeout_at = None

    def _characters(self, count: int) -> int:
        """Return how many ns so many characters take on the line."""
        s = self.state
        bits = 7 + (s.lcr & 3) + (s.lcr >> 2 & 1) + (s.lcr >> 3 & 1)
        pulses = count * bits * 16 * (s.divisor or 0x1_0000)
        return -(-pulses * NS_PER_S // CRYSTAL)

    def deadline(self) -> int | None:
        """Return when the character timeout strikes, or a byte is sent."""
        s = self.state
        if s.shifting is None:
            return s.timeout_at
        return s.shifted_at if s.timeout_at is None else min(s.timeout_at, s.shifted_at)

    def tick(self) -> None:
        """Send what has been shifted out, and strike the character timeout if it is time."""
        s = self.state
        now = self.clock.now()
        while s.shifting is not None and now >= s.shifted_at:
            sent, s.shifting = s.shifting, None
            if s.waiting:
                s.shifting = s.waiting.popleft()
                s.shifted_at += self._characters(1)
                s.thre_pending = s.thre_pending or not s.waiting
            self._emit(sent)
            self._drive()
        if s.timeout_at is not None and self.clock.now() >= s.timeout_at:
            s.timeout_at = None
            s.timeout_pending = True
            self._drive()

    # -- the processor's side -----------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read a register."""
        s = self.state
        match offset & 7:
            case Reg.LSR:
                if s.shifting is not None:
                    self.tick()
                errors = self._line_errors()
                value = self._line_status(errors)
                if errors:
                    s.overrun = False
                    if s.received:
                        s.received[0] &= 0xFF
                    self._drive()
                return value
            case Reg.DATA if s.lcr & LCR_DLAB:
                return s.divisor & 0xFF
            case Reg.DATA:
                return self._read_data()
            case Reg.IIR:
                cause = self._cause()
                if cause == IIR_THRE:
                    s.thre_pending = False
                    self._drive()
                return cause | IIR_FIFOS if s.fcr & FCR_ENABLE else cause
            case Reg.IER:
                return s.divisor >> 8 if s.lcr & LCR_DLAB else s.ier
            case Reg.LCR:
                return s.lcr
            case Reg.MCR:
                return s.mcr
            case Reg.MSR:
                value = s.modem | s.modem_deltas
                if s.modem_deltas:
                    s.modem_deltas = 0
                    self._show_modem()
                    self._drive()
                return value
            case _:
                return s.scr

    def _read_data(self) -> int:
        s = self.state
        if not s.received:
            return 0 if s.fcr & FCR_ENABLE else s.rbr
        value = s.received.popleft() & 0xFF
        self._restart_timeout()
        self._drive()
        if not s.received:
            self.drained()
        return value

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write a register."""
        s = self.state
        value &= 0xFF
        match offset & 7:
            case Reg.DATA if s.lcr & LCR_DLAB:
                s.divisor = s.divisor & 0xFF00 | value
                self._show_divided()
            case Reg.DATA:
                if s.thre_pending:
                    s.thre_pending = False  # the write resets the interrupt (table IV),
                    if s.ier & IER_THRE:
                        self.irq.set(self._level(self._cause()))
                self._send(self._word(value))
                s.thre_pending = not s.waiting  # and an idle transmitter takes the byte over at once
            case Reg.IER if s.lcr & LCR_DLAB:
                s.divisor = s.divisor & 0xFF | value << 8
                self._show_divided()
            case Reg.IER:
                if value & ~s.ier & IER_THRE and not s.waiting:
                    s.thre_pending = True  # enabling it with an empty register interrupts
                s.ier = value & 0x0F
                self.mirror.show(Reg.IER, s.ier, BY_ITSELF)
            case Reg.IIR:
                self._write_fcr(value)
            case Reg.LCR:
                breaks = value & ~s.lcr & LCR_BREAK
                s.lcr, s.lcr_written = value, True
                self.mirror.show(Reg.LCR, value, BY_ITSELF)
                self._show_divided()
                if breaks and s.mcr & MCR_LOOP:
                    self._received(0, LSR_BI)  # one zero, however long the line is held low (8.6.4)
            case Reg.MCR:
                self._write_mcr(value & 0x1F)
                self.mirror.show(Reg.MCR, s.mcr, BY_ITSELF)
            case Reg.SCR:
                s.scr = value
                self.mirror.show(Reg.SCR, value, BY_ITSELF)
                return
            case _:
                pass  # LSR and MSR are the factory's
        self._drive()

    def _send(self, byte: int) -> None:
        """Send a byte, or have it wait for those before it; one for which there is no room is lost."""
        s = self.state
        if not self.paced:
            self._emit(byte)
        elif s.shifting is None:
            s.shifting = byte
            s.shifted_at = self.clock.now() + self._characters(1)
        elif not s.fcr & FCR_ENABLE:
            s.waiting.clear()  # what was in the holding register is overwritten
            s.waiting.append(byte)
        elif len(s.waiting) < FIFO_SIZE:
            s.waiting.append(byte)

    def _emit(self, byte: int) -> None:
        if self.state.mcr & MCR_LOOP:
            self._received(byte)
        else:
            self.transmit(byte)

    def _write_fcr(self, value: int) -> None:
        s = self.state
        changed = bool((value ^ s.fcr) & FCR_ENABLE)
        if not value & FCR_ENABLE:
            value = 0  # without bit 0 the others are not programmed (8.5)
        if changed:
            s.thre_pending = True  # the first transmitter interrupt behind a change is immediate (8.4.2)
        if s.waiting and (changed or value & FCR_CLEAR_TX):
            s.waiting.clear()  # what is being shifted out is not touched (8.5)
            s.thre_pending = True
        if changed or value & FCR_CLEAR_RX:
            s.received.clear()
            self._restart_timeout()
            self.drained()
        s.fcr = value & 0xC1 if value else s.fcr & ~FCR_ENABLE

    def _write_mcr(self, value: int) -> None:
        s = self.state
        was_looping = s.mcr & MCR_LOOP
        s.mcr = value
        modem = self._modem_pins()
        if value & MCR_LOOP:  # the outputs come back as inputs
            modem = (value & MCR_RTS) << 3 | (value & MCR_DTR) << 5 | (value & MCR_OUT1) << 4
            modem |= (value & MCR_OUT2) << 4
        self._modem_changes(modem)
        if was_looping and not value & MCR_LOOP:
            self.drained()

    def _modem_pins(self) -> int:
        return MSR_PRESENT if self.state.clear_to_send else MSR_PRESENT & ~MSR_CTS

    def _modem_changes(self, modem: int) -> None:
        """Take new levels of the modem's lines, and note what has changed."""
        s = self.state
        changed = modem ^ s.modem
        ring_ended = s.modem & ~modem & MSR_RI
        s.modem_deltas |= changed >> 4 & 0xB | ring_ended >> 4
        s.modem = modem
        self._show_modem()

    # -- interrupts ---------------------------------------------------------------------------------------

    def _line_errors(self) -> int:
        """Return LSR's errors: the overrun, and those of the byte that is read next."""
        s = self.state
        return (LSR_OE if s.overrun else 0) | (s.received[0] >> 8 if s.received else 0)

    def _line_status(self, errors: int) -> int:
        s = self.state
        status = (LSR_DR if s.received else 0) | errors
        if not s.waiting:
            status |= LSR_THRE if s.shifting is not None else LSR_THRE | LSR_TEMT
        if s.fcr & FCR_ENABLE and any(byte > 0xFF for byte in s.received):
            status |= LSR_FIFO_ERROR
        return status

    def _cause(self) -> int:
        """Return the enabled cause of highest priority (data sheet table IV)."""
        s = self.state
        ier = s.ier
        if ier & IER_LINE and self._line_errors():
            return IIR_LINE
        if s.received and ier & IER_RECEIVED:
            if s.timeout_pending:
                return IIR_TIMEOUT
            if not s.fcr & FCR_ENABLE or len(s.received) >= TRIGGERS[s.fcr >> 6]:
                return IIR_RECEIVED
        if s.thre_pending and ier & IER_THRE:
            return IIR_THRE
        if s.modem_deltas and ier & IER_MODEM:
            return IIR_MODEM
        return IIR_NONE

    def _drive(self) -> None:
        cause = self._cause()
        self._show(cause)
        self.irq.set(cause != IIR_NONE and self._level(cause))

    def _level(self, cause: int) -> bool:
        """Return the level of the interrupt's pin, if this is its cause."""
        s = self.state
        return s.mcr & (MCR_OUT2 | MCR_LOOP) == MCR_OUT2 and s.ier != 0 and cause != IIR_NONE

    def _show(self, cause: int) -> None:
        """Show the states that can be read without an effect. What is sent changes LSR only in loopback."""
        s, mirror = self.state, self.mirror
        errors = self._line_errors() if s.received or s.overrun else 0
        if errors or s.shifting is not None:
            mirror.hide(Reg.LSR)
        else:
            mirror.show(
                Reg.LSR,
                self._line_status(errors),
                BY_ITSELF if s.mcr & MCR_LOOP or self.paced else BUT_BY_SENDING,
            )
        if cause == IIR_THRE:
            mirror.hide(Reg.IIR)
        else:
            mirror.show(Reg.IIR, cause | IIR_FIFOS if s.fcr & FCR_ENABLE else cause, BY_ITSELF)

    def _show_modem(self) -> None:
        """Show the modem status, while nothing of it has changed."""
        if self.state.modem_deltas:
            self.mirror.hide(Reg.MSR)
        else:
            self.mirror.show(Reg.MSR, self.state.modem, BY_ITSELF)

    def _show_divided(self) -> None:
        """Show the registers that are the divisor's while DLAB is set."""
        s, mirror = self.state, self.mirror
        if s.lcr & LCR_DLAB:
            mirror.show(Reg.DATA, s.divisor & 0xFF, BY_ITSELF)
            mirror.show(Reg.IER, s.divisor >> 8, BY_ITSELF)
        else:
            mirror.hide(Reg.DATA)
            mirror.show(Reg.IER, s.ier, BY_ITSELF)

    def _show_settings(self) -> None:
        """Show what only writes change."""
        s, mirror = self.state, self.mirror
        self._show_divided()
        mirror.show(Reg.LCR, s.lcr, BY_ITSELF)
        mirror.show(Reg.MCR, s.mcr, BY_ITSELF)
        mirror.show(Reg.SCR, s.scr, BY_ITSELF)
