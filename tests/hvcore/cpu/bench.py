"""A bare processor on a bench: memory, registers, a few verbs."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from hvcore.cpu.processor import Processor
from hvcore.memory import GuestMemory

FLAT_CODE = 0xC09B
FLAT_DATA = 0xC093
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
ES, CS, SS, DS, FS, GS, LDTR, TR = range(8)


class Bench:
    """A processor with `size` bytes of memory, in real mode or in flat protected mode, nobody behind its ports."""

    def __init__(self, bits: int = 16, size: int = 4 << 20) -> None:
        self.memory = GuestMemory(size)
        self.memory.close()  # nobody shares it: what is mapped stays as long as it is used
        self.pins = bytearray(4096)
        self.pins[0x200] = 1
        self.processor = Processor(self.memory, self.pins)
        self.bits = bits
        self.reset()

    def reset(self) -> None:
        """Registers as after `reset`, but code at 0:7C00 in real mode, or flat segments of 4 GiB at ring 0."""
        p = self.processor
        p.reset()
        if self.bits == 32:
            p.set_cr(0, 0x11)
            p.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE)
            for number in (ES, SS, DS, FS, GS):
                p.set_segment(number, 16, 0, 0xFFFFFFFF, FLAT_DATA)
        else:
            for number in (ES, CS, SS, DS, FS, GS):
                p.set_segment(number, 0, 0, 0xFFFF, 0x9B if number == CS else 0x93)
            p.set_idtr(0, 0x3FF)
        p.rip = 0x7C00
        p.set_gpr(ESP, 0x7000)

    def write(self, address: int, data: bytes) -> None:
        self.memory.write(address, data)
        self.processor.invalidate_code(address, len(data))

    def read32(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address, 4), "little")

    def load(self, code: bytes, at: int = 0x7C00) -> None:
        """Put code at `at` and start there."""
        self.write(at, code)
        self.processor.rip = at

    def run(self, code: bytes | None = None, budget: int = 100_000) -> int:
        """Load `code`, run to the next stop, return its kind."""
        if code is not None:
            self.load(code)
        return self.processor.run(budget)

    def registers(self) -> list[int]:
        return [self.processor.gpr(i) for i in range(8)]


def assemble(source: str, bits: int = 16, org: int = 0x7C00) -> bytes:
    """Machine code from NASM's syntax; None-free: call it only behind `needs_nasm`."""
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "x.asm"), Path(folder, "x.bin")
        text.write_text(f"bits {bits}\norg {org}\n{source}\n")
        subprocess.run(["nasm", "-f", "bin", "-o", binary, text], check=True)
        return binary.read_bytes()


HAVE_NASM = shutil.which("nasm") is not None
