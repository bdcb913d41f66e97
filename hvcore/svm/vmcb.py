"""The virtual machine control block (APM vol. 2 appendix B): 4096 bytes, little-endian.

`Control` and `Save` name every field with its offset in the block and its size. The control area is plain
bytes. Fields of the state-save area that the processor holds are *cached*: while the block is in use the
processor's registers are the truth, `read` asks them and `write` changes them, and `save` brings the bytes up
to date.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import attrs

SIZE: Final = 4096
SAVE_AREA: Final = 0x400


EXIT_RECORD: Final = struct.Struct("<QQQQ")
"""EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO, as they lie from 070h."""
QWORD: Final = struct.Struct("<Q")


class Field(NamedTuple):
    """Where a field lies: offset from the start of the block, and size in bytes."""

    offset: int
    size: int


class Control:
    """Control area (table B-1)."""

    INTERCEPT_CR: Final = Field(0x000, 4)  # bits 15:0 reads, 31:16 writes
    INTERCEPT_DR: Final = Field(0x004, 4)
    INTERCEPT_EXCEPTION: Final = Field(0x008, 4)
    INTERCEPT_3: Final = Field(0x00C, 4)
    INTERCEPT_4: Final = Field(0x010, 4)
    INTERCEPT_5: Final = Field(0x014, 4)
    PAUSE_FILTER_THRESHOLD: Final = Field(0x03C, 2)
    PAUSE_FILTER_COUNT: Final = Field(0x03E, 2)
    IOPM_BASE_PA: Final = Field(0x040, 8)
    MSRPM_BASE_PA: Final = Field(0x048, 8)
    TSC_OFFSET: Final = Field(0x050, 8)
    GUEST_ASID: Final = Field(0x058, 4)
    TLB_CONTROL: Final = Field(0x05C, 1)
    VINTR: Final = Field(0x060, 8)
    INTERRUPT_SHADOW: Final = Field(0x068, 8)
    EXITCODE: Final = Field(0x070, 8)
    EXITINFO1: Final = Field(0x078, 8)
    EXITINFO2: Final = Field(0x080, 8)
    EXITINTINFO: Final = Field(0x088, 8)
    NP_ENABLE: Final = Field(0x090, 8)
    AVIC_APIC_BAR: Final = Field(0x098, 8)
    GHCB_GPA: Final = Field(0x0A0, 8)
    EVENTINJ: Final = Field(0x0A8, 8)
    N_CR3: Final = Field(0x0B0, 8)
    LBR_VIRTUALIZATION: Final = Field(0x0B8, 8)
    CLEAN: Final = Field(0x0C0, 4)
    NRIP: Final = Field(0x0C8, 8)
    FETCHED: Final = Field(0x0D0, 1)
    INSTRUCTION_BYTES: Final = Field(0x0D1, 15)
    AVIC_BACKING_PAGE: Final = Field(0x0E0, 8)
    AVIC_LOGICAL_TABLE: Final = Field(0x0F0, 8)
    AVIC_PHYSICAL_TABLE: Final = Field(0x0F8, 8)
    VMSA_POINTER: Final = Field(0x108, 8)


class Save:
    """State-save area (table B-2); a segment is selector, attributes, limit, base at +0, +2, +4, +8."""

    ES: Final = 0x400
    CS: Final = 0x410
    SS: Final = 0x420
    DS: Final = 0x430
    FS: Final = 0x440
    GS: Final = 0x450
    GDTR: Final = 0x460
    LDTR: Final = 0x470
    IDTR: Final = 0x480
    TR: Final = 0x490
    CPL: Final = Field(0x4CB, 1)
    EFER: Final = Field(0x4D0, 8)
    CR4: Final = Field(0x548, 8)
    CR3: Final = Field(0x550, 8)
    CR0: Final = Field(0x558, 8)
    DR7: Final = Field(0x560, 8)
    DR6: Final = Field(0x568, 8)
    RFLAGS: Final = Field(0x570, 8)
    RIP: Final = Field(0x578, 8)
    RSP: Final = Field(0x5D8, 8)
    S_CET: Final = Field(0x5E0, 8)
    SSP: Final = Field(0x5E8, 8)
    ISST_ADDR: Final = Field(0x5F0, 8)
    RAX: Final = Field(0x5F8, 8)
    STAR: Final = Field(0x600, 8)
    LSTAR: Final = Field(0x608, 8)
    CSTAR: Final = Field(0x610, 8)
    SFMASK: Final = Field(0x618, 8)
    KERNEL_GS_BASE: Final = Field(0x620, 8)
    SYSENTER_CS: Final = Field(0x628, 8)
    SYSENTER_ESP: Final = Field(0x630, 8)
    SYSENTER_EIP: Final = Field(0x638, 8)
    CR2: Final = Field(0x640, 8)
    G_PAT: Final = Field(0x668, 8)
    DBGCTL: Final = Field(0x670, 8)
    BR_FROM: Final = Field(0x678, 8)
    BR_TO: Final = Field(0x680, 8)
    LAST_EXCEPTION_FROM: Final = Field(0x688, 8)
    LAST_EXCEPTION_TO: Final = Field(0x690, 8)
    SPEC_CTRL: Final = Field(0x6E0, 8)


SEGMENTS: Final = (Save.ES, Save.CS, Save.SS, Save.DS, Save.FS, Save.GS, Save.LDTR, Save.TR)
"""In the order of the segment numbers that the core uses."""


def segment_fields(segment: int) -> tuple[Field, Field, Field, Field]:
    """Selector, attributes, limit and base of the segment at this offset."""
    return Field(segment, 2), Field(segment + 2, 2), Field(segment + 4, 4), Field(segment + 8, 8)


class Intercept3:
    """Intercept word 3, at 00Ch."""

    INTR: Final = 1 << 0
    NMI: Final = 1 << 1
    SMI: Final = 1 << 2
    INIT: Final = 1 << 3
    VINTR: Final = 1 << 4
    CR0_SEL_WRITE: Final = 1 << 5
    IDTR_READ: Final = 1 << 6
    GDTR_READ: Final = 1 << 7
    LDTR_READ: Final = 1 << 8
    TR_READ: Final = 1 << 9
    IDTR_WRITE: Final = 1 << 10
    GDTR_WRITE: Final = 1 << 11
    LDTR_WRITE: Final = 1 << 12
    TR_WRITE: Final = 1 << 13
    RDTSC: Final = 1 << 14
    RDPMC: Final = 1 << 15
    PUSHF: Final = 1 << 16
    POPF: Final = 1 << 17
    CPUID: Final = 1 << 18
    RSM: Final = 1 << 19
    IRET: Final = 1 << 20
    INTN: Final = 1 << 21
    INVD: Final = 1 << 22
    PAUSE: Final = 1 << 23
    HLT: Final = 1 << 24
    INVLPG: Final = 1 << 25
    INVLPGA: Final = 1 << 26
    IOIO_PROT: Final = 1 << 27
    MSR_PROT: Final = 1 << 28
    TASK_SWITCH: Final = 1 << 29
    FERR_FREEZE: Final = 1 << 30
    SHUTDOWN: Final = 1 << 31


class Intercept4:
    """Intercept word 4, at 010h."""

    VMRUN: Final = 1 << 0
    VMMCALL: Final = 1 << 1
    VMLOAD: Final = 1 << 2
    VMSAVE: Final = 1 << 3
    STGI: Final = 1 << 4
    CLGI: Final = 1 << 5
    SKINIT: Final = 1 << 6
    RDTSCP: Final = 1 << 7
    ICEBP: Final = 1 << 8
    WBINVD: Final = 1 << 9
    MONITOR: Final = 1 << 10
    MWAIT: Final = 1 << 11
    MWAIT_ARMED: Final = 1 << 12
    XSETBV: Final = 1 << 13
    RDPRU: Final = 1 << 14
    EFER_WRITE: Final = 1 << 15


class Vintr:
    """Virtual interrupt control, at 060h."""

    V_TPR: Final = 0xFF
    V_IRQ: Final = 1 << 8
    V_GIF: Final = 1 << 9
    V_INTR_PRIO_SHIFT: Final = 16
    V_IGN_TPR: Final = 1 << 20
    V_INTR_MASKING: Final = 1 << 24
    V_INTR_VECTOR_SHIFT: Final = 32


# EVENTINJ and EXITINTINFO (section 15.20, figure 15-4).
EVENT_VECTOR: Final = 0xFF
EVENT_TYPE_SHIFT: Final = 8
EVENT_TYPE: Final = 7 << EVENT_TYPE_SHIFT
EVENT_ERROR_VALID: Final = 1 << 11
EVENT_VALID: Final = 1 << 31
EVENT_ERROR_SHIFT: Final = 32


class EventType:
    """Types of event, bits 10:8."""

    INTR: Final = 0
    NMI: Final = 2
    EXCEPTION: Final = 3
    SOFTWARE_INTERRUPT: Final = 4


def event(kind: int, vector: int, error: int | None) -> int:
    """Build an EVENTINJ or EXITINTINFO value."""
    value = EVENT_VALID | kind << EVENT_TYPE_SHIFT | vector
    return value if error is None else value | EVENT_ERROR_VALID | error << EVENT_ERROR_SHIFT


def pack_attributes(rights: int) -> int:
    """Access rights (SDM format) as the 12 bits of a VMCB segment: 7:0 as they are, then AVL, L, D/B, G."""
    if rights & 1 << 16:  # a VMCB says of an unusable segment that it is not present
        return rights & 0x7F
    return rights & 0xFF | rights >> 4 & 0xF00


def unpack_attributes(attributes: int) -> int:
    """Undo `pack_attributes`."""
    rights = attributes & 0xFF | (attributes & 0xF00) << 4
    return rights if attributes & 0x80 else rights | 1 << 16


@attrs.define(eq=False)
class Cached:
    """A field of the state-save area that the processor holds."""

    get: Callable[[], int]
    set: Callable[[int], None]


_FORMATS: Final = {
    1: struct.Struct("<B"),
    2: struct.Struct("<H"),
    4: struct.Struct("<I"),
    8: struct.Struct("<Q"),
}


CACHED: Final[tuple[Field, ...]] = (
    *(field for segment in SEGMENTS for field in segment_fields(segment)),
    Field(Save.GDTR + 4, 4),
    Field(Save.GDTR + 8, 8),
    Field(Save.IDTR + 4, 4),
    Field(Save.IDTR + 8, 8),
    Save.CPL,
    Save.EFER,
    Save.CR4,
    Save.CR3,
    Save.CR0,
    Save.DR7,
    Save.DR6,
    Save.RFLAGS,
    Save.RIP,
    Save.RSP,
    Save.RAX,
    Save.SYSENTER_CS,
    Save.SYSENTER_ESP,
    Save.SYSENTER_EIP,
    Save.CR2,
    Control.INTERRUPT_SHADOW,
)
"""What the processor holds while the block is in use."""


@attrs.define(eq=False)
class Vmcb:
    """One block. `data` is its bytes; backends write exit records there directly."""

    cached: dict[int, Cached]
    """By offset."""
    data: bytearray = attrs.field(factory=lambda: bytearray(SIZE))
    in_use: bool = False
    """The processor holds the guest's state (since the first VMRUN)."""
    changed: bool = True
    """Something that VMRUN checks was written since the last one."""

    def read(self, field: Field) -> int:
        """Return the value of a field of 1, 2, 4 or 8 bytes."""
        if self.in_use and (cached := self.cached.get(field.offset)) is not None:
            return cached.get()
        return int(_FORMATS[field.size].unpack_from(self.data, field.offset)[0])

    def write(self, field: Field, value: int) -> None:
        """Set a field; the next VMRUN checks the block."""
        _FORMATS[field.size].pack_into(self.data, field.offset, value)
        self.changed = True
        if self.in_use and (cached := self.cached.get(field.offset)) is not None:
            cached.set(value)

    def load(self) -> None:
        """VMRUN's first load: the state-save area goes to the processor."""
        for field in CACHED:
            self.cached[field.offset].set(int(_FORMATS[field.size].unpack_from(self.data, field.offset)[0]))
        self.in_use = True

    def save(self) -> None:
        """Bring the bytes of the state-save area up to date with the processor."""
        for field in CACHED:
            _FORMATS[field.size].pack_into(self.data, field.offset, self.cached[field.offset].get())

    def bytes(self) -> bytes:
        """Return the whole block as another agent would see it in memory."""
        if self.in_use:
            self.save()
        return bytes(self.data)
