"""Small real-mode guests on the real processor, under both vendors, which must leave the same device trace.

Each is assembled by nasm, runs from 7C00h, and ends by OUT to port 0xF4. The device model is a thread behind
the real domain socket and the real ioreq page.
"""

import logging
import mmap
import shutil
import threading
import time

import pytest
import structlog
import structlog.testing

from hvcore.config import MachineConfig
from hvcore.domain import Domain
from ioreq.layout import PIN_INTR_OFFSET
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    CreateIoreqServer,
    GetIoreqServerInfo,
    InjectEvent,
    MapIoRange,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetIoreqServerState,
)
from tests.hvcore.cpu.bench import assemble
from tests.hvcore.device_server import DeviceServer, Peer

VENDORS = ("vmx", "svm")
pytestmark = pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the guests")


class Guest:
    """A domain with one device model that claims ports 0-0xFFF, 0xA0000-0xBFFFF and interrupt acknowledge."""

    def __init__(
        self,
        folder,
        vendor,
        source,
        *,
        posted=False,
        claim=((0, 0x0000, 0x0FFF), (1, 0xA0000, 0xBFFFF)),
        machine=None,
        statistics=False,
    ):
        if machine is None:
            (folder / "guest.bin").write_bytes(assemble(source))
            machine = MachineConfig(vendor=vendor, image=str(folder / "guest.bin"), memory=2 << 20)
        self.domain = Domain(machine, str(folder / "domain"), statistics=statistics)
        self.status = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        self.peer = Peer(str(folder / "domain"))
        self.peer.greet()
        self.peer.call(CreateIoreqServer())
        for space, first, last in claim:
            self.peer.call(MapIoRange(0, space, first, last, posted and space == 1))
        self.peer.call(GetIoreqServerInfo(0))
        self.ram = mmap.mmap(self.peer.domain_fds[0], 2 << 20)
        self.pins = memoryview(mmap.mmap(self.peer.domain_fds[1], 4096)).cast("I")
        self.server = DeviceServer(self.peer.fds, self.peer.domain_fds[2:], self.ram)
        self.server.answers[0xF4] = lambda r: self.peer.call(RemoteShutdown(0, r.data & 0xFF)) and 0
        self.peer.call(ClaimInterruptAcknowledge(0))

    def _run(self):
        self.status = self.domain.run()

    def start(self):
        self.peer.call(SetIoreqServerState(0, True))
        return self

    def raise_intr(self, *_):
        self.pins[PIN_INTR_OFFSET // 4] = 1
        self.server.end.channels[0].send.send()
        return 0

    def lower_intr(self):
        self.pins[PIN_INTR_OFFSET // 4] = 0

    def finish(self, seconds=20):
        """Wait for the guest's end; returns the trace without the last OUT."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"rip {self.domain.vcpus[0].processor.rip:#x}"
        trace = list(self.server.trace)
        self.close()
        return trace

    def close(self):
        self.domain.end(0, 0)
        self.thread.join(5)
        self.server.close()
        self.peer.sock.close()


@pytest.fixture
def run(tmp_path):
    """Run a guest under both vendors; returns its trace and status once they are the same."""

    def run(source, prepare=lambda _: None, **how):
        results = []
        for vendor in VENDORS:
            folder = tmp_path / vendor
            folder.mkdir()
            guest = Guest(folder, vendor, source, **how)
            prepare(guest)
            guest.start()
            trace = guest.finish()
            icount = guest.domain.vcpus[0].processor.icount
            results.append((trace, guest.status, icount))
        assert results[0] == results[1]
        return results[0][0], results[0][1]

    return run


END = "\nmov al, 7\nout 0xf4, al\nhlt\n"
LAST = ("pio", "write", 0xF4, 1, 7)


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


def test_in_and_out_of_every_size(run):
    def prepare(guest):
        guest.server.answers |= {0x60: 0x1C, 0x1F0: 0xBEEF, 0xCF0: 0x12345678}

    trace, status = run(
        """
        in al, 0x60
        out 0x80, al
        mov dx, 0x1f0
        in ax, dx
        add dx, 2
        out dx, ax
        mov dx, 0xcf0
        in eax, dx
        inc eax
        out dx, eax
        """
        + END,
        prepare,
    )
    assert trace == [
        ("pio", "read", 0x60, 1),
        ("pio", "write", 0x80, 1, 0x1C),
        ("pio", "read", 0x1F0, 2),
        ("pio", "write", 0x1F2, 2, 0xBEEF),
        ("pio", "read", 0xCF0, 4),
        ("pio", "write", 0xCF0, 4, 0x12345679),
        LAST,
    ]
    assert status == 7


def test_an_empty_port_reads_ones(run):
    trace, _ = run("mov dx, 0x2000\nin al, dx\nout 0x80, al" + END)
    assert trace == [("pio", "write", 0x80, 1, 0xFF), LAST]


def test_string_input_is_one_request_a_page_and_lands_in_ram(run):
    def prepare(guest):
        words = iter(range(0x1000))
        guest.server.answers[0x1F0] = lambda _: next(words)

    trace, _ = run(
        """
        xor ax, ax
        mov es, ax
        mov di, 0x8f80
        mov cx, 256
        mov dx, 0x1f0
        cld
        rep insw
        mov ax, [0x9000]
        out 0x80, ax
        mov ax, di
        out 0x82, ax
        """
        + END,
        prepare,
    )
    assert trace == [
        ("pio", "read", 0x1F0, 2, 64, "0x8f80", False),
        ("pio", "read", 0x1F0, 2, 192, "0x9000", False),
        ("pio", "write", 0x80, 2, 64),
        ("pio", "write", 0x82, 2, 0x9180),
        LAST,
    ]


def test_a_server_may_do_string_output_in_parts(run):
    def prepare(guest):
        guest.server.partial = 3

    trace, _ = run(
        """
        mov si, text
        mov cx, 7
        mov dx, 0x3f8
        rep outsb
        mov ax, cx
        out 0x80, ax
        jmp over
        text: db "devmode"
        over:
        """
        + END,
        prepare,
    )
    assert [entry for entry in trace if entry[0] == "data"] == [("data", f"{c:02x}") for c in b"devmode"]
    assert [entry[4] for entry in trace if entry[:3] == ("pio", "write", 0x3F8)] == [3, 3, 1]
    assert trace[-2:] == [("pio", "write", 0x80, 2, 0), LAST]


def test_string_input_over_the_running_code_is_executed(run):
    def prepare(guest):
        code = iter(b"\xb0\x42" + b"\x90" * 6)  # mov al, 0x42
        guest.server.answers[0x1F0] = lambda _: next(code)

    trace, _ = run(
        """
        call patched
        out 0x80, al
        mov di, patched
        mov cx, 8
        mov dx, 0x1f0
        rep insb
        call patched
        out 0x80, al
        jmp over
        patched: mov al, 0x11
        times 6 nop
        ret
        over:
        """
        + END,
        prepare,
    )
    assert [entry[4] for entry in trace if entry[:3] == ("pio", "write", 0x80)] == [0x11, 0x42]


def test_moves_to_and_from_device_memory(run):
    def prepare(guest):
        guest.server.answers |= {0xB8000: 0x0741, 0xB8002: 0x81, 0xB8010: 5}

    trace, _ = run(
        """
        mov ax, 0xb800
        mov ds, ax
        mov ax, [0]
        out 0x80, ax
        mov word [4], 0x1234
        or byte [2], 0x02
        movzx eax, byte [2]
        out 0x80, eax
        inc word [0x10]
        xchg ax, [0]
        cmp word [0x10], 5
        setz al
        out 0x81, al
        """
        + END,
        prepare,
    )
    assert trace == [
        ("copy", "read", 0xB8000, 2),
        ("pio", "write", 0x80, 2, 0x0741),
        ("copy", "write", 0xB8004, 2, 0x1234),
        ("copy", "read", 0xB8002, 1),
        ("copy", "write", 0xB8002, 1, 0x83),
        ("copy", "read", 0xB8002, 1),
        ("pio", "write", 0x80, 4, 0x81),
        ("copy", "read", 0xB8010, 2),
        ("copy", "write", 0xB8010, 2, 6),
        ("copy", "read", 0xB8000, 2),
        ("copy", "write", 0xB8000, 2, 0x81),
        ("copy", "read", 0xB8010, 2),
        ("pio", "write", 0x81, 1, 1),
        LAST,
    ]


def test_repeated_moves_are_one_request_a_page(run):
    def prepare(guest):
        guest.server.answers[0xA0000] = 0x55

    trace, _ = run(
        """
        mov ax, 0xa000
        mov es, ax
        cld
        mov di, 0x0ffc
        mov al, 0x20
        mov cx, 8
        rep stosb
        mov si, 0x7e00
        xor di, di
        mov cx, 4
        rep movsb
        push es
        pop ds
        xor ax, ax
        mov es, ax
        xor si, si
        mov di, 0x9000
        mov cx, 2
        rep movsw
        mov ax, di
        add ax, si
        add ax, cx
        out 0x80, ax
        std
        mov si, 6
        mov cx, 3
        rep lodsw
        out 0x80, ax
        """
        + END
        + 'times 512 - ($ - $$) db 0\ndb "abcd"',
        prepare,
    )
    assert trace == [
        ("copy", "write", 0xA0FFC, 1, 0x20, 4),
        ("copy", "write", 0xA1000, 1, 0x20, 4),
        ("copy", "write", 0xA0000, 1, 4, "0x7e00", False),
        ("data", "61"),
        ("data", "62"),
        ("data", "63"),
        ("data", "64"),
        ("copy", "read", 0xA0000, 2, 2, "0x9000", False),
        ("pio", "write", 0x80, 2, 0x9008),
        ("copy", "read", 0xA0006, 2, 3),
        ("pio", "write", 0x80, 2, 0),
        LAST,
    ]


def test_scrolling_inside_device_memory_goes_item_by_item(run):
    trace, _ = run(
        """
        mov ax, 0xb800
        mov ds, ax
        mov es, ax
        mov si, 160
        xor di, di
        mov cx, 2
        rep movsw
        """
        + END
    )
    assert trace == [
        ("copy", "read", 0xB80A0, 2),
        ("copy", "write", 0xB8000, 2, 0),
        ("copy", "read", 0xB80A2, 2),
        ("copy", "write", 0xB8002, 2, 0),
        LAST,
    ]


def test_posted_writes_come_before_the_next_request(run):
    trace, _ = run("mov ax, 0xb800\nmov ds, ax\nmov word [0], 0x741\nmov byte [2], 5" + END, posted=True)
    assert trace == [("posted", 0xB8000, 2, 0x741), ("posted", 0xB8002, 1, 5), LAST]


INTERRUPTS = """
        cli
        xor ax, ax
        mov ds, ax
        mov word [0x20 * 4], handler
        mov word [0x20 * 4 + 2], 0
"""
HANDLER = """
        handler:
        push ax
        mov al, 0x99
        out 0x20, al
        pop ax
        iret
"""


def interrupt_on(port):
    """Be an interrupt controller: OUT to `port` raises the pin, the handler's OUT to 0x20 lowers it."""

    def prepare(guest):
        guest.server.answers |= {
            port: guest.raise_intr,
            0: 0x20,
            0x20: lambda _: guest.lower_intr() or 0,
        }

    return prepare


def test_an_interrupt_is_taken_when_the_guest_allows_it(run):
    trace, _ = run(
        INTERRUPTS
        + """
        out 0x70, al
        out 0x80, al
        sti
        nop
        out 0x81, al
        """
        + END
        + HANDLER,
        interrupt_on(0x70),
    )
    assert [entry[:3] for entry in trace] == [
        ("pio", "write", 0x70),
        ("pio", "write", 0x80),
        ("intack", "read", 0),
        ("pio", "write", 0x20),
        ("pio", "write", 0x81),
        ("pio", "write", 0xF4),
    ]


def test_an_nmi_in_the_nmi_handler_waits_for_its_iret(run):
    def prepare(guest):
        vcpu = guest.domain.vcpus[0]
        guest.server.answers[0x70] = lambda _: vcpu.post(vcpu.processor.raise_nmi) or 0

    trace, _ = run(
        """
        cli
        xor ax, ax
        mov ds, ax
        mov word [2 * 4], nmi
        mov word [2 * 4 + 2], 0
        mov bl, 2
        out 0x70, al
        nop
        nop
        out 0x83, al
        """
        + END
        + """
        nmi:
        out 0x80, al
        dec bl
        jz last
        out 0x70, al
        nop
        out 0x81, al
        iret
        last:
        out 0x82, al
        iret
        """,
        prepare,
    )
    assert [entry[2] for entry in trace] == [0x70, 0x80, 0x70, 0x81, 0x80, 0x82, 0x83, 0xF4]


def test_the_sti_shadow_holds_an_interrupt_back_for_one_instruction(run):
    trace, _ = run(
        INTERRUPTS + "\nout 0x70, al\nsti\nout 0x81, al\nnop\nout 0x82, al" + END + HANDLER,
        interrupt_on(0x70),
    )
    assert [entry[2] for entry in trace] == [0x70, 0x81, 0, 0x20, 0x82, 0xF4]


def test_halt_waits_for_an_interrupt_that_comes_later(run):
    def prepare(guest):
        interrupt_on(0x70)(guest)

        guest.server.answers[0x70] = lambda _: threading.Timer(0.05, guest.raise_intr).start()

    trace, _ = run(INTERRUPTS + "\nout 0x70, al\nsti\nhlt\nout 0x81, al" + END + HANDLER, prepare)
    assert [entry[2] for entry in trace] == [0x70, 0, 0x20, 0x81, 0xF4]


def test_halt_with_interrupts_off_switches_the_guest_off(run):
    trace, status = run("cli\nout 0x80, al\nhlt\nout 0x81, al" + END)
    assert [entry[2] for entry in trace] == [0x80]
    assert status == 0


NMI = """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        mov word [2 * 4], handler
        mov word [2 * 4 + 2], ax
"""


def nmi_on(*ports):
    """Inject an NMI while the guest waits for its write to one of these ports."""

    def prepare(guest):
        for port in ports:
            guest.server.answers[port] = lambda _: guest.peer.call(InjectEvent(vector=2, type=2)) and 0

    return prepare


def test_an_nmi_comes_although_interrupts_are_off(run):
    trace, _ = run(NMI + "\nout 0x70, al\nout 0x81, al" + END + "\nhandler: out 0x20, al\niret", nmi_on(0x70))
    assert [entry[2] for entry in trace] == [0x70, 0x20, 0x81, 0xF4]


def test_an_nmi_within_an_nmi_waits_for_its_iret(run):
    """SDM vol. 3 section 6.7.1: the processor blocks NMIs until the next IRET."""
    handler = (
        "\nhandler: cmp byte [0x500], 0\nmov byte [0x500], 1\njne .second\nout 0x70, al\nout 0x82, al\niret"
    )
    handler += "\n.second: out 0x83, al\niret"
    guest = NMI + "\nmov byte [0x500], 0\nout 0x70, al\nout 0x81, al" + END + handler
    trace, _ = run(guest, nmi_on(0x70))
    assert [entry[2] for entry in trace] == [0x70, 0x70, 0x82, 0x83, 0x81, 0xF4]


def test_an_nmi_ends_a_halt(run):
    def prepare(guest):
        def later(_):
            threading.Timer(0.05, lambda: guest.peer.call(InjectEvent(vector=2, type=2))).start()
            return 0

        guest.server.answers[0x70] = later

    code = "\nout 0x70, al\nsti\nhlt\nout 0x81, al" + END + "\nhandler: out 0x20, al\niret"
    trace, _ = run(NMI + code, prepare)
    assert [entry[2] for entry in trace] == [0x70, 0x20, 0x81, 0xF4]


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


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_interrupt_reaches_a_loop_that_makes_no_exits(tmp_path, vendor):
    source = (
        INTERRUPTS
        + "\nmov byte [0x600], 0\nout 0x70, al\nsti\nagain: cmp byte [0x600], 0\nje again\nout 0x81, al"
        + END
        + HANDLER.replace("pop ax", "mov byte [0x600], 1\npop ax")
    )
    guest = Guest(tmp_path, vendor, source)
    interrupt_on(0x7F)(guest)
    guest.server.answers[0x70] = lambda _: threading.Timer(0.05, guest.raise_intr).start()
    trace = guest.start().finish()
    assert [entry[2] for entry in trace] == [0x70, 0, 0x20, 0x81, 0xF4]


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


def test_running_into_nothing_is_an_undefined_instruction(run):
    trace, _ = run(
        """
        xor ax, ax
        mov ds, ax
        mov word [6 * 4], undefined
        mov word [6 * 4 + 2], 0
        jmp 0xd000:0
        undefined:
        mov bp, sp
        mov ax, [bp + 2]
        out 0x80, ax
        """
        + END
    )
    assert trace == [("pio", "write", 0x80, 2, 0xD000), LAST]


def test_memory_beyond_ram_reads_ones_and_drops_writes(run):
    trace, _ = run("mov ax, 0xd000\nmov ds, ax\nmov byte [5], 1\nmov ax, [4]\nout 0x80, ax" + END)
    assert trace == [("pio", "write", 0x80, 2, 0xFFFF), LAST]


def test_a_stack_inside_device_memory_works_but_not_for_thirty_frames(run, tmp_path):
    trace, status = run("mov ax, 0xb800\nmov ss, ax\nmov sp, 0x100\npush bx\npop cx" + END)
    assert trace == [("copy", "write", 0xB80FE, 2, 0), ("copy", "read", 0xB80FE, 2), LAST]
    assert status == 7
    guest = Guest(
        tmp_path, "vmx", "mov ax, 0xb800\nmov ss, ax\nmov sp, 0x100\nmov bp, sp\nenter 2, 31"
    ).start()
    guest.thread.join(10)
    guest.close()
    assert guest.status == 1


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
