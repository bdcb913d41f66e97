"""MOV to and from control registers, when a backend intercepts them (SDM vol. 3 section 2.5)."""

from typing import Final

from hvcore.cpu.processor import Processor
from hvcore.hvm import CR0_PE, CR0_PG, EventKind, HvmBackend, Vector

CR0_ET: Final = 1 << 4
CR0_NW: Final = 1 << 29
CR0_CD: Final = 1 << 30
CR0_DEFINED: Final = 0xE005_003F
CR4_DEFINED: Final = 0x7FF


class ControlRegisters:
    """The CR-access exit handler."""

    def __init__(self, processor: Processor, backend: HvmBackend) -> None:
        self._processor = processor
        self._backend = backend

    def read(self, number: int, register: int) -> bool:
        """MOV r, CRn."""
        self._processor.set_gpr(register, self._processor.cr(number))
        return True

    def write(self, number: int, value: int) -> bool:
        """MOV CRn, r. False: #GP(0)."""
        if number == 0:
            value = value & CR0_DEFINED | CR0_ET
            if (value & CR0_PG and not value & CR0_PE) or (value & CR0_NW and not value & CR0_CD):
                return self._refuse()
        elif number == 4 and value & ~CR4_DEFINED:
            return self._refuse()
        self._processor.set_cr(number, value)
        return True

    def _refuse(self) -> bool:
        self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.GP, 0, 0)
        return False
