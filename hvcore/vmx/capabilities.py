"""What this implementation of VMX offers, as its capability MSRs would say (SDM vol. 3 appendix A).

Every control that may be 1 here does what the SDM says, and any other is refused. Not offered, since the processor
has nothing for them to control: IA-32e mode guests and CR8 exits (no long mode), APIC virtualisation and posted
interrupts (no local APIC), MONITOR and MWAIT, RDTSCP, XSAVE, SMM, wait-for-SIPI, last-branch records and
performance counters. Not offered although they could be: acknowledging the interrupt on exit, the preemption timer,
PAUSE-loop exiting, mode-based execution of EPT, page-modification logging, VMCS shadowing.
"""

from typing import Final

import attrs

from hvcore.vmx.vmcs import FIELDS, REVISION

PHYSICAL_ADDRESS_BITS: Final = 36


class Pin:
    """Pin-based VM-execution controls (SDM vol. 3 table 25-5)."""

    EXTERNAL_INTERRUPT: Final = 1 << 0
    NMI: Final = 1 << 3
    VIRTUAL_NMI: Final = 1 << 5


class Proc:
    """Primary processor-based VM-execution controls (table 25-6)."""

    INTERRUPT_WINDOW: Final = 1 << 2
    TSC_OFFSETTING: Final = 1 << 3
    HLT: Final = 1 << 7
    INVLPG: Final = 1 << 9
    MWAIT: Final = 1 << 10
    RDPMC: Final = 1 << 11
    RDTSC: Final = 1 << 12
    CR3_LOAD: Final = 1 << 15
    CR3_STORE: Final = 1 << 16
    CR8_LOAD: Final = 1 << 19
    CR8_STORE: Final = 1 << 20
    NMI_WINDOW: Final = 1 << 22
    MOV_DR: Final = 1 << 23
    UNCONDITIONAL_IO: Final = 1 << 24
    IO_BITMAPS: Final = 1 << 25
    MONITOR_TRAP: Final = 1 << 27
    MSR_BITMAPS: Final = 1 << 28
    MONITOR: Final = 1 << 29
    PAUSE: Final = 1 << 30
    SECONDARY: Final = 1 << 31


class Secondary:
    """Secondary processor-based VM-execution controls (table 25-7)."""

    EPT: Final = 1 << 1
    DESCRIPTOR_TABLE: Final = 1 << 2
    VPID: Final = 1 << 5
    WBINVD: Final = 1 << 6
    UNRESTRICTED_GUEST: Final = 1 << 7


class Exit:
    """Primary VM-exit controls (table 25-13)."""

    SAVE_DEBUG: Final = 1 << 2
    HOST_64: Final = 1 << 9
    ACKNOWLEDGE_INTERRUPT: Final = 1 << 15
    SAVE_PAT: Final = 1 << 18
    LOAD_PAT: Final = 1 << 19
    SAVE_EFER: Final = 1 << 20
    LOAD_EFER: Final = 1 << 21


class Entry:
    """VM-entry controls (table 25-15)."""

    LOAD_DEBUG: Final = 1 << 2
    IA32E_GUEST: Final = 1 << 9
    ENTRY_TO_SMM: Final = 1 << 10
    LOAD_PAT: Final = 1 << 14
    LOAD_EFER: Final = 1 << 15


@attrs.frozen
class Allowed:
    """One capability MSR: bits that must be 1 (low half) and bits that may be 1 (high half)."""

    zero: int
    one: int

    def admits(self, controls: int) -> bool:
        """No bit is 0 that must be 1, and none is 1 that must be 0."""
        return controls & self.zero == self.zero and not controls & ~self.one

    @property
    def msr(self) -> int:
        """The 64-bit value of the capability MSR."""
        return self.one << 32 | self.zero


def _allowed(default1: int, offered: int) -> Allowed:
    return Allowed(default1, default1 | offered)


