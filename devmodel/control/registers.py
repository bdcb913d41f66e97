"""A vCPU's registers as a person reads them, in the layout of QEMU's `info registers`, and by name."""

from typing import Final

from ioreq.messages import VcpuContext

GENERAL: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
"""In the order of their numbers."""
SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr")
CS: Final = 1
SS: Final = 2
FLAGS: Final = (
    ("D", 1 << 10), ("O", 1 << 11), ("S", 1 << 7), ("Z", 1 << 6), ("A", 1 << 4), ("P", 1 << 2), ("C", 1 << 0),
)  # fmt: skip
UNUSABLE: Final = 1 << 16
PRESENT: Final = 1 << 7
NOT_SYSTEM: Final = 1 << 4
BIG: Final = 1 << 14


def by_name(context: VcpuContext) -> dict[str, int]:
    """Return the registers that an expression may name."""
    named = dict(zip(GENERAL, context.gpr, strict=False))
    named |= {name: segment.selector for name, segment in zip(SEGMENTS, context.segments, strict=True)}
    for name in ("cr0", "cr2", "cr3", "cr4", "efer"):
        named[name] = getattr(context, name)
    return named | {"eip": context.rip, "pc": context.rip, "eflags": context.rflags}


def as_text(context: VcpuContext) -> str:
    """Return all registers as lines of text."""
    r = by_name(context)
    letters = "".join(letter if r["eflags"] & bit else "-" for letter, bit in FLAGS)
    level = context.segments[SS].attributes >> 5 & 3
    lines = [
        " ".join(f"{name.upper()}={r[name]:08x}" for name in names)
        for names in (("eax", "ebx", "ecx", "edx"), ("esi", "edi", "ebp", "esp"))
    ]
    lines.append(f"EIP={r['eip']:08x} EFL={r['eflags']:08x} [{letters}] CPL={level} HLT={context.halted:d}")
    for name, segment in zip(SEGMENTS, context.segments, strict=True):
        high = (segment.attributes & 0xFF) << 8 | (segment.attributes & 0xF000) << 8  # as in a descriptor
        where = f"{segment.base:08x} {segment.limit:08x} {high:08x}"
        lines.append(f"{name.upper():<3}={segment.selector:04x} {where} {_kind(segment.attributes)}".rstrip())
    for name, (base, limit) in (("GDT", context.gdtr), ("IDT", context.idtr)):
        lines.append(f"{name}=     {base:08x} {limit:08x}")
    lines.append(" ".join(f"{name.upper()}={r[name]:08x}" for name in ("cr0", "cr2", "cr3", "cr4")))
    lines.append(f"EFER={context.efer:016x}")
    return "\n".join(lines) + "\n"


def _kind(attributes: int) -> str:
    """Return what a segment is: DPL, code, data or system, its size, and what may be done with it."""
    if attributes & UNUSABLE or not attributes & PRESENT:
        return ""
    privilege = f"DPL={attributes >> 5 & 3}"
    kind = attributes & 15
    if not attributes & NOT_SYSTEM:
        return f"{privilege} {_SYSTEM.get(kind, 'reserved')}"
    size = "32" if attributes & BIG else "16"
    accessed = "A" if kind & 1 else "-"
    if kind & 8:
        return f"{privilege} CS{size} [{'C' if kind & 4 else '-'}{'R' if kind & 2 else '-'}{accessed}]"
    return f"{privilege} DS{size} [{'E' if kind & 4 else '-'}{'W' if kind & 2 else '-'}{accessed}]"


_SYSTEM: Final = {1: "TSS16-avl", 2: "LDT", 3: "TSS16-busy", 9: "TSS32-avl", 11: "TSS32-busy"}
