"""What guests draw: with Debian's unmodified VGA BIOS, beside QEMU, and while servers come and go."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import attrs
import pytest
import trio

from devmodel import DevmodelError
from devmodel.testing import Machine
from tests.guests.images import FONT, GRAPHICS, GRAPHICS_MODULES, SEABIOS, VGABIOS, make_image
from tests.guests.initramfs import GUESTS, MARKER

QEMU = shutil.which("qemu-system-i386")
PCI_BIOS = VGABIOS.with_name("vgabios-stdvga.bin")
MODES = [0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13,
         0x101, 0x103, 0x110, 0x111, 0x112, 0x115, 0x118, 0x03, 0x07]  # fmt: skip
"""As `modes.asm` has them; mode 7 is the last, since SeaVGABIOS leaves it with the CRT controller at the wrong port."""
TEXT_MODES = frozenset({0x00, 0x02, 0x03, 0x07})
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(MODES)]
"""What the guest says behind each: a UART that was restored may say its last again."""
NEXT = b"\r"
DAC_TOLERANCE = 4
"""QEMU puts the lowest of a colour's six bits into the two below it, where the highest belong."""
DEPTH_TOLERANCE = 7
"""And nothing into the lowest bits of 15 and 16 bits of colour."""


@attrs.frozen
class Dots:
    """A picture in true colour."""

    width: int
    height: int
    colors: bytes

    @classmethod
    def of_png(cls, data: bytes) -> "Dots":
        at, chunks = 8, {}
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            chunks[kind] = data[at + 8 : at + 8 + length]
            at += 12 + length
        width, height, _, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
        step = 1 if kind == 3 else 3
        raw = zlib.decompress(chunks[b"IDAT"])
        rows = [raw[y * (width * step + 1) + 1 : (y + 1) * (width * step + 1)] for y in range(height)]
        if kind == 3:
            palette = [chunks[b"PLTE"][n : n + 3] for n in range(0, len(chunks[b"PLTE"]), 3)]
            rows = [b"".join([palette[dot] for dot in row]) for row in rows]
        return cls(width, height, b"".join(rows))

    @classmethod
    def of_ppm(cls, data: bytes) -> "Dots":
        _, size, _, colors = data.split(b"\n", 3)
        return cls(*map(int, size.split()), colors)

    def without_ninth_dots(self) -> "Dots":
        """Return a picture without the last ninth of its cells.

        QEMU has none in 40 columns, and repeats the eighth dot in codes B0h to BFh as well.
        """
        if self.width != 720:
            return self
        cell = 3 * (18 if self.wide() else 9)
        cells = range(0, len(self.colors), cell)
        kept = b"".join([self.colors[at : at + cell // 9 * 8] for at in cells])
        return Dots(640, self.height, kept)

    def wide(self) -> bool:
        """Whether every dot is there twice."""
        return all(
            self.colors[at : at + 3] == self.colors[at + 3 : at + 6] for at in range(0, len(self.colors), 6)
        )

    def differences(self, other: "Dots", tolerance: int) -> int:
        pairs = zip(self.colors, other.colors, strict=True)
        return sum(abs(one - two) > tolerance for one, two in pairs)


class Qemu:
    """The same guest on QEMU's standard VGA."""

    def __init__(self, folder: Path, disk: Path) -> None:
        assert QEMU is not None
        self._monitor = folder / "monitor"
        self._dump = folder / "screen.ppm"
        self.process = subprocess.Popen(
            [
                QEMU, "-accel", "tcg", "-display", "none", "-vga", "std", "-serial", "stdio", "-no-reboot",
                "-drive", f"file={disk},format=raw", "-monitor", f"unix:{self._monitor},server,nowait",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def drawn(self) -> Dots:
        """Wait until the guest has drawn, and return what QEMU shows."""
        assert self.process.stdout is not None
        while (said := self.process.stdout.read(1)) not in LETTERS.encode():
            assert said != b"!", "the BIOS refuses a mode"
        script = f"screendump {self._dump}\n" * 2  # the first one makes it look at the mode
        subprocess.run(
            [sys.executable, "-c", ASK, self._monitor], input=script.encode(), check=True, timeout=20
        )
        return Dots.of_ppm(self._dump.read_bytes())

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(NEXT)
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def prompt():
    data = b""
    while not data.endswith(b"(qemu) "):
        data += s.recv(4096)
prompt()
for line in sys.stdin.buffer:
    s.sendall(line)
    prompt()
"""
"""Gives lines to QEMU's monitor, each when it has done the one before."""


@pytest.fixture(scope="session")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("nasm") is None:
        pytest.skip("nasm assembles the guest")
    if not PCI_BIOS.exists():
        pytest.skip(f"{PCI_BIOS.name} is in Debian's package seabios")
    disk = tmp_path_factory.mktemp("modes") / "modes.img"
    source = Path(__file__).with_name("modes.asm")
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    os.truncate(disk, 1 << 20)
    return disk


def options(disk: Path, bios: Path = PCI_BIOS) -> list[str]:
    return ["--firmware", str(SEABIOS), "--video-bios", str(bios), "--disk", str(disk)]


@pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed: it is the oracle here")
async def test_every_mode_of_the_bios_and_of_vesa_shows_what_qemu_shows(
    modes: Path, tmp_path: Path, vendor: str
) -> None:
    """SeaBIOS' vgabios-stdvga finds 1234:1111, and a boot sector draws by INT 10h and in the frame buffer."""
    qemu = Qemu(tmp_path, Path(shutil.copy(modes, tmp_path / "qemu.img")))
    try:
        async with Machine(*options(modes), "--vendor", vendor) as machine:
            for mode, letter in zip(MODES, LETTERS, strict=True):
                theirs = await trio.to_thread.run_sync(qemu.drawn)
                await machine.console.expect(letter, 30)
                ours = Dots.of_png(await machine.png())
                if mode in TEXT_MODES:
                    assert ours.width == 720
                    ours, theirs = ours.without_ninth_dots(), theirs.without_ninth_dots()
                assert (ours.width, ours.height) == (theirs.width, theirs.height), f"mode {mode:#x}"
                tolerance = DAC_TOLERANCE if mode < 0x110 else DEPTH_TOLERANCE
                assert len(set(ours.colors)) > 1, f"mode {mode:#x}"
                assert ours.differences(theirs, tolerance) == 0, f"mode {mode:#x}"
                qemu.go_on()
                await machine.console.type(NEXT)
    finally:
        qemu.close()


async def test_the_frame_buffer_of_an_adapter_on_isa(modes: Path) -> None:
    """Debian's vgabios-isavga looks for it at E0000000h, and shows the same."""
    pictures = []
    for bios in (PCI_BIOS, VGABIOS):
        async with Machine(*options(modes, bios)) as machine:
            for mode, letter in zip(MODES, LETTERS, strict=True):
                await machine.console.expect(letter, 30)
                if mode == 0x112:
                    pictures.append(await machine.png())
                    break
                await machine.console.type(NEXT)
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("how", ["upgraded", "killed"])
async def test_the_screen_outlasts_its_server(modes: Path, how: str) -> None:
    """Text in the guest's own window, planes that went through the data path, and a frame buffer."""
    async with Machine(*options(modes), apart="core") as machine:
        for mode, letter in zip(MODES, LETTERS, strict=True):
            await machine.console.expect(letter, 30)
            if mode in {0x03, 0x12, 0x13, 0x115}:
                before = await machine.png()
                await (upgrade if how == "upgraded" else kill)(machine)
                assert await picture(machine) == before, f"mode {mode:#x}"
            await machine.console.type(NEXT)


async def picture(machine: Machine) -> bytes:
    """Return what a server shows that may just have started."""
    with trio.fail_after(20):
        while True:
            try:
                return await machine.png()
            except DevmodelError:
                await trio.sleep(0.05)


async def upgrade(machine: Machine) -> None:
    done = await trio.run_process(
        [sys.executable, "-m", "devmodel", "upgrade", machine.domain], capture_stderr=True
    )
    assert done.stderr.startswith(b"devmodel: upgraded to devmodel ")


async def kill(machine: Machine) -> None:
    await trio.sleep(2)  # writes that waited are in no ring: until the state is saved
    assert machine.server is not None
    machine.server.send_signal(signal.SIGKILL)
    await machine.server.wait()
    await machine.start_server()
    machine.console = await machine.connect()


async def test_a_guest_that_is_traced_shows_the_same_and_every_access_is_recorded(
    modes: Path, tmp_path: Path
) -> None:
    """Then nothing of the display is the guest's own; the memory is what it was, VESA modes too."""
    pictures = {}
    for options_of_trace in ([], ["--trace", str(tmp_path / "trace")]):
        async with Machine(*options(modes), *options_of_trace) as machine:
            for mode, letter in zip(MODES, LETTERS, strict=True):
                await machine.console.expect(letter, 60)
                if mode in {0x03, 0x110}:
                    pictures.setdefault(mode, []).append(await machine.png())
                    if mode == 0x110:
                        break
                await machine.console.type(NEXT)
    assert all(one == other for one, other in pictures.values())
    assert (tmp_path / "trace").stat().st_size > 100_000


async def test_grub_and_linux_draw_in_the_frame_buffer(
    grub_tools: None, initramfs: Path, tmp_path: Path
) -> None:
    """GRUB's gfxterm by VESA, and Linux' console in what GRUB leaves: 800 by 600 in 32 bits."""
    if not FONT.exists() or not PCI_BIOS.exists():
        pytest.skip("unicode.pf2 is in Debian's package grub-common, and the BIOS in seabios")
    config = (
        GRAPHICS
        + """serial --unit=0 --speed=115200
set gfxpayload=keep
linux /kernel console=tty0 console=ttyS0
initrd /initrd
echo Hello
boot
"""
    )
    files = {"unicode.pf2": FONT, "kernel": GUESTS / "vmlinuz", "initrd": initramfs}
    disk = make_image(tmp_path, "graphics", config, files, 32, GRAPHICS_MODULES)
    async with Machine(*options(disk), "--memory", "256M") as machine:
        await machine.console.expect("Linux version", 180)
        hello = Dots.of_png(await machine.png())
        assert (hello.width, hello.height) == (800, 600)
        await machine.console.expect(MARKER, 180)
        console = Dots.of_png(await machine.png())
        assert (console.width, console.height) == (800, 600)
        lit = [sum(map(bool, picture.colors)) / len(picture.colors) for picture in (hello, console)]
        assert 0 < lit[0] < lit[1] / 10, "a line of text, and a screen full of it"
