"""Posted writes and mirrored registers change nothing that a guest can see of its interrupts.

The machine is in one thread, and its server performs posted writes as late as the test wants it to.
"""

import re

import pytest

from tests.hvcore.cpu.bench import HAVE_NASM, assemble
from tests.lockstep import DEMO, SELF_TEST, Machine

LAGS = (None, 5, 300, 1_000_000)
"""Instructions until a posted write is performed; None: at once, as in one process."""
START = """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word [0x20 * 4], handler
        mov word [0x20 * 4 + 2], 0xf000
        mov word [0x27 * 4], spurious
        mov word [0x27 * 4 + 2], 0xf000
        mov word [0x500], 0     ; interrupts of the timer
        mov word [0x502], 0     ; spurious ones
        mov al, 0x11
        out 0x20, al
        mov al, 0x20
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfe            ; the timer alone
        out 0x21, al
        mov al, 0x34            ; counter 0, mode 2, every 50 microseconds
        out 0x43, al
        mov al, 60
        out 0x40, al
        mov al, 0
        out 0x40, al
"""
END = """
        cli
        mov ax, [0x502]
        or ax, ax
        jnz failed
        mov al, 0x10
        out 0xf4, al
failed: mov al, 0x3f
        out 0xf4, al
        hlt
spurious:
        inc word [0x502]
        iret
handler:
        push ax
        inc word [0x500]
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
"""
WAIT_FOR_IRR = """
        mov al, 0x0a            ; OCW3: read IRR
        out 0x20, al
%%wait: in al, 0x20
        test al, 1
        jz %%wait
"""
PASSED, FAILED = 0x10 << 1 | 1, 0x3F << 1 | 1


@pytest.fixture(params=[(vendor, lag) for vendor in ("vmx", "svm") for lag in LAGS], ids=str)
def run(request, tmp_path):
    vendor, lag = request.param
    machines = []

    def run(source):
        if not HAVE_NASM:
            pytest.skip("nasm assembles the guests")
        code = assemble(START + source + END, org=0)
        image = bytearray(0x10000)
        image[: len(code)] = code
        image[0xFFF0:0xFFF5] = bytes.fromhex("ea 0000 00f0")
        (tmp_path / "firmware").write_bytes(image)
        machine = Machine(vendor, str(tmp_path / "firmware"), memory=1 << 20, lag=lag)
        machines.append(machine)
        machine.run(20_000_000)
        assert machine.crashed is None
        assert machine.status is not None, f"rip {machine.processor.rip:#x}"
        return machine.status

    yield run
    for machine in machines:
        machine.close()


def test_a_request_that_is_masked_before_sti_does_not_interrupt(run):
    source = (
        "%macro wait_for_irr 0\n"
        + WAIT_FOR_IRR
        + "%endmacro\n"
        + """
        mov cx, 20
again:  wait_for_irr
        mov dx, [0x500]
        mov al, 0xff
        out 0x21, al            ; the pin is high, and stays so until this has been performed
        sti
        nop
        nop
        nop
        cli
        cmp dx, [0x500]
        jne failed
        mov al, 0xfe
        out 0x21, al
        sti
        mov bx, 2000            ; now it comes
more:   in al, 0x61
        cmp dx, [0x500]
        jne came
        dec bx
        jnz more
        jmp failed
came:   cli
        dec cx
        jnz again
"""
    )
    assert run(source) == PASSED


def test_every_edge_behind_an_eoi_interrupts_once(run):
    source = """
        sti
more:   in al, 0x61
        cmp word [0x500], 20
        jb more
        cli
        mov cx, [0x500]
        mov al, 0xff
        out 0x21, al
        sti
        mov bx, 500
rest:   in al, 0x61
        dec bx
        jnz rest
        cmp cx, [0x500]
        jne failed
"""
    assert run(source) == PASSED


