"""A WebSocket to a serial console: bytes in both directions, breaks, and where in all that was said the bytes are.

What the guest says comes in binary messages. A text message says at which byte of all that it has ever said the next
one begins: the first one does, and one behind every gap, so that a page that counts never asks for the wrong place.
What is typed goes in messages of either kind; with the subprotocol `console.devmodel`, which our page asks for, text is
a command instead, of which there is one, `break`.
"""

from typing import ClassVar, Final

import trio

from devmodel.consoles.line import BREAK
from devmodel.web.websocket import WebSocket

COMMANDS: Final = "console.devmodel"
"""The subprotocol in which text is commands."""
BREAK_COMMAND: Final = "break"


class ConsoleSocket(WebSocket):
    """A client of a console that is in a browser."""

    SUBPROTOCOLS: ClassVar[tuple[str, ...]] = (COMMANDS, *WebSocket.SUBPROTOCOLS)

    async def typed(self) -> list[int] | None:
        """Wait for bytes and breaks; None at the end.

        Raises:
            trio.BrokenResourceError: it says what is no command, or is no WebSocket.

        """
        pieces = await self.pieces()
        if not pieces:
            return None
        found: list[int] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                found += piece
            elif self.subprotocol != COMMANDS:
                found += piece.encode()
            elif piece == BREAK_COMMAND:
                found.append(BREAK)
            else:
                raise trio.BrokenResourceError(f"{piece!r} is no command")
        return found

    async def goes_on_at(self, position: int) -> None:
        """Say where in all that the guest has said the next bytes begin."""
        await self.tell(str(position))
