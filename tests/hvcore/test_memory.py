"""The map of guest-physical memory: what a page is, after whatever device models have said of it."""

import random
import time

import pytest

from hvcore.errors import HvError
from hvcore.memory import MAX_WRITTEN, NOWHERE, VIDEO_SPACE, GuestMemory, Written

PAGE = 4096
FIRMWARE = 0xFFFF_0000


@pytest.fixture
def memory():
    memory = GuestMemory(4 << 20)
    memory.add_rom(FIRMWARE, bytes(1 << 16))
    memory.add_rom(0xF0000, bytes(1 << 16), alias_of=FIRMWARE)
    yield memory
    memory.host.close()
    memory.close()


def backing(memory: GuestMemory, address: int) -> tuple[int, int] | None:
    """Where reads and writes of a page go, as host offsets; None if it is no memory."""
    for slot in memory.slots:
        if slot.first <= address <= slot.last:
            write = slot.write if slot.write == NOWHERE else slot.write + address - slot.first
            return slot.read + address - slot.first, write
    return None


def test_pages_are_what_was_said_of_them_last(memory):
    """Random ranges, against one word a page and the module's table."""
    rng = random.Random(8)
    kinds = {page: memory.type_of(page) for page in range(0, 4 << 20, PAGE)}
    said = 0
    for _ in range(600):
        first = rng.randrange(0xA0, 0x110) * PAGE
        last = first + rng.randrange(1, 24) * PAGE - 1
        kind = rng.choice(("ram", "ram_ro", "rom", "rom_wo", "mmio"))
        try:
            memory.set_type(first, last, kind)
        except HvError:
            continue
        said += 1
        kinds.update(dict.fromkeys(range(first, last, PAGE), kind))
        for page in range(0x90 * PAGE, 0x130 * PAGE, PAGE):
            kind = kinds[page]
            rom = memory.size + page - 0xF0000 if 0xF0000 <= page < 0x100000 else None
            source = rom if kind.startswith("rom") else page
            target = page if kind in {"ram", "rom_wo"} else NOWHERE
            expected = None if kind == "mmio" or source is None else (source, target)
            assert backing(memory, page) == expected, (hex(page), kind)
    assert said > 500


def test_types_of_what_is_nowhere_are_not_kept(memory):
    """A peer that named ever more distinct pages outside of RAM made each next one slower."""
    before = time.process_time()
    for n in range(5000):
        memory.set_type(0x1000_0000 + 2 * n * PAGE, 0x1000_0000 + (2 * n + 1) * PAGE - 1, "ram")
    memory.set_type(0x1000_0000, (1 << 63) - 1, "ram_ro")
    assert time.process_time() - before < 1
    assert memory.type_of(0x1000_0000) == "mmio"
    assert len(memory._types) < 10


def test_types_that_are_backed_alike_are_limited_too(memory):
    """Firmware where there is none and no memory at all are both no slot."""
    memory.set_type(0x100000, 0x3FFFFF, "mmio")
    with pytest.raises(HvError, match="more than 64 runs of pages"):
        for n in range(400):
            memory.set_type(0x100000 + 2 * n * PAGE, 0x100000 + (2 * n + 1) * PAGE - 1, "rom")
    assert len(memory._types) <= 256


def test_a_page_at_a_time_is_as_quick_as_all_at_once(memory):
    before = time.process_time()
    for page in range(0x100000, 0x400000, PAGE):
        memory.set_type(page, page + PAGE - 1, "ram_ro")
    assert time.process_time() - before < 1
    assert memory.type_of(0x3FF000) == "ram_ro"
    assert len(memory._types) < 10


def test_reset_makes_every_page_what_it_was_at_power_on(memory):
    """RAM that a device model had taken away once made the next reset the end of the core."""
    before = memory.slots
    memory.set_type(0, 0x9FFFF, "mmio")
    memory.set_type(0xF0000, 0xFFFFF, "ram")
    memory.reset()
    assert memory.slots == before


