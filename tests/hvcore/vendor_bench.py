"""A guest of either vendor on the real processor, one VM entry at a time."""

from typing import Any

from hvcore.svm.vmcb import Field as Place
from tests.hvcore.cpu.bench import Bench

RAM = 1 << 20
NOTHING = 0x20_0000
"""An address in no memory."""
DIRECTORY, TABLE = 0x40000, 0x41000
POINTERS = 0x42000
GATES = 0x3000
HANDLERS = 0x9000
"""Vector n is handled at HANDLERS + 16 * n by HLT."""


class Handlers:
    """Lets the processor execute what is to be emulated, and notes everything else."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.calls: list[str] = []
        self.vector = -1
        self.acknowledged = lambda: None

    def emulate(self) -> None:
        self.processor.emulate_begin()
        self.processor.emulate()

    def acknowledge(self) -> int:
        self.acknowledged()
        return self.vector

    @property
    def halts(self) -> int:
        return self.calls.count("halt")

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


class Guest:
    """In flat 32-bit protected mode at ring 0, code at 7C00h."""

    def __init__(self, make: Any) -> None:
        self.bench = Bench(32, RAM)
        self.cpu = self.bench.processor
        self.backend = make(self.cpu)
        self.handlers = Handlers(self.cpu)
        self.backend.attach(self.handlers)
        self.backend.enter(0)  # from here on the processor holds the guest's state
        self.bench.reset()

    def load(self, code: str) -> None:
        self.bench.load(bytes.fromhex(code))

    def enter(self, code: str | None = None) -> None:
        if code is not None:
            self.load(code)
        self.backend.enter(1000)

    def gates(self) -> None:
        """An IDT of 256 interrupt gates to CS 8, and a GDT with flat code and data at 8 and 10h."""
        gate = b"".join((HANDLERS + 16 * i).to_bytes(2, "little") + b"\x08\0\0\x8e\0\0" for i in range(256))
        self.bench.write(GATES, gate)
        self.bench.write(0x2000, bytes(8) + bytes.fromhex("ffff0000009bcf00 ffff00000093cf00"))
        for i in range(256):
            self.bench.write(HANDLERS + 16 * i, b"\xf4")
        self.cpu.set_idtr(GATES, 0x7FF)
        self.cpu.set_gdtr(0x2000, 0x17)

    def paging(self) -> None:
        """Identity for the first MiB by pages of 4 KiB, for the rest of 4 MiB by one table that is writable."""
        self.bench.write(DIRECTORY, (TABLE | 3).to_bytes(4, "little"))
        self.bench.write(TABLE, b"".join((i << 12 | 3).to_bytes(4, "little") for i in range(1024)))
        self.cpu.set_cr(3, DIRECTORY)
        self.cpu.set_cr(0, 0x8000_0011)

    def pae(self) -> None:
        """Identity for the first 2 MiB by a large page, the first of 512; no PDPTE is loaded yet."""
        self.bench.write(POINTERS, (DIRECTORY | 1).to_bytes(32, "little"))
        self.bench.write(DIRECTORY, (0x83).to_bytes(8, "little"))
        self.cpu.set_cr(3, POINTERS)
        self.cpu.set_cr(4, 0x20)
        self.cpu.set_cr(0, 0x8000_0011)

    def remap(self, page: int, frame: int) -> None:
        """Change a page-table entry behind the guest's back."""
        self.bench.write(TABLE + 4 * page, (frame << 12 | 3).to_bytes(4, "little"))

    def interrupt(self, vector: int) -> None:
        """Raise INTR, until it is acknowledged."""
        self.handlers.vector = vector
        self.handlers.acknowledged = lambda: self.bench.pins.__setitem__(0, 0)
        self.bench.pins[0] = 1

    def field(self, field: int) -> int:
        """VMX: VMREAD."""
        return int(self.backend.vmcs.read(field))

    def set(self, field: int, bits: int, to: bool = True) -> None:
        """VMX: set or clear bits of a field."""
        old = self.field(field)
        self.backend.vmcs.write(field, old | bits if to else old & ~bits)

    def read(self, field: Place) -> int:
        """SVM: a field of the block."""
        return int(self.backend.vmcb.read(field))

    def put(self, field: Place, bits: int, to: bool = True) -> None:
        """SVM: set or clear bits of a field."""
        old = self.read(field)
        self.backend.vmcb.write(field, old | bits if to else old & ~bits)
