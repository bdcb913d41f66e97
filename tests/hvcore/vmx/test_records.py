"""The record of every VM exit, against SDM vol. 3 chapter 28 and appendix C, and its decoding."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.vmx.backend import VmxBackend
from hvcore.vmx.capabilities import Proc
from hvcore.vmx.vmcs import Field
from tests.hvcore.fake_processor import FakeProcessor, Handlers, intercepted, io


class Bench:
    def __init__(self):
        self.cpu = FakeProcessor()
        self.backend = VmxBackend(self.cpu)
        self.handlers = Handlers()
        self.backend.attach(self.handlers)

    def exit(self, kind, **fields):
        self.cpu.script.append((kind, fields))
        self.backend.enter(1000)

    def read(self, field):
        return self.backend.vmcs.read(field)

    def record(self):
        """Reason, qualification, interruption information, IDT-vectoring information, instruction length."""
        return tuple(self.read(field) for field in (0x4402, 0x6400, 0x4404, 0x4408, 0x440C))


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ExitKind.CPUID, 10),
        (ExitKind.HLT, 12),
        (ExitKind.INVD, 13),
        (ExitKind.RDPMC, 15),
        (ExitKind.RDTSC, 16),
        (ExitKind.RDMSR, 31),
        (ExitKind.WRMSR, 32),
        (ExitKind.PAUSE, 40),
        (ExitKind.WBINVD, 54),
    ],
)
def test_a_plain_instruction_records_its_reason_and_length(bench, kind, reason):
    bench.exit(kind, instruction_length=2)
    assert bench.record() == (reason, 0, 0, 0, 2)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (ExitKind.EXTERNAL_INTERRUPT, 1),
        (ExitKind.BUDGET, 1),
        (ExitKind.TRIPLE_FAULT, 2),
        (ExitKind.INTERRUPT_WINDOW, 7),
    ],
)
def test_an_event_records_its_reason_alone(bench, kind, reason):
    bench.exit(kind)
    assert bench.record() == (reason, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("exit_", "qualification", "length"),
    [
        (io(0x3F8, 1, read=False, length=1), 0x03F8_0000, 1),
        (io(0x3F8, 1, read=True, length=1), 0x03F8_0008, 1),
        (io(0x1F0, 2, read=True, length=1), 0x01F0_0009, 1),
        (io(0xCF8, 4, read=False, length=2), 0x0CF8_0003, 2),
        (io(0x60, 1, read=True, length=2, immediate=True), 0x0060_0048, 2),
    ],
)
def test_in_and_out_record_size_direction_operand_and_port(bench, exit_, qualification, length):
    bench.cpu.script.append(exit_)
    bench.backend.enter(1)
    assert bench.record() == (30, qualification, 0, 0, length)


def test_ins_and_outs_record_linear_address_and_instruction_information_too(bench):
    bench.exit(
        *[io(0x1F0, 2, read=True)[0]],
        **{
            **io(0x1F0, 2, read=True, length=3)[1],
            "string": True,
            "rep": True,
            "address_size": 4,
            "segment": 0,
            "linear_address": 0x8_1234,
        },
    )
    assert bench.record() == (30, 0x01F0_0039, 0, 0, 3)
    assert bench.read(Field.GUEST_LINEAR_ADDRESS) == 0x8_1234
    assert bench.read(Field.EXIT_INSTRUCTION_INFO) == 1 << 7
    bench.exit(
        *[ExitKind.IO],
        **{
            **io(0x3F8, 1, read=False, length=2)[1],
            "string": True,
            "rep": False,
            "address_size": 2,
            "segment": 4,
            "linear_address": 0x10,
        },
    )
    assert bench.record() == (30, 0x03F8_0010, 0, 0, 2)
    assert bench.read(Field.EXIT_INSTRUCTION_INFO) == 4 << 15


@pytest.mark.parametrize(
    ("access", "qualification"),
    [
        ({"read": True}, 0x181),
        ({"write": True}, 0x182),
        ({"read": True, "write": True}, 0x183),
        ({"fetch": True}, 0x184),
        ({"read": True, "linear_valid": False}, 0x001),
        ({"read": True, "table": True}, 0x081),
        ({"write": True, "table": True}, 0x082),
        ({"read": True, "table": True, "linear_valid": False}, 0x001),
    ],
)
def test_an_ept_violation_records_the_access_and_both_addresses(bench, access, qualification):
    given = {"read": False, "write": False, "fetch": False, "linear_valid": True, "table": False} | access
    bench.exit(ExitKind.GUEST_PHYSICAL, guest_physical=0xB8000, linear_address=0xC00B_8000, **given)
    assert bench.record() == (48, qualification, 0, 0, 0)
    assert bench.read(Field.GUEST_PHYSICAL_ADDRESS) == 0xB8000
    assert bench.read(Field.GUEST_LINEAR_ADDRESS) == (0xC00B_8000 if given["linear_valid"] else 0)


def test_an_exception_records_interruption_information_and_its_error_code(bench):
    bench.exit(
        ExitKind.EXCEPTION,
        vector=14,
        has_error_code=True,
        error_code=2,
        fault_address=0x1234,
        instruction_length=3,
    )
    assert bench.record()[:4] == (0, 0x1234, 0x8000_0B0E, 0)
    assert bench.read(Field.EXIT_INTERRUPTION_ERROR) == 2
    bench.exit(ExitKind.EXCEPTION, vector=3, has_error_code=False, instruction_length=1)
    assert bench.record() == (0, 0, 0x8000_0603, 0, 1)


@pytest.mark.parametrize(
    ("kind", "fields", "qualification"),
    [
        (ExitKind.CR_WRITE, {"number": 0, "gpr": 3}, 0x300),
        (ExitKind.CR_READ, {"number": 3, "gpr": 7}, 0x713),
        (ExitKind.CLTS, {}, 0x020),
        (ExitKind.LMSW, {"data": 0x1_0011, "linear_valid": False}, 0x0011_0030),
        (ExitKind.LMSW, {"data": 0x0001, "linear_valid": True}, 0x0001_0070),
    ],
)
def test_a_control_register_access_records_number_type_and_register(bench, kind, fields, qualification):
    bench.exit(kind, instruction_length=3, **fields)
    assert bench.record() == (28, qualification, 0, 0, 3)


def test_mov_dr_and_invlpg_record_their_operand(bench):
    bench.exit(ExitKind.DR_ACCESS, number=7, gpr=0, read=False, instruction_length=3)
    assert bench.record() == (29, 0x007, 0, 0, 3)
    bench.exit(ExitKind.DR_ACCESS, number=6, gpr=2, read=True, instruction_length=3)
    assert bench.record() == (29, 0x216, 0, 0, 3)
    bench.exit(ExitKind.INVLPG, linear_address=0xDEAD_B000, instruction_length=3)
    assert bench.record() == (14, 0xDEAD_B000, 0, 0, 3)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ExitKind.CR_WRITE, {"number": 3, "gpr": 1}),
        (ExitKind.DR_ACCESS, {"number": 7, "gpr": 1, "read": False}),
        (ExitKind.INVLPG, {"linear_address": 0}),
        (ExitKind.RDPMC, {}),
    ],
)
def test_an_intercepted_privileged_instruction_runs_once_without_its_intercept(bench, kind, fields):
    controls = bench.read(Field.PROCESSOR_CONTROLS)
    bench.backend.vmcs.write(Field.PROCESSOR_CONTROLS, controls | Proc.CR3_LOAD | Proc.RDPMC)
    bench.exit(kind, instruction_length=3, **fields)
    bench.backend.handle()
    assert bench.handlers.calls == [("emulate",)]
    assert (bench.cpu.intercepts.cr_write, bench.cpu.intercepts.rdpmc) == (8, True)


def test_a_task_switch_records_selector_and_source(bench):
    rip = bench.cpu.rip
    for source in (0, 1, 2):
        bench.exit(ExitKind.TASK_SWITCH, number=0x28, source=source, instruction_length=7)
        assert bench.record() == (9, source << 30 | 0x28, 0, 0, 7)
        assert bench.cpu.intercepts.task_switch
        bench.backend.handle()
        assert bench.handlers.calls.pop() == ("task_switch", 0x28, source, rip + 7, False, None)
    event = {"vectoring": True, "vectoring_kind": 3, "vectoring_vector": 8, "source": 3}
    error = {"vectoring_has_error_code": True, "vectoring_error_code": 5}
    bench.exit(ExitKind.TASK_SWITCH, number=0x30, instruction_length=0, **event, **error)
    assert bench.record() == (9, 0xC000_0030, 0, 0x8000_0B08, 0)
    bench.backend.handle()
    assert bench.handlers.calls.pop() == ("task_switch", 0x30, 3, rip, True, 5)
    event |= {"vectoring_kind": 4, "vectoring_vector": 0x30, "vectoring_has_error_code": False}
    bench.exit(ExitKind.TASK_SWITCH, number=0x30, instruction_length=2, **event)
    bench.backend.handle()
    assert bench.handlers.calls.pop() == ("task_switch", 0x30, 3, rip + 2, False, None)


def test_an_interrupted_delivery_is_recorded_and_injected_again(bench):
    bench.exit(
        ExitKind.GUEST_PHYSICAL,
        guest_physical=0xA0000,
        linear_address=0xA0000,
        linear_valid=True,
        read=False,
        write=True,
        fetch=False,
        vectoring=True,
        vectoring_kind=4,
        vectoring_vector=0x21,
        vectoring_has_error_code=False,
        instruction_length=2,
    )
    assert bench.record() == (48, 0x182, 0, 0x8000_0421, 2)
    bench.backend.handle()
    assert bench.handlers.calls == [("mmio", 0xA0000, b"", False)]
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.injected == [(4, 0x21, None, 2)]
    assert bench.record()[3] == 0


def test_the_first_level_handler_reads_the_record_and_not_the_exit(bench):
    bench.exit(*io(0x80, 1, read=False)[:1], **io(0x80, 1, read=False, length=2)[1])
    bench.cpu.exit.port, bench.cpu.exit.size, bench.cpu.exit.read = 0x60, 4, True
    bench.cpu.rip = 0x1000
    bench.backend.handle()
    assert bench.handlers.calls == [("port_out", 0x80, 1)]
    assert bench.cpu.rip == 0x1002


def test_a_string_exit_reaches_the_common_layer_with_neutral_arguments(bench):
    fields = io(0x1F0, 2, read=False, length=4)[1] | {
        "string": True,
        "rep": True,
        "address_size": 8,
        "segment": 5,
        "linear_address": 0,
    }
    bench.exit(ExitKind.IO, **fields)
    bench.cpu.rip = 0x10
    bench.handlers.answer = False
    bench.backend.handle()
    assert bench.handlers.calls == [("port_string", 0x1F0, 2, False, True, 5, 8)]
    assert bench.cpu.rip == 0x10
    bench.handlers.answer = True
    bench.backend.handle()
    assert bench.cpu.rip == 0x14


def test_eip_wraps_at_4_gib_outside_64_bit_code(bench):
    bench.exit(ExitKind.CPUID, instruction_length=2)
    bench.cpu.rip = 0xFFFF_FFFE
    bench.backend.handle()
    assert bench.cpu.rip == 0


def test_an_exit_that_no_control_asks_for_crashes_the_guest_with_its_reason(bench):
    bench.exit(ExitKind.BUDGET)
    bench.backend.vmcs.values[Field.EXIT_REASON] = 44
    bench.backend.handle()
    assert bench.handlers.calls == [("crash", "VM exit with reason 44, which no control asks for")]


def test_controls_become_intercepts(bench):
    bench.exit(ExitKind.BUDGET)
    on = intercepted(bench.cpu.intercepts)
    assert on == {"external_interrupt", "hlt", "cpuid", "invd", "rdmsr", "wrmsr", "io", "task_switch"} | {
        "nmi",
        "nmi_virtual",
        "wbinvd",
        "dr_first",
        "vm_instructions",
        "cr4_mask",
    }
    write = bench.backend.vmcs.write
    controls = bench.read(Field.PROCESSOR_CONTROLS)
    write(
        Field.PROCESSOR_CONTROLS,
        controls & ~Proc.UNCONDITIONAL_IO | Proc.IO_BITMAPS | Proc.RDTSC | Proc.CR3_LOAD,
    )
    write(Field.IO_BITMAP_A, 0x1000)
    write(Field.IO_BITMAP_B, 0x2000)
    bench.backend.entry.host_memory.allocate(0x1000, b"\x01" + bytes(8191))
    write(Field.EXCEPTION_BITMAP, 0x4000)
    bench.exit(ExitKind.BUDGET)
    intercepts = bench.cpu.intercepts
    assert (intercepts.rdtsc, intercepts.cr_write, intercepts.exceptions) == (True, 8, 0x4000)
    assert len(intercepts.io_bitmap) == 8192
    assert intercepts.io_bitmap[0] == 1
