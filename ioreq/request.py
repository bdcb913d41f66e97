# cython: annotation_typing=False
"""One access of a vCPU, taken out of shared memory: a private copy in plain attributes."""

from ioreq.layout import TYPE_PIO


class Request:
    """What `struct ioreq` says. One object a channel, filled anew for each access: nothing is allocated.

    `size` is in bytes an item, `count` in items. `data` is the value, or the guest-physical address of the
    items if `data_is_ptr`. With `descending`, item n lies at address - n * size.
    """

    __slots__ = ("address", "count", "data", "data_is_ptr", "descending", "read", "size", "type")

    def __init__(
        self,
        type: int = TYPE_PIO,  # noqa: A002  (the header's word)
        address: int = 0,
        data: int = 0,
        count: int = 1,
        size: int = 1,
        read: bool = False,
        descending: bool = False,
        data_is_ptr: bool = False,
    ) -> None:
        self.type = type
        self.address = address
        self.data = data
        self.count = count
        self.size = size
        self.read = read
        self.descending = descending
        self.data_is_ptr = data_is_ptr

    def __repr__(self) -> str:
        """Return all fields, for messages."""
        return (
            f"Request(type={self.type}, address={self.address:#x}, data={self.data:#x}, count={self.count}, "
            f"size={self.size}, read={bool(self.read)}, descending={bool(self.descending)}, "
            f"data_is_ptr={bool(self.data_is_ptr)})"
        )
