"""Host code in segments that are not flat, and in 16-bit code: bases, limits, rights and the stack pointer."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, EAX, EBX, ECX, EDX, ESP, FLAT_CODE, FLAT_DATA, FS, GS, SS, Bench
from tests.hvcore.cpu.jit.host_code import GENERAL, faulted, go


def test_the_code_segment_is_never_written_through(flat: Bench) -> None:
    flat.processor.set_gpr(EAX, 1)
    # mov [9000], eax / inc eax / mov cs:[9000], eax
    assert flat.run(bytes.fromhex("a3 00900000 40 2ea3 00900000")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C06)
    assert flat.memory.read(0x9000, 4) == b"\1\0\0\0"
    assert flat.processor.gpr(EAX) == 2


def test_a_code_segment_that_may_only_be_executed_is_not_read(flat: Bench) -> None:
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE & ~2)
    # mov eax, [9000] / mov eax, cs:[9000] / hlt
    assert flat.run(bytes.fromhex("a1 00900000 2ea1 00900000 f4")) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C05)
    flat.processor.set_segment(CS, 8, 0, 0xFFFFFFFF, FLAT_CODE)
    assert go(flat) == ExitKind.HLT


def test_the_last_of_a_block_that_loads_a_segment_leaves_the_host_code(flat: Bench) -> None:
    """At the end of a page, or after 32 operations, a POP DS ends its block; what follows is linked to flat code."""
    # pop ds / (next page) mov eax, [2000] / hlt
    flat.write(0x8FFF, bytes.fromhex("1f a1 00200000 f4"))
    flat.write(0x1000, bytes(16) + bytes.fromhex("ffff 0000 0093 cf00 ffff 0050 0093 4000"))
    flat.processor.set_gdtr(0x1000, 0x1F)
    flat.write(0x2000, b"flat")
    flat.write(0x7000, b"base")
    for selector, expected in ((0x10, b"flat"), (0x10, b"flat"), (0x10, b"flat"), (0x18, b"base")):
        flat.memory.write(0x6000, bytes([selector]))
        flat.processor.set_gpr(ESP, 0x6000)
        assert go(flat, 0x8FFF) == ExitKind.HLT
        assert flat.processor.gpr(EAX).to_bytes(4, "little") == expected


GDT = bytes(16) + bytes.fromhex("ffff 0000 0093 cf00 ffff 0050 0093 4000 0f00 0060 0093 4000")
FLAT, AT_5000, AT_6000_SMALL = 0x10, 0x18, 0x20


def with_gdt(bench: Bench) -> None:
    bench.write(0x1000, GDT)
    bench.processor.set_gdtr(0x1000, len(GDT) - 1)
    for base, text in ((0, b"flat"), (0x5000, b"base"), (0x6000, b"here")):
        bench.write(base + 0x2000, text)


LOADS = {  # of DS or ES with the selector at 3000, in mid-block
    "MOV DS": ("668e1d 00300000", "8b0d 00200000"),
    "POP DS": ("ff35 00300000 1f", "8b0d 00200000"),
    "POP ES": ("ff35 00300000 07", "268b0d 00200000"),
    "LDS": ("c515 fc2f0000", "8b0d 00200000"),
    "LES": ("c415 fc2f0000", "268b0d 00200000"),
}


@pytest.mark.parametrize("how", LOADS)
def test_a_segment_that_is_not_flat_any_more_leaves_the_host_code(flat: Bench, how: str) -> None:
    load, read = LOADS[how]
    with_gdt(flat)
    flat.load(bytes.fromhex("43" + load + read + "43 f4"))
    for selector, expected in ((FLAT, b"flat"), (FLAT, b"flat"), (AT_5000, b"base"), (FLAT, b"flat")):
        flat.write(0x8000, selector.to_bytes(4, "little"))
        flat.processor.set_segment(DS, FLAT, 0, 0xFFFFFFFF, FLAT_DATA)
        flat.write(0x3000, selector.to_bytes(4, "little"))
        before = flat.processor.icount
        assert go(flat) == ExitKind.HLT
        assert flat.processor.gpr(ECX).to_bytes(4, "little") == expected
        assert flat.processor.icount - before == 4 + how.startswith("POP")


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 7, 97])
def test_code_that_loads_flat_segments_again_and_again_counts_and_ends_as_interpreted(budget: int) -> None:
    # again: mov ds, eax / inc ebx / mov ss, eax / inc edx / push ds / pop es / add ebx, ecx / loop again / hlt
    code = bytes.fromhex("8ed8 43 8ed0 42 1e 07 01cb e2f4 f4")
    ends = []
    for after in (0, 1):
        bench = Bench(32, 1 << 20)
        with_gdt(bench)
        bench.processor.translate_after = after
        bench.load(code)
        for number, value in ((EAX, FLAT), (EBX, 0), (ECX, 200), (EDX, 0)):
            bench.processor.set_gpr(number, value)
        stops = []
        while (kind := bench.run(budget=budget)) == ExitKind.BUDGET:
            stops.append((bench.processor.rip, bench.processor.icount, bench.registers()))
        assert kind == ExitKind.HLT
        ends.append((stops, bench.processor.rip, bench.processor.icount, bench.registers()))
    assert ends[1] == ends[0]
    assert ends[0][2] == 8 * 200


@pytest.mark.parametrize("prefix", ["64", "65"], ids=["FS", "GS"])
def test_fs_and_gs_have_their_base_and_limit(flat: Bench, prefix: str) -> None:
    with_gdt(flat)
    number = FS if prefix == "64" else GS
    # inc ebx / mov ecx, fs:[eax] / mov fs:[eax], edx / add fs:[eax], ebx / hlt
    flat.load(bytes.fromhex(f"43 {prefix}8b08 {prefix}8910 {prefix}0118 f4"))
    p = flat.processor
    for limit, offset, fits in (
        (0xFFFFFFFF, 0x2000, True), (0x2003, 0x2000, True), (0x2002, 0x2000, False), (0x2003, 0x2001, False),
        (0x2003, 0xFFFFFFFE, False), (0xFFFFFFFF, 0xFFFFB000, True),
    ):  # fmt: skip
        p.set_segment(number, 0, 0x5000, limit, FLAT_DATA)
        p.set_gpr(EBX, 0)
        p.set_gpr(EDX, 0x10)
        p.set_gpr(EAX, offset)
        flat.write((0x5000 + offset) & 0xFFFFF, b"base")
        assert go(flat) == (ExitKind.HLT if fits else ExitKind.EXCEPTION)
        if fits:
            assert p.gpr(ECX).to_bytes(4, "little") == b"base"
            assert flat.memory.read((0x5000 + offset) & 0xFFFFFFFF, 4) == b"\x11\0\0\0"
        else:
            assert faulted(flat) == (GENERAL, 0x7C01)
            assert flat.memory.read((0x5000 + offset) & 0xFFFFF, 4) == b"base"


def test_a_segment_that_may_only_be_read_is_not_written(flat: Bench) -> None:
    # mov ecx, fs:[2000] / mov fs:[2000], edx
    flat.load(bytes.fromhex("648b0d 00200000 648915 00200000 f4"))
    flat.write(0x2000, b"base")
    assert go(flat) == ExitKind.HLT
    flat.write(0x2000, b"base")
    flat.processor.set_segment(FS, 0, 0, 0xFFFFFFFF, FLAT_DATA & ~2)
    assert go(flat) == ExitKind.EXCEPTION
    assert faulted(flat) == (GENERAL, 0x7C07)
    assert flat.memory.read(0x2000, 4) == b"base"


def real_segment(bench: Bench, number: int, selector: int) -> None:
    bench.processor.set_segment(number, selector, selector << 4, 0xFFFF, 0x9B if number == CS else 0x93)


def test_a_loop_of_real_mode_is_host_code(real: Bench) -> None:
    real_segment(real, DS, 0x1000)
    p = real.processor
    # mov cx, 1000 / again: add ax, cx / mov [bx], ax / push ax / pop dx / call next / next: pop si / loop again / hlt
    assert real.run(bytes.fromhex("b9e803 01c8 8907 50 5a e80000 5e e2f4 f4"), 10000) == ExitKind.HLT
    assert p.gpr(EAX) & 0xFFFF == sum(range(1001)) & 0xFFFF
    assert real.memory.read(0x10000 + (p.gpr(EBX) & 0xFFFF), 2) == (sum(range(1001)) & 0xFFFF).to_bytes(
        2, "little"
    )
    assert sum(p.interpreted.values()) == 1  # the HLT


@pytest.mark.parametrize("page", [0, 0x340])
def test_a_jump_past_64_kib_goes_on_at_the_segments_beginning(real: Bench, page: int) -> None:
    """SDM vol. 2, JMP: with 16-bit operands the upper half of EIP is cleared. The same code has two values of IP."""
    selector = 0x2000 + (page >> 4)
    at = (selector << 4) + 0xFFF0
    real.write(at, bytes.fromhex("40 eb1d"))  # inc ax / jmp 0010
    real.write(selector << 4, bytes(0x10) + b"\x43\xf4")  # 0010: inc bx / hlt
    real.write(at + 0x20, b"\x41\xf4")  # where the jump leads from a lower IP: inc cx / hlt
    p = real.processor
    for segment, counts in ((selector, EBX), (selector + 0x800, ECX)) * 3:
        real_segment(real, CS, segment)
        for number in (EAX, EBX, ECX):
            p.set_gpr(number, 0)
        assert go(real, at - (segment << 4)) == ExitKind.HLT
        assert p.gpr(EAX) == 1
        assert p.gpr(counts) == 1


def test_code_that_runs_into_the_end_of_its_segment_faults_there(real: Bench) -> None:
    real.write(0x2FFFC, bytes.fromhex("40404040"))
    real_segment(real, CS, 0x2000)
    for _ in range(3):
        assert go(real, 0xFFFC) == ExitKind.EXCEPTION
        assert faulted(real) == (GENERAL, 0x10000)


def test_an_access_over_the_end_of_a_segment_faults_in_host_code(real: Bench) -> None:
    p = real.processor
    real.load(bytes.fromhex("40 8907 43 f4"))  # inc ax / mov [bx], ax / inc bx / hlt
    for _ in range(3):
        p.set_gpr(EBX, 0xFFFE)
        assert go(real) == ExitKind.HLT
        p.set_gpr(EBX, 0xFFFF)
        assert go(real) == ExitKind.EXCEPTION
        assert faulted(real) == (GENERAL, 0x7C01)


def test_a_16_bit_stack_pointer_wraps_and_keeps_its_upper_half(real: Bench) -> None:
    p = real.processor
    real_segment(real, SS, 0x3000)
    real.load(bytes.fromhex("50 6651 5b f4"))  # push ax / push ecx / pop bx / hlt
    for _ in range(3):
        p.set_gpr(ESP, 0x12340000)
        p.set_gpr(EAX, 0xA5A5)
        p.set_gpr(ECX, 0x55667788)
        assert go(real) == ExitKind.HLT
        assert p.gpr(ESP) == 0x1234FFFC
        assert p.gpr(EBX) & 0xFFFF == 0x7788
        assert real.memory.read(0x3FFFA, 6) == bytes.fromhex("8877 6655 a5a5")
