"""What lies in a CD-ROM drive's tray: an image, which may be changed while the machine runs."""

import trio

from devmodel import DevmodelError
from devmodel.devices.mmc import Tray
from devmodel.disks.image import Image


class Disc:
    """A tray and the image in it. It serves whatever image that is, and closes it when it is taken out."""

    def __init__(self, path: str | None, fd: int | None = None) -> None:
        """Open the image, if there is one; or go on with the one that is open as `fd`.

        Raises:
            ConfigError: it cannot be used; the line says why.

        """
        self.image: Image | None = None
        if path is not None:
            self.image = Image.open(path, readonly=True) if fd is None else Image(fd, path, readonly=True)
        self.tray = Tray(self.image)
        self._scope = trio.CancelScope()
        self._served: Image | None = None
        self._changed = trio.Event()

    def insert(self, path: str) -> None:
        """Put another image in, in the place of the one that is there.

        Raises:
            ConfigError: it cannot be used; the one that is there stays.

        """
        image = Image.open(path, readonly=True)
        self.tray.insert(image)
        self._serve(image)

    def eject(self, *, force: bool = False) -> None:
        """Take the image out.

        Raises:
            DevmodelError: the guest has locked the tray; it has been told that somebody wants to open it.

        """
        if not self.tray.eject(force):
            raise DevmodelError("the guest has locked the tray; it has been asked to eject the disc")
        self._serve(None)

    async def run(self) -> None:
        """Serve the image there is for ever. Cancel to stop."""
        while True:
            self._changed = trio.Event()
            image = self.image
            if image is None:
                await self._changed.wait()
                continue
            with trio.CancelScope() as self._scope:
                self._served = image
                await image.run()
            self._served = None
            image.close()

    def close(self) -> None:
        """Close the image."""
        if self.image is not None:
            self.image.close()

    def _serve(self, image: Image | None) -> None:
        old, self.image = self.image, image
        self._changed.set()
        if old is not None and old is self._served:
            self._scope.cancel()
        elif old is not None:
            old.close()
