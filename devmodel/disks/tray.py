"""What lies in drives of removable media: an image, which may be changed while the machine runs."""

import os

import trio

from devmodel import ConfigError, DevmodelError
from devmodel.devices.diskette import DRIVES, Bay, format_of
from devmodel.devices.mmc import Tray
from devmodel.disks.image import Image
from devmodel.disks.stores import SECTOR


class Removable:
    """Serves whatever image is in a drive, and closes it when it is taken out."""

    def __init__(self, image: Image | None) -> None:
        self.image = image
        self._scope = trio.CancelScope()
        self._served: Image | None = None
        self._changed = trio.Event()

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


class Disc(Removable):
    """The tray of a CD-ROM drive and the image in it."""

    def __init__(self, path: str | None, fd: int | None = None) -> None:
        """Open the image, if there is one; or go on with the one that is open as `fd`.

        Raises:
            ConfigError: it cannot be used; the line says why.

        """
        image = None
        if path is not None:
            image = (
                Image.open(path, readonly=True, kind="cdrom")
                if fd is None
                else Image(fd, path, readonly=True)
            )
        super().__init__(image)
        self.tray = Tray(image)

    def insert(self, path: str) -> None:
        """Put another image in, in the place of the one that is there.

        Raises:
            ConfigError: it cannot be used; the one that is there stays.

        """
        image = Image.open(path, readonly=True, kind="cdrom")
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


class Diskette(Removable):
    """A floppy drive and the image in it."""

    def __init__(
        self, model: str, path: str | None = None, fd: int | None = None, *, readonly: bool = False
    ) -> None:
        """`model` is one of `diskette.DRIVES`; the image is opened, or is open as `fd`.

        Raises:
            ConfigError: it cannot be used, or not in this drive; the line says why.

        """
        self.bay = Bay(model)
        self._readonly = readonly
        super().__init__(None if path is None else self._open(path, fd))
        self.bay.disk = self.image

    def _open(self, path: str, fd: int | None = None) -> Image:
        if fd is None:
            image = Image.open(path, readonly=self._readonly, kind="floppy", whole=False)
        else:
            image = Image(fd, path, readonly=self._readonly)
        size = os.fstat(image.fd).st_size
        sectors = -(-size // SECTOR)
        format_ = format_of(sectors)
        if format_ is None:
            image.close()
            raise ConfigError(f"floppy {path}: {size} bytes are more than a diskette has")
        if not self.bay.takes(sectors):
            image.close()
            fitting = [model for model in DRIVES if format_.medium in DRIVES[model].rates]
            raise ConfigError(
                f"floppy {path}: a {self.bay.model} drive does not take this diskette; "
                f"drives that do: {', '.join(fitting)}"
            )
        image.pad(format_.sectors)
        return image

    def insert(self, path: str) -> None:
        """Put another diskette in, in the place of the one that is there.

        Raises:
            ConfigError: it cannot be used; the one that is there stays.

        """
        image = self._open(path)
        self.bay.put(image)
        self._serve(image)

    def eject(self) -> None:
        """Take the diskette out. What was written to it is in the image."""
        self.bay.put(None)
        self._serve(None)
