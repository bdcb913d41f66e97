"""What vectors and random instructions do not reach: exact stops, shadows, code that changes, privilege, MMIO."""

import struct

import pytest

from hvcore.cpu.exitinfo import Emulate, ExitKind
from hvcore.cpu.processor import Processor
from tests.hvcore.cpu.bench import CS, DS, EAX, EBX, ECX, EDI, EDX, ES, ESI, ESP, SS, Bench

VGA = 0xB8000


@pytest.fixture
def real() -> Bench:
    return Bench(16, 2 << 20)


@pytest.fixture
def flat() -> Bench:
    return Bench(32, 2 << 20)


# Counting and stopping


def test_a_budget_is_exact_even_inside_a_block(flat: Bench) -> None:
    flat.load(b"\x40" * 20 + b"\xf4")  # INC EAX
    assert flat.run(budget=7) == ExitKind.BUDGET
    assert (flat.processor.gpr(EAX), flat.processor.icount) == (7, 7)
    assert flat.processor.rip == 0x7C00 + 7


def test_a_fault_inside_a_block_does_not_count_and_points_at_its_instruction(flat: Bench) -> None:
    flat.processor.intercepts.exceptions = 1 << 6
    flat.processor.update_intercepts()
    assert flat.run(bytes.fromhex("40 40 0f0b 40")) == ExitKind.EXCEPTION
    assert (flat.processor.exit.vector, flat.processor.icount, flat.processor.rip) == (6, 2, 0x7C02)


def test_hlt_stops_before_it_completes(flat: Bench) -> None:
    assert flat.run(b"\x40\xf4") == ExitKind.HLT
    assert (flat.processor.icount, flat.processor.rip) == (1, 0x7C01)
    assert (flat.processor.exit.instruction_length, flat.processor.exit.next_rip) == (1, 0x7C02)


def test_a_port_access_tells_its_facts(real: Bench) -> None:
    assert real.run(bytes.fromhex("ba f003 66 ef")) == ExitKind.IO
    info = real.processor.exit
    assert (info.port, info.size, info.read, info.string, info.immediate) == (0x3F0, 4, False, False, False)
    assert (info.instruction_length, info.next_rip) == (2, 0x7C05)


def test_a_string_port_access_tells_where_its_operand_is(real: Bench) -> None:
    real.processor.set_segment(ES, 0x1234, 0x12340, 0xFFFF, 0x93)
    real.processor.set_gpr(EDI, 0x10010)
    real.processor.set_gpr(ECX, 5)
    assert real.run(bytes.fromhex("f3 6d")) == ExitKind.IO
    info = real.processor.exit
    assert (info.size, info.read, info.string, info.rep, info.segment, info.address_size) == (
        2,
        True,
        True,
        True,
        ES,
        2,
    )
    assert info.linear_address == 0x12350


def test_a_repeated_port_access_of_no_items_is_no_access(real: Bench) -> None:
    real.processor.set_gpr(ECX, 0)
    assert real.run(bytes.fromhex("f3 6e f4")) == ExitKind.HLT


# Interrupts


def vector(bench: Bench, number: int, offset: int) -> None:
    bench.write(number * 4, struct.pack("<HH", offset, 0))


def test_the_intr_pin_stops_at_the_next_boundary_whatever_if_says(real: Bench) -> None:
    real.processor.intercepts.external_interrupt = True
    real.processor.update_intercepts()
    real.pins[0] = 1
    assert real.run(b"\x40\x40\xf4") == ExitKind.EXTERNAL_INTERRUPT
    assert real.processor.icount == 0


def test_the_window_opens_one_instruction_behind_sti(real: Bench) -> None:
    real.processor.intercepts.interrupt_window = True
    real.processor.update_intercepts()
    assert real.run(bytes.fromhex("fb 40 40 f4")) == ExitKind.INTERRUPT_WINDOW
    assert (real.processor.icount, real.processor.rip) == (2, 0x7C02)


def test_the_window_stays_shut_behind_mov_ss(real: Bench) -> None:
    real.processor.intercepts.interrupt_window = True
    real.processor.update_intercepts()
    real.processor.rflags = 0x202
    real.processor.interruptibility = 2
    assert real.run(bytes.fromhex("8ed0 8ed0 40 40 f4")) == ExitKind.INTERRUPT_WINDOW
    assert real.processor.rip == 0x7C05


