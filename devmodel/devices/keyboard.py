"""A PS/2 keyboard (IBM PS/2 Hardware Interface TR, Keyboards: 101- and 102-key), scan code sets 1, 2 and 3.

What keys send waits in `state.queue`, the keyboard's buffer of 16 bytes, and replies to commands in `state.replies`,
which go first and take no place there. Keys for which there is no room are lost, and one overrun code says so.
The key that was pressed last repeats while it is held, as far as there is room.
Not modelled: the time of the self-test.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import Clock
from devmodel.devices.keys import CHARACTERS, CODES_3, KEYS, MAKE_BREAK, MAKE_ONLY, code_3, codes, name_of

ROOM: Final = 16  # bytes
OVERRUN: Final = {1: 0xFF, 2: 0x00, 3: 0x00}
ACK: Final = 0xFA
RESEND: Final = 0xFE
SELF_TEST_PASSED: Final = 0xAA
SETS: Final = (1, 2, 3)
DELAY: Final = 250_000_000  # ns; one to four of them before a key repeats
PERIOD: Final = 4_166_667  # ns; eight to fifteen of them between repetitions, times 1, 2, 4 or 8
LED_NUM_LOCK: Final = 0x02
TYPEMATIC: Final = 0x01  # of a key's type in set 3: it repeats
BREAK: Final = 0x02  # and this: it says when it is released


class Command:
    """What the controller may send."""

    LEDS: Final = 0xED
    ECHO: Final = 0xEE
    SCAN_SET: Final = 0xF0
    IDENTIFY: Final = 0xF2
    TYPEMATIC: Final = 0xF3
    ENABLE: Final = 0xF4
    DISABLE: Final = 0xF5
    DEFAULTS: Final = 0xF6
    ALL_KEYS: Final = 0xF7  # to 0xFA: key types of set 3
    KEY_TYPE: Final = 0xFB  # to 0xFD, with a key code
    RESEND: Final = 0xFE
    RESET: Final = 0xFF


ALL_TYPES: Final = (TYPEMATIC, BREAK, 0, TYPEMATIC | BREAK)
"""What F7h to FAh make of every key."""
ONE_TYPE: Final = (TYPEMATIC, BREAK, 0)
"""What FBh to FDh make of one."""


def _types() -> bytearray:
    """Return the types of set 3's keys, by their codes, as after power-on."""
    types = bytearray(max(CODES_3) + 1)
    for code, name in CODES_3.items():
        types[code] = BREAK if name in MAKE_BREAK else 0 if name in MAKE_ONLY else TYPEMATIC
    return types


@attrs.define
class KeyboardState:
    """Everything the keyboard remembers."""

    queue: deque[int] = attrs.field(factory=deque[int])
    overrun: bool = False  # keys have been lost since there was room
    replies: deque[int] = attrs.field(factory=deque[int])
    argument_of: int = 0  # the command whose argument comes next; meanwhile no keys are scanned
    unscanned: list[list[str]] = attrs.field(factory=lambda: [[], []])  # keys released and pressed meanwhile
    scanning: bool = True
    scan_set: int = 2
    leds: int = 0
    typematic: int = 0x2B
    last: int = 0
    types: bytearray = attrs.field(factory=_types)  # of set 3's keys, by their codes
    held: list[str] = attrs.field(factory=list[str])  # in the order in which they were pressed
    repeating: str = ""
    repeat_at: int = 0  # guest time in ns


