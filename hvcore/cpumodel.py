"""The processors that a guest can be told it has: CPUID's signature and features (SDM vol. 2, CPUID).

A model names every feature of the part; what the guest sees is those that the processor really does. Whatever
is not advertised is not there: the processor refuses its CR4 bits (#GP) and its instructions (#UD).
"""

from typing import Final

import attrs


class Feature:
    """CPUID leaf 1, EDX."""

    FPU: Final = 1 << 0
    VME: Final = 1 << 1
    DE: Final = 1 << 2
    PSE: Final = 1 << 3
    TSC: Final = 1 << 4
    MSR: Final = 1 << 5
    PAE: Final = 1 << 6
    MCE: Final = 1 << 7
    CX8: Final = 1 << 8
    APIC: Final = 1 << 9
    SEP: Final = 1 << 11
    MTRR: Final = 1 << 12
    PGE: Final = 1 << 13
    MCA: Final = 1 << 14
    CMOV: Final = 1 << 15
    PAT: Final = 1 << 16
    MMX: Final = 1 << 23
    FXSR: Final = 1 << 24
    SSE: Final = 1 << 25
    SSE2: Final = 1 << 26


PROCESSOR: Final = (
    (Feature.FPU | Feature.DE | Feature.PSE | Feature.TSC | Feature.MSR | Feature.PAE | Feature.CX8)
    | (Feature.PGE | Feature.CMOV | Feature.MMX | Feature.FXSR | Feature.SSE | Feature.SSE2)
)  # fmt: skip
"""What `hvcore.cpu` does."""


@attrs.frozen
class CpuModel:
    """A processor by its name; `part` are the features of the silicon, and `features` those of ours."""

    name: str
    signature: int
    """Type, family, model and stepping: what RESET leaves in EDX and CPUID leaf 1 in EAX."""
    part: int
    max_basic: int
    """The highest basic leaf."""
    brand: bytes = b""
    """For the extended leaves; none: there are no extended leaves."""

    @property
    def features(self) -> int:
        """Leaf 1, EDX."""
        return self.part & PROCESSOR


_I486: Final = Feature.FPU | Feature.VME
_PENTIUM: Final = _I486 | Feature.DE | Feature.PSE | Feature.TSC | Feature.MSR | Feature.MCE | Feature.CX8

MODELS: Final = {
    model.name: model
    for model in (
        CpuModel("486", 0x480, _I486, 1),  # DX4, the 486 that has CPUID
        CpuModel("pentium", 0x52C, _PENTIUM, 1),
        CpuModel("i686", 0x633, 0xFFFF_FFFF, 0x16, b"devmodel i686 virtual processor"),  # all there is
    )
}
DEFAULT: Final = "i686"