def test_hlt_in_the_shadow_of_sti_keeps_the_shadow(real: Bench) -> None:
    assert real.run(b"\xfb\xf4") == ExitKind.HLT
    assert real.processor.interruptibility == 1


def test_an_injected_interrupt_runs_its_handler_and_comes_back(real: Bench) -> None:
    vector(real, 0x21, 0x9000)
    real.write(0x9000, bytes.fromhex("43 cf"))  # INC BX; IRET
    real.processor.rflags = 0x202
    real.load(b"\x40\xf4")
    real.processor.inject(0, 0x21)
    assert real.processor.pending_injection
    assert real.run() == ExitKind.HLT
    assert (real.processor.gpr(EAX), real.processor.gpr(EBX)) == (1, 1)
    assert real.processor.rflags & 0x200


def test_a_software_interrupt_points_behind_itself(real: Bench) -> None:
    vector(real, 0x80, 0x9000)
    real.write(0x9000, b"\xf4")
    assert real.run(b"\xcd\x80") == ExitKind.HLT
    sp = real.processor.gpr(ESP)
    assert struct.unpack("<HHH", real.memory.read(sp, 6))[:2] == (0x7C02, 0)


def test_single_step_traps_after_each_instruction(real: Bench) -> None:
    vector(real, 1, 0x9000)
    real.write(0x9000, bytes.fromhex("43 cf"))
    real.processor.rflags = 0x102
    assert real.run(bytes.fromhex("40 40 f4")) == ExitKind.HLT
    assert (real.processor.gpr(EAX), real.processor.gpr(EBX)) == (2, 2)


def test_a_triple_fault_is_told(real: Bench) -> None:
    real.processor.set_idtr(0, 0)
    assert real.run(b"\x0f\x0b") == ExitKind.TRIPLE_FAULT


# Code that changes


def test_code_written_by_itself_never_runs_stale(flat: Bench) -> None:
    # loop: mov byte [patch+1], 7 / patch: mov al, 0 / ...: the store hits the block that is running
    code = bytes.fromhex("c605 087c0000 07 b0 00 f4")
    assert flat.run(code) == ExitKind.HLT
    assert flat.processor.gpr(EAX) & 0xFF == 7


def test_code_written_through_another_address_never_runs_stale(real: Bench) -> None:
    # the code runs at 0:7C00, and is patched at 07C0:0007
    real.processor.set_segment(DS, 0x7C0, 0x7C00, 0xFFFF, 0x93)
    code = bytes.fromhex("c606 0700 02 90 b0 01 f4")
    assert real.run(code) == ExitKind.HLT
    assert real.processor.gpr(EAX) & 0xFF == 2


def test_code_written_by_a_device_never_runs_stale(flat: Bench) -> None:
    assert flat.run(bytes.fromhex("b8 01000000 f4")) == ExitKind.HLT
    flat.write(0x7C01, b"\x05")
    flat.processor.rip = 0x7C00
    assert flat.run() == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 5


def test_a_string_store_over_its_own_code_finishes_first(flat: Bench) -> None:
    flat.processor.set_gpr(EDI, 0x7C00)
    flat.processor.set_gpr(ECX, 64)
    flat.processor.set_gpr(EAX, 0xF4)
    assert flat.run(b"\xf3\xaa" + b"\x40" * 62) == ExitKind.HLT
    assert flat.processor.rip == 0x7C02
    assert flat.processor.gpr(ECX) == 0


def test_an_instruction_across_a_page_sees_changes_in_both(flat: Bench) -> None:
    flat.load(bytes.fromhex("b8 11223344 f4"), 0x8FFE)
    assert flat.run() == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 0x44332211
    flat.write(0x9001, b"\x99")
    flat.processor.rip = 0x8FFE
    assert flat.run() == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 0x44992211


def test_data_beside_code_does_not_cost_blocks(flat: Bench) -> None:
    code = bytes.fromhex("b9 e8030000 890d 007f0000 49 75 f7 f4")
    assert flat.run(code) == ExitKind.HLT
    assert flat.processor.statistics["blocks"] < 8


def test_the_processor_says_what_its_misses_cost_if_it_is_asked(flat: Bench) -> None:
    flat.processor.timed = 1
    code = bytes.fromhex("b9 e8030000 bf 00000100 8b07 81c7 00100000 81e7 ffff0100 49 75 ef f4")
    assert flat.run(code) == ExitKind.HLT
    said = flat.processor.statistics
    assert said["tlb_misses"] > 20
    assert said["walking_ns"] > 0
    assert said["decoding_ns"] > 0
    assert (said["translating_ns"] > 0) == (said["translated"] > 0) == bool(flat.processor.translate_after)


