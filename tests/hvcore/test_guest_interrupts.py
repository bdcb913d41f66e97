"""Guests that take interrupts and NMIs, hold them back, and halt for them."""

import shutil
import threading

import pytest

from ioreq.messages import (
    InjectEvent,
)
from tests.hvcore.guest import END, VENDORS, Guest, run

pytestmark = pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the guests")

__all__ = ["run"]  # the fixture


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
