"""The memory that host code lies in: it is given back, never writable and executable, and a host may refuse it."""

import gc
import resource
from pathlib import Path

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import Processor
from tests.hvcore.cpu.bench import (
    EAX,
    Bench,
)


def mapped(*rights: str) -> int:
    """Bytes of this process's address space with these rights."""
    total = 0
    for row in Path("/proc/self/maps").read_text().splitlines():
        where, has, *_ = row.split()
        if has[:3] in rights and "host-code" in row:
            first, _, last = where.partition("-")
            total += int(last, 16) - int(first, 16)
    return total


def test_a_processor_gives_the_memory_of_its_host_code_back() -> None:
    gc.collect()
    before = mapped("rw-"), mapped("r-x")
    bench = Bench(32, 1 << 20)
    size = 64 << 20 if bench.processor.translate_after else 0
    assert (mapped("rw-") - before[0], mapped("r-x") - before[1]) == (size, size)
    del bench
    gc.collect()
    assert (mapped("rw-"), mapped("r-x")) == before


def writable_and_executable() -> int:
    """How many mappings of this process are both; of tests' own libraries, some may be."""
    return sum(row.split()[1].startswith("rwx") for row in Path("/proc/self/maps").read_text().splitlines())


def test_no_memory_of_host_code_may_be_written_and_executed() -> None:
    before = writable_and_executable()
    bench = Bench(32, 1 << 20)
    assert mapped("rwx") == 0
    assert writable_and_executable() == before
    del bench


def test_a_system_that_gives_no_memory_for_host_code_has_every_block_interpreted() -> None:
    bench = Bench(32, 1 << 20)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (60 << 20), limits[1]))
    try:
        p = bench.processor = Processor(bench.memory, bench.pins)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    bench.reset()
    assert p.translate_after == 0
    for after in (0, 1):  # and whoever insists does no harm
        p.translate_after = after
        p.set_gpr(EAX, 0)
        assert bench.run(bytes.fromhex("b9 64000000 40 e2fd f4")) == ExitKind.HLT
        assert p.gpr(EAX) == 100
    assert p.statistics["translated"] == 0
