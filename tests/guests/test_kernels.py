"""Kernels that firmware starts by their real-mode setup: --kernel together with --firmware."""

import shutil
from pathlib import Path

import pytest
import trio

from devmodel.testing import Machine
from tests.guests.test_drives import shell_of
from tests.guests.test_memtest import MEMTEST

IPXE = Path("/boot/ipxe.lkrn")
ZIMAGE = """
bits 16
        times 1F1h - ($ - $$) db 0
        db 1                            ; sectors of setup
        times 1FEh - ($ - $$) db 0
        dw 0AA55h
        jmp short setup
        db "HdrS"
        dw 200h                         ; the protocol, whose command line is found by a magic number
        times 220h - ($ - $$) db 0
setup:  mov ax, cs
        sub ax, 20h
        mov bx, ds
        cmp ax, bx
        jne stop
        mov bx, ss
        cmp ax, bx
        jne stop
        cmp word [20h], 0A33Fh
        jne stop
        call put                        ; the stack is there as well
        mov si, [22h]
        call print
        push word 1000h
        pop ds
        xor si, si
        call print
stop:   sti
        hlt
        jmp stop
print:  lodsb
        test al, al
        jz put.end
        call put.byte
        jmp print
put:    mov al, 10
.byte:  mov dx, 3F8h
        out dx, al
.end:   ret
        times 400h - ($ - $$) db 0
        db " at 64 KiB", 10, 0
        times 410h - ($ - $$) db 0
"""


async def test_memtest86_is_started_by_firmware(seabios, vendor):
    if not MEMTEST.exists():
        pytest.skip(f"{MEMTEST.name} is in Debian's package memtest86+")
    options = ["--kernel", MEMTEST, "--memory", "32M", "--vendor", vendor]
    async with Machine(*seabios, *options) as machine:
        assert "Memtest86+ v" in await machine.shows("Memory  :   32MB", 120)


async def test_ipxe_calls_the_bios_that_started_it(seabios, vendor):
    if not IPXE.exists():
        pytest.skip(f"{IPXE.name} is in Debian's package ipxe")
    options = ["--kernel", IPXE, "--memory", "32M", "--vendor", vendor]
    async with Machine(*seabios, *options) as machine:
        await machine.shows("Open Source Network Boot Firmware", 120)
        await machine.shows("No more network devices", 120)


async def test_linux_is_started_by_its_setup_with_its_ram_disk(seabios, linux):
    async with Machine(*seabios, *linux) as machine:
        shell = await shell_of(machine)
        assert "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable" in await shell.run("dmesg")


async def test_a_zimage_of_the_oldest_protocol_starts_and_starts_again_after_a_reset(seabios, tmp_path):
    if shutil.which("nasm") is None:
        pytest.skip("nasm assembles the kernel")
    source, kernel = tmp_path / "kernel.asm", tmp_path / "zImage"
    source.write_text(ZIMAGE)
    await trio.run_process(["nasm", "-f", "bin", "-o", str(kernel), str(source)])
    async with Machine(
        *seabios, "--kernel", kernel, "--append", "kernel of old", "--memory", "8M"
    ) as machine:
        await machine.console.expect("\nkernel of old at 64 KiB\n", 60)
        await machine.reset()
        await machine.console.expect("\nkernel of old at 64 KiB\n", 60)
