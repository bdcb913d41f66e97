"""The record of a #VMEXIT: EXITCODE (APM vol. 2 appendix C), EXITINFO1 and EXITINFO2 (chapter 15).

Functions named `*_info` build a field from what happened; the first-level handler takes it apart again with
the masks here. Nothing else passes between the two.
"""

from typing import Final

from hvcore.cpu.exitinfo import TaskSource


class ExitCode:
    """EXITCODE values. For CR, DR and exceptions: the base, to which register or vector is added."""

    CR_READ: Final = 0x000
    CR_WRITE: Final = 0x010
    DR_READ: Final = 0x020
    DR_WRITE: Final = 0x030
    EXCEPTION: Final = 0x040
    INTR: Final = 0x060
    NMI: Final = 0x061
    SMI: Final = 0x062
    INIT: Final = 0x063
    VINTR: Final = 0x064
    CR0_SEL_WRITE: Final = 0x065
    IDTR_READ: Final = 0x066
    GDTR_READ: Final = 0x067
    LDTR_READ: Final = 0x068
    TR_READ: Final = 0x069
    IDTR_WRITE: Final = 0x06A
    GDTR_WRITE: Final = 0x06B
    LDTR_WRITE: Final = 0x06C
    TR_WRITE: Final = 0x06D
    RDTSC: Final = 0x06E
    RDPMC: Final = 0x06F
    PUSHF: Final = 0x070
    POPF: Final = 0x071
    CPUID: Final = 0x072
    RSM: Final = 0x073
    IRET: Final = 0x074
    SWINT: Final = 0x075
    INVD: Final = 0x076
    PAUSE: Final = 0x077
    HLT: Final = 0x078
    INVLPG: Final = 0x079
    INVLPGA: Final = 0x07A
    IOIO: Final = 0x07B
    MSR: Final = 0x07C
    TASK_SWITCH: Final = 0x07D
    FERR_FREEZE: Final = 0x07E
    SHUTDOWN: Final = 0x07F
    VMRUN: Final = 0x080
    VMMCALL: Final = 0x081
    VMLOAD: Final = 0x082
    VMSAVE: Final = 0x083
    STGI: Final = 0x084
    CLGI: Final = 0x085
    SKINIT: Final = 0x086
    RDTSCP: Final = 0x087
    ICEBP: Final = 0x088
    WBINVD: Final = 0x089
    MONITOR: Final = 0x08A
    MWAIT: Final = 0x08B
    MWAIT_CONDITIONAL: Final = 0x08C
    XSETBV: Final = 0x08D
    RDPRU: Final = 0x08E
    NPF: Final = 0x400
    AVIC_INCOMPLETE_IPI: Final = 0x401
    AVIC_NOACCEL: Final = 0x402
    INVALID: Final = 0xFFFF_FFFF_FFFF_FFFF


# EXITINFO1 of IOIO (section 15.10.2, figure 15-2).
IOIO_IN: Final = 1 << 0
IOIO_STRING: Final = 1 << 2
IOIO_REP: Final = 1 << 3
IOIO_SIZE_SHIFT: Final = 4  # one of SZ8, SZ16, SZ32
IOIO_SIZE: Final = 7
IOIO_ADDRESS_SHIFT: Final = 7  # one of A16, A32, A64
IOIO_ADDRESS: Final = 7
IOIO_SEGMENT_SHIFT: Final = 10
IOIO_SEGMENT: Final = 7
IOIO_PORT_SHIFT: Final = 16


def ioio_info(
    port: int, size: int, read: bool, string: bool, rep: bool, address_size: int, segment: int
) -> int:
    """Build EXITINFO1.

    Bit 0 IN, 2 string, 3 REP, 6:4 operand size (one bit for 8, 16, 32), 9:7 address size (one bit
    for 16, 32, 64), 12:10 effective segment, 31:16 port. EXITINFO2 holds the next RIP. `address_size` in
    bytes.
    """
    return (
        read << 0
        | string << 2
        | rep << 3
        | size << IOIO_SIZE_SHIFT
        | (address_size >> 1) << IOIO_ADDRESS_SHIFT
        | segment << IOIO_SEGMENT_SHIFT
        | port << IOIO_PORT_SHIFT
    )


# EXITINFO1 of NPF (section 15.25.6): a page-fault error code in the low half; EXITINFO2 is the address.
NPF_PRESENT: Final = 1 << 0
NPF_WRITE: Final = 1 << 1
NPF_USER: Final = 1 << 2
NPF_RESERVED: Final = 1 << 3
NPF_FETCH: Final = 1 << 4
NPF_FINAL: Final = 1 << 32
NPF_TABLE: Final = 1 << 33


def npf_info(write: bool, fetch: bool, present: bool, table: bool) -> int:
    """Build EXITINFO1.

    Bit 0 present, 1 write, 2 user (nested walks are user accesses), 4 instruction fetch; bit 32: it happened
    on the guest's final physical address, 33: on its page tables, whose walk counts as a write.
    """
    if table:
        return present << 0 | NPF_WRITE | NPF_USER | NPF_TABLE
    return present << 0 | write << 1 | NPF_USER | fetch << 4 | NPF_FINAL


# EXITINFO1 of MOV CR and MOV DR with decode assists (sections 15.33.1 and 15.33.2).
MOV_CR: Final = 1 << 63


def cr_info(register: int, mov: bool) -> int:
    """Bit 63: the instruction was MOV CR (not LMSW, CLTS or SMSW); 3:0 the general register."""
    return mov << 63 | register


def dr_info(register: int) -> int:
    """Bits 3:0 the general register."""
    return register


MSR_WRITE: Final = 1
"""EXITINFO1 of MSR: 0 RDMSR, 1 WRMSR."""

TASK_SWITCH_IRET: Final = 1 << 36
TASK_SWITCH_JUMP: Final = 1 << 38
TASK_SWITCH_ERROR: Final = 1 << 44
TASK_SWITCH_RF: Final = 1 << 48


def task_switch_info(source: int, error: int | None, resume: bool) -> int:
    """Build EXITINFO2 (section 15.14.1).

    Bit 36 IRET, 38 far jump, 44 an error code is to be pushed, which stands in 31:0; 48 EFLAGS.RF. Neither 36
    nor 38: a call, or with EXITINTINFO valid a task gate of the IDT. EXITINFO1 holds the selector.
    """
    info = resume << 48
    if source == TaskSource.IRET:
        info |= TASK_SWITCH_IRET
    elif source == TaskSource.JMP:
        info |= TASK_SWITCH_JUMP
    return info if error is None else info | TASK_SWITCH_ERROR | error
