"""What C structs and arrays are to the uncompiled processor. It is never compiled."""

from collections.abc import Callable, Iterable
from typing import Any

from hvcore.cpu import constants as k
from hvcore.cpu.exitinfo import ExitInfo

INTEGERS = {"u8", "u16", "u32", "u64", "s64"}


class Record:
    """Stands for a C struct, zeroed."""

    def __init__(self, fields: Iterable[str]) -> None:
        self.__dict__.update(dict.fromkeys(fields, 0))


class Sparse(dict[int, Any]):
    """Stands for a zeroed C array of which few elements are ever used; they are made at the first look.

    The array plus a number is an element, as C's pointer to it is.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, key: int) -> Any:
        self[key] = value = self.make()
        return value

    def __add__(self, key: int) -> Any:
        return self[key]


def _no_page() -> Record:
    """An entry of the TLB that is empty."""
    entry = Record(("add",))
    entry.__dict__.update(dict.fromkeys(("rd", "wr", "ex"), k.NO_PAGE))
    return entry


def allocate(c: Any) -> None:
    """Give the record `c` (a `State`) the fields that `state.pxd` declares, zeroed.

    What is a pointer or a Python object there gets its value here, or where the processor starts.
    """
    for name, (type_, length) in k.STATE_FIELDS.items():
        if type_ in INTEGERS and not name.startswith("*"):
            setattr(c, name, [0] * length if length else 0)
    c.info = ExitInfo()
    c.ops = Sparse(lambda: Record(k.OP_FIELDS))
    c.blocks = Sparse(lambda: Record(k.BLOCK_FIELDS))
    c.buckets = [0] * k.STATE["BLOCK_BUCKETS"]
    c.page_blocks = Sparse(int)
    c.page_code = Sparse(int)
    c.arena = Record(k.ARENA_FIELDS)  # empty: nothing is translated
    c.jumps = c.returns = c.stack_pages = None
    c.tlb = Sparse(_no_page)
    c.slots = [Record(("first", "last", "read", "write")) for _ in range(k.STATE["MAX_SLOTS"])]
