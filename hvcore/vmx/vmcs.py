"""The virtual-machine control structure (SDM vol. 3 chapter 25, field encodings of appendix B).

A `Vmcs` is reached by field encoding only, as by VMREAD and VMWRITE: bit 0 the access type (1 = the high half
of a 64-bit field), bits 9:1 the index, 11:10 the type (0 control, 1 read-only data, 2 guest, 3 host), 14:13
the width (0: 16 bits, 1: 64, 2: 32, 3: natural, which is 64 here). The guest-state fields that the processor
holds are *views*: while the VMCS is current the processor's registers are the truth, so an exit saves nothing
and VMREAD reads the register. `clear()` (VMCLEAR) writes them all back. Fields of features that
`capabilities` does not offer do not exist, as on such a part.
"""

from collections.abc import Callable
from typing import Final

import attrs

from hvcore.errors import EntryError, HvError

REVISION: Final = 0x00444D31
"""Bits 30:0 of the first word of the region, and of IA32_VMX_BASIC."""


class Field:
    """Encodings, in the order of appendix B."""

    # B.1.1 16-bit control
    VPID: Final = 0x0000
    # B.1.2 16-bit guest state
    GUEST_ES_SELECTOR: Final = 0x0800
    GUEST_CS_SELECTOR: Final = 0x0802
    GUEST_SS_SELECTOR: Final = 0x0804
    GUEST_DS_SELECTOR: Final = 0x0806
    GUEST_FS_SELECTOR: Final = 0x0808
    GUEST_GS_SELECTOR: Final = 0x080A
    GUEST_LDTR_SELECTOR: Final = 0x080C
    GUEST_TR_SELECTOR: Final = 0x080E
    # B.1.3 16-bit host state
    HOST_ES_SELECTOR: Final = 0x0C00
    HOST_CS_SELECTOR: Final = 0x0C02
    HOST_SS_SELECTOR: Final = 0x0C04
    HOST_DS_SELECTOR: Final = 0x0C06
    HOST_FS_SELECTOR: Final = 0x0C08
    HOST_GS_SELECTOR: Final = 0x0C0A
    HOST_TR_SELECTOR: Final = 0x0C0C
    # B.2.1 64-bit control
    IO_BITMAP_A: Final = 0x2000
    IO_BITMAP_B: Final = 0x2002
    MSR_BITMAP: Final = 0x2004
    EXIT_MSR_STORE_ADDRESS: Final = 0x2006
    EXIT_MSR_LOAD_ADDRESS: Final = 0x2008
    ENTRY_MSR_LOAD_ADDRESS: Final = 0x200A
    EXECUTIVE_VMCS_POINTER: Final = 0x200C
    TSC_OFFSET: Final = 0x2010
    EPT_POINTER: Final = 0x201A
    # B.2.2 64-bit read-only data
    GUEST_PHYSICAL_ADDRESS: Final = 0x2400
    # B.2.3 64-bit guest state
    VMCS_LINK_POINTER: Final = 0x2800
    GUEST_DEBUGCTL: Final = 0x2802
    GUEST_PAT: Final = 0x2804
    GUEST_EFER: Final = 0x2806
    GUEST_PDPTE0: Final = 0x280A
    GUEST_PDPTE1: Final = 0x280C
    GUEST_PDPTE2: Final = 0x280E
    GUEST_PDPTE3: Final = 0x2810
    # B.2.4 64-bit host state
    HOST_PAT: Final = 0x2C00
    HOST_EFER: Final = 0x2C02
    # B.3.1 32-bit control
    PIN_BASED_CONTROLS: Final = 0x4000
    PROCESSOR_CONTROLS: Final = 0x4002
    EXCEPTION_BITMAP: Final = 0x4004
    PAGE_FAULT_ERROR_MASK: Final = 0x4006
    PAGE_FAULT_ERROR_MATCH: Final = 0x4008
    CR3_TARGET_COUNT: Final = 0x400A
    EXIT_CONTROLS: Final = 0x400C
    EXIT_MSR_STORE_COUNT: Final = 0x400E
    EXIT_MSR_LOAD_COUNT: Final = 0x4010
    ENTRY_CONTROLS: Final = 0x4012
    ENTRY_MSR_LOAD_COUNT: Final = 0x4014
    ENTRY_INTERRUPTION_INFO: Final = 0x4016
    ENTRY_EXCEPTION_ERROR: Final = 0x4018
    ENTRY_INSTRUCTION_LENGTH: Final = 0x401A
    SECONDARY_CONTROLS: Final = 0x401E
    # B.3.2 32-bit read-only data
    INSTRUCTION_ERROR: Final = 0x4400
    EXIT_REASON: Final = 0x4402
    EXIT_INTERRUPTION_INFO: Final = 0x4404
    EXIT_INTERRUPTION_ERROR: Final = 0x4406
    IDT_VECTORING_INFO: Final = 0x4408
    IDT_VECTORING_ERROR: Final = 0x440A
    EXIT_INSTRUCTION_LENGTH: Final = 0x440C
    EXIT_INSTRUCTION_INFO: Final = 0x440E
    # B.3.3 32-bit guest state
    GUEST_ES_LIMIT: Final = 0x4800
    GUEST_CS_LIMIT: Final = 0x4802
    GUEST_SS_LIMIT: Final = 0x4804
    GUEST_DS_LIMIT: Final = 0x4806
    GUEST_FS_LIMIT: Final = 0x4808
    GUEST_GS_LIMIT: Final = 0x480A
    GUEST_LDTR_LIMIT: Final = 0x480C
    GUEST_TR_LIMIT: Final = 0x480E
    GUEST_GDTR_LIMIT: Final = 0x4810
    GUEST_IDTR_LIMIT: Final = 0x4812
    GUEST_ES_RIGHTS: Final = 0x4814
    GUEST_CS_RIGHTS: Final = 0x4816
    GUEST_SS_RIGHTS: Final = 0x4818
    GUEST_DS_RIGHTS: Final = 0x481A
    GUEST_FS_RIGHTS: Final = 0x481C
    GUEST_GS_RIGHTS: Final = 0x481E
    GUEST_LDTR_RIGHTS: Final = 0x4820
    GUEST_TR_RIGHTS: Final = 0x4822
    GUEST_INTERRUPTIBILITY: Final = 0x4824
    GUEST_ACTIVITY: Final = 0x4826
    GUEST_SMBASE: Final = 0x4828
    GUEST_SYSENTER_CS: Final = 0x482A
    # B.3.4 32-bit host state
    HOST_SYSENTER_CS: Final = 0x4C00
    # B.4.1 natural-width control
    CR0_GUEST_HOST_MASK: Final = 0x6000
    CR4_GUEST_HOST_MASK: Final = 0x6002
    CR0_READ_SHADOW: Final = 0x6004
    CR4_READ_SHADOW: Final = 0x6006
    CR3_TARGET0: Final = 0x6008
    CR3_TARGET1: Final = 0x600A
    CR3_TARGET2: Final = 0x600C
    CR3_TARGET3: Final = 0x600E
    # B.4.2 natural-width read-only data
    EXIT_QUALIFICATION: Final = 0x6400
    IO_RCX: Final = 0x6402
    IO_RSI: Final = 0x6404
    IO_RDI: Final = 0x6406
    IO_RIP: Final = 0x6408
    GUEST_LINEAR_ADDRESS: Final = 0x640A
    # B.4.3 natural-width guest state
    GUEST_CR0: Final = 0x6800
    GUEST_CR3: Final = 0x6802
    GUEST_CR4: Final = 0x6804
    GUEST_ES_BASE: Final = 0x6806
    GUEST_CS_BASE: Final = 0x6808
    GUEST_SS_BASE: Final = 0x680A
    GUEST_DS_BASE: Final = 0x680C
    GUEST_FS_BASE: Final = 0x680E
    GUEST_GS_BASE: Final = 0x6810
    GUEST_LDTR_BASE: Final = 0x6812
    GUEST_TR_BASE: Final = 0x6814
    GUEST_GDTR_BASE: Final = 0x6816
    GUEST_IDTR_BASE: Final = 0x6818
    GUEST_DR7: Final = 0x681A
    GUEST_RSP: Final = 0x681C
    GUEST_RIP: Final = 0x681E
    GUEST_RFLAGS: Final = 0x6820
    GUEST_PENDING_DEBUG: Final = 0x6822
    GUEST_SYSENTER_ESP: Final = 0x6824
    GUEST_SYSENTER_EIP: Final = 0x6826
    # B.4.4 natural-width host state
    HOST_CR0: Final = 0x6C00
    HOST_CR3: Final = 0x6C02
    HOST_CR4: Final = 0x6C04
    HOST_FS_BASE: Final = 0x6C06
    HOST_GS_BASE: Final = 0x6C08
    HOST_TR_BASE: Final = 0x6C0A
    HOST_GDTR_BASE: Final = 0x6C0C
    HOST_IDTR_BASE: Final = 0x6C0E
    HOST_SYSENTER_ESP: Final = 0x6C10
    HOST_SYSENTER_EIP: Final = 0x6C12
    HOST_RSP: Final = 0x6C14
    HOST_RIP: Final = 0x6C16


