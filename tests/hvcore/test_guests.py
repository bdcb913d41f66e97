"""Guests from their start to their end: CPUID and MSRs, kernels and tasks, single steps, triple faults, statistics."""

import logging
import shutil
import time

import pytest
import structlog
import structlog.testing

from ioreq.messages import (
    Reset,
    ResetDone,
)
from tests.hvcore.guest import END, LAST, VENDORS, Guest, run

pytestmark = pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the guests")

__all__ = ["run"]  # the fixture


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_x87_error_that_nobody_takes_notice_of_stands_still_and_costs_nothing(tmp_path, vendor):
    """FERR# without an interrupt: WAIT stands still for ever (SDM vol. 1 appendix D.2.1.2), and the vCPU sleeps."""
    source = """
        fninit
        mov word [0x510], 0x37b         ; division by zero unmasked
        fldcw [0x510]
        fld1
        fldz
        fdivp
        fwait
        mov al, 7
        out 0xf4, al
    """
    guest = Guest(tmp_path, vendor, source).start()
    vcpu = guest.domain.vcpus[0]
    ends = time.monotonic() + 20
    while vcpu.processor.icount < 6:
        assert time.monotonic() < ends
        time.sleep(0.01)
    time.sleep(0.3)
    assert guest.server.trace == []
    assert vcpu.processor.icount == 6
    guest.close()
    assert vcpu.requests.tally.asleep_ns > 200_000_000


TASKS = """
        cli
        lgdt [table]
        lidt [vectors]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 8:flat
        bits 32
        flat:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x7000
        mov ax, 0x18
        ltr ax
        mov eax, other
        mov [0x8100 + 0x20], eax
        mov dword [0x8100 + 0x24], 2
        mov dword [0x8100 + 0x38], 0x6000
        mov dword [0x8100 + 0x4C], 8
        mov dword [0x8100 + 0x50], 0x10
        mov dword [0x8100 + 0x54], 0x10
        call 0x20:0
        mov al, 1
        out 0x81, al
        int 0
        mov al, 2
        out 0x81, al
        mov eax, [0x8100]
        out 0x84, al
        mov al, 7
        out 0xf4, al
        hlt
        other:
        str ax
        out 0x82, al
        iret
        jmp other
        align 8
        gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x0000890080000067, 0x0000890081000067
        table: dw 39
        dd gdt
        idt: dq 0x0000850000200000
        vectors: dw 7
        dd idt
"""


def test_tasks_are_switched_alike(run):
    trace, status = run(TASKS)
    written = [(0x82, 0x20), (0x81, 1), (0x82, 0x20), (0x81, 2), (0x84, 0x18), (0xF4, 7)]
    assert [(entry[2], entry[4]) for entry in trace] == written
    assert status == 7


def test_cpuid_and_msrs(run):
    trace, _ = run(
        """
        xor eax, eax
        cpuid
        mov eax, ebx
        out 0x80, eax
        mov eax, 1
        cpuid
        out 0x80, eax
        mov ecx, 0x8b
        rdmsr
        out 0x80, eax
        xor ax, ax
        mov ds, ax
        mov word [13 * 4], fault
        mov word [13 * 4 + 2], 0
        mov ecx, 0x12345
        rdmsr
        out 0x81, al
        fault:
        pop ax
        sub ax, where
        """
        "where equ fault - 4"
        "\nout 0x82, ax" + END
    )
    assert [entry[2:] for entry in trace] == [
        (0x80, 4, 0x756E6547),
        (0x80, 4, 0x6FB),
        (0x80, 4, 0),
        (0x82, 2, 0),
        (0xF4, 1, 7),
    ]


def test_a_kernel_and_its_program_by_sysexit_and_sysenter_and_the_msrs_of_memory_types(run):
    trace, _ = run(
        """
        lgdt [cs:pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:flat
        pointer: dw 23
        dd table
        table: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
        bits 32
        flat:
        mov ax, 16
        mov ds, ax
        mov ss, ax
        xor edx, edx
        mov ecx, 0x174
        mov eax, 8
        wrmsr
        inc ecx
        mov eax, 0x6000
        wrmsr
        inc ecx
        mov eax, kernel
        wrmsr
        mov edx, program
        mov ecx, 0x5000
        sysexit
        program:
        mov eax, cs
        mov ebx, esp
        sysenter
        kernel:
        out 0x80, eax
        mov eax, ebx
        out 0x80, eax
        mov eax, esp
        out 0x80, eax
        mov ecx, 0x277
        rdmsr
        out 0x80, eax
        xor edx, edx
        mov eax, 0xc06
        mov ecx, 0x2ff
        wrmsr
        rdmsr
        out 0x80, eax
        mov ecx, 0x1b
        rdmsr
        out 0x80, eax
        """
        + END
    )
    assert [entry[4] for entry in trace] == [0x1B, 0x5000, 0x6000, 0x00070406, 0xC06, 0xFEE00100, 7]


