"""The ioreq page: a `struct ioreq` a vCPU, seen as four words of 64 bits and as 32 bytes.

The channels index these views themselves on the hot path; the properties are for everybody else.
"""

import mmap
from typing import TypeAlias

from ioreq.layout import IOREQ_SIZE, IOREQ_SLOTS, SIZE_SHIFT, STATE_MASK, STATE_OFFSET, TYPE_OFFSET

SharedBuffer: TypeAlias = bytearray | mmap.mmap | memoryview
"""A writable page: shared memory, or an array standing in for it in a test."""


class Slot:
    """One vCPU's `struct ioreq`. `words` are what `layout` calls word 0 to 3, `octets` the same bytes."""

    __slots__ = ("octets", "words")

    def __init__(self, page: SharedBuffer, vcpu: int) -> None:
        if not 0 <= vcpu < IOREQ_SLOTS:
            raise ValueError(f"an ioreq page has {IOREQ_SLOTS} slots, there is none for vCPU {vcpu}")
        start = vcpu * IOREQ_SIZE
        octets = memoryview(page)[start : start + IOREQ_SIZE]
        self.octets = octets
        self.words = octets.cast("Q")

    @property
    def state(self) -> int:
        """One of STATE_NONE to STATE_IORESP_READY, or what a broken peer wrote there."""
        return self.octets[STATE_OFFSET] & STATE_MASK

    @property
    def vp_eport(self) -> int:
        """The event-channel port that the core wrote there."""
        return self.words[3] & 0xFFFFFFFF

    def describe(self) -> dict[str, int]:
        """Return the fields by their names in Xen's header, for logs."""
        words = [int(self.words[n]) for n in range(4)]
        return {
            "addr": words[0],
            "data": words[1],
            "count": words[2] & 0xFFFFFFFF,
            "size": words[2] >> SIZE_SHIFT,
            "flags": self.octets[STATE_OFFSET],
            "type": self.octets[TYPE_OFFSET],
        }
