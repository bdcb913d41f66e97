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
    PSE36: Final = 1 << 17
    CLFSH: Final = 1 << 19
    MMX: Final = 1 << 23
    FXSR: Final = 1 << 24
    SSE: Final = 1 << 25
    SSE2: Final = 1 << 26


class Extended:
    """CPUID leaf 8000_0001, EDX."""

    NX: Final = 1 << 20


_I486: Final = Feature.FPU | Feature.VME
_PENTIUM: Final = _I486 | Feature.DE | Feature.PSE | Feature.TSC | Feature.MSR | Feature.MCE | Feature.CX8
_PENTIUM2: Final = (
    _PENTIUM | Feature.PAE | Feature.APIC | Feature.SEP | Feature.MTRR | Feature.PGE | Feature.MCA | Feature.CMOV
    | Feature.PAT | Feature.PSE36 | Feature.MMX | Feature.FXSR
)  # fmt: skip
_PENTIUM3: Final = _PENTIUM2 | Feature.SSE
_ALL: Final = _PENTIUM3 | Feature.SSE2 | Feature.CLFSH
_QEMU32: Final = _ALL & ~(Feature.VME | Feature.MTRR | Feature.MCA | Feature.PSE36 | Feature.CLFSH)

PROCESSOR: Final = _ALL & ~Feature.APIC
"""What `hvcore.cpu` and the common layer do."""


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
    max_extended: int = 4
    """The highest extended leaf, if there are any."""
    extended: int = 0
    """Leaf 8000_0001, EDX."""

    @property
    def features(self) -> int:
        """Leaf 1, EDX."""
        return self.part & PROCESSOR

    @property
    def family(self) -> int:
        """4, 5 or 6."""
        return self.signature >> 8 & 0xF

    @property
    def model(self) -> int:
        """Within the family; none here needs the extended field."""
        return self.signature >> 4 & 0xF


MODELS: Final = {
    model.name: model
    for model in (
        CpuModel("486", 0x480, _I486, 1),  # DX4, the 486 that has CPUID
        CpuModel("pentium", 0x52C, _PENTIUM, 1),
        CpuModel("pentium2", 0x652, _PENTIUM2, 2),
        CpuModel("pentium3", 0x683, _PENTIUM3, 2),
        CpuModel("qemu32", 0x663, _QEMU32, 4, b"QEMU Virtual CPU version 2.5+"),
        # All there is. Family 6 model 15, because guests know of errata in PAT and the TSC of the models before.
        CpuModel("i686", 0x6FB, _ALL, 0x16, b"devmodel i686 virtual processor", 7, Extended.NX),
    )
}
DEFAULT: Final = "i686"
