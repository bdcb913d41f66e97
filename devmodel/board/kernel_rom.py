"""An option ROM by which firmware starts a kernel that the core has put into memory, as QEMU's linuxboot does it.

SeaBIOS finds it among the fw_cfg files, as a bootable device of its own (BIOS Boot Specification 1.01, 3.3: a bootstrap
entry vector behind a PnP header), and `bootorder` names it before all others. It moves the setup to where that runs, by
INT 15h AH=87h, and enters it as the 16-bit boot protocol says (kernel Documentation/arch/x86/boot.rst). What is to be
moved `DomainInfo.boot` says, as the core's builder knows it. If that fails, INT 18h has firmware try the next device.
"""

import struct
from collections.abc import Mapping
from typing import Final

NAME: Final = "genroms/kernel.bin"
BOOT_ORDER: Final = "bootorder"
NAMES: Final = ("setup", "setup-to", "setup-bytes", "setup-segment", "setup-stack")
"""What the builder says: from where, to where, how much, and where it begins with what in SP."""
SIZE: Final = 512
PNP: Final = 0x20
PARAMETERS: Final = 0x50
PAGE: Final = 4096
IPL: Final = 0x04  # device indicators: the system can be started from it
MOST: Final = 0xA_0000
"""Bytes that are moved: all are below 640 KiB."""

LISTING: Final = """
FC              cld                     ; the bootstrap entry, at 60h
31C0            xor ax, ax
8ED8            mov ds, ax
8EC0            mov es, ax
8ED0            mov ss, ax
BC007C          mov sp, 7C00h
2E668B1E5000    mov ebx, [cs:50h]       ; from
2E668B2E5400    mov ebp, [cs:54h]       ; to
2E8B165800      mov dx, [cs:58h]        ; pages
BF007C          next: mov di, 7C00h     ; six descriptors, of which INT 15h makes four
89FE            mov si, di
31C0            xor ax, ax
B91800          mov cx, 24
F3AB            rep stosw
49              dec cx
894C10          mov [si + 10h], cx      ; the source: limit, base, access rights, the rest of the base
66895C12        mov [si + 12h], ebx
C6441593        mov byte [si + 15h], 93h
6689D8          mov eax, ebx
66C1E818        shr eax, 24
884417          mov [si + 17h], al
894C18          mov [si + 18h], cx      ; the target
66896C1A        mov [si + 1Ah], ebp
C6441D93        mov byte [si + 1Dh], 93h
6689E8          mov eax, ebp
66C1E818        shr eax, 24
88441F          mov [si + 1Fh], al
B90008          mov cx, 800h            ; words: a page
B487            mov ah, 87h
6660            pushad
CD15            int 15h
6661            popad
722C            jc fail
6681C300100000  add ebx, 1000h
6681C500100000  add ebp, 1000h
4A              dec dx
75AB            jnz next
FA              cli                     ; all segments are the setup's, but that CS is 20h more
2EA15A00        mov ax, [cs:5Ah]
8ED8            mov ds, ax
8EC0            mov es, ax
8EE0            mov fs, ax
8EE8            mov gs, ax
8ED0            mov ss, ax
2E8B265C00      mov sp, [cs:5Ch]
83C020          add ax, 20h
50              push ax
6A00            push 0
CB              retf
CD18            fail: int 18h
"""
"""The code, with what an assembler makes of it."""


def option_rom(boot: Mapping[str, int | str]) -> bytes:
    """Return the ROM for what the core's builder says of its kernel; nothing if there is none for firmware to start."""
    numbers = [value for name in NAMES if isinstance(value := boot.get(name), int)]
    if len(numbers) < len(NAMES):
        return b""
    source, target, length, segment, stack = numbers
    if not 0 < length <= MOST:
        return b""
    pages = -(-length // PAGE)
    rom = bytearray(SIZE)
    rom[:4] = struct.pack("<HBB", 0xAA55, SIZE // 512, 0xCB)  # initialising it is a far return
    struct.pack_into("<H", rom, 0x1A, PNP)
    code = bytes.fromhex("".join(line[:16] for line in LISTING.splitlines()))
    entry, title = PARAMETERS + 16, PARAMETERS + 16 + len(code)
    header = struct.pack(
        "<4sBBHBBIHH3sBHHHHH", b"$PnP", 1, 2, 0, 0, 0, 0, 0, title, b"\0\0\0", IPL, 0, 0, entry, 0, 0
    )
    rom[PNP : PNP + 32] = header
    rom[PNP + 9] = -sum(header) & 0xFF
    low = 0xFFFF_FFFF
    struct.pack_into(
        "<IIHHH", rom, PARAMETERS, source & low, target & low, pages, segment & 0xFFFF, stack & 0xFFFF
    )
    rom[entry:title] = code
    rom[title : title + 7] = b"kernel\0"
    rom[-1] = -sum(rom) & 0xFF
    return bytes(rom)


def files(boot: Mapping[str, int | str], order: bytes = b"") -> dict[str, bytes]:
    """Return the fw_cfg files by which firmware starts the kernel first, and then what `order` says."""
    rom = option_rom(boot)
    return {NAME: rom, BOOT_ORDER: f"/rom@{NAME}\n".encode() + order} if rom else {}