FIELDS: Final[dict[int, str]] = {
    encoding: name for name, encoding in vars(Field).items() if isinstance(encoding, int)
}
"""Every encoding that exists here, with its name for messages."""

ENCODINGS: Final = 0x6E00
"""All are below this."""
TYPE_READ_ONLY: Final = 1
TYPE_GUEST: Final = 2
WIDTH_64: Final = 1
_MASKS: Final = (0xFFFF, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)


class InstructionError:
    """VM-instruction error numbers (SDM vol. 3 section 31.4)."""

    LAUNCH_NOT_CLEAR: Final = 4
    RESUME_NOT_LAUNCHED: Final = 5
    INVALID_CONTROLS: Final = 7
    INVALID_HOST_STATE: Final = 8
    UNSUPPORTED_COMPONENT: Final = 12
    READ_ONLY_COMPONENT: Final = 13
    ENTRY_BLOCKED_BY_MOV_SS: Final = 26
    INVALID_INVALIDATION: Final = 28


class VmFail(HvError):  # noqa: N818  (its name in the SDM)
    """VMfailValid: a VMX instruction failed, and `error` stands in the VM-instruction error field."""

    def __init__(self, error: int, text: str) -> None:
        super().__init__(f"VMfail: {text} (VM-instruction error {error})")
        self.error = error


