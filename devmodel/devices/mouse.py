"""A PS/2 mouse (IBM PS/2 Hardware Interface TR, Mouse), with wheel and five buttons for drivers that knock.

Setting sample rates in a certain order makes Microsoft's IntelliMouse of it, or the Explorer with two more buttons.
Moves are given in counts, whatever the resolution; what is more than a report holds stays for the next one, so that the
overflow bits are never needed. In stream mode there is at most a report a sampling period.
Not modelled: the time of the self-test.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.clock import NS_PER_S, Clock

ACK: Final = 0xFA
ERROR: Final = 0xFC  # a second invalid byte in a row
RESEND: Final = 0xFE
SELF_TEST_PASSED: Final = 0xAA
PLAIN: Final = 0
WHEEL: Final = 3
EXPLORER: Final = 4
KNOCKS: Final[dict[tuple[int, ...], int]] = {(200, 100, 80): WHEEL, (200, 200, 80): EXPLORER}
"""Sample rates that make another mouse of it, and its identity."""
RATES: Final = (10, 20, 40, 60, 80, 100, 200)  # reports a second
BUTTONS: Final = {"left": 0x01, "right": 0x02, "middle": 0x04, "side": 0x08, "extra": 0x10}
"""As in a report; the last two are the Explorer's."""
MOST: Final = 255  # counts in a report, either way
MOST_WHEEL: Final = 7
MOST_WAITING: Final = 1 << 20  # counts that are remembered
SCALED: Final = (0, 1, 1, 3, 6, 9)
"""What becomes of small moves at a scaling of 2:1; larger ones double."""
STATUS_REMOTE: Final = 0x40
STATUS_ENABLED: Final = 0x20
STATUS_SCALED: Final = 0x10
REPORT_ALWAYS: Final = 0x08
REPORT_X_NEGATIVE: Final = 0x10
REPORT_Y_NEGATIVE: Final = 0x20


class Command:
    """What the controller may send."""

    SCALE_1: Final = 0xE6
    SCALE_2: Final = 0xE7
    RESOLUTION: Final = 0xE8
    STATUS: Final = 0xE9
    STREAM: Final = 0xEA
    READ: Final = 0xEB
    UNWRAP: Final = 0xEC
    WRAP: Final = 0xEE
    REMOTE: Final = 0xF0
    IDENTIFY: Final = 0xF2
    RATE: Final = 0xF3
    ENABLE: Final = 0xF4
    DISABLE: Final = 0xF5
    DEFAULTS: Final = 0xF6
    RESEND: Final = 0xFE
    RESET: Final = 0xFF


@attrs.define
class MouseState:
    """Everything the mouse remembers."""

    replies: deque[int] = attrs.field(factory=deque[int])
    report: deque[int] = attrs.field(factory=deque[int])
    last: list[int] = attrs.field(factory=list[int])  # what was sent last, for Resend
    argument_of: int = 0
    invalid: bool = False  # the last byte was, too
    remote: bool = False
    wrap: bool = False
    enabled: bool = False
    scaled: bool = False
    resolution: int = 2
    rate: int = 100
    knocks: list[int] = attrs.field(factory=list[int])  # the last three sample rates
    identity: int = PLAIN
    x: int = 0  # counts to the right since the last report
    y: int = 0  # away from the user
    wheel: int = 0  # towards the user
    buttons: int = 0
    told: int = 0  # the buttons in the last report
    next_report: int = 0  # guest time in ns


