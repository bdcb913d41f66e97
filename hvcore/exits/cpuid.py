"""CPUID policy: one processor for every vendor of virtualisation (SDM vol. 2, CPUID).

The guest sees a part of Intel's: guests choose their errata and paths by vendor and family, and these are the
ones that this instruction set is of. Which part says `hvcore.cpumodel`. It advertises what the processor does
and nothing more. The backend (VMX or SVM) does not show.
"""

import struct
from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.cpumodel import DEFAULT, MODELS, CpuModel, Feature
from hvcore.hvm import Register

VENDOR: Final = b"GenuineIntel"
TSC_HZ: Final = 10**9  # the processor's time-stamp counter
TSC_ADJUST: Final = 1 << 1  # leaf 7, EBX
CLFLUSH_LINE: Final = 8 << 8  # leaf 1, EBX: 64 bytes, in units of 8
INVARIANT_TSC: Final = 1 << 8  # leaf 8000_0007, EDX
EXTENDED: Final = 0x8000_0000

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""


def leaves(model: CpuModel) -> dict[int, Leaf]:
    """Every leaf that a model has."""
    ebx, edx, ecx = struct.unpack("<III", VENDOR)
    table: dict[int, Leaf] = {
        0: (model.max_basic, ebx, ecx, edx),
        1: (model.signature, CLFLUSH_LINE if model.features & Feature.CLFSH else 0, 0, model.features),
    }
    if model.max_basic >= 2:
        # One descriptor read, no cache or TLB described: sizes are a host's business.
        table[2] = (1, 0, 0, 0)
    if model.max_basic >= 4:
        table |= dict.fromkeys((3, 4), (0, 0, 0, 0))  # no serial number; and no caches
    if model.max_basic >= 0x16:
        # The TSC's frequency and that it never changes, so that nobody has to measure it against a timer on a
        # host that has other things to do.
        table |= dict.fromkeys(range(5, 0x15), (0, 0, 0, 0))
        table[7] = (0, TSC_ADJUST, 0, 0)
        table[0x15] = (1, 1, TSC_HZ, 0)
        table[0x16] = (TSC_HZ // 10**6, TSC_HZ // 10**6, 0, 0)
    if model.brand:
        brand = struct.unpack("<12I", model.brand.ljust(48, b"\0"))
        table |= {
            EXTENDED: (EXTENDED + model.max_extended, 0, 0, 0),
            EXTENDED + 1: (0, 0, 0, model.extended),
            EXTENDED + 2: brand[0:4],
            EXTENDED + 3: brand[4:8],
            EXTENDED + 4: brand[8:12],
        }
        if model.max_extended >= 7:
            table |= dict.fromkeys((EXTENDED + 5, EXTENDED + 6), (0, 0, 0, 0))
            table[EXTENDED + 7] = (0, 0, 0, INVARIANT_TSC)
    return table


class Cpuid:
    """The CPUID exit handler."""

    def __init__(self, processor: Processor, model: CpuModel = MODELS[DEFAULT]) -> None:
        self._processor = processor
        self._leaves = leaves(model)
        self._highest = self._leaves[model.max_basic]

    def execute(self) -> None:
        """Answer the leaf in EAX; an unknown one as the highest basic leaf, as Intel's parts do."""
        processor = self._processor
        leaf = processor.gpr(Register.RAX) & 0xFFFF_FFFF
        eax, ebx, ecx, edx = self._leaves.get(leaf, self._highest)
        processor.set_gpr(Register.RAX, eax)
        processor.set_gpr(Register.RBX, ebx)
        processor.set_gpr(Register.RCX, ecx)
        processor.set_gpr(Register.RDX, edx)
