"""One access of a vCPU, taken out of shared memory: a private copy in plain attributes."""

import attrs

from ioreq.layout import TYPE_PIO


@attrs.define
class Request:
    """What `struct ioreq` says. One object a channel, filled anew for each access: nothing is allocated.

    `size` is in bytes an item, `count` in items. `data` is the value, or the guest-physical address of the
    items if `data_is_ptr`. With `descending`, item n lies at address - n * size.
    """

    type: int = TYPE_PIO
    address: int = 0
    data: int = 0
    count: int = 1
    size: int = 1
    read: bool = False
    descending: bool = False
    data_is_ptr: bool = False
