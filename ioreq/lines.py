"""What both processes do with a line of log before a person sees it.

Much of what is logged somebody else has written: a guest, a peer's name, an error text from the wire. So control
characters are shown, not obeyed; and whatever a guest or a peer can have logged again and again (a line that it
prints, a disk that fails) is cut off after a while and counted. Both are processors of structlog, configured by the two
command lines; this one place is shared because neither may import the other.
"""

import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

BURST: Final = 200
"""Lines of one kind that may come at once."""
RATE: Final = 20.0
"""Lines of one kind a second, in the long run."""
MAX_KINDS: Final = 256
"""Kinds that are counted apart; a kind is the name of an event, of which a program has few."""


def printable(text: str) -> str:
    r"""Return a text with what is not printable as an escape: an ESC as \x1b."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make every text of an event printable. A traceback keeps its lines; it is ours."""
    for key, value in event.items():
        if key == "exception" and isinstance(value, str):
            event[key] = "\n".join(map(printable, value.split("\n")))
        else:
            event[key] = _cleaned(value)
    return event


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case int() | float() | None:
            return value
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case dict():
            return {_cleaned(key): _cleaned(item) for key, item in value.items()}
        case _:
            return printable(str(value))


class Limiter:
    """Lets lines of a kind pass up to a rate; the next one that passes says how many were dropped (`dropped`)."""

    def __init__(
        self, *, burst: int = BURST, rate: float = RATE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._kinds: dict[str, list[float]] = {}
        """By event: what is left, when that was, and how many were dropped since the last that passed."""

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Pass an event on, or drop it."""
        name = str(event.get("event", ""))
        now = self._clock()
        kind = self._kinds.get(name)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                name = ""
            kind = self._kinds.setdefault(name, [self._burst, now, 0])
        left = min(kind[0] + (now - kind[1]) * self._rate, self._burst)
        kind[1] = now
        if left < 1:
            kind[0] = left
            kind[2] += 1
            raise structlog.DropEvent
        kind[0] = left - 1
        if kind[2]:
            event["dropped"] = int(kind[2])
            kind[2] = 0
        return event
