"""Guests that read and write ports of every size, and strings of them."""

import shutil

import pytest

from tests.hvcore.guest import END, LAST, run

pytestmark = pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the guests")

__all__ = ["run"]  # the fixture


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
