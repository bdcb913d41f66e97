"""Ports for debugging, as QEMU has them: isa-debugcon (0x402, 0xE9), POST code (0x80), debug-exit (0xF4, 0x501)."""

from collections.abc import Callable
from typing import Final

import attrs

from devmodel.board.mirror import BY_ITSELF, Mirror

READBACK: Final = 0xE9


@attrs.define(kw_only=True)
class DebugConsole:
    """A port that takes a byte a write; reading 0xE9 tells firmware that it is there. It has no state."""

    put: Callable[[int], None]

    def read(self, _offset: int, _size: int) -> int:
        """Read the sign of presence."""
        return READBACK

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write a character."""
        self.put(value & 0xFF)


@attrs.define
class PostState:
    """What the POST port remembers."""

    code: int = 0xFF


@attrs.define(kw_only=True)
class PostCode:
    """Port 0x80: the last code written; the shell may show it.

    Most of what is written there is a delay and no code: Linux writes behind each access to an old chip.
    """

    mirror: Mirror = attrs.field(factory=lambda: Mirror(1))
    state: PostState = attrs.field(factory=PostState)

    def __attrs_post_init__(self) -> None:
        self.mirror.coalesce(True)
        self._show()

    def _show(self) -> None:
        self.mirror.show(0, self.state.code, BY_ITSELF)

    def reset(self) -> None:
        """Power on."""
        self.state = PostState()
        self._show()

    def read(self, _offset: int, _size: int) -> int:
        """Read the last code."""
        return self.state.code

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write a code."""
        self.state.code = value & 0xFF
        self._show()


@attrs.define(kw_only=True)
class DebugExit:
    """Ports 0xF4-0xF7, and QEMU's default, 0x501-0x502. It has no state.

    Writing `code` ends the machine with exit status 2 * code + 1.
    """

    shutdown: Callable[[int], None]

    def read(self, _offset: int, _size: int) -> int:
        """Read nothing: QEMU's has zero there."""
        return 0

    def write(self, _offset: int, _size: int, value: int) -> None:
        """Write the code and be gone."""
        self.shutdown((value << 1 | 1) & 0xFF)
