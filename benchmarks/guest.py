"""A guest that runs one loop and ends: 64 KiB of firmware that devmodel and QEMU both start.

It enters 32-bit protected mode with flat segments, runs its loop ECX times and writes 10h to the debug-exit
port. The bytes are written out here, so that nobody needs an assembler; only what is longer has a source, for nasm.
"""

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import attrs

SIZE: Final = 0x10000
_PROTECTED: Final = 0x40  # offset of the 32-bit code
_GDT: Final = 0x100
_BASE: Final = 0xF0000  # where the image's last 64 KiB lie below 1 MiB

_REAL: Final = bytes.fromhex(
    "fa"  #               cli
    "2e660f0116 0002"  #  lgdt [cs:0200h]
    "0f20c0"  #           mov eax, cr0
    "0c01"  #             or al, 1
    "0f22c0"  #           mov cr0, eax
    "66ea 40000f00 0800"  # jmp dword 8:F0040h
)
_FLAT: Final = bytes.fromhex(
    "66b81000"  #  mov ax, 10h
    "8ed8 8ec0 8ed0"  # mov ds, ax; mov es, ax; mov ss, ax
    "bc00700000"  #  mov esp, 7000h
)
_END: Final = bytes.fromhex(
    "b010"  #  mov al, 10h
    "e6f4"  #  out 0F4h, al
    "f4 ebfd"  #  hlt; jmp to it
)
_DESCRIPTORS: Final = struct.pack("<QQQ", 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)


@attrs.frozen
class Loop:
    """A loop: what goes before it, its body, and how many instructions a turn has with `dec ecx; jnz`."""

    name: str
    before: bytes
    body: bytes
    instructions: int
    source: Path | None = None
    """All of it, in assembly; how many turns is `TURNS` there."""

    def lacks(self) -> str:
        """Return what is not installed that it wants, or nothing."""
        return "nasm" if self.source is not None and shutil.which("nasm") is None else ""


COMPUTE: Final = Loop(
    "compute",
    b"",
    bytes.fromhex(
        "01d8"  #  add eax, ebx
        "31c3"  #  xor ebx, eax
        "c1c005"  #  rol eax, 5
        "8d5c1803"  #  lea ebx, [eax + ebx + 3]
        "29c2"  #  sub edx, eax
        "42"  #  inc edx
    ),
    8,
)
MEMORY: Final = Loop(
    "memory",
    bytes.fromhex("bf00000200"),  #  mov edi, 20000h
    bytes.fromhex(
        "8b07"  #  mov eax, [edi]
        "01c3"  #  add ebx, eax
        "895f04"  #  mov [edi + 4], ebx
        "83470801"  #  add dword [edi + 8], 1
        "83c710"  #  add edi, 16
        "81e7ffff0200"  #  and edi, 2FFFFh: 64 KiB, round and round
    ),
    8,
)
PORT: Final = Loop(
    "port",
    bytes.fromhex("ba61000000"),  #  mov edx, 61h: it shows refresh cycles, so only the device model knows it
    bytes.fromhex("ec"),  #  in al, dx
    3,
)
MIRRORED: Final = Loop(
    "mirrored register",
    bytes.fromhex("bafd030000"),  #  mov edx, 3FDh: the UART's line status
    bytes.fromhex("ec"),  #  in al, dx
    3,
)
POSTED: Final = Loop(
    "posted write",
    bytes.fromhex("ba80000000"),  #  mov edx, 80h: POST codes
    bytes.fromhex("ee"),  #  out dx, al
    3,
)
DOS: Final = Loop("real-mode", b"", b"", 0, Path(__file__).with_name("dos.asm"))
TABLE: Final = 0x100000
"""Where the guest of `latencies` keeps what it measured."""


def image(loop: Loop, turns: int) -> bytes:
    """Return firmware that runs `turns` turns of `loop`, at least one."""
    if loop.source is not None:
        return _assembled(loop.source, turns)
    return _firmware(_turns(loop.body, turns, loop.before))


def _assembled(source: Path, turns: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "image")
        subprocess.run(["nasm", f"-DTURNS={turns}", "-f", "bin", "-o", made, source], check=True)
        return made.read_bytes()


def latencies(port: int, samples: int) -> bytes:
    """Return firmware that reads a byte from `port` so often, and says how long each read took.

    The time-stamp counter is read before and behind; 32-bit words of nanoseconds, the core's unit, go to port E9h.
    """
    body = bytes.fromhex("0f31 89c3")  #  rdtsc; mov ebx, eax
    body += b"\xba" + struct.pack("<I", port)  #  mov edx, port
    # in al, dx; rdtsc; sub eax, ebx; mov [edi], eax; add edi, 4
    body += bytes.fromhex("ec 0f31 29d8 8907 83c704")
    said = b"\xbe" + struct.pack("<I", TABLE) + b"\xb9" + struct.pack("<I", 4 * samples)  # mov esi; mov ecx
    said += bytes.fromhex("bae9000000 fc f36e")  #  mov edx, 0E9h; cld; rep outsb
    return _firmware(_turns(body, samples, b"\xbf" + struct.pack("<I", TABLE)) + said)


def _turns(body: bytes, turns: int, before: bytes) -> bytes:
    body += b"\x49"  # dec ecx
    again = struct.pack("<Bb", 0x75, -len(body) - 2)  # jnz
    return b"\xb9" + struct.pack("<I", turns) + before + body + again


def _firmware(work: bytes) -> bytes:
    code = _FLAT + work + _END
    data = bytearray(SIZE)
    for at, what in (
        (0, _REAL),
        (_PROTECTED, code),
        (_GDT, _DESCRIPTORS),
        (0x200, struct.pack("<HI", len(_DESCRIPTORS) - 1, _BASE + _GDT)),
        (0xFFF0, bytes.fromhex("ea 0000 00f0")),  # the reset vector: jmp F000:0
    ):
        data[at : at + len(what)] = what
    return bytes(data)
