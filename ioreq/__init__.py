"""The wire between a core and its device models: Xen's ioreq pages, event channels and device-model ops."""

from typing import Final

__all__ = ["VERSION", "ControlError", "DomainGone", "IoreqError", "ProtocolError", "VersionMismatch"]

VERSION: Final = 2
"""What both ends of the domain socket must agree on: layouts, ops and their meaning."""


class IoreqError(Exception):
    """Whatever goes wrong on the wire."""


class ProtocolError(IoreqError):
    """The other side broke the rules of the shared pages or of the domain socket."""


class ControlError(IoreqError):
    """A device-model op was refused; `errno` says how, the text says why."""

    def __init__(self, errno: int, text: str) -> None:
        super().__init__(text)
        self.errno = errno
        self.text = text


class VersionMismatch(IoreqError):  # noqa: N818  (reads better where it is caught; it is no program error)
    """The two ends speak different versions; the text names both."""


class DomainGone(IoreqError):  # noqa: N818
    """The core closed the domain socket, or there is none."""
