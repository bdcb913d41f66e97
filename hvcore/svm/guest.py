"""The guest's registers between a VMCB and the processor, and in nobody's format."""

from functools import partial
from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import GuestState, Register, SegmentName, SegmentState, Shadow
from hvcore.svm.checks import EFER_SVME
from hvcore.svm.vmcb import (
    SEGMENTS,
    Cached,
    Control,
    Field,
    Save,
    Vmcb,
    pack_attributes,
    segment_fields,
    unpack_attributes,
)

MSR_SYSENTER_CS: Final = 0x174
SELECTOR, BASE, LIMIT, ATTRIBUTES = range(4)
"""Parts of a segment register."""


def save(vmcb: Vmcb, processor: Processor, interruptibility: int) -> GuestState:
    """From the state-save area."""
    read = vmcb.read
    gpr = [processor.gpr(i) for i in range(16)]
    gpr[Register.RAX], gpr[Register.RSP] = read(Save.RAX), read(Save.RSP)
    segments = []
    for segment in SEGMENTS:
        selector, attributes, limit, base = map(read, segment_fields(segment))
        segments.append(SegmentState(selector, base, limit, unpack_attributes(attributes)))
    return GuestState(
        gpr=gpr,
        rip=read(Save.RIP),
        rflags=read(Save.RFLAGS),
        cr0=read(Save.CR0),
        cr2=read(Save.CR2),
        cr3=read(Save.CR3),
        cr4=read(Save.CR4),
        efer=read(Save.EFER) & ~EFER_SVME,
        segments=segments,
        gdtr=(read(Field(Save.GDTR + 8, 8)), read(Field(Save.GDTR + 4, 4))),
        idtr=(read(Field(Save.IDTR + 8, 8)), read(Field(Save.IDTR + 4, 4))),
        interruptibility=interruptibility,
        activity=processor.activity,
        pdptes=[processor.pdpte(i) for i in range(4)],
    )


def load(vmcb: Vmcb, processor: Processor, state: GuestState) -> None:
    """Into the state-save area, which is checked on the next VMRUN."""
    write = vmcb.write
    for i, value in enumerate(state.gpr):
        processor.set_gpr(i, value)
    for field, value in (
        (Save.RAX, state.gpr[Register.RAX]),
        (Save.RSP, state.gpr[Register.RSP]),
        (Save.RIP, state.rip),
        (Save.RFLAGS, state.rflags),
        (Save.CR0, state.cr0),
        (Save.CR2, state.cr2),
        (Save.CR3, state.cr3),
        (Save.CR4, state.cr4),
        (Save.EFER, state.efer | EFER_SVME),
        (Field(Save.GDTR + 8, 8), state.gdtr[0]),
        (Field(Save.GDTR + 4, 4), state.gdtr[1]),
        (Field(Save.IDTR + 8, 8), state.idtr[0]),
        (Field(Save.IDTR + 4, 4), state.idtr[1]),
        (Save.CPL, state.segments[SegmentName.SS].attributes >> 5 & 3),
    ):
        write(field, value)
    for at, segment in zip(SEGMENTS, state.segments, strict=True):
        selector, attributes, limit, base = segment_fields(at)
        write(selector, segment.selector)
        write(attributes, pack_attributes(segment.attributes))
        write(limit, segment.limit)
        write(base, segment.base)
    processor.activity = state.activity


def cached(p: Processor) -> dict[int, Cached]:
    """List the fields that live in the processor while the block is in use."""

    def shadow(value: int) -> None:
        p.interruptibility = p.interruptibility & Shadow.NMI | (Shadow.STI if value & 1 else 0)

    entries = {
        Save.CPL: Cached(lambda: p.cpl, lambda _: None),  # follows SS.DPL
        Save.EFER: Cached(lambda: p.efer | EFER_SVME, lambda v: setattr(p, "efer", v & ~EFER_SVME)),
        Save.CR4: Cached(partial(p.cr, 4), partial(p.set_cr, 4)),
        Save.CR3: Cached(partial(p.cr, 3), partial(p.set_cr, 3)),
        Save.CR0: Cached(partial(p.cr, 0), partial(p.set_cr, 0)),
        Save.CR2: Cached(partial(p.cr, 2), partial(p.set_cr, 2)),
        Save.DR7: Cached(partial(p.dr, 7), partial(p.set_dr, 7)),
        Save.DR6: Cached(partial(p.dr, 6), partial(p.set_dr, 6)),
        Save.RFLAGS: Cached(lambda: p.rflags, lambda v: setattr(p, "rflags", v)),
        Save.RIP: Cached(lambda: p.rip, lambda v: setattr(p, "rip", v)),
        Save.RSP: Cached(partial(p.gpr, Register.RSP), partial(p.set_gpr, Register.RSP)),
        Save.RAX: Cached(partial(p.gpr, Register.RAX), partial(p.set_gpr, Register.RAX)),
        Save.SYSENTER_CS: _cached_msr(p, MSR_SYSENTER_CS),
        Save.SYSENTER_ESP: _cached_msr(p, MSR_SYSENTER_CS + 1),
        Save.SYSENTER_EIP: _cached_msr(p, MSR_SYSENTER_CS + 2),
        Control.TSC_OFFSET: Cached(
            lambda: p.tsc_offset & 0xFFFF_FFFF_FFFF_FFFF,
            lambda v: setattr(p, "tsc_offset", v - (v >> 63 << 64)),
        ),
        Control.INTERRUPT_SHADOW: Cached(
            lambda: int(bool(p.interruptibility & (Shadow.STI | Shadow.MOV_SS))), shadow
        ),
    }
    by_offset = {field.offset: entry for field, entry in entries.items()}
    by_offset[Save.GDTR + 4] = Cached(lambda: p.gdtr[1], lambda v: p.set_gdtr(p.gdtr[0], v))
    by_offset[Save.GDTR + 8] = Cached(lambda: p.gdtr[0], lambda v: p.set_gdtr(v, p.gdtr[1]))
    by_offset[Save.IDTR + 4] = Cached(lambda: p.idtr[1], lambda v: p.set_idtr(p.idtr[0], v))
    by_offset[Save.IDTR + 8] = Cached(lambda: p.idtr[0], lambda v: p.set_idtr(v, p.idtr[1]))
    for index, segment in enumerate(SEGMENTS):
        selector, attributes, limit, base = segment_fields(segment)
        by_offset[selector.offset] = _cached_segment(p, index, SELECTOR)
        by_offset[base.offset] = _cached_segment(p, index, BASE)
        by_offset[limit.offset] = _cached_segment(p, index, LIMIT)
        by_offset[attributes.offset] = _cached_segment(p, index, ATTRIBUTES)
    return by_offset


def _cached_msr(processor: Processor, index: int) -> Cached:
    def write(value: int) -> None:
        processor.set_msr(index, value)

    return Cached(lambda: processor.msr(index) or 0, write)


def _cached_segment(processor: Processor, index: int, part: int) -> Cached:
    """One part of a segment register; the attributes alone are written another way in the block."""

    def parts() -> list[int]:
        segment = processor.segment(index)
        return [segment.selector, segment.base, segment.limit, segment.attributes]

    def read() -> int:
        return pack_attributes(parts()[part]) if part == ATTRIBUTES else parts()[part]

    def write(value: int) -> None:
        values = parts()
        values[part] = unpack_attributes(value) if part == ATTRIBUTES else value
        processor.set_segment(index, *values)

    return Cached(read, write)
