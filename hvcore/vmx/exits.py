"""The record of a VM exit: reasons (SDM vol. 3 appendix C), qualifications and other fields (section 28.2).

Functions named `*_qualification` and `*_info` build a field from what happened; the first-level handler takes
it apart again with the masks here. Nothing else passes between the two.
"""

from typing import Final

ENTRY_FAILURE: Final = 1 << 31
"""Bit 31 of the exit reason: the VM entry failed, and no guest instruction ran."""


class Reason:
    """Basic exit reasons (appendix C)."""

    EXCEPTION_OR_NMI: Final = 0
    EXTERNAL_INTERRUPT: Final = 1
    TRIPLE_FAULT: Final = 2
    INIT: Final = 3
    SIPI: Final = 4
    IO_SMI: Final = 5
    OTHER_SMI: Final = 6
    INTERRUPT_WINDOW: Final = 7
    NMI_WINDOW: Final = 8
    TASK_SWITCH: Final = 9
    CPUID: Final = 10
    GETSEC: Final = 11
    HLT: Final = 12
    INVD: Final = 13
    INVLPG: Final = 14
    RDPMC: Final = 15
    RDTSC: Final = 16
    RSM: Final = 17
    VMCALL: Final = 18
    VMCLEAR: Final = 19
    VMLAUNCH: Final = 20
    VMPTRLD: Final = 21
    VMPTRST: Final = 22
    VMREAD: Final = 23
    VMRESUME: Final = 24
    VMWRITE: Final = 25
    VMXOFF: Final = 26
    VMXON: Final = 27
    CR_ACCESS: Final = 28
    MOV_DR: Final = 29
    IO_INSTRUCTION: Final = 30
    RDMSR: Final = 31
    WRMSR: Final = 32
    INVALID_GUEST_STATE: Final = 33
    MSR_LOADING: Final = 34
    MWAIT: Final = 36
    MONITOR_TRAP: Final = 37
    MONITOR: Final = 39
    PAUSE: Final = 40
    MACHINE_CHECK_ON_ENTRY: Final = 41
    TPR_BELOW_THRESHOLD: Final = 43
    APIC_ACCESS: Final = 44
    VIRTUALIZED_EOI: Final = 45
    GDTR_IDTR_ACCESS: Final = 46
    LDTR_TR_ACCESS: Final = 47
    EPT_VIOLATION: Final = 48
    EPT_MISCONFIGURATION: Final = 49
    INVEPT: Final = 50
    RDTSCP: Final = 51
    PREEMPTION_TIMER: Final = 52
    INVVPID: Final = 53
    WBINVD: Final = 54
    XSETBV: Final = 55
    APIC_WRITE: Final = 56
    RDRAND: Final = 57
    INVPCID: Final = 58
    VMFUNC: Final = 59
    ENCLS: Final = 60
    RDSEED: Final = 61
    PML_FULL: Final = 62
    XSAVES: Final = 63
    XRSTORS: Final = 64


class EntryFailure:
    """Exit qualifications of reason 33 (section 27.8)."""

    GENERAL: Final = 0
    PDPTE: Final = 2
    NMI_BLOCKED: Final = 3
    LINK_POINTER: Final = 4


# I/O instructions (table 28-5).
IO_SIZE: Final = 7
IO_IN: Final = 1 << 3
IO_STRING: Final = 1 << 4
IO_REP: Final = 1 << 5
IO_IMMEDIATE: Final = 1 << 6
IO_PORT_SHIFT: Final = 16


def io_qualification(port: int, size: int, read: bool, string: bool, rep: bool, immediate: bool) -> int:
    """Bits 2:0 size - 1, 3 IN, 4 string, 5 REP, 6 immediate operand, 31:16 port."""
    return size - 1 | read << 3 | string << 4 | rep << 5 | immediate << 6 | port << 16


# Instruction information for INS and OUTS (table 28-8).
STRING_ADDRESS_SIZE_SHIFT: Final = 7
STRING_SEGMENT_SHIFT: Final = 15


def string_info(address_size: int, segment: int) -> int:
    """Bits 9:7 address size (0: 16 bits, 1: 32, 2: 64), 17:15 segment register (undefined, 0, for INS)."""
    return (address_size.bit_length() - 2) << STRING_ADDRESS_SIZE_SHIFT | segment << STRING_SEGMENT_SHIFT


