"""Registers, commands and status bits of the Intel 82077AA (data sheet 290166), and their lengths."""

from typing import Final


class Reg:
    """Offsets from 3F0h (2.1). 3F0h and 3F1h do not answer in a PC AT; 3F6h is the hard disk's."""

    DOR: Final = 2
    TDR: Final = 3
    MSR: Final = 4  # DSR on write
    FIFO: Final = 5
    DIR: Final = 7  # CCR on write


DOR_SELECT: Final = 0x03
DOR_RUN: Final = 0x04  # RESET#
DOR_GATE: Final = 0x08  # DMAGATE#: the interrupt and the DMA request reach their pins
DOR_MOTOR: Final = 0x10  # of drive 0; the others' follow
DSR_RESET: Final = 0x80
RATE: Final = 0x03  # in DSR and CCR
MSR_BUSY: Final = 0x10
MSR_NON_DMA: Final = 0x20
MSR_DIO: Final = 0x40  # to the processor
MSR_RQM: Final = 0x80
DIR_CHANGED: Final = 0x80
DIR_UNDRIVEN: Final = 0x7F

ST0_ABNORMAL: Final = 0x40
ST0_INVALID: Final = 0x80
ST0_POLLED: Final = 0xC0
ST0_SEEK_END: Final = 0x20
ST0_CHECK: Final = 0x10  # track 0 was not found
ST0_HEAD: Final = 0x04
ST1_END: Final = 0x80  # the end of the cylinder, and no terminal count
ST1_DATA_ERROR: Final = 0x20
ST1_OVERRUN: Final = 0x10
ST1_NO_DATA: Final = 0x04
ST1_PROTECTED: Final = 0x02
ST1_NO_MARK: Final = 0x01
ST2_CONTROL_MARK: Final = 0x40
ST2_DATA_ERROR: Final = 0x20  # in the data, not in the ID
ST2_WRONG_CYLINDER: Final = 0x10
ST2_SCAN_EQUAL: Final = 0x08
ST2_SCAN_FAILED: Final = 0x04
ST2_BAD_CYLINDER: Final = 0x02
ST2_NO_DATA_MARK: Final = 0x01
ST3_ALWAYS: Final = 0x28
ST3_PROTECTED: Final = 0x40
ST3_TRACK_0: Final = 0x10

MULTI_TRACK: Final = 0x80
MFM: Final = 0x40
SKIP: Final = 0x20
ENABLE_COUNT: Final = 0x80  # EC, in VERIFY's second byte
NON_DMA: Final = 0x01  # ND, in SPECIFY's third
CONFIG_IMPLIED_SEEK: Final = 0x40
CONFIG_NO_FIFO: Final = 0x20
CONFIG_NO_POLLING: Final = 0x10
RELATIVE_IN: Final = 0x40  # DIR: towards the spindle


class Op:
    """What a command is, without its MT, MFM and SK (table 5-1)."""

    READ_TRACK: Final = 0x02
    SPECIFY: Final = 0x03
    SENSE_DRIVE: Final = 0x04
    WRITE: Final = 0x05
    READ: Final = 0x06
    RECALIBRATE: Final = 0x07
    SENSE_INTERRUPT: Final = 0x08
    WRITE_DELETED: Final = 0x09
    READ_ID: Final = 0x0A
    READ_DELETED: Final = 0x0C
    FORMAT: Final = 0x0D
    DUMP: Final = 0x0E
    SEEK: Final = 0x0F
    VERSION: Final = 0x10
    SCAN_EQUAL: Final = 0x11
    PERPENDICULAR: Final = 0x12
    CONFIGURE: Final = 0x13
    LOCK: Final = 0x14  # UNLOCK without its bit 7
    VERIFY: Final = 0x16
    SCAN_LOW: Final = 0x19
    SCAN_HIGH: Final = 0x1D
    RELATIVE_SEEK: Final = 0x8F


LENGTHS: Final = {
    Op.READ_TRACK: 9, Op.SPECIFY: 3, Op.SENSE_DRIVE: 2, Op.WRITE: 9, Op.READ: 9, Op.RECALIBRATE: 2,
    Op.SENSE_INTERRUPT: 1, Op.WRITE_DELETED: 9, Op.READ_ID: 2, Op.READ_DELETED: 9, Op.FORMAT: 6, Op.DUMP: 1,
    Op.SEEK: 3, Op.VERSION: 1, Op.SCAN_EQUAL: 9, Op.PERPENDICULAR: 2, Op.CONFIGURE: 4, Op.LOCK: 1, Op.VERIFY: 9,
    Op.SCAN_LOW: 9, Op.SCAN_HIGH: 9, Op.RELATIVE_SEEK: 3,
}  # fmt: skip
"""Bytes of each command, with its first."""
MODIFIERS: Final = {
    Op.READ_TRACK: MFM, Op.WRITE: MULTI_TRACK | MFM, Op.READ: MULTI_TRACK | MFM | SKIP,
    Op.WRITE_DELETED: MULTI_TRACK | MFM, Op.READ_ID: MFM, Op.READ_DELETED: MULTI_TRACK | MFM | SKIP,
    Op.FORMAT: MFM, Op.LOCK: 0x80, Op.RELATIVE_SEEK: RELATIVE_IN,
    Op.VERIFY: MULTI_TRACK | MFM | SKIP, Op.SCAN_EQUAL: MULTI_TRACK | MFM | SKIP,
    Op.SCAN_LOW: MULTI_TRACK | MFM | SKIP, Op.SCAN_HIGH: MULTI_TRACK | MFM | SKIP,
}  # fmt: skip
"""Which bits of a command's first byte may differ."""
READS: Final = frozenset((Op.READ, Op.READ_DELETED, Op.READ_TRACK))
WRITES: Final = frozenset((Op.WRITE, Op.WRITE_DELETED, Op.FORMAT))
SCANS: Final = frozenset((Op.SCAN_EQUAL, Op.SCAN_LOW, Op.SCAN_HIGH))
TO_HOST: Final = READS
FROM_HOST: Final = WRITES | SCANS


def _by_first_byte() -> dict[int, int]:
    table = {}
    for op in LENGTHS:
        changing = MODIFIERS.get(op, 0)
        for first in range(256):
            if first & ~changing == op & ~changing:
                table[first] = op
    return table


BY_FIRST_BYTE: Final = _by_first_byte()
"""Operation by a command's first byte; what is missing is invalid."""
EQUAL_MASK: Final = 0xFF
"""In SCAN, a byte that equals every other, on either side."""
