"""Single step, breakpoints, RF, ICEBP and what inhibits them (SDM vol. 3 ch. 18, §6.8.3)."""

import struct

import pytest

from hvcore.cpu.exitinfo import Emulate, ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDI, EDX, ESI, ESP, Bench
from tests.hvcore.cpu.test_execute import IDT, frame, gate, protected, to_ring_3

TF, RF, IF = 0x100, 0x10000, 0x200
BS, BD, BT = 0x4000, 0x2000, 0x8000
GD = 0x2000
HANDLER = 0x9010


@pytest.fixture
def flat() -> Bench:
    """Flat protected mode; the handler of #DB halts."""
    return protected(Bench(32, 2 << 20))


def trap(bench: Bench, code: str, flags: int = TF) -> tuple[int, int]:
    """Run with TF; where the first trap points, and DR6's cause."""
    bench.processor.rflags = flags | 2
    bench.processor.set_dr(6, 0xFFFF0FF0)
    assert bench.run(bytes.fromhex(code)) == ExitKind.HLT
    assert bench.processor.rip == HANDLER
    return frame(bench, 1)[0] - 0x7C00, bench.processor.dr(6) & 0xE00F


@pytest.mark.parametrize(
    ("code", "behind"),
    [
        ("40", 1),
        ("eb00 40", 2),
        ("9c 40", 1),
        ("6802000000 40", 5),
        ("0f20c0 40", 3),
        ("f3a4", 0),  # after one iteration of REP
        ("fa", 1),
        ("f8", 1),
        ("0fa2", 2),
        ("d9d0", 2),
    ],
)
def test_a_trap_follows_every_instruction(flat: Bench, code: str, behind: int) -> None:
    p = flat.processor
    p.intercepts.cpuid = False
    p.update_intercepts()
    p.set_gpr(ECX, 3)
    p.set_gpr(ESI, 0x6000)
    p.set_gpr(EDI, 0x6100)
    assert trap(flat, code) == (behind, BS)


def test_the_trap_of_the_last_iteration_points_behind_the_instruction(flat: Bench) -> None:
    p = flat.processor
    p.set_gpr(ECX, 1)
    p.set_gpr(EDI, 0x6100)
    assert trap(flat, "f3aa 40") == (2, BS)


def test_a_trap_between_iterations_pushes_rf_and_the_one_behind_does_not(flat: Bench) -> None:
    p = flat.processor
    for count, seen in ((2, RF), (1, 0)):
        p.set_gpr(ECX, count)
        p.set_gpr(EDI, 0x6100)
        trap(flat, "f3aa 40")
        assert frame(flat, 3)[2] & RF == seen


def test_popf_that_sets_tf_traps_after_the_next_instruction(flat: Bench) -> None:
    assert trap(flat, "6802010000 9d 40 40", 0) == (7, BS)


def test_popf_that_clears_tf_still_traps_itself(flat: Bench) -> None:
    flat.processor.set_gpr(ESP, 0x5000)
    flat.write(0x5000, struct.pack("<I", 2))
    assert trap(flat, "9d 40") == (1, BS)
    assert not frame(flat, 3)[2] & TF


def test_iret_that_sets_tf_traps_after_the_instruction_it_returns_to(flat: Bench) -> None:
    flat.processor.set_gpr(ESP, 0x5000)
    flat.write(0x5000, struct.pack("<III", 0x7C10, 8, TF | 2))
    flat.write(0x7C10, b"\x40\x40")
    assert trap(flat, "cf", 0) == (0x11, BS)


