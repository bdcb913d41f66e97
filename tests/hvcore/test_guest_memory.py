"""Guests that reach into device memory: moves, repeated moves, posted writes, and where there is nothing."""

import shutil

import pytest

from tests.hvcore.guest import END, LAST, Guest, run

pytestmark = pytest.mark.skipif(shutil.which("nasm") is None, reason="nasm assembles the guests")

__all__ = ["run"]  # the fixture


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
