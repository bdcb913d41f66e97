"""The parallel port with the drivers of Linux and SeaBIOS: what is printed is in the file."""

import hashlib
from pathlib import Path

import pytest
import trio

from devmodel.testing import Machine
from tests.guests.conftest import ARGUMENTS
from tests.guests.initramfs import DRIVERS, GUESTS, make_initramfs
from tests.guests.test_drives import no_complaints, shell_of, tool

PRINT = """
        bits 16
        org 7C00h
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7C00h
        mov ah, 1               ; INT 17h: reset the printer
        xor dx, dx
        int 17h
        mov si, text
next:   lodsb
        test al, al
        jz leave
        xor ah, ah              ; print a character
        xor dx, dx
        int 17h
        jmp next
leave:  mov al, 0
        out 0F4h, al
        hlt
text:   db "printed by INT 17h", 13, 10, 0
        times 510 - ($ - $$) db 0
        dw 0AA55h
"""


async def test_linux_finds_the_port_and_prints(vendor, tmp_path: Path):
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    printed = tmp_path / "printed"
    initramfs = make_initramfs(tmp_path / "initramfs", drivers=(*DRIVERS, "parport_pc", "lp"),
                               options={"parport_pc": "io=0x378 irq=7"})  # fmt: skip
    options = ["--kernel", str(GUESTS / "vmlinuz"), "--initrd", str(initramfs), "--append", ARGUMENTS]
    arguments = [*options, "--memory", "256M", "--parallel", printed, "--vendor", vendor]
    async with Machine(*arguments) as machine:
        shell = await shell_of(machine)
        log = await shell.run("dmesg")
        assert "parport0: PC-style at 0x378, irq 7 [PCSPP]" in log
        assert "lp0: using parport0 (interrupt-driven)." in log
        await shell.run("seq 1 5000 > /dev/lp0", 240)
        interrupts = (await shell.run("grep parport0 /proc/interrupts")).split()
        assert int(interrupts[1]) > 10
        await no_complaints(shell)
        await machine.console.type("poweroff -f\r")
        assert await machine.wait() == 0
    expected = b"".join(b"%d\n" % n for n in range(1, 5001))
    assert hashlib.sha256(printed.read_bytes()).digest() == hashlib.sha256(expected).digest()


async def test_seabios_prints_by_int_17h(seabios, tmp_path: Path):
    source, image, printed = tmp_path / "print.asm", tmp_path / "print.img", tmp_path / "printed"
    source.write_text(PRINT)
    await trio.run_process([tool("nasm", "nasm"), "-o", str(image), str(source)])
    async with Machine(*seabios, "--floppy", image, "--parallel", printed) as machine:
        assert await machine.wait() == 1
    assert printed.read_bytes() == b"printed by INT 17h\r\n"