def test_int_clears_tf_and_is_not_trapped(flat: Bench) -> None:
    flat.processor.rflags = TF | 2
    assert flat.run(bytes.fromhex("cd30")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 0x30
    assert frame(flat, 3)[2] & TF


def test_a_fault_takes_the_place_of_the_trap(flat: Bench) -> None:
    flat.processor.rflags = TF | 2
    assert flat.run(bytes.fromhex("0f0b")) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 6
    assert flat.processor.dr(6) & BS == 0


@pytest.mark.parametrize("code", ["8ed3", "1617", "6617"])  # MOV SS, EBX; PUSH SS POP SS; POP SS
def test_traps_wait_behind_a_load_of_ss(flat: Bench, code: str) -> None:
    flat.processor.set_gpr(EBX, 0x10)
    flat.write(flat.processor.gpr(ESP), struct.pack("<I", 0x10))
    first = 1 if code == "1617" else 0  # PUSH SS has a trap of its own
    if first:
        assert trap(flat, code + "40 40") == (1, BS)
    else:
        assert trap(flat, code + "40 40") == (3, BS)
        assert flat.processor.gpr(EAX) & 0xFF == 0x29


def test_lss_inhibits_nothing(flat: Bench) -> None:
    flat.write(0x6000, struct.pack("<IH", 0x7000, 0x10))
    assert trap(flat, "0fb22500600000 40") == (7, BS)


def test_a_data_breakpoint_of_a_load_of_ss_is_told_behind_the_next_instruction(flat: Bench) -> None:
    flat.write(0x6000, struct.pack("<H", 0x10))
    flat.processor.set_dr(0, 0x6000)
    flat.processor.set_dr(7, 0x00070402)
    assert trap(flat, "8e1500600000 40 40", 0) == (7, 1)
    flat.processor.set_dr(7, 0x00070402)
    assert trap(flat, "8e1500600000 cd30", 0) == (0x9300 - 0x7C00, 1)  # inside the kernel's handler


def test_an_instruction_breakpoint_behind_a_load_of_ss_is_not_met(flat: Bench) -> None:
    flat.processor.set_gpr(EBX, 0x10)
    flat.processor.set_dr(0, 0x7C02)
    flat.processor.set_dr(7, 0x402)
    assert flat.run(bytes.fromhex("8ed3 40 f4")) == ExitKind.HLT
    assert flat.processor.rip == 0x7C03


def test_a_breakpoint_on_a_repeated_instruction_is_met_once(flat: Bench) -> None:
    p = flat.processor
    p.set_gpr(ECX, 5000)
    p.set_gpr(EDI, 0x20000)
    p.set_dr(0, 0x7C00)
    p.set_dr(7, 0x402)
    assert flat.run(bytes.fromhex("f3aa f4")) == ExitKind.HLT
    assert p.rip == HANDLER
    eip, cs, flags = frame(flat, 3)
    flat.write(p.gpr(ESP), struct.pack("<III", eip, cs, flags | RF))
    flat.write(0x8000, b"\xcf")
    p.rip = 0x8000
    assert flat.run() == ExitKind.HLT
    assert (p.rip, p.gpr(ECX)) == (0x7C02, 0)


def test_rf_outlives_a_stop_of_its_instruction(flat: Bench) -> None:
    p = flat.processor
    p.set_dr(0, 0x7C00)
    p.set_dr(7, 0x402)
    p.rflags = RF | 2
    assert flat.run(bytes.fromhex("a0 00800b00 f4")) == ExitKind.GUEST_PHYSICAL
    assert p.rflags & RF
    p.emulate_begin()
    assert p.emulate() == Emulate.READ
    p.emulate_supply(5)
    assert p.emulate() == Emulate.DONE
    assert flat.run() == ExitKind.HLT
    assert p.rip == 0x7C05


def test_skipping_an_instruction_ends_rf(flat: Bench) -> None:
    flat.processor.rflags = RF | 2
    assert flat.run(b"\xe4\x60") == ExitKind.IO
    flat.processor.skip(0x7C02)
    assert not flat.processor.rflags & RF


def test_a_data_breakpoint_on_a_device_traps_behind_the_emulated_instruction(flat: Bench) -> None:
    p = flat.processor
    p.set_dr(0, 0xB8000)
    p.set_dr(7, 0x00010402)
    assert flat.run(bytes.fromhex("a2 00800b00 f4")) == ExitKind.GUEST_PHYSICAL
    p.emulate_begin()
    assert p.emulate() == Emulate.DONE
    assert flat.run() == ExitKind.HLT
    assert (p.rip, frame(flat, 1)[0], p.dr(6) & 0xF) == (HANDLER, 0x7C05, 1)


def test_a_debug_exception_ends_general_detection(flat: Bench) -> None:
    flat.processor.set_dr(7, GD | 0x400)
    trap(flat, "40")
    assert flat.processor.dr(7) == 0x400


def test_general_detection_points_at_the_move_and_leaves_the_register(flat: Bench) -> None:
    flat.processor.set_dr(0, 0x1234)
    flat.processor.set_dr(7, GD | 0x400)
    assert trap(flat, "0f23c0", 0) == (0, BD)
    assert flat.processor.dr(0) == 0x1234


def test_icebp_is_a_trap_that_no_privilege_stops(flat: Bench) -> None:
    assert to_ring_3(flat, b"\xf1") == ExitKind.HLT
    assert flat.processor.rip == HANDLER
    assert frame(flat, 2) == (0x8001, 0x1B)
    assert flat.processor.dr(6) & 0xE00F == 0


def test_icebp_says_what_it_is(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << 1 | 1 << 3
    p.update_intercepts()
    for code, kind in (("f1", 5), ("cc", 6)):
        assert flat.run(bytes.fromhex(code)) == ExitKind.EXCEPTION
        assert (p.exit.event_kind, p.exit.instruction_length) == (kind, 1)
    p.rflags = TF | 2
    assert flat.run(b"\x40") == ExitKind.EXCEPTION
    assert (p.exit.event_kind, p.exit.debug_status) == (3, BS)


@pytest.mark.parametrize(("code", "external"), [("cc", 0), ("cd03", 0), ("ce", 0), ("f1", 1)])
def test_only_icebp_counts_as_external_in_an_error_code(flat: Bench, code: str, external: int) -> None:
    vector = {"ce": 4, "f1": 1}.get(code, 3)
    flat.write(IDT + 8 * vector, gate(8, 0, 0x6E))  # not present
    flat.processor.rflags = 2 | 0x800
    assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
    assert flat.processor.rip == 0x9000 + 16 * 11
    assert frame(flat, 2) == (vector * 8 + 2 + external, 0x7C00)


def test_dr4_and_dr5_are_dr6_and_dr7_until_cr4_de(flat: Bench) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << 6
    p.update_intercepts()
    assert flat.run(bytes.fromhex("0f21e0 0f21eb f4")) == ExitKind.HLT
    assert (p.gpr(EAX), p.gpr(EBX)) == (0xFFFF0FF0, 0x400)
    p.set_cr(4, 8)
    assert flat.run(bytes.fromhex("0f21e0 f4")) == ExitKind.EXCEPTION


def test_hlt_with_tf_traps_once_the_backend_has_skipped_it(flat: Bench) -> None:
    flat.processor.rflags = TF | 2
    assert flat.run(b"\xf4") == ExitKind.HLT
    assert flat.processor.skip(0x7C01)


@pytest.mark.parametrize(
    ("code", "dr7", "de", "hit"),
    [
        ("e460", 0x00020402, 8, True),
        ("e660", 0x00020402, 8, True),
        ("e461", 0x00020402, 8, False),
        ("e561", 0x000E0402, 8, True),  # four ports from 60
        ("e45f", 0x000E0402, 8, False),
        ("e55d", 0x000E0402, 8, True),
        ("e460", 0x00020402, 0, False),  # undefined without CR4.DE
        ("e460", 0x00000402, 8, False),
        ("ec", 0x00020402, 8, True),
        ("6c", 0x00020402, 8, True),
    ],
)
@pytest.mark.parametrize("intercepted", [True, False])
def test_an_io_breakpoint_traps_after_the_access(
    flat: Bench, code: str, dr7: int, de: int, hit: bool, intercepted: bool
) -> None:
    p = flat.processor
    p.intercepts.io = intercepted
    p.update_intercepts()
    p.set_gpr(EDX, 0x60)
    p.set_gpr(EDI, 0x6000)
    p.set_cr(4, de)
    p.set_dr(0, 0x60)
    p.set_dr(7, dr7)
    flat.load(bytes.fromhex(code) + b"\x90\xf4")
    if intercepted:
        assert flat.run() == ExitKind.IO
        p.skip(p.exit.next_rip)
    assert flat.run() == ExitKind.HLT
    assert (p.rip == HANDLER) == hit
    if hit:
        assert (frame(flat, 1)[0], p.dr(6) & 0xF) == (0x7C00 + len(code) // 2, 1)


def test_dr7_has_no_bits_that_do_not_exist(flat: Bench) -> None:
    flat.processor.set_gpr(EAX, 0xFFFFFFFF)
    assert flat.run(bytes.fromhex("0f23f8 0f21fb f4")) == ExitKind.HLT
    assert flat.processor.rip == HANDLER  # GD: reading it back is not allowed
    assert flat.processor.dr(7) == 0xFFFF07FF


@pytest.mark.parametrize(
    ("code", "flags", "dr7", "status"),
    [
        ("40", TF, 0x400, BS),
        ("0f23c0", 0, GD | 0x400, BD),
        ("40", 0, 0x402, 1),
        ("a300600000", TF, 0x00100408, BS | 2),
        ("f1", 0, GD | 0x400, None),
    ],
)
def test_a_backend_that_asks_for_debug_exceptions_is_told_the_cause(
    flat: Bench, code: str, flags: int, dr7: int, status: int | None
) -> None:
    p = flat.processor
    p.intercepts.exceptions = 1 << 1
    p.update_intercepts()
    p.rflags = flags | 2
    p.set_dr(0, 0x7C00)
    p.set_dr(1, 0x6000)
    p.set_dr(7, dr7)
    assert flat.run(bytes.fromhex(code) + b"\xf4") == ExitKind.EXCEPTION
    assert p.exit.vector == 1
    if status is not None:
        assert (p.exit.debug_status, p.exit.event_kind) == (status, 3)
        assert p.dr(6) & 0xE00F == status
    else:
        assert p.exit.event_kind == 5
        assert p.dr(7) & GD  # nobody has delivered it yet


# DR6 (SDM vol. 3 section 18.2.3)


def test_a_debug_exception_sets_the_breakpoint_bits_afresh_and_leaves_bs_bd_and_bt(flat: Bench) -> None:
    p = flat.processor
    for code, flags, dr7, old, expected in (
        ("40", TF, 0x400, 0x0F, BS),  # the single-step trap
        ("40", 0, 0x408, 0x05, 2),  # an instruction breakpoint
        ("a300600000 40", 0, 0x01010422, BS | BD | 0x0A, BS | BD | 5),  # two data breakpoints
        ("0f23c0", 0, GD | 0x400, BT | 0x0F, BT | BD),  # general detect
        ("f1", 0, 0x400, BS | 0x0F, BS),  # ICEBP has no bit of its own
    ):
        p.rflags = flags | 2
        for number, address in enumerate((0x6000, 0x7C00, 0x6000, 0)):
            p.set_dr(number, address)
        p.set_dr(6, 0xFFFF0FF0 | old)
        p.set_dr(7, dr7)
        assert flat.run(bytes.fromhex(code)) == ExitKind.HLT
        assert (p.rip, p.dr(6)) == (HANDLER, 0xFFFF0FF0 | expected), code


def test_a_fault_that_is_no_debug_exception_leaves_dr6(flat: Bench) -> None:
    flat.processor.set_dr(6, 0xFFFF0FFF)
    assert flat.run(b"\x0f\x0b") == ExitKind.HLT
    assert (flat.processor.rip, flat.processor.dr(6)) == (0x9000 + 16 * 6, 0xFFFF0FFF)


@pytest.mark.parametrize(
    ("code", "dr7", "behind", "status"),
    [("f1 40", 0x00070402, 8, 1), ("0f23c8 40", 0x00070402 | GD, 7, BD | 1)],
    ids=["ICEBP", "general detect"],
)
def test_a_data_breakpoint_held_by_mov_ss_merges_with_the_debug_exception_that_follows(
    flat: Bench, code: str, dr7: int, behind: int, status: int
) -> None:
    p = flat.processor
    flat.write(0x6000, struct.pack("<H", 0x10))
    p.set_dr(0, 0x6000)
    p.set_dr(7, dr7)
    sp = p.gpr(ESP)
    assert trap(flat, "8e1500600000" + code, 0) == (7 if behind == 8 else 6, status)
    assert p.gpr(ESP) == sp - 12  # one exception, not two


def test_an_io_breakpoint_and_the_single_step_trap_of_a_skipped_instruction_are_one_exception(
    flat: Bench,
) -> None:
    p = flat.processor
    p.rflags = TF | 2
    p.set_cr(4, 8)  # DE
    p.set_dr(1, 0x60)
    p.set_dr(6, 0xFFFF0FFD)
    p.set_dr(7, 0x00200408)
    sp = p.gpr(ESP)
    assert flat.run(bytes.fromhex("e660 40")) == ExitKind.IO
    assert not p.skip(p.exit.next_rip)
    assert flat.run() == ExitKind.HLT
    assert (p.rip, p.dr(6), p.gpr(ESP)) == (HANDLER, 0xFFFF0FF2 | BS, sp - 12)