def test_a_halted_guest_sleeps_on_if_its_request_was_masked(run):
    source = (
        "%macro wait_for_irr 0\n"
        + WAIT_FOR_IRR
        + "%endmacro\n"
        + """
        wait_for_irr
        mov al, 0xff
        out 0x21, al
        mov al, 0x71            ; counter 1 is nobody's interrupt; the timer of the clock chip wakes us
        mov al, 0x0a
        out 0x70, al
        mov al, 0x26
        out 0x71, al
        mov al, 0x0b
        out 0x70, al
        mov al, 0x42            ; periodic interrupt, 1024 Hz
        out 0x71, al
        mov word [0x70 * 4], clock
        mov word [0x70 * 4 + 2], 0xf000
        mov word [0x504], 0
        mov al, 0x11
        out 0xa0, al
        mov al, 0x70
        out 0xa1, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0xa1, al
        mov al, 0xfe
        out 0xa1, al
        mov al, 0xfb
        out 0x21, al
        mov al, 0x0c
        out 0x70, al
        in al, 0x71
        mov dx, [0x500]
        sti
        hlt
        cmp word [0x504], 1
        jne failed
        cmp dx, [0x500]
        jne failed
        jmp over
clock:  inc word [0x504]
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        iret
over:
"""
    )
    assert run(source) == PASSED


def test_an_interrupt_that_a_write_brings_about_comes_before_the_read_behind_it(run):
    """Enabling THRE's interrupt and reading IIR: the handler finds the cause, and not the code that it interrupts."""
    source = """
        mov word [0x24 * 4], serial
        mov word [0x24 * 4 + 2], 0xf000
        mov word [0x504], 0
        mov al, 0xef            ; IRQ 4 alone
        out 0x21, al
        mov dx, 0x3fc
        mov al, 8               ; OUT2
        out dx, al
        mov cx, 50
        sti
again:  mov dx, 0x3f9
        mov al, 2
        out dx, al
        inc dx
        in al, dx
        cmp al, 1
        jne failed
        dec dx
        mov al, 0
        out dx, al
        dec cx
        jnz again
        cmp word [0x504], 50
        jne failed
        jmp over
serial: push ax
        push dx
        mov dx, 0x3fa
        in al, dx
        cmp al, 2
        jne failed
        inc word [0x504]
        mov al, 0x20
        out 0x20, al
        pop dx
        pop ax
        iret
over:
"""
    assert run(source) == PASSED


@pytest.mark.parametrize("size", [510, 511, 512, 1100])
def test_a_full_ring_loses_nothing_and_keeps_the_order(run, size):
    """The serial port's scratch register is written, and read back behind all of them."""
    source = f"""
        mov al, 0xff
        out 0x21, al
        mov cx, {size}
        mov dx, 0x3ff
more:   mov al, cl
        out dx, al
        dec cx
        jnz more
        in al, dx
        cmp al, 1
        jne failed
"""
    assert run(source) == PASSED


def test_the_demo_guest_passes_whatever_the_lag(request):
    for vendor, lag in (("vmx", 3000), ("svm", 40_000)):
        machine = Machine(vendor, DEMO, files=SELF_TEST, lag=lag)
        request.addfinalizer(machine.close)
        machine.run(200_000_000)
        assert (machine.crashed, machine.status) == (None, 0)
        results = re.findall(rb"^  (\S+) .* (\S+)\r$", bytes(machine.serial), re.MULTILINE)
        assert results == [(chip, b"ok") for chip in (b"8259A", b"8254", b"16550A", b"IDE", b"VGA")]