class VmxAbort(EntryError):  # noqa: N818  (its name in the SDM)
    """A VM exit could not be completed, and the processor shuts down (SDM vol. 3 section 28.7)."""

    STORING_MSRS: Final = 1
    LOADING_HOST_MSRS: Final = 4


def width(encoding: int) -> int:
    """Return the bits of a field: 16, 32 or 64 (natural width is 64)."""
    return (16, 64, 32, 64)[encoding >> 13 & 3]


@attrs.define(eq=False)
class View:
    """A guest-state field that the processor holds."""

    get: Callable[[], int]
    """Register to field."""
    set: Callable[[int], None]
    """Field to register."""


@attrs.define(eq=False)
class Vmcs:
    """One VMCS. `values` is the region, a word for each encoding, where the backend writes exit records.

    All else goes by `read` and `write`.
    """

    values: memoryview = attrs.field(factory=lambda: memoryview(bytearray(8 * ENCODINGS)).cast("Q"))
    views: dict[int, View] = attrs.field(factory=dict[int, View])
    current: bool = False
    """The processor holds the guest state (after VMPTRLD and the first entry, until VMCLEAR)."""
    launched: bool = False
    changed: bool = True
    """Something that VM entry checks was written since the last entry."""

    def read(self, encoding: int) -> int:
        """VMREAD. Raises VmFail (12) for a field that does not exist."""
        field = encoding & ~1
        if field not in FIELDS or (encoding & 1 and encoding >> 13 & 3 != WIDTH_64):
            raise self._fail(InstructionError.UNSUPPORTED_COMPONENT, f"VMREAD of {encoding:#06x}")
        view = self.views.get(field) if self.current else None
        value = self.values[field] if view is None else view.get()
        return value >> 32 if encoding & 1 else value

    def write(self, encoding: int, value: int) -> None:
        """VMWRITE, truncated to the field's width. Raises VmFail (12 no such field, 13 read-only data)."""
        field = encoding & ~1
        if field not in FIELDS or (encoding & 1 and encoding >> 13 & 3 != WIDTH_64):
            raise self._fail(InstructionError.UNSUPPORTED_COMPONENT, f"VMWRITE of {encoding:#06x}")
        if encoding >> 10 & 3 == TYPE_READ_ONLY:
            raise self._fail(InstructionError.READ_ONLY_COMPONENT, f"VMWRITE of {FIELDS[field]}")
        if encoding & 1:
            value = self.read(field) & 0xFFFF_FFFF | (value & 0xFFFF_FFFF) << 32
        value &= _MASKS[encoding >> 13 & 3]
        self.values[field] = value
        self.changed = True
        if self.current and (view := self.views.get(field)) is not None:
            view.set(value)

    def load(self) -> None:
        """Give the guest state to the processor (what the first VM entry does)."""
        for encoding, view in self.views.items():
            view.set(self.values[encoding])
        self.current = True

    def clear(self) -> None:
        """VMCLEAR: the whole guest state is in the region again, and the launch state is clear."""
        if self.current:
            for encoding, view in self.views.items():
                self.values[encoding] = view.get()
        self.current = False
        self.launched = False
        self.changed = True

    def _fail(self, error: int, text: str) -> VmFail:
        self.values[Field.INSTRUCTION_ERROR] = error
        return VmFail(error, text)
