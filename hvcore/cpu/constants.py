"""The processor's constants as Python integers.

They are written once, in the enums and structs of `kinds.pxd` and `state.pxd` that C reads; this module reads
the same text for the uncompiled processor and the opcode table. It is never compiled.
"""

import re
from importlib import resources

_ENUM = re.compile(r"^cdef enum\b.*:\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
_MEMBER = re.compile(r"^ {4}([A-Z][A-Z0-9_]*)(?: = (\w+))?", re.MULTILINE)

_FIELD = re.compile(r"^ {4}(?:cdef )?(?:readonly |public )?(\w+)(?:\[(\d+)\])? (\*?\w+)", re.MULTILINE)


def enums(name: str) -> dict[str, int]:
    """Every enum member of a `.pxd`, numbered as C numbers them."""
    text = (resources.files("hvcore.cpu") / name).read_text(encoding="ascii")
    members: dict[str, int] = {}
    for body in _ENUM.findall(text):
        value = -1
        for member, given in _MEMBER.findall(body):
            value = int(given, 0) if given else value + 1
            members[member] = value
    return members


def fields(what: str) -> dict[str, tuple[str, int]]:
    """Every field of a struct or class of `state.pxd`: its C type, and its length (0: no array)."""
    text = (resources.files("hvcore.cpu") / "state.pxd").read_text(encoding="ascii")
    body = text[text.index(f"cdef {what}:\n") :].split("\n\n", 1)[0].split("\n", 1)[1]
    return {name: (type_, int(length or 0)) for type_, length, name in _FIELD.findall(body)}


KINDS = enums("kinds.pxd")
STATE = enums("state.pxd")
OP_FIELDS = fields("struct Op")
ARENA_FIELDS = fields("struct Arena")
BLOCK_FIELDS = fields("struct Block")
STATE_FIELDS = fields("class State")

M32 = 0xFFFF_FFFF
M64 = 0xFFFF_FFFF_FFFF_FFFF
PAGE_BITS = M64 ^ 0xFFF
NO_PAGE = 1 << 63  # no canonical address, so it never matches
PTE_NX = 1 << 63
TOP_HALF = 0xFFFF_0000  # of a 32-bit word
TOP_BYTE = 0xFF00_0000
CR0_PG = 0x8000_0000
PHYSICAL_PAGE = 0x000F_FFFF_FFFF_F000
PAE_ROOT = 0xFFFF_FFE0
PAE_RESERVED = 0x7FFF_FFF0_0000_0000  # above the 36 bits of a physical address; NX is apart
PDPTE_RESERVED = 0xFFFF_FFF0_0000_01E6
MSR_EFER = 0xC000_0080
PAT_POWER_ON = 0x0007_0406_0007_0406
SIZE_MASK = (0xFF, 0xFFFF, M32, M64)
SIZE_SIGN = (0x80, 0x8000, 0x8000_0000, 1 << 63)
u8 = u16 = u32 = u64 = s64 = int

globals().update(KINDS)
globals().update(STATE)
__all__ = [  # noqa: PLE0604 - the names are read from the files above
    *("M32", "M64", "NO_PAGE", "PAGE_BITS", "PHYSICAL_PAGE", "PAE_ROOT", "CR0_PG", "TOP_BYTE", "TOP_HALF"),
    *("PTE_NX", "PAE_RESERVED", "PDPTE_RESERVED", "MSR_EFER", "PAT_POWER_ON"),
    *("SIZE_MASK", "SIZE_SIGN", "s64", "u8", "u16", "u32", "u64"),
    *KINDS,
    *STATE,
]
