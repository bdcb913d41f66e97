"""CPUID policy: one processor for every vendor of virtualisation (SDM vol. 2, CPUID).

The guest sees an i686 (family 6) that calls itself "GenuineIntel": guests choose their errata and paths by
vendor and family, and these are the ones that this instruction set is of. It advertises what the processor
does and nothing more: no APIC, no paging extensions. The backend (VMX or SVM) does not show.
"""

import struct
from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import Register

SIGNATURE: Final = 0x0000_0633
"""Family 6, model 3, stepping 3 (a Pentium II); `Processor.reset` leaves the same in EDX."""
VENDOR: Final = b"GenuineIntel"
BRAND: Final = b"devmodel i686 virtual processor"


class Feature:
    """Leaf 1, EDX."""

    FPU: Final = 1 << 0
    TSC: Final = 1 << 4
    MSR: Final = 1 << 5
    CX8: Final = 1 << 8
    CMOV: Final = 1 << 15
    MMX: Final = 1 << 23
    FXSR: Final = 1 << 24
    SSE: Final = 1 << 25
    SSE2: Final = 1 << 26


FEATURES: Final = (
    Feature.FPU
    | Feature.TSC
    | Feature.MSR
    | Feature.CX8
    | Feature.CMOV
    | Feature.MMX
    | Feature.FXSR
    | Feature.SSE
    | Feature.SSE2
)
MAX_BASIC: Final = 2
MAX_EXTENDED: Final = 0x8000_0004

_EBX, _EDX, _ECX = struct.unpack("<III", VENDOR)
_BRAND = struct.unpack("<12I", BRAND.ljust(48, b"\0"))
LEAVES: Final[dict[int, tuple[int, int, int, int]]] = {
    0: (MAX_BASIC, _EBX, _ECX, _EDX),
    1: (SIGNATURE, 0, 0, FEATURES),
    # One descriptor read, no cache or TLB described: sizes are a host's business.
    2: (1, 0, 0, 0),
    0x8000_0000: (MAX_EXTENDED, 0, 0, 0),
    0x8000_0001: (0, 0, 0, 0),
    0x8000_0002: _BRAND[0:4],
    0x8000_0003: _BRAND[4:8],
    0x8000_0004: _BRAND[8:12],
}
"""EAX, EBX, ECX, EDX by leaf."""


class Cpuid:
    """The CPUID exit handler."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor

    def execute(self) -> None:
        """Answer the leaf in EAX; an unknown one as the highest basic leaf, as Intel's parts do."""
        processor = self._processor
        leaf = processor.gpr(Register.RAX) & 0xFFFF_FFFF
        eax, ebx, ecx, edx = LEAVES.get(leaf) or LEAVES[MAX_BASIC]
        processor.set_gpr(Register.RAX, eax)
        processor.set_gpr(Register.RBX, ebx)
        processor.set_gpr(Register.RCX, ecx)
        processor.set_gpr(Register.RDX, edx)