@attrs.define(kw_only=True)
class Keyboard:
    """The keyboard; `changed` tells the controller that there are bytes."""

    changed: Callable[[], None]
    clock: Clock
    state: KeyboardState = attrs.field(factory=KeyboardState)

    # -- the user's side ----------------------------------------------------------------------------------

    def press(self, name: str) -> None:
        """Press a key, by QEMU's name for it; ValueError if there is none."""
        s, name = self.state, name_of(name)
        sent = self._codes(name, pressed=True)
        if name not in s.held:
            s.held.append(name)
        s.repeating = ""
        if self._repeats(name) and s.scanning:
            s.repeating = name
            s.repeat_at = self.clock.now() + (1 + (s.typematic >> 5)) * DELAY
        if not self._unscanned(name, pressed=True):
            self._key(sent)

    def release(self, name: str) -> None:
        """Release a key; ValueError if there is none."""
        s, name = self.state, name_of(name)
        if name in s.held:
            s.held.remove(name)
        if s.repeating == name:
            s.repeating = ""
        sent = self._codes(name, pressed=False)
        if self._unscanned(name, pressed=False):
            return
        if s.scan_set != 3 or s.types[code_3(name)] & BREAK:
            self._key(sent)

    def _unscanned(self, name: str, *, pressed: bool) -> bool:
        """Note what becomes of a key while none is scanned; False if they are. There and back again is nothing."""
        s = self.state
        if not s.argument_of or not s.scanning:
            return False
        if name in s.unscanned[not pressed]:
            s.unscanned[not pressed].remove(name)
        elif name not in s.unscanned[pressed]:
            s.unscanned[pressed].append(name)
        return True

    def _scan(self) -> None:
        """Find the keys that are not as they were when scanning was discontinued."""
        s = self.state
        (released, pressed), s.unscanned = s.unscanned, [[], []]
        for name in released:
            if s.scan_set != 3 or s.types[code_3(name)] & BREAK:
                self._key(self._codes(name, pressed=False))
        for name in pressed:
            self._key(self._codes(name, pressed=True))

    def _codes(self, name: str, *, pressed: bool) -> bytes:
        s = self.state
        num_lock = bool(s.leds & LED_NUM_LOCK)
        return codes(name, pressed=pressed, scan_set=s.scan_set, held=s.held, num_lock=num_lock)

    def _repeats(self, name: str) -> bool:
        s = self.state
        return bool(s.types[code_3(name)] & TYPEMATIC) if s.scan_set == 3 else name != "pause"

    def type(self, combination: str) -> None:
        """Press and release a key or a combination ("ctrl-alt-delete"); ValueError if one is unknown."""
        self.check(combination)
        names = combination.split("-")
        for name in names:
            self.press(name)
        for name in reversed(names):
            self.release(name)

    @staticmethod
    def check(combination: str) -> None:
        """Raise ValueError if a key of a combination is unknown."""
        for name in combination.split("-"):
            name_of(name)

    def room(self) -> int:
        """Return how many bytes of keys it can remember now; none while a guest has told it not to scan."""
        s = self.state
        return ROOM - len(s.queue) if s.scanning and not s.argument_of else 0

    @staticmethod
    def combination(character: str) -> str:
        """Return what to `type` for a character on a US keyboard; ValueError if it is not there."""
        if character in CHARACTERS:
            return CHARACTERS[character]
        if character.lower() not in KEYS:
            raise ValueError(f"no key for {character!r}")
        return character if character.lower() == character else f"shift-{character.lower()}"

    def _key(self, scan_codes: bytes) -> None:
        s = self.state
        if not s.scanning or not scan_codes:
            return
        if len(s.queue) + len(scan_codes) <= ROOM:
            s.queue.extend(scan_codes)
            s.overrun = False
        elif not s.overrun:
            s.overrun = True
            s.queue.append(OVERRUN[s.scan_set])
        self.changed()

    def deadline(self) -> int | None:
        """Return when the key that is held repeats."""
        return self.state.repeat_at if self.state.repeating else None

    def tick(self) -> None:
        """Repeat the key that is held, if it is time and there is room: what nobody takes is not repeated."""
        s = self.state
        if not s.repeating or (now := self.clock.now()) < s.repeat_at:
            return
        s.repeat_at = now + (8 + (s.typematic & 7) << (s.typematic >> 3 & 3)) * PERIOD
        sent = self._codes(s.repeating, pressed=True)
        if len(sent) <= self.room():
            s.queue.extend(sent)

    # -- the controller's side ----------------------------------------------------------------------------

    def take(self) -> int:
        """Return the next byte; there must be one."""
        s = self.state
        value = s.replies.popleft() if s.replies else s.queue.popleft()
        if value != RESEND:
            s.last = value  # what Resend asks for is the byte before a Resend
        return value

    @property
    def sends(self) -> bool:
        """Whether there is a byte to take."""
        return bool(self.state.replies or self.state.queue)

    def write(self, value: int) -> None:
        """Take a command or its argument, and answer."""
        s = self.state
        if s.argument_of and value < Command.LEDS:
            self._argument(s.argument_of, value)
        else:
            s.argument_of = 0
            self._command(value)
        if not s.argument_of:
            self._scan()
        self.changed()

    def _answer(self, *values: int) -> None:
        self.state.replies.extend(values)
        while len(self.state.replies) > ROOM:  # a guest that commands and never reads
            self.state.replies.popleft()

    def _command(self, value: int) -> None:
        s = self.state
        match value:
            case Command.LEDS | Command.TYPEMATIC:
                s.argument_of = value
                self._answer(ACK)
            case Command.SCAN_SET:
                self._clear()
                s.argument_of = value
                self._answer(ACK)
            case Command.ECHO:
                self._answer(Command.ECHO)
            case Command.IDENTIFY:
                self._answer(ACK, 0xAB, 0x83)
            case Command.ENABLE:
                self._clear()
                s.scanning = True
                self._answer(ACK)
            case Command.DISABLE | Command.DEFAULTS:
                self._defaults()
                if value == Command.DISABLE:
                    s.scanning = False  # the other one goes on scanning if it did
                self._answer(ACK)
            case Command.RESEND:
                self._answer(s.last)
            case Command.RESET:
                s.replies.clear()
                self._defaults()
                s.scanning = True
                self._answer(ACK, SELF_TEST_PASSED)
            case _ if Command.ALL_KEYS <= value < Command.KEY_TYPE:
                self._clear()
                s.types = bytearray((ALL_TYPES[value - Command.ALL_KEYS],)) * len(s.types)
                self._answer(ACK)
            case _ if Command.KEY_TYPE <= value < Command.RESEND:
                self._clear()
                s.argument_of = value
                self._answer(ACK)
            case _:
                self._answer(RESEND)

    def _argument(self, command: int, value: int) -> None:
        s = self.state
        s.argument_of = 0
        match command:
            case Command.LEDS:
                s.leds = value & 7
            case Command.TYPEMATIC:
                s.typematic = value & 0x7F
            case Command.SCAN_SET if value == 0:
                self._answer(ACK, s.scan_set)
                return
            case Command.SCAN_SET if value in SETS:
                s.scan_set = value
            case Command.SCAN_SET:
                self._answer(RESEND)
                return
            case _ if value in CODES_3:
                s.types[value] = ONE_TYPE[command - Command.KEY_TYPE]
                s.argument_of = command  # more may follow, up to a command
            case _:
                self._answer(RESEND)
                return
        self._answer(ACK)

    def _clear(self) -> None:
        """Forget keys that have not been sent."""
        self.state.queue.clear()
        self.state.unscanned = [[], []]
        self.state.overrun = False
        self.state.repeating = ""

    def _defaults(self) -> None:
        """Be as after power-on."""
        self._clear()
        self.state.scan_set = 2
        self.state.typematic = 0x2B
        self.state.leds = 0
        self.state.types = _types()
