"""What the string operands of INS, OUTS, MOVS, STOS and LODS have in common (SDM vol. 1 section 7.3.9)."""

from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import RIGHTS_L, SegmentName

PAGE: Final = 4096
ADDRESS_MASKS: Final = {2: 0xFFFF, 4: 0xFFFF_FFFF, 8: 0xFFFF_FFFF_FFFF_FFFF}
"""By address size in bytes."""
TYPE_CODE: Final = 1 << 3
TYPE_EXPAND_DOWN: Final = 1 << 2


def items_in_run(
    processor: Processor,
    segment: int,
    offset: int,
    linear: int,
    size: int,
    count: int,
    mask: int,
    descending: bool,
) -> int:
    """How many of `count` items of `size` bytes, the first at `offset` (`linear`), can be moved in one go.

    They share a page, do not wrap the address size and lie inside the segment; at least 1. The first item
    must have been checked (`segment_linear`); one that crosses a page goes alone.
    """
    in_page = linear & PAGE - 1
    if in_page + size > PAGE:
        return 1
    if descending:
        run = min(count, in_page // size + 1, offset // size + 1)
    else:
        run = min(count, (PAGE - in_page) // size, (mask + 1 - offset) // size)
    state = processor.segment(segment)
    kind = state.attributes
    if processor.segment(SegmentName.CS).attributes & RIGHTS_L:
        return run
    if not kind & TYPE_CODE and kind & TYPE_EXPAND_DOWN:
        return 1
    if not descending:
        run = min(run, (state.limit + 1 - offset) // size)
    return max(run, 1)


def advance(processor: Processor, register: int, by: int, mask: int) -> None:
    """Add to an index or count register, as wide as the address size: 32 bits clear the upper half."""
    old = processor.gpr(register)
    new = (old + by) & mask
    processor.set_gpr(register, old & ~mask | new if mask == ADDRESS_MASKS[2] else new)
