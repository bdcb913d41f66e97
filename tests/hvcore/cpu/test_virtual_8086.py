"""Virtual-8086 mode without extensions (SDM vol. 3 ch. 21): the way in, the way out, what is trapped."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, ES, ESP, FS, GS, SS, Bench
from tests.hvcore.cpu.test_execute import TSS, frame, protected

VM, IF, IOPL3 = 1 << 17, 0x200, 0x3000


def enter(code: bytes, flags: int = VM | IF) -> tuple[Bench, int]:
    """Enter the mode at 1000:0000 with stack 2000:FFF0 by IRET, run `code`; the bench and the next stop."""
    bench = protected(Bench(32, 2 << 20))
    bench.write(0x10000, code)
    top = 0x5000
    words = (0, 0x1000, flags, 0xFFF0, 0x2000, 0x3000, 0x3100, 0x3200, 0x3300)  # EIP CS FL ESP SS ES DS FS GS
    bench.processor.set_gpr(ESP, top)
    bench.write(top, struct.pack("<9I", *words))
    return bench, bench.run(b"\xcf")


def test_segments_are_sixteen_times_their_selectors() -> None:
    bench, stop = enter(bytes.fromhex("b87856 a30200 cc"))
    assert stop == ExitKind.HLT
    assert struct.unpack("<H", bench.memory.read(0x31002, 2)) == (0x5678,)


def test_an_event_leaves_the_mode_through_ring_0_and_saves_every_segment() -> None:
    bench, stop = enter(bytes.fromhex("90 0f0b"))
    p = bench.processor
    assert stop == ExitKind.HLT
    assert p.rip == 0x9000 + 16 * 6
    assert (p.cpl, p.segment(SS).selector, p.gpr(ESP)) == (0, 0x10, 0x6000 - 36)
    assert frame(bench, 9) == (1, 0x1000, VM | IF | 0x10002, 0xFFF0, 0x2000, 0x3000, 0x3100, 0x3200, 0x3300)
    assert not p.rflags & VM
    assert all(p.segment(number).attributes == 0x10000 for number in (ES, DS, FS, GS))


@pytest.mark.parametrize("code", ["fa", "fb", "9c", "9d", "cf", "cd10", "f4", "0f20c0", "e460"])
def test_sensitive_instructions_fault_below_iopl_3(code: str) -> None:
    bench, stop = enter(bytes.fromhex(code))
    assert stop == ExitKind.HLT
    assert bench.processor.rip == 0x9000 + 16 * 13
    assert frame(bench, 2) == (0, 0)


@pytest.mark.parametrize(("code", "flags"), [("fa", 0), ("fb", IF)])
def test_with_iopl_3_the_interrupt_flag_is_the_guests(code: str, flags: int) -> None:
    bench, stop = enter(bytes.fromhex(code) + b"\xcc", VM | IOPL3 | (IF ^ flags))
    assert stop == ExitKind.HLT
    assert bench.processor.rip == 0x9000 + 16 * 13  # INT3's gate is the kernel's
    assert frame(bench, 4)[3] & IF == flags


def test_with_iopl_3_pushf_shows_and_popf_keeps_iopl() -> None:
    bench, stop = enter(bytes.fromhex("9c 58 25ff0f 50 9d 9c 5b cd30"), VM | IOPL3 | IF)
    assert stop == ExitKind.HLT
    assert bench.processor.rip == 0x9000 + 16 * 0x30
    assert bench.processor.gpr(3) & IOPL3 == IOPL3


def test_ports_are_checked_against_the_bitmap_whatever_iopl_says() -> None:
    bench, stop = enter(bytes.fromhex("e460"), VM | IOPL3 | IF)
    assert stop == ExitKind.HLT
    assert bench.processor.rip == 0x9000 + 16 * 13
    bench.write(TSS + 0x68, bytes(32))
    bench.processor.set_segment(7, 0x28, TSS, 0x88, 0x8B)
    bench.processor.set_gpr(ESP, 0x5000)
    bench.processor.rip = 0x7C00
    assert bench.run() == ExitKind.IO


def test_a_far_jump_stays_in_the_mode() -> None:
    bench, stop = enter(bytes.fromhex("ea 0600 0010 90 0f0b"))
    assert stop == ExitKind.HLT
    assert frame(bench, 2) == (6, 0x1000)
    assert bench.processor.segment(CS).selector == 8
