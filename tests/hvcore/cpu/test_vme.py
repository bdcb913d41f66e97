"""The virtual-8086 mode extensions and protected-mode virtual interrupts (SDM vol. 3 §21.3, §21.4)."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, EAX, ESP, TR, Bench
from tests.hvcore.cpu.test_execute import TSS, frame, protected

VM, IF, TF, IOPL3, NT = 1 << 17, 0x200, 0x100, 0x3000, 0x4000
VIF, VIP = 1 << 19, 1 << 20
VME, PVI = 1, 2
IVT_HANDLER = (0x3000, 0x0100)


class Monitor(Bench):
    """Ring 0 below a program at 1000:0000 with stack 2000:FFF0; its own vector table sends INT 30h to 3000:0100."""

    def __init__(self, cr4: int = VME) -> None:
        super().__init__(32, 2 << 20)
        protected(self)
        self.processor.set_cr(4, cr4)
        self.write(TSS + 0x66, struct.pack("<H", 0x88))
        self.write(TSS + 0x68, bytes(32) + b"\xff" * 32)  # every INT is redirected, no port is open
        self.processor.set_segment(TR, 0x28, TSS, 0xFF, 0x8B)
        for number in range(256):
            self.write(4 * number, struct.pack("<HH", IVT_HANDLER[1], IVT_HANDLER[0]))

    def enter(self, code: str, flags: int) -> int:
        """Run `code` in the mode; the next stop. The first exception or INT of the kernel's ends it."""
        self.write(0x10000, bytes.fromhex(code))
        self.processor.set_gpr(ESP, 0x5000)
        self.write(0x5000, struct.pack("<9I", 0, 0x1000, flags | VM | 2, 0xFFF0, 0x2000, 0, 0, 0, 0))
        return self.run(b"\xcf")

    def ended(self, code: str, flags: int) -> tuple[int, int, int]:
        """Run `code`; which of the kernel's vectors it ended in, where, and with which flags."""
        assert self.enter(code, flags) == ExitKind.HLT
        p = self.processor
        assert not p.rflags & VM
        vector = (p.rip - 0x9000) // 16
        words = frame(self, 5)
        eip, _, eflags = words[1:4] if vector in {8, 10, 11, 12, 13, 14, 17} else words[:3]
        return vector, eip, eflags

    def redirect(self, vector: int, on: bool) -> None:
        at = TSS + 0x68 + vector // 8
        old = self.memory.read(at, 1)[0] & ~(1 << vector % 8)
        self.write(at, bytes([old | (0 if on else 1 << vector % 8)]))


@pytest.mark.parametrize(
    ("code", "before", "after"),
    [
        ("fa", IF | VIF, IF),  # CLI
        ("fb", IF, IF | VIF),  # STI
        ("fb", 0, VIF),
        ("9d", VIF, 0),  # POPF of zeros
        ("6a00 9d", VIF | IF, IF),
        ("680002 9d", 0, VIF),
        ("6a00 680010 680600 cf", VIF, 0),  # IRET to 1000:0006... with zeros
    ],
)
def test_below_iopl_3_the_interrupt_flag_of_the_program_is_vif(code: str, before: int, after: int) -> None:
    monitor = Monitor()
    if code.endswith("cf"):
        code = "6a00 680010 680a00 cf 9090"  # FLAGS 0, CS 1000, IP 000A: behind itself
    vector, _, flags = monitor.ended(code + "0f0b", before)
    assert vector == 6
    assert flags & (IF | VIF | IOPL3) == after


def test_pushf_shows_vif_in_place_of_if_and_iopl_3() -> None:
    for flags, seen in ((IF, IOPL3), (VIF, IF | IOPL3), (IF | VIF, IF | IOPL3)):
        monitor = Monitor()
        assert monitor.ended("9c 58 0f0b", flags)[0] == 6
        assert monitor.processor.gpr(EAX) & (IF | IOPL3) == seen


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        ("fb", VIP),  # STI with an interrupt pending
        ("680002 9d", VIP),  # POPF that enables
        ("680001 9d", 0),  # POPF that single-steps
        ("680002 680010 6a00 cf", VIP),  # the same by IRET
        ("680001 680010 6a00 cf", 0),
        ("669c", 0),  # the 32-bit forms are the monitor's
        ("669d", 0),
        ("66cf", 0),
    ],
)
def test_what_the_monitor_must_see_faults(code: str, flags: int) -> None:
    monitor = Monitor()
    before = len(bytes.fromhex(code)) - (1 if not code.startswith("66") else 2)
    vector, eip, _ = monitor.ended(code + "0f0b", flags)
    assert (vector, eip) == (13, before)
    expected = 0xFFF0 - (2 if code.endswith("9d") and len(code) > 4 else 6 if " cf" in code else 0)
    assert frame(monitor, 5)[4] == expected  # SP is where it was


def test_cli_and_popf_do_not_mind_a_pending_interrupt() -> None:
    monitor = Monitor()
    assert monitor.ended("fa 6a00 9d 0f0b", VIP | VIF)[0] == 6


def test_int_goes_through_the_programs_own_table_where_the_map_says() -> None:
    monitor = Monitor()
    monitor.write(0x30100, bytes.fromhex("0f0b"))
    assert monitor.enter("90 cd30", VIF | IF) == ExitKind.HLT
    assert monitor.processor.rip == 0x9000 + 16 * 6
    eip, cs, flags, sp, ss = frame(monitor, 5)
    assert (eip, cs, ss, sp) == (0x100, 0x3000, 0x2000, 0xFFEA)
    assert flags & (VIF | IF) == IF  # VIF is cleared, IF is the monitor's
    ip, code, pushed = struct.unpack("<3H", monitor.memory.read(0x2FFEA, 6))
    assert (ip, code, pushed & (IF | IOPL3)) == (3, 0x1000, IF | IOPL3)


