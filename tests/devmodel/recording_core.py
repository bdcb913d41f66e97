"""What a board is wired to, for tests of boards: a core that writes down what it is told, and a disk."""

import attrs

from devmodel.board.device import DiskFlush, DiskRead, DiskWrite
from devmodel.testing.bench import BenchCore


@attrs.define
class Core(BenchCore):
    """A bench's, which writes down what becomes of the INTR pin as well."""

    ram: bytearray = attrs.field(factory=lambda: bytearray(1 << 20), repr=False)
    vector: int | None = None

    def intr_vector(self, vector: int | None, _alone: bool) -> None:
        self.vector = vector

    def intr(self, level: bool) -> None:
        self.told.append(("intr", level))


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
