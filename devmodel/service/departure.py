"""A server's leaving before its domain ends, and what of the outside goes with it."""

import contextlib
from collections.abc import Iterator

from devmodel.disks.image import Image
from devmodel.service import upgrade
from devmodel.service.outside import Outside
from devmodel.service.server import Server
from devmodel.service.upgrade import Inheritance


class Departure:
    """A server's leaving before its domain ends: asked for from outside, done when its state is whole."""

    def __init__(self, *, upgrades: bool = False) -> None:
        """`upgrades` says that this process may become another program: nothing else is in it."""
        self.upgrades = upgrades
        self.done = False
        """The guest has been left to a successor."""
        self.inheritance: Inheritance | None = None
        """That is what we become, with this."""
        self._upgrading = False
        self._server: Server | None = None

    async def leave(self, *, upgrade: bool = False) -> None:
        """Leave the guest, if one is served and the core lets us, to a successor; or to ourselves, by an `upgrade`."""
        if self._server is not None and not self.done:
            self._upgrading = upgrade
            self.done = await self._server.hand_over()

    def collect(self, outside: Outside, *, paused: bool) -> None:
        """Keep what is needed of the outside, and whether the guest is `paused`, if we are to be upgraded."""
        if self.done and self._upgrading:
            scratch = {
                number: image
                for number, image in enumerate(outside.disks)
                if isinstance(image, Image)
                and (outside.config.disks[number].path is None or outside.config.disks[number].snapshot)
            }
            self.inheritance = upgrade.collect(
                outside.inheritance.upgrades,
                paused,
                [
                    upgrade.console_of(
                        console.line, console.listeners, console.clients, console.pseudo, console.recording
                    )
                    for console in outside.consoles
                ],
                scratch,
                [disc.image for disc in outside.discs],
                [(diskette.bay.model, diskette.image) for diskette in outside.diskettes],
                [] if outside.vnc is None else outside.vnc.listeners,
                [] if outside.vnc is None or outside.vnc.viewers is None else outside.vnc.viewers.leave(),
                [] if outside.web is None else outside.web.listeners,
                outside.web_secret,
            )
            for console in outside.consoles:
                console.kept = True
            for port in (outside.vnc, outside.web):
                if port is not None:
                    port.kept = True

    @contextlib.contextmanager
    def of(self, server: Server) -> Iterator[None]:
        """Say which server serves, for the length of the block."""
        self._server = server
        try:
            yield
        finally:
            self._server = None
