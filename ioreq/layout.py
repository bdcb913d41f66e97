"""Numbers of Xen's device-model ABI (xen/include/public/hvm/ioreq.h), and the few of our own.

`struct ioreq` is 32 bytes, a slot a vCPU. Here it is seen as four little-endian words of 64 bits:

    word 0  addr
    word 1  data
    word 2  count (31..0), size (63..32)
    word 3  vp_eport (31..0), pad (47..32), state (51..48), data_is_ptr 52, dir 53, df 54, type (63..56)

`struct buf_ioreq` is one such word: type (7..0), pad 8, dir 9, size code (11..10), addr (31..12), data
(63..32).
"""

from typing import Final

PAGE_SIZE: Final = 4096

# Xen's struct ioreq.
IOREQ_SIZE: Final = 32
IOREQ_SLOTS: Final = PAGE_SIZE // IOREQ_SIZE  # 128 vCPUs
STATE_OFFSET: Final = 30  # the byte with state, data_is_ptr, dir and df
TYPE_OFFSET: Final = 31
SIZE_SHIFT: Final = 32  # in word 2
FLAGS_SHIFT: Final = 48  # in word 3
TYPE_SHIFT: Final = 56  # in word 3

# Its state, in the low four bits of byte 30.
STATE_NONE: Final = 0
STATE_IOREQ_READY: Final = 1
STATE_IOREQ_INPROCESS: Final = 2
STATE_IORESP_READY: Final = 3
STATE_MASK: Final = 0x0F

# Its flags, in the same byte.
FLAG_DATA_IS_PTR: Final = 0x10
FLAG_READ: Final = 0x20  # `dir`: 1 reads from the device
FLAG_DESCENDING: Final = 0x40  # `df`: addresses go down
FLAGS_MASK: Final = FLAG_DATA_IS_PTR | FLAG_READ | FLAG_DESCENDING

# Its type.
TYPE_PIO: Final = 0
TYPE_COPY: Final = 1  # memory
TYPE_PCI_CONFIG: Final = 2
TYPE_TIMEOFFSET: Final = 7
TYPE_INVALIDATE: Final = 8
TYPE_INTACK: Final = 0x80
"""An interrupt-acknowledge cycle, which Xen does not have: a read of two bytes, whose address is the vCPU's number.

Posted, with one byte of data: the vCPU has taken that vector, which its pin showed while the ring was empty.
"""
NO_INTERRUPT: Final = 0x100
"""What INTACK is answered where a vector (0 to 0xFF) would stand: the INTR pin is low, nothing was acknowledged.

The core looks at the pin while writes that lower it may still be in the ring, which is emptied before the
request is performed: so it is the answer that decides, and no spurious vector comes of posting.
"""

# Xen's struct buffered_iopage.
BUFFERED_SLOTS: Final = 511
BUFFERED_ADDRESS_MAX: Final = 0xFFFFF  # 20 bits
# The pointers run free in Xen and are canonicalised before they overflow, because 511 is no power of two.
# Here each pointer has one writer, which takes it modulo twice the ring: enough to tell a full ring from an
# empty one.
BUFFERED_MODULUS: Final = 2 * BUFFERED_SLOTS

# The event page of an ioreq server has two words for each port: whether it is pending, and whether it is masked.
EVENT_PORTS: Final = 512
EVENT_MASK_OFFSET: Final = 0x800

# The pins page of a domain.
PIN_INTR_OFFSET: Final = 0  # a word for each vCPU, not zero while its INTR pin is high
PIN_VECTOR_VALID: Final = 2  # in that word: bits 15 to 8 are what an acknowledge cycle would bring now
PIN_VECTOR_SHIFT: Final = 8
PIN_COALESCES: Final = 4  # in it too: an acknowledge cycle may be posted without ringing the bell
PIN_A20_OFFSET: Final = 0x200  # a word: 1 while address line 20 is enabled

ENDPOINT_PAGES: Final = ("ioreq", "buffered-ioreq", "events")
"""The pages of an ioreq server, in the order in which their descriptors travel."""
MIRROR_PAGE: Final = "mirror"
"""The page behind them, of a server that was created with one."""
MIRROR_CELLS: Final = PAGE_SIZE // 8
"""Words of that page, the one that holds it back (`ioreq.mirror`) among them."""

# Limits
MAX_IOREQ_SERVERS: Final = 8
MAX_REPEAT_BYTES: Final = PAGE_SIZE  # repetitions are cut at a page

ONES: Final = {size: (1 << 8 * size) - 1 for size in (1, 2, 4, 8)}
"""What nobody's answer looks like, by access size; also the mask of that size."""


def server_port(vcpu: int) -> int:
    """Return the device model's end of a vCPU's event channel; this number stands in `vp_eport`."""
    return 1 + 2 * vcpu


def core_port(vcpu: int) -> int:
    """Return the core's end of a vCPU's event channel."""
    return 2 + 2 * vcpu


def buffered_port(vcpus: int) -> int:
    """Return the port on which the core announces posted writes."""
    return 1 + 2 * vcpus


def pci_config_address(segment: int, bus: int, device: int, function: int, offset: int) -> int:
    """Return the `addr` of a PCI_CONFIG request."""
    return segment << 48 | bus << 40 | device << 35 | function << 32 | offset
