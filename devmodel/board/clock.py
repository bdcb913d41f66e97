"""Guest time: integer nanoseconds since the machine was switched on.

Chips ask a `Clock` and know no other. In a server it is trio's (`devmodel.service.clock`).
"""

from typing import Final, Protocol

import attrs

NS_PER_S: Final = 1_000_000_000


class Clock(Protocol):
    """Where chips get the time."""

    def now(self) -> int:
        """Return guest time in ns; it never runs backwards."""
        ...


@attrs.define
class ManualClock:
    """A clock in your hand, for tests and for stepping a machine from a program."""

    time: int = 0

    def now(self) -> int:
        """Return the time it was set to, in ns."""
        return self.time

    def advance(self, ns: int) -> None:
        """Let `ns` pass."""
        self.time += ns