# The IA32_VMX_TRUE_* reports: default1 bits less those that may be cleared (CR3 exiting, debug controls).
PIN: Final = _allowed(0x0000_0016, Pin.EXTERNAL_INTERRUPT | Pin.NMI | Pin.VIRTUAL_NMI)
PROC: Final = _allowed(
    0x0400_6172,
    Proc.INTERRUPT_WINDOW
    | Proc.TSC_OFFSETTING
    | Proc.HLT
    | Proc.INVLPG
    | Proc.RDPMC
    | Proc.RDTSC
    | Proc.CR3_LOAD
    | Proc.CR3_STORE
    | Proc.NMI_WINDOW
    | Proc.MOV_DR
    | Proc.UNCONDITIONAL_IO
    | Proc.IO_BITMAPS
    | Proc.MONITOR_TRAP
    | Proc.MSR_BITMAPS
    | Proc.PAUSE
    | Proc.SECONDARY,
)
SECONDARY: Final = _allowed(
    0,
    Secondary.EPT
    | Secondary.DESCRIPTOR_TABLE
    | Secondary.VPID
    | Secondary.WBINVD
    | Secondary.UNRESTRICTED_GUEST,
)
EXIT: Final = _allowed(
    0x0003_6DFB,
    Exit.SAVE_DEBUG | Exit.HOST_64 | Exit.SAVE_PAT | Exit.LOAD_PAT | Exit.SAVE_EFER | Exit.LOAD_EFER,
)
ENTRY: Final = _allowed(0x0000_11FB, Entry.LOAD_DEBUG | Entry.LOAD_PAT | Entry.LOAD_EFER)

CR0_FIXED0: Final = 0x8000_0001
"""PG and PE are 1 in VMX operation; an unrestricted guest may clear them (SDM vol. 3 section 24.8)."""
CR0_FIXED1: Final = 0xE005_003F
"""PG CD NW AM WP NE ET TS EM MP PE: the bits that there are."""
CR4_FIXED0: Final = 0x2000
"""VMXE is 1 in VMX operation. The guest sees 0 there, as on a part without VMX."""
CR4_FIXED1: Final = 0x26FF
"""VME PVI TSD DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT VMXE."""
CR3_TARGETS: Final = 4
EPT_MEMORY_TYPES: Final = (0, 6)
"""Uncacheable and write-back (IA32_VMX_EPT_VPID_CAP bits 8 and 14)."""
EPT_WALK_LENGTH: Final = 4


class Invalidation:
    """Types of INVVPID; INVEPT has SINGLE_CONTEXT and ALL_CONTEXTS (SDM vol. 3 section 31.3)."""

    INDIVIDUAL_ADDRESS: Final = 0
    SINGLE_CONTEXT: Final = 1
    ALL_CONTEXTS: Final = 2
    SINGLE_CONTEXT_BUT_GLOBALS: Final = 3


ACTIVITY_STATES: Final = (0, 1, 2)
"""Active, HLT and shutdown; no wait-for-SIPI."""

# What the reports without TRUE in their name add: controls that must be 1 for software that does not know them.
_PROC_DEFAULT1: Final = 0x0401_E172
_EXIT_DEFAULT1: Final = 0x0003_6DFF
_ENTRY_DEFAULT1: Final = 0x0000_11FF

_REGION: Final = 4096
_WRITE_BACK: Final = 6
_BASIC: Final = REVISION | _REGION << 32 | _WRITE_BACK << 50 | 1 << 54 | 1 << 55
"""Bit 54: INS and OUTS record instruction information; bit 55: the TRUE reports exist."""
_MISC: Final = 1 << 5 | 1 << 6 | 1 << 7 | CR3_TARGETS << 16
"""Bits 5 EFER.LMA follows the entry, 6 HLT, 7 shutdown, 24:16 CR3 targets, 27:25 zero: 512 entries an MSR area."""
_EPT_VPID: Final = 1 << 6 | 1 << 8 | 1 << 14 | 1 << 20 | 3 << 25 | 1 << 32 | 0xF << 40
"""Bits 6 a walk of four, 8 uncacheable, 14 write-back, 20 INVEPT of types 1 and 2 (25, 26), 32 INVVPID of types 0 to 3
(43:40); no accessed and dirty flags."""

MSRS: Final[dict[int, int]] = {
    0x480: _BASIC,
    0x481: PIN.msr,
    0x482: PROC.msr | _PROC_DEFAULT1,
    0x483: EXIT.msr | _EXIT_DEFAULT1,
    0x484: ENTRY.msr | _ENTRY_DEFAULT1,
    0x485: _MISC,
    0x486: CR0_FIXED0,
    0x487: CR0_FIXED1,
    0x488: CR4_FIXED0,
    0x489: CR4_FIXED1,
    0x48A: max(field >> 1 & 0x1FF for field in FIELDS) << 1,
    0x48B: SECONDARY.msr,
    0x48C: _EPT_VPID,
    0x48D: PIN.msr,
    0x48E: PROC.msr,
    0x48F: EXIT.msr,
    0x490: ENTRY.msr,
}
"""IA32_VMX_BASIC to IA32_VMX_TRUE_ENTRY_CTLS by address, for whoever makes a VMCS."""