VIDEO = 0xE000_0000


def test_video_memory_is_seen_where_nothing_else_is_memory(memory):
    at = memory.video_offset
    memory.map_video(0xB8000, 0xBFFFF, 0x100_0000, owner=1)
    memory.map_video(VIDEO, VIDEO + 0xFF_FFFF, 0, owner=1)
    assert backing(memory, 0xB8000) == (at + 0x100_0000,) * 2
    assert backing(memory, VIDEO + 0xFF_F000) == (at + 0xFF_F000,) * 2
    assert backing(memory, 0xB7000) is backing(memory, 0xA0000) is None
    assert [memory.type_of(address) for address in (0xB8000, 0xA0000, VIDEO)] == ["video", "mmio", "video"]
    memory.write(VIDEO + 4, b"\x12")
    assert memory.host[at + 4] == 0x12
    memory.map_video(0x10_0000, 0x10_FFFF, 0, owner=1)
    assert backing(memory, 0x10_0000) == (0x10_0000, 0x10_0000)  # RAM is there
    memory.unmap_video(0xB8000, 0xBFFFF, owner=1)
    assert backing(memory, 0xB8000) is None


def test_video_memory_stays_over_a_reset_until_its_owner_is_gone(memory):
    memory.map_video(0xA0000, 0xAFFFF, 0, owner=1)
    memory.reset()
    assert memory.type_of(0xA0000) == "video"
    assert not memory.forget_video(2)
    assert memory.forget_video(1)
    assert memory.type_of(0xA0000) == "mmio"


def test_a_successor_takes_over_video_memory_and_nobody_else_does(memory):
    memory.map_video(0xA0000, 0xAFFFF, 0, owner=1)
    memory.map_video(0xA0000, 0xAFFFF, 0x1_0000, owner=2, live={2})
    assert backing(memory, 0xA0000) == (memory.video_offset + 0x1_0000,) * 2
    with pytest.raises(HvError, match="overlaps another"):
        memory.map_video(0xA8000, 0xBFFFF, 0, owner=3, live={2, 3})
    memory.map_video(0xA8000, 0xBFFFF, 0, owner=3, live={3})
    assert memory.type_of(0xA0000) == "mmio"


def test_video_memory_that_cannot_be_is_refused(memory):
    for first, last, offset, why in (
        (0xA0001, 0xAFFFF, 0, "not made of 4 KiB pages"),
        (0xA0000, 0xAFFFF, 0x800, "not made of 4 KiB pages"),
        (0xA0000, 0x9FFFF, 0, "not made of 4 KiB pages"),
        (VIDEO, VIDEO + 0xFFF, VIDEO_SPACE, "has no 0x1000 bytes"),
    ):
        with pytest.raises(HvError, match=why):
            memory.map_video(first, last, offset, owner=1)
    for place in range(8):
        memory.map_video(VIDEO + place * 0x2000, VIDEO + place * 0x2000 + 0xFFF, 0, owner=1)
    with pytest.raises(HvError, match="at most 8 places"):
        memory.map_video(0xA0000, 0xAFFFF, 0, owner=1)
    with pytest.raises(HvError, match="no video memory at"):
        memory.unmap_video(VIDEO, VIDEO + 0xFFF, owner=2)


def test_what_was_written_is_kept_as_ranges_and_never_more_than_a_few():
    written = Written()
    written.add(0x1000, 0x1FFF)
    written.add(0x2000, 0x20FF)
    written.add(0x1800, 0x18FF)
    written.add(0x9000, 0x9000)
    assert written.take() == [(0x1000, 0x20FF), (0x9000, 0x9000)]
    assert written.take() == []
    for n in range(MAX_WRITTEN + 1, 0, -1):
        written.add(n << 12, n << 12)
    assert written.take() == [(0x1000, (MAX_WRITTEN + 1) << 12)]
