"""MSR policy (SDM vol. 4): what the processor has, what is harmless to pretend, and #GP(0) for the rest."""

from typing import Final

import structlog

from hvcore.cpu.processor import Processor
from hvcore.hvm import EventKind, HvmBackend, Register, Vector

log = structlog.get_logger("hvcore.msr")

TSC: Final = 0x10
TSC_ADJUST: Final = 0x3B
ALL: Final = 0xFFFF_FFFF_FFFF_FFFF

PRETENDED: Final[dict[int, int]] = {
    0x17: 0,  # IA32_PLATFORM_ID: read before a microcode update
    0x2A: 0,  # EBL_CR_POWERON: P6's bus configuration
    0x8B: 0,  # IA32_BIOS_SIGN_ID: no microcode update loaded
    0x119: 0,  # BBL_CR_CTL: bit 21 set would say that there is no serial number to disable
    0x1D9: 0,  # DEBUGCTL: no last-branch records
}
"""What guests touch by family alone: it reads as this, and writes are dropped."""


class Msr:
    """The RDMSR and WRMSR exit handlers; also RDTSC's, which reads one."""

    def __init__(self, processor: Processor, backend: HvmBackend) -> None:
        self._processor = processor
        self._backend = backend
        self._adjust = 0
        """IA32_TSC_ADJUST: how far the guest has moved the TSC (SDM vol. 3 section 18.17.3)."""

    def read(self) -> bool:
        """RDMSR of ECX to EDX:EAX. False: #GP(0)."""
        processor = self._processor
        index = processor.gpr(Register.RCX) & 0xFFFF_FFFF
        value = self._adjust if index == TSC_ADJUST else processor.msr(index)
        if value is None:
            value = PRETENDED.get(index)
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
        if index == TSC_ADJUST:  # the TSC moves with it
            moved, self._adjust = value - self._adjust, value
            processor.set_msr(TSC, processor.tsc + moved & ALL)
            return True
        if index == TSC:  # and it follows the TSC
            self._adjust = self._adjust + value - processor.tsc & ALL
        if processor.set_msr(index, value) or index in PRETENDED:
            return True
        log.debug("msr.refused_write", index=hex(index), value=hex(value))
        return self._refuse()

    def read_tsc(self) -> None:
        """RDTSC."""
        self._answer(self._processor.tsc)

    def _answer(self, value: int) -> None:
        self._processor.set_gpr(Register.RAX, value & 0xFFFF_FFFF)
        self._processor.set_gpr(Register.RDX, value >> 32)

    def _refuse(self) -> bool:
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.GP, 0, 0)
        return False