def test_with_iopl_3_such_an_int_clears_if_itself() -> None:
    monitor = Monitor()
    monitor.write(0x30100, bytes.fromhex("0f0b"))
    assert monitor.enter("cd30", VIF | IF | IOPL3) == ExitKind.HLT
    assert frame(monitor, 3)[2] & (VIF | IF | IOPL3) == VIF | IOPL3
    assert struct.unpack("<3H", monitor.memory.read(0x2FFEA, 6))[2] & (IF | IOPL3) == IF | IOPL3


def test_a_whole_interrupt_of_the_program_and_back() -> None:
    monitor = Monitor()
    monitor.write(0x30100, bytes.fromhex("b034 cf"))
    vector, eip, flags = monitor.ended("cd30 0f0b", VIF | IF)
    assert (vector, eip, flags & (VIF | IF)) == (6, 2, VIF | IF)
    assert monitor.processor.gpr(EAX) & 0xFF == 0x34


@pytest.mark.parametrize(("iopl", "vector"), [(0, 13), (IOPL3, 0x30)])
def test_int_is_the_monitors_where_the_map_says(iopl: int, vector: int) -> None:
    monitor = Monitor()
    monitor.redirect(0x30, False)
    ended, eip, _ = monitor.ended("cd30", iopl)
    assert (ended, eip) == (vector, 0 if vector == 13 else 2)


@pytest.mark.parametrize("limit", [0x66, 0x6A])
def test_a_map_outside_the_tss_is_a_fault(limit: int) -> None:
    monitor = Monitor()
    monitor.processor.set_segment(TR, 0x28, TSS, limit, 0x8B)
    assert monitor.ended("cd30", IOPL3)[0] == 13


@pytest.mark.parametrize("code", ["cc", "ce"])
def test_int3_and_into_are_never_redirected(code: str) -> None:
    monitor = Monitor()
    assert monitor.enter("b07f 0401 " + code, VIF | IF) == ExitKind.HLT  # overflow is set
    assert monitor.processor.rip == 0x9000 + 16 * 13  # their gates are the kernel's


def test_single_stepping_ends_in_the_programs_handler() -> None:
    monitor = Monitor()
    monitor.write(0x30100, bytes.fromhex("90 0f0b"))
    assert monitor.ended("cd30", TF)[:2] == (6, 0x101)


def test_without_the_extension_all_of_it_faults() -> None:
    for code in ("fa", "fb", "9c", "9d", "cf", "cd30"):
        assert Monitor(0).ended(code, VIF)[0] == 13


def test_the_flags_come_and_go_with_the_kernels_iret_and_not_with_popf() -> None:
    monitor = Monitor()
    p = monitor.processor
    p.set_gpr(ESP, 0x5000)
    monitor.write(0x5000, struct.pack("<III", 0x8000, 8, VIF | VIP | 2))
    monitor.write(0x8000, bytes.fromhex("6a02 9d f4"))
    assert monitor.run(b"\xcf") == ExitKind.HLT
    assert p.rflags & (VIF | VIP) == VIF | VIP


def test_a_kernel_does_not_enter_the_mode_beyond_64_kib() -> None:
    monitor = Monitor()
    monitor.processor.set_gpr(ESP, 0x5000)
    monitor.write(0x5000, struct.pack("<9I", 0x10000, 0x1000, VM | 2, 0xFFF0, 0x2000, 0, 0, 0, 0))
    assert monitor.run(b"\xcf") == ExitKind.HLT
    assert monitor.processor.rip == 0x9000 + 16 * 13
    assert monitor.processor.segment(CS).selector == 8


def test_a_backend_that_wants_software_interrupts_sees_them_before_anything_else() -> None:
    for redirected in (True, False):
        monitor = Monitor()
        p = monitor.processor
        p.intercepts.software_interrupt = True
        p.update_intercepts()
        monitor.redirect(0x30, redirected)
        assert monitor.enter("90 cd30", 0) == ExitKind.SOFTWARE_INTERRUPT
        assert (p.exit.vector, p.exit.next_rip, p.rip) == (0x30, 3, 1)


# Protected-mode virtual interrupts


def pvi(code: str, flags: int, cr4: int = PVI) -> tuple[int, int]:
    bench = protected(Bench(32, 2 << 20))
    p = bench.processor
    p.set_cr(4, cr4)
    bench.write(0x8000, bytes.fromhex(code + "0f0b"))
    p.set_gpr(ESP, 0x4FEC)
    bench.write(0x4FEC, struct.pack("<IIIII", 0x8000, 0x1B, flags | 2, 0x7000, 0x23))
    assert bench.run(b"\xcf") == ExitKind.HLT
    vector = (p.rip - 0x9000) // 16
    return vector, frame(bench, 4)[3 if vector == 13 else 2]


def test_cli_and_sti_of_ring_3_are_vif() -> None:
    vector, flags = pvi("fb", IF)
    assert (vector, flags & (IF | VIF)) == (6, IF | VIF)
    vector, flags = pvi("fa", IF | VIF)
    assert (vector, flags & (IF | VIF)) == (6, IF)


def test_sti_of_ring_3_faults_with_an_interrupt_pending_and_without_pvi() -> None:
    assert pvi("fb", VIP)[0] == 13
    assert pvi("fb", 0, 0)[0] == 13
    assert pvi("fa", 0, VME)[0] == 13


def test_popf_of_ring_3_leaves_vif_and_if_alone() -> None:
    vector, flags = pvi("6a02 9d", IF | VIF)
    assert (vector, flags & (IF | VIF)) == (6, IF | VIF)
