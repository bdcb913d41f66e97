"""Memory that device models change: its types, video memory, code that they write over. The processor is scripted."""

import threading

from hvcore.memory import MAX_WRITTEN, VIDEO_SPACE
from ioreq.messages import (
    GetVideoMemory,
    MapVideoMemory,
    ModifiedMemory,
    Ok,
    SetMemType,
    UnmapVideoMemory,
)
from tests.hvcore.domain_bench import bench

__all__ = ["bench"]  # the fixture


def test_memory_types_and_written_code_reach_the_processor_before_the_guest_runs_on(bench):
    peer, _ = bench.attach()
    changes = bench.cpu.changed
    assert peer.call(SetMemType(0xC0000, 0xC7FFF, "ram")) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 1)
    assert bench.domain.memory.type_of(0xC0000) == "ram"
    assert peer.call(SetMemType(0xC0000, 0xC7FFE, "ram")).errno == 22
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF)) == Ok()
    bench.until(lambda: bench.cpu.invalidated == [(0x1000, 0x1000)])
    assert peer.call(ModifiedMemory(1, 0)).errno == 22


def test_video_memory_is_there_when_what_was_posted_before_is_performed(bench):
    """Type 8 goes first: what the guest wrote to the device must not be overtaken by what it writes to memory."""
    peer, _ = bench.attach()
    memory = peer.call(GetVideoMemory())
    assert (memory.offset, memory.length) == (bench.domain.memory.video_offset, VIDEO_SPACE)
    bench.until(bench.cpu.started.is_set)
    changes = bench.cpu.changed
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=0x1000)) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 1)
    assert bench.domain.memory.type_of(0xB8000) == "video"
    assert bench.cpu.invalidated == [(0xB8000, 0x8000)]
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFE, offset=0)).errno == 22
    assert peer.call(MapVideoMemory(id=99, first=0xB8000, last=0xBFFFF, offset=0)).errno == 2
    assert peer.call(UnmapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF)) == Ok()
    bench.until(lambda: bench.cpu.changed == changes + 2)
    assert bench.domain.memory.type_of(0xB8000) == "mmio"


def test_video_memory_goes_with_its_server(bench):
    peer, _ = bench.attach()
    assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=0)) == Ok()
    peer.sock.close()
    bench.until(lambda: bench.domain.memory.type_of(0xB8000) == "mmio")


def test_memory_written_while_the_vcpu_waits_is_one_piece_of_work(bench):
    """It once queued work without limit, and a range up to 2^63 was walked page by page."""
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    held, go = threading.Event(), threading.Event()
    bench.domain.vcpus[0].post(lambda: (held.set(), go.wait(5)))
    assert held.wait(5)
    for n in range(1000):
        assert peer.call(ModifiedMemory(n * 0x100, n * 0x100 + 0xFF)) == Ok()
    assert peer.call(ModifiedMemory(0x90000, (1 << 63) - 1)) == Ok()
    for n in range(100):
        assert peer.call(SetMemType(0xC0000, 0xC7FFF, "ram" if n % 2 else "rom")) == Ok()
        assert peer.call(MapVideoMemory(id=peer.id, first=0xB8000, last=0xBFFFF, offset=n << 12)) == Ok()
    assert len(bench.domain.vcpus[0]._work) <= 3
    go.set()
    bench.until(lambda: len(bench.cpu.invalidated) == 2)
    assert bench.cpu.invalidated == [(0, 1000 * 0x100), (0x90000, (1 << 63) - 0x90000)]


def test_scattered_writes_become_one_range_that_has_them_all(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    held, go = threading.Event(), threading.Event()
    bench.domain.vcpus[0].post(lambda: (held.set(), go.wait(5)))
    assert held.wait(5)
    for n in range(1, MAX_WRITTEN + 2):
        assert peer.call(ModifiedMemory(n * 0x1000, n * 0x1000)) == Ok()
    go.set()
    bench.until(lambda: bench.cpu.invalidated)
    assert bench.cpu.invalidated == [(0x1000, MAX_WRITTEN * 0x1000 + 1)]


def test_what_a_bus_master_scattered_is_told_in_one_message(bench):
    peer, _ = bench.attach()
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF, more=((0x5000, 0x5007), (0x3000, 0x3000)))) == Ok()
    bench.until(lambda: len(bench.cpu.invalidated) == 3)
    assert bench.cpu.invalidated == [(0x1000, 0x1000), (0x5000, 8), (0x3000, 1)]
    assert peer.call(ModifiedMemory(0x1000, 0x1FFF, more=((2, 1),))).errno == 22


def test_a_memory_map_in_too_many_pieces_is_refused_and_stays_as_it_was(bench):
    peer, _ = bench.attach()
    refused = None
    for page in range(0x100, 0x200, 2):
        answer = peer.call(SetMemType(page << 12, (page << 12) + 0xFFF, "mmio"))
        if answer != Ok():
            refused = answer
            break
    assert (refused.errno, refused.text) == (22, "memory would fall into more than 64 runs of pages")
    assert bench.domain.memory.type_of(page << 12) == "ram"
