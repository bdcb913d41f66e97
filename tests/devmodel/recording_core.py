"""What a board is wired to, for tests of boards: a core that writes down what it is told, and a disk."""

import attrs

from devmodel.board.device import DiskFlush, DiskRead, DiskWrite


@attrs.define
class Core:
    """A core that writes down what it is told."""

    ram: bytearray = attrs.field(factory=lambda: bytearray(1 << 20), repr=False)
    told: list[tuple[str, object]] = attrs.field(factory=list)
    vector: int | None = None
    video: memoryview | None = None
    """Of a display adapter, if it is shared."""

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.ram[address : address + length]).ljust(length, b"\xff")

    def write(self, address: int, data: bytes) -> None:
        data = data[: max(0, len(self.ram) - address)]
        self.ram[address : address + len(data)] = data

    def intr_vector(self, vector: int | None) -> None:
        self.vector = vector

    def intr(self, level: bool) -> None:
        self.told.append(("intr", level))

    def isa_irq(self, irq: int, level: bool) -> None:
        self.told.append(("isa_irq", (irq, level)))

    def pci_intx(self, device: int, intx: int, level: bool) -> None:
        self.told.append(("pci_intx", (device, intx, level)))

    def a20(self, level: bool) -> None:
        self.told.append(("a20", level))

    def memory_type(self, first: int, last: int, type_: str, /) -> None:
        self.told.append(("memory_type", (first, last, type_)))

    def map_video(self, first: int, last: int, offset: int, /) -> None:
        self.told.append(("map_video", (first, last, offset)))

    def unmap_video(self, first: int, last: int, /) -> None:
        self.told.append(("unmap_video", (first, last)))

    def reset(self) -> None:
        self.told.append(("reset", None))

    def shutdown(self, code: int, /) -> None:
        self.told.append(("shutdown", code))


@attrs.define
class QuickDisk:
    sectors: int = 4096
    readonly: bool = False

    def submit(self, request: DiskRead | DiskWrite | DiskFlush) -> None:
        match request:
            case DiskRead(count=count):
                request.done(bytes(512 * count))
            case _:
                request.done(True)
