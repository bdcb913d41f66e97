"""The record of every #VMEXIT, against APM vol. 2 chapter 15 and appendix C, and its decoding."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.svm.backend import SvmBackend
from hvcore.svm.vmcb import Control, Intercept3, Save, Vintr
from tests.hvcore.fake_processor import FakeProcessor, Handlers, intercepted, io


class Bench:
    def __init__(self):
        self.cpu = FakeProcessor()
        self.backend = SvmBackend(self.cpu)
        self.handlers = Handlers()
        self.backend.attach(self.handlers)

    def exit(self, kind, **fields):
        self.cpu.script.append((kind, fields))
        self.backend.enter(1000)

    def record(self):
        """EXITCODE, EXITINFO1, EXITINFO2, EXITINTINFO, nRIP, as bytes lie."""
        data = self.backend.vmcb.data
        return (*struct.unpack_from("<QQQQ", data, 0x70), *struct.unpack_from("<Q", data, 0xC8))


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(
    ("kind", "code", "info1"),
    [
        (ExitKind.RDTSC, 0x6E, 0),
        (ExitKind.RDPMC, 0x6F, 0),
        (ExitKind.CPUID, 0x72, 0),
        (ExitKind.IRET, 0x74, 0),
        (ExitKind.INVD, 0x76, 0),
        (ExitKind.PAUSE, 0x77, 0),
        (ExitKind.HLT, 0x78, 0),
        (ExitKind.RDMSR, 0x7C, 0),
        (ExitKind.WRMSR, 0x7C, 1),
        (ExitKind.WBINVD, 0x89, 0),
    ],
)
def test_a_plain_instruction_records_its_code_and_next_rip(bench, kind, code, info1):
    bench.exit(kind, next_rip=0x7C02)
    assert bench.record() == (code, info1, 0, 0, 0x7C02)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ExitKind.EXTERNAL_INTERRUPT, 0x60),
        (ExitKind.BUDGET, 0x60),
        (ExitKind.TRIPLE_FAULT, 0x7F),
    ],
)
def test_an_event_records_its_code_alone(bench, kind, code):
    bench.exit(kind)
    assert bench.record() == (code, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("exit_", "info1"),
    [
        (io(0x3F8, 1, read=False, rip=0x100), 0x03F8_0090),
        (io(0x3F8, 1, read=True, rip=0x100), 0x03F8_0091),
        (io(0x1F0, 2, read=True, rip=0x100, address_size=4), 0x01F0_0121),
        (io(0xCF8, 4, read=False, rip=0x100), 0x0CF8_00C0),
        (io(0x1F0, 2, read=True, rip=0x100, string=True, rep=True, address_size=4, segment=0), 0x01F0_012D),
        (io(0x3F8, 1, read=False, rip=0x100, string=True, address_size=2, segment=3), 0x03F8_0C94),
        (io(0x3F8, 1, read=False, rip=0x100, string=True, address_size=8, segment=5), 0x03F8_1614),
    ],
)
def test_ioio_records_the_access_and_the_next_rip_twice(bench, exit_, info1):
    bench.cpu.script.append(exit_)
    bench.backend.enter(1)
    assert bench.record() == (0x7B, info1, 0x101, 0, 0x101)


@pytest.mark.parametrize(
    ("access", "info1"),
    [
        ({"read": True}, 0x1_0000_0004),
        ({"write": True}, 0x1_0000_0006),
        ({"fetch": True}, 0x1_0000_0014),
        ({"read": True, "table": True}, 0x2_0000_0006),
        ({"write": True, "table": True}, 0x2_0000_0006),
    ],
)
def test_a_nested_page_fault_records_error_code_address_and_instruction_bytes(bench, access, info1):
    given = {"read": False, "write": False, "fetch": False, "table": False} | access
    code = bytes.fromhex("c7 06 00 00 41 07")
    bench.exit(ExitKind.GUEST_PHYSICAL, guest_physical=0xB8000, instruction_bytes=code, **given)
    assert bench.record() == (0x400, info1, 0xB8000, 0, 0)
    kept = b"" if given["fetch"] else code
    assert bench.backend.vmcb.data[0xD0:0xE0] == bytes([len(kept)]) + kept.ljust(15, b"\0")
    bench.backend.handle()
    assert bench.handlers.calls == [("mmio", 0xB8000, kept, given["fetch"])]


def test_an_exception_records_error_code_and_fault_address(bench):
    bench.exit(
        ExitKind.EXCEPTION,
        vector=14,
        has_error_code=True,
        error_code=2,
        fault_address=0x1234,
        next_rip=0,
        instruction_bytes=b"\x90",
    )
    assert bench.record() == (0x4E, 2, 0x1234, 0, 0)
    bench.backend.handle()
    assert bench.cpu.controls[2] == 0x1234
    assert struct.unpack_from("<Q", bench.backend.vmcb.data, 0xA8)[0] == 0x8000_030E


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (ExitKind.CR_WRITE, {"number": 0, "gpr": 3, "mov": True}, (0x10, 1 << 63 | 3)),
        (ExitKind.CR_READ, {"number": 3, "gpr": 7, "mov": True}, (0x03, 1 << 63 | 7)),
        (ExitKind.CLTS, {}, (0x10, 0)),
        (ExitKind.LMSW, {"data": 1}, (0x10, 0)),
        (ExitKind.DR_ACCESS, {"number": 7, "gpr": 1, "read": False}, (0x37, 1)),
        (ExitKind.DR_ACCESS, {"number": 6, "gpr": 2, "read": True}, (0x26, 2)),
        (ExitKind.INVLPG, {"linear_address": 0xDEAD_B000}, (0x79, 0xDEAD_B000)),
    ],
)
def test_register_accesses_record_their_decode_assist(bench, kind, fields, expected):
    bench.exit(kind, next_rip=0x203, **fields)
    assert bench.record() == (*expected, 0, 0, 0x203)


def test_an_interrupted_delivery_is_recorded_and_injected_again(bench):
    bench.exit(
        ExitKind.GUEST_PHYSICAL,
        guest_physical=0xA0000,
        read=False,
        write=True,
        fetch=False,
        instruction_bytes=b"",
        vectoring=True,
        vectoring_kind=3,
        vectoring_vector=13,
        vectoring_has_error_code=True,
        vectoring_error_code=0x50,
        next_rip=0,
    )
    assert bench.record()[3] == 0x50_8000_0B0D
    bench.backend.handle()
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.injected == [(3, 13, 0x50, 0)]
    assert bench.record()[3] == 0


def test_a_software_interrupt_returns_to_the_next_rip(bench):
    bench.exit(ExitKind.BUDGET)
    bench.cpu.rip = 0x7C00
    bench.backend.inject(4, 0x10, None, 2)
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.injected == [(4, 0x10, None, 2)]
    bench.backend.inject(6, 3, None, 1)
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.injected[1] == (3, 3, None, 0)
    assert bench.cpu.rip == 0x7C01


def test_the_first_level_handler_reads_the_record_and_not_the_exit(bench):
    bench.cpu.script.append(io(0x80, 1, read=False, length=2))
    bench.backend.enter(1)
    bench.cpu.exit.port, bench.cpu.exit.size, bench.cpu.exit.read = 0x60, 4, True
    bench.backend.handle()
    assert bench.handlers.calls == [("port_out", 0x80, 1)]
    assert bench.cpu.rip == 0x1002


def test_a_string_exit_reaches_the_common_layer_with_neutral_arguments(bench):
    bench.cpu.script.append(
        io(0x1F0, 2, read=False, length=4, rip=0xFFF0, string=True, rep=True, address_size=8, segment=5)
    )
    bench.backend.enter(1)
    bench.handlers.answer = False
    bench.backend.handle()
    assert bench.handlers.calls == [("port_string", 0x1F0, 2, False, True, 5, 8)]
    assert bench.cpu.rip == 0xFFF0
    bench.handlers.answer = True
    bench.backend.handle()
    assert bench.cpu.rip == 0xFFF4


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ExitKind.LMSW, {"data": 1}),
        (ExitKind.CR_WRITE, {"number": 0, "gpr": 1}),
        (ExitKind.CR_READ, {"number": 3, "gpr": 1}),
        (ExitKind.DR_ACCESS, {"number": 7, "gpr": 1, "read": False}),
        (ExitKind.IRET, {}),
    ],
)
def test_an_intercepted_privileged_instruction_runs_once_without_its_intercept(bench, kind, fields):
    bench.backend.vmcb.write(Control.INTERCEPT_CR, 0x0001_0008)
    bench.exit(kind, next_rip=3, **fields)
    bench.backend.handle()
    assert bench.handlers.calls == [("emulate",)]
    assert (bench.cpu.intercepts.cr_read, bench.cpu.intercepts.cr_write) == (8, 1)


def test_a_task_switch_records_the_selector_and_the_error_code(bench):
    rip = bench.cpu.rip
    for source, flag in ((0, 0), (1, 1 << 36), (2, 1 << 38)):
        bench.exit(ExitKind.TASK_SWITCH, number=0x28, source=source, next_rip=rip + 7)
        assert bench.record() == (0x7D, 0x28, flag, 0, rip + 7)
        bench.backend.handle()
        assert bench.handlers.calls.pop() == ("task_switch", 0x28, source, rip + 7, False, None)
    event = {"vectoring": True, "vectoring_kind": 3, "vectoring_vector": 8, "source": 3}
    error = {"vectoring_has_error_code": True, "vectoring_error_code": 5, "next_rip": rip}
    bench.cpu.rflags = 0x10002
    bench.exit(ExitKind.TASK_SWITCH, number=0x30, **event, **error)
    assert bench.record() == (0x7D, 0x30, 1 << 48 | 1 << 44 | 5, 5 << 32 | 0x8000_0B08, rip)
    bench.backend.handle()
    assert bench.handlers.calls.pop() == ("task_switch", 0x30, 3, rip, True, 5)
    event |= {"vectoring_kind": 4, "vectoring_vector": 0x30, "vectoring_has_error_code": False}
    bench.exit(ExitKind.TASK_SWITCH, number=0x30, next_rip=rip + 2, **event)
    bench.backend.handle()
    assert bench.handlers.calls.pop() == ("task_switch", 0x30, 3, rip + 2, False, None)


def test_task_switches_are_intercepted_only_on_demand(bench):
    bench.exit(ExitKind.BUDGET)
    assert not bench.cpu.intercepts.task_switch
    bench.backend.vmcb.write(
        Control.INTERCEPT_3, bench.backend.vmcb.read(Control.INTERCEPT_3) | Intercept3.TASK_SWITCH
    )
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.intercepts.task_switch


def test_the_interrupt_window_is_a_virtual_interrupt_that_is_intercepted(bench):
    bench.exit(ExitKind.BUDGET)
    bench.backend.request_interrupt_window(True)
    assert bench.backend.vmcb.read(Control.VINTR) == 1 << 8 | 1 << 20 | 1 << 24
    assert bench.backend.vmcb.read(Control.INTERCEPT_3) & 1 << 4
    assert (bench.cpu.intercepts.interrupt_window, bench.cpu.intercepts.external_interrupt) == (True, False)
    bench.exit(ExitKind.INTERRUPT_WINDOW)
    assert bench.record()[0] == 0x64
    bench.backend.handle()
    assert bench.handlers.calls == [("interrupt_window",)]
    bench.backend.request_interrupt_window(False)
    assert (bench.cpu.intercepts.interrupt_window, bench.cpu.intercepts.external_interrupt) == (False, True)


def test_a_virtual_interrupt_that_nobody_intercepts_is_delivered_by_the_processor(bench):
    bench.backend.vmcb.write(Control.VINTR, Vintr.V_IRQ | Vintr.V_IGN_TPR | 0x41 << 32)
    bench.cpu.script += [(ExitKind.INTERRUPT_WINDOW, {}), (ExitKind.HLT, {"next_rip": 1})]
    bench.backend.enter(1)
    assert bench.cpu.injected == [(0, 0x41, None, 0)]
    assert not bench.backend.vmcb.read(Control.VINTR) & Vintr.V_IRQ
    assert bench.record()[0] == 0x78


def test_the_io_permission_map_becomes_the_bitmap(bench):
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.intercepts.io_bitmap is None
    bench.backend.entry.host_memory.write(0x1000, b"\xfe")
    bench.exit(ExitKind.BUDGET)
    assert bench.cpu.intercepts.io_bitmap == b"\xfe" + b"\xff" * 8191


RULES = {
    "EFER.SVME": (Save.EFER, 0),
    "NW without CD": (Save.CR0, 1 << 29 | 0x10),
    "CR0 high half": (Save.CR0, 1 << 32),
    "CR3": (Save.CR3, 1 << 36),
    "CR4": (Save.CR4, 1 << 11),
    "DR6": (Save.DR6, 1 << 32),
    "DR7": (Save.DR7, 1 << 32),
    "EFER reserved": (Save.EFER, 1 << 12 | 2),
    "long mode": (Save.EFER, 1 << 12 | 1 << 8),
    "VMRUN intercept": (Control.INTERCEPT_4, 0),
    "IOPM": (Control.IOPM_BASE_PA, 1 << 36),
    "MSRPM": (Control.MSRPM_BASE_PA, (1 << 36) - 0x1000),
    "event type 1": (Control.EVENTINJ, 0x8000_0120),
    "exception of vector 2": (Control.EVENTINJ, 0x8000_0302),
    "exception of vector 32": (Control.EVENTINJ, 0x8000_0320),
    "ASID": (Control.GUEST_ASID, 0),
    "nested CR3": (Control.N_CR3, 1 << 36),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_inconsistent_block_is_vmexit_invalid(bench, rule):
    bench.backend.vmcb.write(*RULES[rule])
    bench.backend.enter(1)
    assert bench.record()[0] == 0xFFFF_FFFF_FFFF_FFFF
    assert bench.cpu.budgets == []
    bench.backend.handle()
    assert bench.handlers.calls[0][0] == "crash"
    assert bench.handlers.calls[0][1].startswith("VMRUN refused: ")


def test_intercepts_come_from_the_intercept_words(bench):
    bench.exit(ExitKind.BUDGET)
    on = intercepted(bench.cpu.intercepts)
    assert on == {"external_interrupt", "hlt", "cpuid", "invd", "rdmsr", "wrmsr", "io"} | {
        "nmi",
        "wbinvd",
        "vm_instructions",
    }
    write = bench.backend.vmcb.write
    write(
        Control.INTERCEPT_3, bench.backend.vmcb.read(Control.INTERCEPT_3) & ~Intercept3.HLT | Intercept3.RDTSC
    )
    write(Control.INTERCEPT_CR, 0x0011_0008)
    write(Control.INTERCEPT_DR, 0x0080_0040)
    bench.exit(ExitKind.BUDGET)
    intercepts = bench.cpu.intercepts
    assert (intercepts.hlt, intercepts.rdtsc) == (False, True)
    assert (intercepts.cr_read, intercepts.cr_write) == (0x08, 0x11)
    assert (intercepts.dr_read, intercepts.dr_write) == (0x40, 0x80)