# Memory that is none


def emulate(bench: Bench, reads: dict[int, int]) -> list[tuple[int, int, int]]:
    p: Processor = bench.processor
    p.emulate_begin()
    while (outcome := p.emulate()) == Emulate.READ:
        p.emulate_supply(reads[p.exit.guest_physical])
    assert outcome == Emulate.DONE
    return p.emulated_writes()


def test_a_store_to_no_memory_stops_with_its_facts(flat: Bench) -> None:
    assert flat.run(bytes.fromhex("66c705 00800b00 411f f4")) == ExitKind.GUEST_PHYSICAL
    info = flat.processor.exit
    assert (info.guest_physical, info.size, info.write, info.read, info.data) == (VGA, 2, True, False, 0x1F41)
    assert info.instruction_bytes.startswith(bytes.fromhex("66c70500800b00411f"))
    assert emulate(flat, {}) == [(VGA, 2, 0x1F41)]
    assert flat.run() == ExitKind.HLT


def test_a_modification_of_no_memory_reads_writes_and_sets_flags(flat: Bench) -> None:
    assert flat.run(bytes.fromhex("8005 00800b00 01 f4")) == ExitKind.GUEST_PHYSICAL
    assert flat.processor.exit.read
    assert emulate(flat, {VGA: 0xFF}) == [(VGA, 1, 0)]
    assert flat.processor.rflags & 0x41 == 0x41
    assert flat.run() == ExitKind.HLT


def test_a_move_from_no_memory_to_no_memory_is_one_iteration(flat: Bench) -> None:
    flat.processor.set_gpr(ESI, VGA)
    flat.processor.set_gpr(EDI, VGA + 160)
    flat.processor.set_gpr(ECX, 2)
    assert flat.run(bytes.fromhex("f3 a5 f4")) == ExitKind.GUEST_PHYSICAL
    assert emulate(flat, {VGA: 0x12345678}) == [(VGA + 160, 4, 0x12345678)]
    assert flat.processor.gpr(ECX) == 1
    assert flat.run() == ExitKind.GUEST_PHYSICAL
    assert emulate(flat, {VGA + 4: 1}) == [(VGA + 164, 4, 1)]
    assert flat.run() == ExitKind.HLT


def test_firmware_reads_and_does_not_change() -> None:
    bench = Bench(32, 2 << 20)
    bench.memory.add_rom(0xF0000, b"\x77" * 4096)
    bench.processor.memory_changed()
    assert bench.run(bytes.fromhex("c605 00000f00 11 a0 00000f00 f4")) == ExitKind.HLT
    assert bench.processor.gpr(EAX) & 0xFF == 0x77


def test_a20_wraps_at_one_mebibyte(real: Bench) -> None:
    real.write(0x500, b"\x11")
    real.write(0x100500, b"\x22")
    real.processor.set_segment(DS, 0xFFFF, 0xFFFF0, 0xFFFF, 0x93)
    code = bytes.fromhex("a0 1005 f4")
    assert real.run(code) == ExitKind.HLT
    assert real.processor.gpr(EAX) & 0xFF == 0x22
    real.pins[0x200] = 0
    real.processor.sample_pins()
    assert real.run(code) == ExitKind.HLT
    assert real.processor.gpr(EAX) & 0xFF == 0x11


# Protected mode

GDT, IDT, TSS = 0x2000, 0x3000, 0x4000


def descriptor(base: int, limit: int, access: int, flags: int) -> bytes:
    return struct.pack(
        "<HHBBBB",
        limit & 0xFFFF,
        base & 0xFFFF,
        base >> 16 & 0xFF,
        access,
        flags << 4 | limit >> 16 & 15,
        base >> 24,
    )


def gate(selector: int, offset: int, kind: int, count: int = 0) -> bytes:
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, count, kind, offset >> 16)


