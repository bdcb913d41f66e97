"""The guest's registers between a VMCS and the processor, and in nobody's format."""

from functools import partial
from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import GuestState, Register, SegmentState
from hvcore.vmx.vmcs import Field, View, Vmcs

MSR_SYSENTER_CS: Final = 0x174
MSR_PAT: Final = 0x277
CR4_VMXE: Final = 1 << 13
"""In the VMCS, where VMX operation wants it; the processor, and with it the guest, has no such bit."""


def save(vmcs: Vmcs, processor: Processor) -> GuestState:
    """From the guest-state area."""
    read = vmcs.read
    gpr = [processor.gpr(i) for i in range(16)]
    gpr[Register.RSP] = read(Field.GUEST_RSP)
    return GuestState(
        gpr=gpr,
        rip=read(Field.GUEST_RIP),
        rflags=read(Field.GUEST_RFLAGS),
        cr0=read(Field.GUEST_CR0),
        cr2=processor.cr(2),
        cr3=read(Field.GUEST_CR3),
        cr4=read(Field.GUEST_CR4) & ~CR4_VMXE,
        efer=read(Field.GUEST_EFER),
        segments=[
            SegmentState(
                read(Field.GUEST_ES_SELECTOR + 2 * i),
                read(Field.GUEST_ES_BASE + 2 * i),
                read(Field.GUEST_ES_LIMIT + 2 * i),
                read(Field.GUEST_ES_RIGHTS + 2 * i),
            )
            for i in range(8)
        ],
        gdtr=(read(Field.GUEST_GDTR_BASE), read(Field.GUEST_GDTR_LIMIT)),
        idtr=(read(Field.GUEST_IDTR_BASE), read(Field.GUEST_IDTR_LIMIT)),
        interruptibility=read(Field.GUEST_INTERRUPTIBILITY),
        activity=read(Field.GUEST_ACTIVITY),
        pdptes=[read(Field.GUEST_PDPTE0 + 2 * i) for i in range(4)],
    )


def load(vmcs: Vmcs, processor: Processor, state: GuestState) -> None:
    """Into the guest-state area, which is checked on the next entry."""
    write = vmcs.write
    for i, value in enumerate(state.gpr):
        processor.set_gpr(i, value)
    processor.set_cr(2, state.cr2)
    for field, value in (
        (Field.GUEST_CR0, state.cr0),
        (Field.GUEST_CR3, state.cr3),
        (Field.GUEST_CR4, state.cr4 | CR4_VMXE),
        (Field.GUEST_EFER, state.efer),
        (Field.GUEST_GDTR_BASE, state.gdtr[0]),
        (Field.GUEST_GDTR_LIMIT, state.gdtr[1]),
        (Field.GUEST_IDTR_BASE, state.idtr[0]),
        (Field.GUEST_IDTR_LIMIT, state.idtr[1]),
        (Field.GUEST_RSP, state.gpr[Register.RSP]),
        (Field.GUEST_RIP, state.rip),
        (Field.GUEST_RFLAGS, state.rflags),
        (Field.GUEST_INTERRUPTIBILITY, state.interruptibility),
        (Field.GUEST_ACTIVITY, state.activity),
    ):
        write(field, value)
    for i, entry in enumerate(state.pdptes):
        write(Field.GUEST_PDPTE0 + 2 * i, entry)
    for i, segment in enumerate(state.segments):
        write(Field.GUEST_ES_SELECTOR + 2 * i, segment.selector)
        write(Field.GUEST_ES_BASE + 2 * i, segment.base)
        write(Field.GUEST_ES_LIMIT + 2 * i, segment.limit)
        write(Field.GUEST_ES_RIGHTS + 2 * i, segment.attributes)


def views(p: Processor) -> dict[int, View]:
    """Guest-state fields that live in the processor while the VMCS is current."""
    views = {
        Field.GUEST_CR0: View(partial(p.cr, 0), partial(p.set_cr, 0)),
        Field.GUEST_CR3: View(partial(p.cr, 3), partial(p.set_cr, 3)),
        Field.GUEST_CR4: View(lambda: p.cr(4) | CR4_VMXE, lambda value: p.set_cr(4, value & ~CR4_VMXE)),
        Field.GUEST_EFER: View(lambda: p.efer, lambda value: setattr(p, "efer", value)),
        Field.TSC_OFFSET: View(
            lambda: p.tsc_offset & 0xFFFF_FFFF_FFFF_FFFF,
            lambda value: setattr(p, "tsc_offset", value - (value >> 63 << 64)),
        ),
        Field.GUEST_DR7: View(partial(p.dr, 7), partial(p.set_dr, 7)),
        Field.GUEST_RSP: View(partial(p.gpr, Register.RSP), partial(p.set_gpr, Register.RSP)),
        Field.GUEST_RIP: View(lambda: p.rip, lambda value: setattr(p, "rip", value)),
        Field.GUEST_RFLAGS: View(lambda: p.rflags, lambda value: setattr(p, "rflags", value)),
        Field.GUEST_INTERRUPTIBILITY: View(
            lambda: p.interruptibility, lambda value: setattr(p, "interruptibility", value)
        ),
        Field.GUEST_ACTIVITY: View(lambda: p.activity, lambda value: setattr(p, "activity", value)),
        Field.GUEST_SYSENTER_CS: _msr_view(p, MSR_SYSENTER_CS),
        Field.GUEST_SYSENTER_ESP: _msr_view(p, MSR_SYSENTER_CS + 1),
        Field.GUEST_SYSENTER_EIP: _msr_view(p, MSR_SYSENTER_CS + 2),
        Field.GUEST_PAT: _msr_view(p, MSR_PAT),
        Field.GUEST_GDTR_BASE: View(lambda: p.gdtr[0], lambda value: p.set_gdtr(value, p.gdtr[1])),
        Field.GUEST_GDTR_LIMIT: View(lambda: p.gdtr[1], lambda value: p.set_gdtr(p.gdtr[0], value)),
        Field.GUEST_IDTR_BASE: View(lambda: p.idtr[0], lambda value: p.set_idtr(value, p.idtr[1])),
        Field.GUEST_IDTR_LIMIT: View(lambda: p.idtr[1], lambda value: p.set_idtr(p.idtr[0], value)),
    }
    for i in range(4):
        views[Field.GUEST_PDPTE0 + 2 * i] = View(partial(p.pdpte, i), partial(p.set_pdpte, i))
    for i in range(8):
        views[Field.GUEST_ES_SELECTOR + 2 * i] = _segment_view(p, i, "selector")
        views[Field.GUEST_ES_BASE + 2 * i] = _segment_view(p, i, "base")
        views[Field.GUEST_ES_LIMIT + 2 * i] = _segment_view(p, i, "limit")
        views[Field.GUEST_ES_RIGHTS + 2 * i] = _segment_view(p, i, "attributes")
    return views


def _msr_view(processor: Processor, index: int) -> View:
    def write(value: int) -> None:
        processor.set_msr(index, value)

    return View(lambda: processor.msr(index) or 0, write)


def _segment_view(processor: Processor, index: int, part: str) -> View:
    def write(value: int) -> None:
        segment = processor.segment(index)
        parts = {
            "selector": segment.selector,
            "base": segment.base,
            "limit": segment.limit,
            "attributes": segment.attributes,
        }
        parts[part] = value
        processor.set_segment(index, parts["selector"], parts["base"], parts["limit"], parts["attributes"])

    return View(lambda: int(getattr(processor.segment(index), part)), write)
