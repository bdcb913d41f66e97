"""What this implementation of VMX offers, as its capability MSRs would say (SDM vol. 3 appendix A).

Offered: EPT with unrestricted guest, I/O bitmaps, guest/host masks with read shadows, TSC offsetting, the exits
the core has a handler for. Not offered: MSR bitmaps, VPID, virtual APIC, virtual NMIs, the preemption timer,
shadow VMCS, IA-32e mode guests (the processor has no long mode), MSR areas (at most 0 entries). No bit of guest
CR0 or CR4 is fixed.
"""

from typing import Final

import attrs

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
PIN: Final = _allowed(0x0000_0016, Pin.EXTERNAL_INTERRUPT | Pin.NMI)
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
    | Proc.MOV_DR
    | Proc.UNCONDITIONAL_IO
    | Proc.IO_BITMAPS
    | Proc.PAUSE
    | Proc.SECONDARY,
)
SECONDARY: Final = _allowed(0, Secondary.EPT | Secondary.WBINVD | Secondary.UNRESTRICTED_GUEST)
EXIT: Final = _allowed(
    0x0003_6DFB,
    Exit.SAVE_DEBUG | Exit.HOST_64 | Exit.SAVE_PAT | Exit.LOAD_PAT | Exit.SAVE_EFER | Exit.LOAD_EFER,
)
ENTRY: Final = _allowed(0x0000_11FB, Entry.LOAD_DEBUG | Entry.LOAD_PAT | Entry.LOAD_EFER)

CR0_RESERVED: Final = 0xFFFF_FFFF_0000_0000 | 0x1FFA_FFC0
"""Zeroes of IA32_VMX_CR0_FIXED1: all but PG CD NW AM WP NE ET TS EM MP PE."""
CR4_RESERVED: Final = ~0x0000_27FF & 0xFFFF_FFFF_FFFF_FFFF
"""The same for CR4: VME to OSXMMEXCPT and VMXE exist."""
HOST_CR0_FIXED: Final = 0x8000_0021
"""PG, NE and PE are 1 in VMX operation."""
HOST_CR4_FIXED: Final = 0x2000
"""VMXE is 1 in VMX operation."""
CR3_TARGETS: Final = 4
MSR_AREA_ENTRIES: Final = 0
EPT_MEMORY_TYPES: Final = (0, 6)
"""Uncacheable and write-back (IA32_VMX_EPT_VPID_CAP bits 8 and 14)."""
EPT_WALK_LENGTH: Final = 4
ACTIVITY_STATES: Final = (0, 1, 2)
"""Active, HLT and shutdown (IA32_VMX_MISC bits 8:6; no wait-for-SIPI)."""