def protected(bench: Bench) -> Bench:
    """A kernel's tables: 8 code0, 10 data0, 1B code3, 23 data3, 28 TSS, 30 call gate, 38 conforming, 40 not there."""
    table = [
        bytes(8),
        descriptor(0, 0xFFFFF, 0x9A, 0xC),
        descriptor(0, 0xFFFFF, 0x92, 0xC),
        descriptor(0, 0xFFFFF, 0xFA, 0xC),
        descriptor(0, 0xFFFFF, 0xF2, 0xC),
        descriptor(TSS, 0x67, 0x89, 0),
        gate(8, 0xA000, 0xEC, 1),
        descriptor(0, 0xFFFFF, 0x9E, 0xC),
        descriptor(0, 0xFFFFF, 0x12, 0xC),
    ]
    bench.write(GDT, b"".join(table))
    bench.write(TSS, struct.pack("<III", 0, 0x6000, 0x10) + bytes(0x5A) + struct.pack("<H", 0x68))
    for number in range(64):
        bench.write(IDT + 8 * number, gate(8, 0x9000 + 16 * number, 0xEE if number == 0x30 else 0x8E))
        bench.write(0x9000 + 16 * number, b"\xf4")
    bench.processor.set_gdtr(GDT, len(table) * 8 - 1)
    bench.processor.set_idtr(IDT, 64 * 8 - 1)
    bench.load(bytes.fromhex("66b82800 0f00d8".replace(" ", "")) + b"\xf4")
    assert bench.run() == ExitKind.HLT
    return bench


def to_ring_3(bench: Bench, code: bytes) -> int:
    """Return to ring 3 at 8000 by IRET, with `code` there; the next stop's kind."""
    bench.write(0x8000, code)
    p = bench.processor
    p.set_gpr(ESP, 0x5000 - 20)
    bench.write(0x5000 - 20, struct.pack("<IIIII", 0x8000, 0x1B, 0x202, 0x7000, 0x23))
    return bench.run(b"\xcf")


def frame(bench: Bench, words: int) -> tuple[int, ...]:
    return struct.unpack(f"<{words}I", bench.memory.read(bench.processor.gpr(ESP), 4 * words))


def test_an_interrupt_from_ring_3_switches_to_the_stack_of_the_tss(flat: Bench) -> None:
    protected(flat)
    assert to_ring_3(flat, b"\xcd\x30") == ExitKind.HLT
    p = flat.processor
    assert (p.cpl, p.segment(SS).selector, p.gpr(ESP)) == (0, 0x10, 0x6000 - 20)
    assert frame(flat, 5) == (0x8002, 0x1B, 0x202, 0x7000, 0x23)
    assert not p.rflags & 0x200


def test_returning_to_ring_3_takes_kernel_data_segments_away(flat: Bench) -> None:
    protected(flat)
    flat.processor.set_segment(DS, 0x10, 0, 0xFFFFFFFF, 0xC093)
    to_ring_3(flat, b"\xcd\x30")
    assert flat.processor.segment(DS).attributes == 0x10000


def test_ring_3_may_not_use_a_kernel_gate(flat: Bench) -> None:
    protected(flat)
    assert to_ring_3(flat, b"\xcd\x31") == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 13
    assert frame(flat, 2) == (0x31 * 8 + 2, 0x8000)


@pytest.mark.parametrize("code", ["f4", "fa", "0f20c0", "0f0100", "e460", "0f30"])
def test_ring_3_may_not_do_what_a_kernel_does(flat: Bench, code: str) -> None:
    protected(flat)
    assert to_ring_3(flat, bytes.fromhex(code)) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 13
    assert frame(flat, 2) == (0, 0x8000)


def test_the_permission_bitmap_opens_single_ports(flat: Bench) -> None:
    protected(flat)
    flat.write(TSS + 0x68, b"\xff" * 12 + b"\xfe" + b"\xff" * 8)
    flat.write(GDT + 0x28, descriptor(TSS, 0x7F, 0x89, 0))
    protected_tr = flat.processor.segment(7)
    flat.processor.set_segment(7, protected_tr.selector, TSS, 0x7F, 0x8B)
    assert to_ring_3(flat, b"\xe4\x60") == ExitKind.IO
    assert flat.processor.exit.port == 0x60
    flat.processor.rip = 0x8000
    flat.write(0x8000, b"\xe4\x61")
    assert flat.run() == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 13


def test_a_call_gate_copies_parameters_to_the_inner_stack_and_retf_drops_them(flat: Bench) -> None:
    protected(flat)
    flat.write(0xA000, bytes.fromhex("8b442408 ca0400"))  # MOV EAX, [ESP+8]; RETF 4
    code = bytes.fromhex("68 78563412 9a 00000000 3300 cd30")
    assert to_ring_3(flat, code) == ExitKind.HLT
    assert flat.processor.gpr(EAX) == 0x12345678
    assert frame(flat, 5)[3:] == (0x7000, 0x23)