@pytest.mark.parametrize("instruction", ["rep outsb", "rep insb", "rep stosb"])
def test_single_stepping_traps_after_every_iteration_that_the_core_executed(run, instruction):
    trace, _ = run(
        f"""
        xor ax, ax
        mov ds, ax
        mov word [1 * 4], trap
        mov word [1 * 4 + 2], 0
        mov ax, {"0xb800" if "stos" in instruction else "0"}
        mov es, ax
        mov si, 0x600
        mov di, 0x600
        mov cx, 3
        mov dx, 0x90
        pushf
        pop ax
        or ax, 0x100
        push ax
        and ax, 0xfeff
        mov bx, ax
        popf
        {instruction}
        push bx
        popf
        """
        + END
        + """
        trap:
        push ax
        mov ax, cx
        out 0x81, al
        pop ax
        iret
        """
    )
    assert [entry[-1] for entry in trace if entry[2:4] == (0x81, 1)] == [2, 1, 0, 0, 0]


def test_single_stepping_traps_after_an_instruction_that_the_core_executed(run):
    trace, _ = run(
        """
        xor ax, ax
        mov ds, ax
        mov word [1 * 4], trap
        mov word [1 * 4 + 2], 0
        pushf
        pop ax
        or ax, 0x100
        push ax
        mov al, 0
        popf
        out 0x80, al
        after:
        nop
        """
        + END
        + """
        trap:
        push bp
        mov bp, sp
        mov ax, [bp + 2]
        sub ax, after
        out 0x81, ax
        and word [bp + 6], 0xfeff
        pop bp
        iret
        """
    )
    assert [entry[2:] for entry in trace] == [(0x80, 1, 0), (0x81, 2, 0), (0xF4, 1, 7)]


def test_a_triple_fault_resets_the_machine_and_the_guest_starts_again(tmp_path):
    source = """
        in al, 0x60
        cmp al, 2
        je done
        lidt [none]
        int3
        none: dw 0
        dd 0
        done:
        """
    for vendor in VENDORS:
        folder = tmp_path / vendor
        folder.mkdir()
        guest = Guest(folder, vendor, source + END)
        starts = iter((1, 2))
        guest.server.answers[0x60] = lambda _, starts=starts: next(starts)
        guest.start()
        assert guest.peer.event() == Reset()
        guest.peer.call(ResetDone())
        assert guest.finish() == [("pio", "read", 0x60, 1), ("pio", "read", 0x60, 1), LAST]
        assert guest.status == 7


def test_a_guest_that_computes_for_ever_ends_when_it_is_told(tmp_path):
    for vendor in VENDORS:
        folder = tmp_path / vendor
        folder.mkdir()
        guest = Guest(folder, vendor, "jmp $").start()
        time.sleep(0.05)
        before = time.monotonic()
        guest.domain.end(0, 0)
        guest.finish(2)
        assert time.monotonic() - before < 1
        assert guest.status == 0


@pytest.fixture
def logged():
    """The log as events, from the level info on."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.configure(wrapper_class=before)


@pytest.mark.parametrize("vendor", VENDORS)
def test_statistics_say_how_often_and_how_long(tmp_path, vendor, logged):
    guest = Guest(tmp_path, vendor, 3 * "in al, 0x60\n" + END, statistics=True)
    guest.server.answers[0x60] = lambda _: time.sleep(0.02) or 1
    guest.start().finish()
    (said,) = [event for event in logged if event["event"] == "vcpu.statistics"]
    assert said["log_level"] == "info"
    assert said["instructions"] == guest.domain.vcpus[0].processor.icount >= 5
    assert said["exits"] == sum(said["exit_kinds"].values())
    assert said["requests"] == said["exit_kinds"]["io"] == 4
    assert said["tlb_misses"] >= said["blocks"] / 5 > 0
    assert (said["translated"], said["interpreted"], said["interpreted_kinds"]) == (0, 0, {})
    seconds = said["seconds"]
    assert seconds["waiting"] > 0.06
    assert min(seconds["guest"], seconds["exits"], seconds["decoding"]) > 0
    parts = seconds["guest"] + seconds["exits"] + seconds["waiting"] + seconds["asleep"]
    assert parts == pytest.approx(seconds["total"], abs=1e-5)


def test_nothing_is_measured_unasked(tmp_path, logged):
    guest = Guest(tmp_path, "vmx", END)
    guest.start().finish()
    assert "domain.ended" in [event["event"] for event in logged]
    assert all(event["event"] != "vcpu.statistics" for event in logged)
    statistics = guest.domain.vcpus[0].processor.statistics
    assert statistics["tlb_misses"] > 0
    assert [value for name, value in statistics.items() if name.endswith("_ns")] == [0, 0, 0]
