"""Intel 8042 keyboard controller as a PC has it (IBM PS/2 Hardware Interface TR), ports 0x60 and 0x64.

A byte takes its time on the wire, so a guest that reads port 0x60 twice gets it twice. Behind the keyboard's wire and
the auxiliary device's, a mouse's, is one output buffer; status bit 5 says whose byte it has, and so does the interrupt.
While the password is enabled nothing that a device sends is handed on, replies neither, until it has been typed.
Not modelled: the controller's firmware beyond these commands of the TR, parity errors and time-outs.
"""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.board.lines import IrqLine, Line
from devmodel.board.mirror import BY_ANYONE, Mirror
from devmodel.devices.keyboard import Keyboard, KeyboardState
from devmodel.devices.keys import TRANSLATION
from devmodel.devices.mouse import Mouse, MouseState

FRAME: Final = 800_000  # ns for the 11 bits of a byte on a wire
BREAK: Final = 0xF0
BREAK_BIT: Final = 0x80  # of a translated code
LAST_CODE: Final = 0x84  # of scan code set 2; what is above is a prefix or a reply


class Port:
    """Offsets from 0x60 (61-63 belong to others)."""

    DATA: Final = 0
    COMMAND: Final = 4  # status on read


STATUS_OBF: Final = 0x01
STATUS_SYSTEM: Final = 0x04
STATUS_COMMAND: Final = 0x08
STATUS_UNLOCKED: Final = 0x10
STATUS_AUX: Final = 0x20
MODE_IRQ1: Final = 0x01
MODE_IRQ12: Final = 0x02
MODE_SYSTEM: Final = 0x04
MODE_NO_KEYBOARD: Final = 0x10
MODE_NO_AUX: Final = 0x20
MODE_TRANSLATE: Final = 0x40
OUTPUT_RUN: Final = 0x01  # low resets the processor
OUTPUT_A20: Final = 0x02


class Command:
    """Controller commands."""

    READ_RAM: Final = 0x20  # to 0x3F; 0x20 is the mode
    WRITE_RAM: Final = 0x60  # to 0x7F
    TEST_PASSWORD: Final = 0xA4
    LOAD_PASSWORD: Final = 0xA5  # make codes, and a zero behind the last
    ENABLE_PASSWORD: Final = 0xA6
    DISABLE_AUX: Final = 0xA7
    ENABLE_AUX: Final = 0xA8
    TEST_AUX: Final = 0xA9
    SELF_TEST: Final = 0xAA
    TEST_KEYBOARD: Final = 0xAB
    DISABLE_KEYBOARD: Final = 0xAD
    ENABLE_KEYBOARD: Final = 0xAE
    READ_INPUT: Final = 0xC0
    POLL_INPUT_LOW: Final = 0xC1
    POLL_INPUT_HIGH: Final = 0xC2
    READ_OUTPUT: Final = 0xD0
    WRITE_OUTPUT: Final = 0xD1
    WRITE_KEYBOARD_BUFFER: Final = 0xD2
    WRITE_AUX_BUFFER: Final = 0xD3
    WRITE_AUX: Final = 0xD4
    DISABLE_A20: Final = 0xDD
    ENABLE_A20: Final = 0xDF
    READ_TEST: Final = 0xE0
    PULSE: Final = 0xF0  # to 0xFF: output bits 3-0 that are 0 here are pulsed low


class Ram:
    """What the controller goes by in its RAM beside the mode, at 0."""

    SECURITY_ON: Final = 0x13  # handed to the system when the password is enabled, if it is not 0
    SECURITY_OFF: Final = 0x14  # and this one when it has been typed
    DISCARDED: Final = (0x16, 0x17)  # make codes that are no part of what is typed


PASSWORD: Final = 0xFA
NO_PASSWORD: Final = 0xF1
LONGEST_PASSWORD: Final = 32
INPUT_PORT: Final = 0x80  # the keyboard is not locked


def _ram() -> bytearray:
    ram = bytearray(32)
    ram[0] = MODE_IRQ1 | MODE_NO_AUX
    return ram


@attrs.define
class KbcState:
    """Everything the controller and its keyboard remember."""

    ram: bytearray = attrs.field(factory=_ram)  # byte 0 is the mode (command byte)
    output: int = 0
    full: bool = False  # OBF
    aux: bool = False  # the byte in `output` is the auxiliary device's
    was_command: bool = False  # the last write was to port 0x64
    argument_of: int = 0
    polling: int = 0  # the command that has put a half of the input port into the status
    breaking: bool = False  # translation has swallowed a break prefix
    a20: bool = True  # bit 1 of the output port
    password: bytes = b""
    loading: bytes = b""  # what has come of the next one
    locked: bool = False
    typed: bytes = b""  # make codes since it was locked, as many as the password has at most
    wire_free_at: int = 0  # guest time in ns
    keyboard: KeyboardState = attrs.field(factory=KeyboardState)
    mouse: MouseState = attrs.field(factory=MouseState)