def test_a_far_jump_to_conforming_code_keeps_the_ring(flat: Bench) -> None:
    protected(flat)
    flat.write(0xB000, b"\xcd\x30")
    assert to_ring_3(flat, bytes.fromhex("ea 00b00000 3800")) == ExitKind.HLT
    assert frame(flat, 2) == (0xB002, 0x3B)


def test_a_segment_that_is_not_present_raises_np_with_its_selector(flat: Bench) -> None:
    protected(flat)
    assert flat.run(bytes.fromhex("66b84000 8ed8")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 11
    assert frame(flat, 2) == (0x40, 0x7C04)


def test_a_null_segment_loads_and_faults_when_used(flat: Bench) -> None:
    protected(flat)
    assert flat.run(bytes.fromhex("31c0 8ed8 8b00")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 13
    assert frame(flat, 2) == (0, 0x7C04)


def test_an_expand_down_segment_is_valid_above_its_limit(flat: Bench) -> None:
    protected(flat)
    flat.processor.set_segment(DS, 0x10, 0, 0xFFF, 0xC097)
    assert flat.run(bytes.fromhex("a1 00200000 f4")) == ExitKind.HLT
    assert flat.processor.rip == 0x7C05
    assert flat.run(bytes.fromhex("a1 fd0f0000 f4")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 13


def test_a_fault_while_a_contributory_fault_is_delivered_is_a_double_fault(flat: Bench) -> None:
    protected(flat)
    flat.write(IDT + 13 * 8, gate(0x40, 0, 0x8E))  # #GP through a segment that is not present: #NP
    assert flat.run(bytes.fromhex("ea 00000000 0000")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 8
    assert frame(flat, 2) == (0, 0x7C00)


def test_a_failed_write_leaves_flags_and_destination_alone(flat: Bench) -> None:
    protected(flat)
    flat.processor.set_segment(DS, 0x10, 0, 0xFFFFFFFF, 0xC091)  # read only
    flat.processor.rflags = 0x246
    assert flat.run(bytes.fromhex("8305 00700000 01")) == ExitKind.HLT
    assert frame(flat, 4)[3] & 0x8D5 == 0x44


def test_the_way_from_real_to_protected_mode_and_back_leaves_big_segments(real: Bench) -> None:
    real.write(GDT, bytes(8) + descriptor(0, 0xFFFFF, 0x92, 0x8))
    real.write(0x2100, struct.pack("<HI", 15, GDT))
    real.write(0x110000, b"\x5a")
    code = bytes.fromhex(
        "0f01160021 0f20c0 0c01 0f22c0 b80800 8ed8 0f20c0 24fe 0f22c0 31c0 8ed8 67a000001100 f4"
    )
    assert real.run(code) == ExitKind.HLT
    assert real.processor.gpr(EAX) & 0xFF == 0x5A
    assert real.processor.segment(DS).limit == 0xFFFFFFFF


def test_pusha_keeps_the_stack_pointer_it_began_with(real: Bench) -> None:
    assert real.run(b"\x60\xf4") == ExitKind.HLT
    assert struct.unpack_from("<H", real.memory.read(real.processor.gpr(ESP), 16), 6)[0] == 0x7000


def test_cmpxchg8b_exchanges_only_what_it_expects(flat: Bench) -> None:
    p = flat.processor
    flat.write(0x8000, struct.pack("<Q", 0x1122334455667788))
    p.set_gpr(EAX, 0x55667788)
    p.set_gpr(EDX, 0x11223344)
    p.set_gpr(EBX, 1)
    p.set_gpr(ECX, 2)
    assert flat.run(bytes.fromhex("0fc70d 00800000 f4")) == ExitKind.HLT
    assert struct.unpack("<Q", flat.memory.read(0x8000, 8))[0] == 0x200000001
    assert p.rflags & 0x40
    p.rip = 0x7C00
    assert flat.run() == ExitKind.HLT
    assert (p.gpr(EAX), p.gpr(EDX), p.rflags & 0x40) == (1, 2, 0)


def test_the_same_guest_runs_the_same_number_of_instructions(flat: Bench) -> None:
    code = bytes.fromhex("b9 10270000 69c0 6d4ec641 05 39300000 49 75 f2 f4")
    counts = set()
    for _ in range(3):
        flat.reset()
        start = flat.processor.icount
        assert flat.run(code, 10_000_000) == ExitKind.HLT
        counts.add((flat.processor.icount - start, flat.processor.gpr(EAX)))
    assert len(counts) == 1
    assert flat.processor.segment(CS).selector == 8


# CMP EAX, EBX; CMP EAX, 2; TEST EAX, EBX
@pytest.mark.parametrize("compare", ["39d8", "3d 02000000", "85d8"])
@pytest.mark.parametrize("code", range(16))
def test_a_compare_and_its_jump_are_the_same_in_one_go_and_step_by_step(
    flat: Bench, compare: str, code: int
) -> None:
    jump = bytes([0x70 | code, 2])
    program = bytes.fromhex(compare) + jump + bytes.fromhex("4141 42 f4")
    for a, b in ((0, 0), (1, 2), (2, 1), (0x80000000, 1), (1, 0x80000000), (0xFFFFFFFF, 0xFFFFFFFF), (2, 3)):
        ends = []
        for budget in (100, 1):
            flat.reset()
            p = flat.processor
            p.set_gpr(EAX, a)
            p.set_gpr(EBX, b)
            start = p.icount
            flat.load(program)
            while flat.run(budget=budget) == ExitKind.BUDGET:
                pass
            ends.append((flat.registers(), p.rflags & 0x8C5, p.rip, p.icount - start))
        assert ends[0] == ends[1], (hex(a), hex(b))


# Debug registers


def debug_vector(bench: Bench) -> None:
    protected(bench)
    bench.write(0x9010, bytes.fromhex("f4"))


def test_an_instruction_breakpoint_faults_before_its_instruction_and_rf_lets_it_pass(flat: Bench) -> None:
    debug_vector(flat)
    flat.processor.set_dr(0, 0x7C01)
    flat.processor.set_dr(7, 0x402)
    assert flat.run(bytes.fromhex("40 40 40 f4")) == ExitKind.HLT
    assert flat.processor.rip == 0x9010
    assert flat.processor.dr(6) & 0xF == 1
    assert frame(flat, 3)[0] == 0x7C01
    eip, cs, flags = frame(flat, 3)
    flat.write(flat.processor.gpr(ESP), struct.pack("<III", eip, cs, flags | 0x10000))
    flat.write(0x8000, b"\xcf")
    flat.processor.rip = 0x8000
    assert flat.run() == ExitKind.HLT
    assert (flat.processor.rip, flat.processor.gpr(EAX) & 0xFF) == (0x7C03, 0x2B)


@pytest.mark.parametrize(
    ("code", "dr7", "hit"),
    [
        ("a3 00600000 90", 0x00010402, True),  # write, one byte
        ("a1 00600000 90", 0x00010402, False),
        ("a1 00600000 90", 0x00030402, True),  # read or write
        ("a3 fc5f0000 90", 0x00010402, False),
        ("a3 fd5f0000 90", 0x00010402, True),
        ("a3 04600000 90", 0x000D0402, False),  # four bytes from 6000
        ("c605 03600000 01", 0x000D0402, True),
    ],
)
def test_a_data_breakpoint_traps_after_the_access(flat: Bench, code: str, dr7: int, hit: bool) -> None:
    debug_vector(flat)
    flat.processor.set_dr(0, 0x6000)
    flat.processor.set_dr(7, dr7)
    assert flat.run(bytes.fromhex(code) + b"\xf4") == ExitKind.HLT
    assert (flat.processor.rip == 0x9010) == hit
    assert (flat.processor.dr(6) & 1) == hit
    if hit:
        assert frame(flat, 1)[0] == 0x7C00 + (5 if code[0] == "a" else 7)


def test_general_detect_guards_the_debug_registers(flat: Bench) -> None:
    debug_vector(flat)
    flat.processor.set_dr(7, 0x2400)
    assert flat.run(bytes.fromhex("0f23c0 f4")) == ExitKind.HLT
    assert flat.processor.rip == 0x9010
    assert flat.processor.dr(6) & 0x2000
    assert flat.processor.dr(7) & 0x2000 == 0


def test_a_fault_pushes_rf(flat: Bench) -> None:
    protected(flat)
    assert flat.run(bytes.fromhex("0f0b")) == ExitKind.HLT
    assert frame(flat, 3)[2] & 0x10000