@attrs.define(kw_only=True)
class Mouse:
    """The mouse; `changed` tells the controller that there may be bytes."""

    changed: Callable[[], None]
    clock: Clock
    state: MouseState = attrs.field(factory=MouseState)

    # -- the user's side ----------------------------------------------------------------------------------

    def move(self, right: int, down: int, wheel: int = 0) -> None:
        """Move by counts, `down` the screen; turn the wheel by clicks, towards the user if that is positive."""
        s = self.state
        s.x = max(-MOST_WAITING, min(s.x + right, MOST_WAITING))
        s.y = max(-MOST_WAITING, min(s.y - down, MOST_WAITING))
        s.wheel = max(-MOST_WAITING, min(s.wheel + wheel, MOST_WAITING))
        self._changed()

    def press(self, button: str) -> None:
        """Press a button; ValueError if there is none of this name."""
        self.state.buttons |= self.button(button)
        self._changed()

    def release(self, button: str) -> None:
        """Release a button; ValueError if there is none of this name."""
        self.state.buttons &= ~self.button(button)
        self._changed()

    @staticmethod
    def button(name: str) -> int:
        """Return a button's bit; ValueError if there is none of this name."""
        if name not in BUTTONS:
            raise ValueError(f"no button '{name}'; the names are {', '.join(BUTTONS)}")
        return BUTTONS[name]

    @property
    def listened_to(self) -> bool:
        """Whether a guest has asked for reports, or fetches them."""
        return self.state.enabled or self.state.remote

    @property
    def quiet(self) -> bool:
        """Whether the guest has been told of everything."""
        return not self.state.report and not self._news()

    def _changed(self) -> None:
        self.tick()
        self.changed()

    # -- time ---------------------------------------------------------------------------------------------

    def _news(self) -> bool:
        """Whether there is something to report."""
        s = self.state
        return bool(s.x or s.y or (s.wheel and s.identity)) or (s.buttons ^ s.told) & self._known() != 0

    def _known(self) -> int:
        return 0x1F if self.state.identity == EXPLORER else 0x07

    def _streams(self) -> bool:
        s = self.state
        return s.enabled and not s.remote and not s.wrap and not s.argument_of

    def deadline(self) -> int | None:
        """Return when the next report is due."""
        if self._streams() and not self.state.report and self._news():
            return self.state.next_report
        return None

    def tick(self) -> None:
        """Make a report if there is something to report, and it is time."""
        s = self.state
        if self._streams() and not s.report and self._news() and self.clock.now() >= s.next_report:
            s.next_report = self.clock.now() + NS_PER_S // s.rate
            s.report.extend(self._report(scaled=s.scaled))
            s.last = []

    def _report(self, *, scaled: bool) -> list[int]:
        """Return three bytes, or four with a wheel, and take what is in them off what is to be told."""
        s = self.state
        x, y = (max(-MOST, min(count, MOST)) for count in (s.x, s.y))
        s.x, s.y = s.x - x, s.y - y
        if scaled:
            x, y = _scale(x), _scale(y)
        s.told = s.buttons
        signs = (REPORT_X_NEGATIVE if x < 0 else 0) | (REPORT_Y_NEGATIVE if y < 0 else 0)
        report = [REPORT_ALWAYS | signs | s.buttons & 7, x & 0xFF, y & 0xFF]
        wheel = max(-MOST_WHEEL, min(s.wheel, MOST_WHEEL))
        if s.identity == PLAIN:
            s.wheel = 0
            return report
        s.wheel -= wheel
        if s.identity == EXPLORER:
            return [*report, wheel & 0x0F | (s.buttons & 0x18) << 1]
        return [*report, wheel & 0xFF]

    # -- the controller's side ----------------------------------------------------------------------------

    @property
    def sends(self) -> bool:
        """Whether there is a byte to take."""
        return bool(self.state.replies or self.state.report)

    def take(self) -> int:
        """Return the next byte; there must be one."""
        s = self.state
        value = s.replies.popleft() if s.replies else s.report.popleft()
        s.last = [*s.last, value][-4:]
        return value

    def write(self, value: int) -> None:
        """Take a command or its argument, and answer."""
        s = self.state
        if s.wrap and value not in (Command.RESET, Command.UNWRAP):
            self._answer(value)
        else:
            s.report.clear()
            if value != Command.RESEND:
                s.replies.clear()
            if s.argument_of:
                command, s.argument_of = s.argument_of, 0
                self._argument(command, value)
            else:
                self._command(value)
        self._changed()

    def _answer(self, *values: int) -> None:
        self.state.replies.extend(values)
        self.state.last = []

    def _refuse(self) -> None:
        s = self.state
        self._answer(ERROR if s.invalid else RESEND)
        s.invalid = not s.invalid

    def _command(self, value: int) -> None:
        s = self.state
        known = True
        match value:
            case Command.SCALE_1 | Command.SCALE_2:
                s.scaled = value == Command.SCALE_2
                self._answer(ACK)
            case Command.RESOLUTION | Command.RATE:
                s.argument_of = value
                self._answer(ACK)
            case Command.STATUS:
                self._answer(ACK, self._status(), s.resolution, s.rate)
            case Command.STREAM | Command.REMOTE:
                s.remote = value == Command.REMOTE
                self._forget()
                self._answer(ACK)
            case Command.READ:
                self._answer(ACK, *self._report(scaled=False))
            case Command.WRAP | Command.UNWRAP:
                s.wrap = value == Command.WRAP
                self._forget()
                self._answer(ACK)
            case Command.IDENTIFY:
                self._answer(ACK, s.identity)
            case Command.ENABLE | Command.DISABLE:
                s.enabled = value == Command.ENABLE
                self._forget()
                self._answer(ACK)
            case Command.DEFAULTS:
                self._defaults()
                self._answer(ACK)
            case Command.RESEND:
                s.replies.extendleft(reversed(s.last))
                s.last = []
            case Command.RESET:
                self._defaults()
                s.identity, s.wrap = PLAIN, False
                self._answer(ACK, SELF_TEST_PASSED, PLAIN)
            case _:
                known = False
                self._refuse()
        if known:
            s.invalid = False

    def _argument(self, command: int, value: int) -> None:
        s = self.state
        if command == Command.RATE and value in RATES:
            s.rate = value
            s.knocks = [*s.knocks, value][-3:]
            s.identity = KNOCKS.get(tuple(s.knocks), s.identity)
        elif command == Command.RESOLUTION and value <= 3:
            s.resolution = value
        else:
            s.argument_of = command  # it may be sent again
            self._refuse()
            if not s.invalid:
                s.argument_of = 0
            return
        s.invalid = False
        self._answer(ACK)

    def _status(self) -> int:
        s = self.state
        modes = (STATUS_REMOTE if s.remote else 0) | (STATUS_ENABLED if s.enabled else 0)
        left, right, middle = (s.buttons >> bit & 1 for bit in range(3))
        return modes | (STATUS_SCALED if s.scaled else 0) | left << 2 | middle << 1 | right

    def _forget(self) -> None:
        """Begin to count moves anew. Buttons are held still, and if the last report says otherwise, told."""
        s = self.state
        s.x = s.y = s.wheel = 0

    def _defaults(self) -> None:
        s = self.state
        self._forget()
        s.remote = s.enabled = s.scaled = False
        s.resolution, s.rate = 2, 100
        s.knocks = []


def _scale(count: int) -> int:
    size = abs(count)
    size = SCALED[size] if size < len(SCALED) else min(2 * size, MOST)
    return size if count >= 0 else -size