def test_a_status_read_right_behind_a_block_does_not_lose_the_next_interrupt(run):
    """Three sectors by a driver that lets interrupts in only while it waits, and looks at Status behind each block."""
    source = """
        mov word [0x76 * 4], disk
        mov word [0x76 * 4 + 2], 0xf000
        mov word [0x504], 0     ; interrupts of the disk
        mov al, 0x11
        out 0xa0, al
        mov al, 0x70
        out 0xa1, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0xa1, al
        mov al, 0xbf            ; the disk alone
        out 0xa1, al
        mov al, 0xfb
        out 0x21, al
        mov al, 0xe0
        mov dx, 0x1f6
        out dx, al
        mov al, 3
        mov dx, 0x1f2
        out dx, al
        xor al, al
        inc dx
        out dx, al
        inc dx
        out dx, al
        inc dx
        out dx, al
        mov al, 0x20            ; READ SECTORS
        mov dx, 0x1f7
        out dx, al
        xor bx, bx
block:  inc bx
        mov ecx, 2000000
        sti
more:   cmp [0x504], bx
        je came
        dec ecx
        jnz more
        jmp failed
came:   cli
        mov dx, 0x1f7
        in al, dx
        cmp al, 0x58
        jne failed
        xor ax, ax
        mov es, ax
        mov di, 0x600
        mov cx, 256
        mov dx, 0x1f0
        cld
        rep insw
        mov dx, 0x1f7
        in al, dx               ; right behind the block
        cmp bx, 3
        jne block
        cmp al, 0x50
        jne failed
        jmp done
disk:   push ax
        inc word [0x504]
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop ax
        iret
done:
"""
    assert run(source) == PASSED


VIDEO = """
%macro register 3               ; port, index, value
        mov dx, %1
        mov ax, %2 | %3 << 8
        out dx, ax
%endmacro
%macro planes 0                 ; map mask 15, sequential, one window at A0000h
        register 0x3c4, 4, 6
        register 0x3c4, 2, 15
        register 0x3ce, 5, 0
        register 0x3ce, 6, 5
%endmacro
%macro text 0
        register 0x3c4, 4, 2
        register 0x3c4, 2, 3
        register 0x3ce, 5, 0x10
        register 0x3ce, 6, 0x0e
%endmacro
"""


def test_text_as_memory_and_planes_as_a_device_are_one_memory_in_program_order(run):
    """Writes to the sequencer are posted while the window is trapped, and must wait while it is the guest's memory."""
    source = (
        VIDEO
        + """
        mov cx, 20
again:  mov ax, 0xb800
        mov es, ax
        mov [es:0], cx          ; character and attribute
        mov [es:2], cx
        planes
        mov ax, 0xa000
        mov es, ax
        mov byte [es:1], cl     ; between them in the planes, and posted
        mov al, [es:0]
        cmp al, cl
        jne failed
        mov byte [es:2], 0x55   ; the second character
        text
        mov ax, 0xb800
        mov es, ax
        cmp byte [es:2], 0x55
        jne failed
        cmp byte [es:3], 0x55   ; and its attribute: all planes were written
        jne failed
        cmp [es:0], cx
        jne failed
        inc word [es:0]
        planes
        mov ax, 0xa000
        mov es, ax
        mov al, cl
        inc al
        cmp [es:0], al
        jne failed
        cmp [es:1], cl
        jne failed
        text
        dec cx
        jnz again
"""
    )
    assert run(source) == PASSED


def test_planes_are_scrolled_by_rep_movs_with_the_latches(run):
    source = (
        VIDEO
        + """
        planes
        mov ax, 0xa000
        mov es, ax
        mov di, 0
        mov cx, 300
fill:   mov ax, di
        stosb
        loop fill
        register 0x3ce, 5, 1    ; write mode 1
        push ds
        push es
        pop ds
        mov si, 80
        mov di, 0
        mov cx, 200
        cld
        rep movsb
        mov si, 299             ; and down, one on top of the other
        mov di, 299 + 40
        mov cx, 100
        std
        rep movsb
        cld
        pop ds
        register 0x3ce, 5, 0
        mov bx, 0
look:   mov al, bl
        add al, 80
        cmp [es:bx], al
        jne failed
        inc bx
        cmp bx, 200
        jb look
        mov bx, 240
down:   mov al, bl
        sub al, 40
        cmp [es:bx], al
        jne failed
        inc bx
        cmp bx, 340
        jb down
"""
    )
    assert run(source) == PASSED
