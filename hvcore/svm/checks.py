"""VMRUN's consistency checks (APM vol. 2 section 15.5.1). A block that breaks a rule gives VMEXIT_INVALID."""

from typing import Final

from hvcore.svm import capabilities as cap
from hvcore.svm.vmcb import (
    EVENT_TYPE,
    EVENT_TYPE_SHIFT,
    EVENT_VALID,
    EVENT_VECTOR,
    Control,
    EventType,
    Intercept3,
    Intercept4,
    Save,
    Vmcb,
    segment_fields,
)

PHYSICAL_ADDRESS_BITS: Final = 36
IOPM_SIZE: Final = 0x3000
MSRPM_SIZE: Final = 0x2000

CR0_PE: Final = 1 << 0
CR0_NW: Final = 1 << 29
CR0_CD: Final = 1 << 30
CR0_PG: Final = 1 << 31
CR4_PAE: Final = 1 << 5
CR4_RESERVED: Final = ~0x6FF & 0xFFFF_FFFF_FFFF_FFFF
"""All but VME PVI TSD DE PSE PAE MCE PGE OSFXSR OSXMMEXCPT."""
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_SVME: Final = 1 << 12
EFER_RESERVED: Final = ~0x1D01 & 0xFFFF_FFFF_FFFF_FFFF
"""All but SCE, LME, LMA, NXE and SVME."""
PAT_TYPES: Final = (0, 1, 4, 5, 6, 7)
ATTRIBUTE_L: Final = 1 << 9
ATTRIBUTE_D: Final = 1 << 10


def broken_rule(vmcb: Vmcb) -> str | None:
    """Return the first rule that this block breaks, or None if the guest may be entered."""
    read = vmcb.read
    cr0, cr4, efer = read(Save.CR0), read(Save.CR4), read(Save.EFER)
    limit = 1 << PHYSICAL_ADDRESS_BITS
    attributes = read(segment_fields(Save.CS)[1])
    general = read(Control.INTERCEPT_3)
    paged_long = bool(efer & EFER_LME and cr0 & CR0_PG)
    rules = (
        ("EFER.SVME is zero", not efer & EFER_SVME),
        ("CR0.CD is zero and CR0.NW is set", not cr0 & CR0_CD and cr0 & CR0_NW),
        ("CR0[63:32] are not zero", cr0 >> 32),
        ("an MBZ bit of CR3 is set", read(Save.CR3) >> PHYSICAL_ADDRESS_BITS),
        ("an MBZ bit of CR4 is set", cr4 & CR4_RESERVED),
        ("DR6[63:32] are not zero", read(Save.DR6) >> 32),
        ("DR7[63:32] are not zero", read(Save.DR7) >> 32),
        ("an MBZ bit of EFER is set", efer & EFER_RESERVED),
        ("EFER.LMA or LME is set, and there is no long mode", efer & (EFER_LMA | EFER_LME)),
        ("EFER.LME and CR0.PG are set and CR4.PAE is zero", paged_long and not cr4 & CR4_PAE),
        ("EFER.LME and CR0.PG are set and CR0.PE is zero", paged_long and not cr0 & CR0_PE),
        (
            "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set",
            paged_long and cr4 & CR4_PAE and attributes & ATTRIBUTE_L and attributes & ATTRIBUTE_D,
        ),
        ("the VMRUN intercept is clear", not read(Control.INTERCEPT_4) & Intercept4.VMRUN),
        (
            "the I/O permission map reaches beyond physical memory",
            general & Intercept3.IOIO_PROT and read(Control.IOPM_BASE_PA) + IOPM_SIZE > limit,
        ),
        (
            "the MSR permission map reaches beyond physical memory",
            general & Intercept3.MSR_PROT and read(Control.MSRPM_BASE_PA) + MSRPM_SIZE > limit,
        ),
        ("illegal event injection", not event_is_legal(read(Control.EVENTINJ))),
        ("ASID is zero", not read(Control.GUEST_ASID)),
        (
            "an MBZ bit of the nested CR3 is set",
            read(Control.NP_ENABLE) & 1 and read(Control.N_CR3) >> PHYSICAL_ADDRESS_BITS,
        ),
    )
    for rule, broken in (*rules, *_not_offered(vmcb)):
        if broken:
            return rule
    return None


def _not_offered(vmcb: Vmcb) -> tuple[tuple[str, bool], ...]:
    """Bits of features that CPUID leaf 8000_000Ah does not report."""
    read = vmcb.read
    offered = (
        ("CR intercepts", Control.INTERCEPT_CR, cap.INTERCEPT_CR),
        ("DR intercepts", Control.INTERCEPT_DR, cap.INTERCEPT_DR),
        ("intercept word 3", Control.INTERCEPT_3, cap.INTERCEPT_3),
        ("intercept word 4", Control.INTERCEPT_4, cap.INTERCEPT_4),
        ("intercept word 5", Control.INTERCEPT_5, 0),
        ("the PAUSE filter's threshold", Control.PAUSE_FILTER_THRESHOLD, 0),
        ("the virtual interrupt control", Control.VINTR, cap.VINTR),
        ("the nested-paging control", Control.NP_ENABLE, 1),
        ("the LBR-virtualization control", Control.LBR_VIRTUALIZATION, 0),
    )
    return (
        *((f"{name}: not offered", bool(read(field) & ~bits)) for name, field, bits in offered),
        ("TLB_CONTROL is reserved", read(Control.TLB_CONTROL) not in cap.TLB_CONTROLS),
        ("ASID beyond the last", read(Control.GUEST_ASID) >= cap.ASIDS),
        ("G_PAT has a reserved type", bool(read(Control.NP_ENABLE) & 1) and not _pat_valid(read(Save.G_PAT))),
    )


def _pat_valid(pat: int) -> bool:
    return all(pat >> shift & 0xFF in PAT_TYPES for shift in range(0, 64, 8))


def event_is_legal(event: int) -> bool:
    """EVENTINJ: a defined type; an exception is a vector that exists, and not the NMI's (section 15.20)."""
    if not event & EVENT_VALID:
        return True
    kind, vector = (event & EVENT_TYPE) >> EVENT_TYPE_SHIFT, event & EVENT_VECTOR
    if kind == EventType.EXCEPTION:
        return vector < 32 and vector != 2
    return kind in {EventType.INTR, EventType.NMI, EventType.SOFTWARE_INTERRUPT}