@attrs.define(kw_only=True)
class Kbc:
    """The controller; `keyboard` and `mouse` are plugged in. `a20` is its end of that line."""

    clock: Clock
    irq: IrqLine
    aux_irq: IrqLine
    a20: Line
    reset_processor: Callable[[], None]
    mirror: Mirror = attrs.field(factory=lambda: Mirror(1))  # of the status
    state: KbcState = attrs.field(factory=KbcState)
    keyboard: Keyboard = attrs.field(init=False)
    mouse: Mouse = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keyboard = Keyboard(changed=self.tick, clock=self.clock, state=self.state.keyboard)
        self.mouse = Mouse(changed=self.tick, clock=self.clock, state=self.state.mouse)
        self._drive()

    def reset(self) -> None:
        """Power on."""
        self.state = KbcState()
        self.keyboard.state = self.state.keyboard
        self.mouse.state = self.state.mouse
        self._drive()

    # -- the wires ----------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Return when the next byte arrives, a key that is held repeats, or the mouse makes a report."""
        times = [time for time in (self.keyboard.deadline(), self.mouse.deadline()) if time is not None]
        if not self.state.full and self._sender() is not None:
            times.append(self.state.wire_free_at)
        return min(times, default=None)

    def tick(self) -> None:
        """Take a byte if one has arrived."""
        s = self.state
        if s.keyboard.repeating:
            self.keyboard.tick()
        if s.mouse.enabled:
            self.mouse.tick()
        while not s.full and (sender := self._sender()) is not None:
            now = self.clock.now()
            if now < s.wire_free_at:
                break
            s.wire_free_at = now + FRAME
            if sender is self.keyboard:
                self._from_keyboard(sender.take())
            else:
                report = sender.take()
                if not s.locked:
                    self._put(report, aux=True)
        self._drive()

    def _sender(self) -> Keyboard | Mouse | None:
        """Return who has a byte for us and may send it, the keyboard first."""
        mode = self.state.ram[0]
        if not mode & MODE_NO_KEYBOARD and self.keyboard.sends:
            return self.keyboard
        if not mode & MODE_NO_AUX and self.mouse.sends:
            return self.mouse
        return None

    def _from_keyboard(self, value: int) -> None:
        s = self.state
        if s.ram[0] & MODE_TRANSLATE:
            if value == BREAK:
                s.breaking = True
                return
            if value <= LAST_CODE:  # a reply may come between a prefix and its code
                value = TRANSLATION[value] | (BREAK_BIT if s.breaking else 0)
                s.breaking = False
        if s.locked:
            self._compare(value)
        else:
            self._put(value)

    def _compare(self, value: int) -> None:
        """Take a byte of the keyboard while the password is enabled: make codes are compared, all else is nothing."""
        s = self.state
        if value == BREAK:
            s.breaking = True  # not translated: the next one is no make code
        elif s.breaking:
            s.breaking = False
        elif value < BREAK_BIT and value not in [s.ram[at] for at in Ram.DISCARDED]:
            s.typed = (s.typed + bytes([value]))[-len(s.password) :]
            if s.typed == s.password:
                s.locked = False
                self._announce(Ram.SECURITY_OFF)

    def _announce(self, at: int) -> None:
        """Hand a byte of the RAM to the system, if it is not 0."""
        if self.state.ram[at]:
            self._put(self.state.ram[at])

    def _put(self, value: int, *, aux: bool = False) -> None:
        s = self.state
        s.output = value
        s.full = True
        s.aux = aux

    # -- ports --------------------------------------------------------------------------------------------

    def read(self, offset: int, _size: int) -> int:
        """Read the output buffer or the status."""
        s = self.state
        if offset == Port.COMMAND:
            return self._status()
        if offset != Port.DATA:
            return 0xFF
        if s.full:
            s.full = s.aux = False
            s.wire_free_at = max(s.wire_free_at, self.clock.now() + FRAME)
            self._drive()
        return s.output

    def write(self, offset: int, _size: int, value: int) -> None:
        """Write data or a command."""
        s = self.state
        value &= 0xFF
        if offset == Port.COMMAND:
            s.was_command = True
            s.argument_of = s.polling = 0
            self._command(value)
        elif offset == Port.DATA:
            s.was_command = False
            if s.argument_of:
                command, s.argument_of = s.argument_of, 0
                self._argument(command, value)
            else:
                s.ram[0] &= ~MODE_NO_KEYBOARD & 0xFF  # talking to it opens its wire
                self.keyboard.write(value)
        self.tick()

    def _command(self, value: int) -> None:
        s = self.state
        match value:  # what drivers say at each turn comes first
            case Command.DISABLE_KEYBOARD:
                s.ram[0] |= MODE_NO_KEYBOARD
            case Command.ENABLE_KEYBOARD:
                s.ram[0] &= ~MODE_NO_KEYBOARD & 0xFF
            case _ if value & 0xE0 == Command.READ_RAM:
                self._put(s.ram[value & 0x1F])
            case _ if value & 0xE0 == Command.WRITE_RAM:
                s.argument_of = value
            case (
                Command.WRITE_AUX
                | Command.WRITE_OUTPUT
                | Command.WRITE_KEYBOARD_BUFFER
                | Command.WRITE_AUX_BUFFER
            ):
                s.argument_of = value
            case Command.TEST_PASSWORD:
                self._put(PASSWORD if s.password else NO_PASSWORD)
            case Command.LOAD_PASSWORD:
                s.argument_of, s.loading = value, b""
            case Command.ENABLE_PASSWORD if s.password:
                s.locked, s.typed = True, b""
                self._announce(Ram.SECURITY_ON)
            case Command.DISABLE_AUX:
                s.ram[0] |= MODE_NO_AUX
            case Command.ENABLE_AUX:
                s.ram[0] &= ~MODE_NO_AUX & 0xFF
            case Command.TEST_AUX:
                self._put(0)
            case Command.SELF_TEST:
                s.ram[0] |= MODE_SYSTEM
                self._put(0x55)
            case Command.TEST_KEYBOARD:
                self._put(0)
            case Command.READ_INPUT:
                self._put(INPUT_PORT)
            case Command.POLL_INPUT_LOW | Command.POLL_INPUT_HIGH:
                s.polling = value
            case Command.READ_OUTPUT:
                irq, aux_irq = self._irqs()
                irqs = irq << 4 | aux_irq << 5
                self._put(0xCC | OUTPUT_RUN | (OUTPUT_A20 if s.a20 else 0) | irqs)
            case Command.DISABLE_A20 | Command.ENABLE_A20:
                s.a20 = value == Command.ENABLE_A20
            case Command.READ_TEST:
                self._put(0)
            case _ if value >= Command.PULSE and not value & OUTPUT_RUN:
                self.reset_processor()
            case _:
                pass

    def _argument(self, command: int, value: int) -> None:
        s = self.state
        match command:
            case Command.WRITE_RAM:
                s.ram[0] = value & 0x7F
            case _ if command & 0xE0 == Command.WRITE_RAM:
                s.ram[command & 0x1F] = value
            case Command.LOAD_PASSWORD if value:
                s.loading = (s.loading + bytes([value]))[:LONGEST_PASSWORD]
                s.argument_of = command
            case Command.LOAD_PASSWORD:
                s.password, s.loading = s.loading, b""
            case Command.WRITE_OUTPUT:
                s.a20 = bool(value & OUTPUT_A20)
                self._drive()  # before a reset that the same byte asks for
                if not value & OUTPUT_RUN:
                    self.reset_processor()
            case Command.WRITE_KEYBOARD_BUFFER:
                self._put(value)
            case Command.WRITE_AUX_BUFFER:
                self._put(value, aux=True)
            case _:
                s.ram[0] &= ~MODE_NO_AUX & 0xFF  # talking to it opens its wire
                self.mouse.write(value)

    def _status(self) -> int:
        s = self.state
        status = (0 if s.locked else STATUS_UNLOCKED) | (STATUS_SYSTEM if s.ram[0] & MODE_SYSTEM else 0)
        if s.full:
            status |= STATUS_OBF | (STATUS_AUX if s.aux else 0)
        status |= STATUS_COMMAND if s.was_command else 0
        if s.polling:
            half = INPUT_PORT << 4 if s.polling == Command.POLL_INPUT_LOW else INPUT_PORT
            return status & 0x0F | half & 0xF0
        return status

    def _drive(self) -> None:
        s = self.state
        self.mirror.show(0, self._status(), BY_ANYONE)
        self.a20.set(s.a20)
        irq, aux_irq = self._irqs() if s.full else (False, False)
        self.irq.set(irq)
        self.aux_irq.set(aux_irq)

    def _irqs(self) -> tuple[bool, bool]:
        """Return whether interrupt requests 1 and 12 are made."""
        s = self.state
        if not s.full:
            return False, False
        if s.aux:
            return False, s.ram[0] & MODE_IRQ12 != 0
        return s.ram[0] & MODE_IRQ1 != 0, False
