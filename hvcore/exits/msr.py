"""MSR policy (SDM vol. 4): what the processor has, what is harmless to pretend, and #GP(0) for the rest."""

from typing import Final

import structlog

from hvcore.cpu.processor import Processor
from hvcore.cpumodel import DEFAULT, MODELS, CpuModel, Feature
from hvcore.exits.mca import P5_ADDRESS, P5_TYPE, MachineCheck
from hvcore.exits.mtrr import Mtrr
from hvcore.hvm import EventKind, HvmBackend, Register, Vector

log = structlog.get_logger("hvcore.msr")

TSC: Final = 0x10
TSC_ADJUST: Final = 0x3B
TSC_ADJUST_LEAF: Final = 7
APIC_BASE: Final = 0x1B
APIC_BASE_POWER_ON: Final = 0xFEE0_0100
"""The bootstrap processor's, and disabled: there is no local APIC, and nothing enables one (vol. 3 §11.4.3)."""
APIC_BASE_ENABLE: Final = 1 << 11
APIC_BASE_RESERVED: Final = ~0xF_FFFF_F900
ALL: Final = 0xFFFF_FFFF_FFFF_FFFF

P6: Final[dict[int, int]] = {
    0x17: 0,  # IA32_PLATFORM_ID: read before a microcode update
    0x2A: 0,  # EBL_CR_POWERON: P6's bus configuration
    0x8B: 0,  # IA32_BIOS_SIGN_ID: no microcode update loaded
    0x119: 0,  # BBL_CR_CTL: bit 21 set would say that there is no serial number to disable
    0x1D9: 0,  # DEBUGCTL: no last-branch records
}
"""What guests touch by family alone: it reads as this, and writes are dropped."""

MISC_ENABLE: Final = 0x1A0
"""IA32_MISC_ENABLE, from model 13 on (SDM vol. 4 table 2-2): kept as it is written, with no other effect."""
MISC_ENABLE_POWER_ON: Final = 1 | 1 << 11 | 1 << 12
"""Fast strings; no branch trace store and no PEBS."""
MISC_ENABLE_WRITABLE: Final = 1 | 1 << 3 | 1 << 10 | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 34
"""What is not read-only or reserved: a write leaves the rest as it was."""


def _pretended(model: CpuModel) -> dict[int, int]:
    if model.family == 5:
        return {P5_ADDRESS: 0, P5_TYPE: 0}
    if model.family < 6:
        return {}
    return P6


class Msr:
    """The RDMSR and WRMSR exit handlers; also RDTSC's, which reads one."""

    def __init__(self, processor: Processor, backend: HvmBackend, model: CpuModel = MODELS[DEFAULT]) -> None:
        self._processor = processor
        self._backend = backend
        self._model = model
        self._pretended = _pretended(model)
        self._has_misc_enable = model.family > 6 or (model.family == 6 and model.model >= 0xD)
        self.reset()

    def reset(self) -> None:
        """RESET: what is kept here starts again."""
        self._adjust = 0
        """IA32_TSC_ADJUST: how far the guest has moved the TSC (SDM vol. 3 section 18.17.3)."""
        self._apic_base = APIC_BASE_POWER_ON
        self._misc_enable = MISC_ENABLE_POWER_ON
        self.mtrr = Mtrr() if self._model.features & Feature.MTRR else None
        self._machine_check = MachineCheck() if self._model.features & Feature.MCA else None

    def read(self) -> bool:
        """RDMSR of ECX to EDX:EAX. False: #GP(0)."""
        processor = self._processor
        index = processor.gpr(Register.RCX) & 0xFFFF_FFFF
        value = processor.msr(index)
        if value is None:
            value = self._kept(index)
        if value is None:
            value = self._pretended.get(index)
        if value is None:
            log.debug("msr.unknown_read", index=hex(index))
            return self._refuse()
        self._answer(value)
        return True

    def write(self) -> bool:
        """WRMSR of EDX:EAX to ECX. False: #GP(0)."""
        processor = self._processor
        index = processor.gpr(Register.RCX) & 0xFFFF_FFFF
        low, high = processor.gpr(Register.RAX) & 0xFFFF_FFFF, processor.gpr(Register.RDX) & 0xFFFF_FFFF
        value = high << 32 | low
        if index == TSC_ADJUST and self._kept(index) is not None:  # a write of it moves the TSC by as much
            moved, self._adjust = value - self._adjust, value
            processor.set_msr(TSC, processor.tsc + moved & ALL)
            return True
        if index == TSC:  # a write of that moves TSC_ADJUST by as much
            self._adjust = self._adjust + value - processor.tsc & ALL
        if processor.set_msr(index, value) or self._keep(index, value) or index in self._pretended:
            return True
        log.debug("msr.refused_write", index=hex(index), value=hex(value))
        return self._refuse()

    def read_tsc(self) -> None:
        """RDTSC."""
        self._answer(self._processor.tsc)

    def _kept(self, index: int) -> int | None:
        """Return a register that is kept here; None: it is not."""
        if index == TSC_ADJUST and self._model.max_basic >= TSC_ADJUST_LEAF:
            return self._adjust
        if index == APIC_BASE and self._model.family >= 6:
            return self._apic_base
        if index == MISC_ENABLE and self._has_misc_enable:
            return self._misc_enable
        value = self.mtrr.read(index) if self.mtrr is not None else None
        if value is None and self._machine_check is not None:
            value = self._machine_check.read(index)
        return value

    def _keep(self, index: int, value: int) -> bool:
        if index == APIC_BASE and self._model.family >= 6 and not value & APIC_BASE_RESERVED:
            self._apic_base = value & ~APIC_BASE_ENABLE
            return True
        if index == MISC_ENABLE and self._has_misc_enable:
            kept = self._misc_enable & ~MISC_ENABLE_WRITABLE
            self._misc_enable = kept | value & MISC_ENABLE_WRITABLE
            return True
        return (self.mtrr is not None and self.mtrr.write(index, value)) or (
            self._machine_check is not None and self._machine_check.write(index, value)
        )

    def _answer(self, value: int) -> None:
        self._processor.set_gpr(Register.RAX, value & 0xFFFF_FFFF)
        self._processor.set_gpr(Register.RDX, value >> 32)

    def _refuse(self) -> bool:
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.GP, 0, 0)
        return False