# Instruction information for LGDT, LIDT, SGDT, SIDT (table 28-10) and LLDT, LTR, SLDT, STR (table 28-11).
INFO_REGISTER_OPERAND: Final = 1 << 10
INFO_32_BIT_OPERAND: Final = 1 << 11


class DescriptorIdentity:
    """Bits 29:28."""

    SGDT: Final = 0
    SIDT: Final = 1
    LGDT: Final = 2
    LIDT: Final = 3
    SLDT: Final = 0
    STR: Final = 1
    LLDT: Final = 2
    LTR: Final = 3


def memory_operand_info(address_size: int, segment: int, base: int, index: int, scale: int) -> int:
    """Describe a memory operand; a register number of 16 or more is none.

    Bits 1:0 scale, 9:7 address size, 17:15 segment, 21:18 index, 22 no index, 26:23 base, 27 no base.
    """
    info = scale | (address_size.bit_length() - 2) << 7 | segment << 15
    info |= 1 << 22 if index > 15 else index << 18
    return info | (1 << 27 if base > 15 else base << 23)


# Instruction information for VMREAD and VMWRITE (table 28-14), INVEPT and INVVPID (28-9); without the second register
# for VMCLEAR, VMPTRLD, VMPTRST and VMXON (28-13). In the first two it names the register with the field's encoding.
INFO_SECOND_REGISTER_SHIFT: Final = 28


# Control-register accesses (table 28-3).
CR_NUMBER: Final = 0xF
CR_TYPE_SHIFT: Final = 4
CR_REGISTER_SHIFT: Final = 8
CR_LMSW_SHIFT: Final = 16


class CrAccess:
    """Access types, bits 5:4."""

    MOV_TO: Final = 0
    MOV_FROM: Final = 1
    CLTS: Final = 2
    LMSW: Final = 3


def cr_qualification(number: int, access: int, register: int = 0, lmsw: int = 0, memory: bool = False) -> int:
    """Bits 3:0 register, 5:4 access type, 6 LMSW from memory, 11:8 general register, 31:16 LMSW source."""
    return (
        number | access << CR_TYPE_SHIFT | memory << 6 | register << CR_REGISTER_SHIFT | lmsw << CR_LMSW_SHIFT
    )


def dr_qualification(number: int, read: bool, register: int) -> int:
    """Bits 2:0 debug register, 4 direction (1: from it), 11:8 general register (table 28-4)."""
    return number | read << 4 | register << 8


def task_switch_qualification(selector: int, source: int) -> int:
    """Bits 15:0 selector, 31:30 source: 0 CALL, 1 IRET, 2 JMP, 3 task gate (table 28-2)."""
    return selector | source << 30


# EPT violations (table 28-7).
EPT_READ: Final = 1 << 0
EPT_WRITE: Final = 1 << 1
EPT_FETCH: Final = 1 << 2
EPT_LINEAR_VALID: Final = 1 << 7
EPT_FINAL: Final = 1 << 8
EPT_NMI_UNBLOCKING: Final = 1 << 12


def ept_qualification(
    read: bool, write: bool, fetch: bool, permissions: int, linear_valid: bool, table: bool
) -> int:
    """Describe an EPT violation.

    Bits 0-2 what was tried, 3-5 what the EPT entries allow (R, W, X), 7 linear address valid, 8 the access
    was to the translation of that address and not to a paging structure, `table` (0 if 7 is).
    """
    final = linear_valid and not table
    return read << 0 | write << 1 | fetch << 2 | permissions << 3 | linear_valid << 7 | final << 8


# Interruption information: VM exit, VM entry and IDT vectoring alike (tables 25-16, 25-18, 25-19).
INFO_VECTOR: Final = 0xFF
INFO_TYPE_SHIFT: Final = 8
INFO_TYPE: Final = 7 << INFO_TYPE_SHIFT
INFO_ERROR_VALID: Final = 1 << 11
INFO_NMI_UNBLOCKING: Final = 1 << 12
INFO_VALID: Final = 1 << 31
INFO_RESERVED: Final = 0x7FFF_F000


def interruption_info(kind: int, vector: int, has_error: bool) -> int:
    """Bits 7:0 vector, 10:8 type, 11 error code valid, 31 valid."""
    return INFO_VALID | has_error << 11 | kind << INFO_TYPE_SHIFT | vector
