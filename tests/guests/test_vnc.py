"""A real VNC viewer and `devmodel screen --png` see the same picture, and keys by VNC reach the guest."""

import io
import re
import shutil
import struct
import sys
import zlib
from importlib.resources import files

import pytest
import trio

from devmodel.testing import Machine

PROMPT = b"demo> "


@pytest.mark.parametrize("encoding", ["raw", "zlib", "tight"])
async def test_a_viewer_sees_what_the_png_shows(encoding, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="pillow is an oracle of the tests")
    if shutil.which("vncsnapshot") is None:
        pytest.skip("vncsnapshot is in Debian's package vncsnapshot")
    async with Machine("--vnc", "127.0.0.1:0") as machine:
        await machine.console.expect(PROMPT)
        (port,) = re.findall(r"^devmodel: vnc on 127.0.0.1:(\d+)$", machine.said(), re.MULTILINE)
        shot = tmp_path / "shot.jpg"
        words = [
            "vncsnapshot",
            "-quality",
            "100",
            "-encodings",
            encoding,
            f"127.0.0.1:{int(port) - 5900}",
            str(shot),
        ]
        with trio.fail_after(30):
            await trio.run_process(words, capture_stdout=True, capture_stderr=True)
        seen = image.open(shot).convert("RGB")
        shown = image.open(io.BytesIO(await machine.png())).convert("RGB")
        assert seen.size == shown.size
        # A JPEG is nearly exact, and a wrong dot is far from right.
        assert max(abs(a - b) for a, b in zip(seen.tobytes(), shown.tobytes(), strict=True)) <= 64
        assert len(shown.getcolors()) > 2
        await machine.console.type("off\r")
        assert await machine.wait() == 0


async def test_keys_by_vnc_reach_the_firmwares_shell(seabios, grub_images):
    """GRUB on the screen alone echoes what is typed on the PS/2 keyboard."""
    disk = ["--disk", str(grub_images["screen"])]
    async with Machine(*seabios, *disk, "--vnc", "127.0.0.1:0") as machine:
        (port,) = re.findall(r"^devmodel: vnc on 127.0.0.1:(\d+)$", machine.said(), re.MULTILINE)
        with trio.fail_after(120):
            while "grub>" not in await machine.screen():
                await trio.sleep(0.3)
            async with await trio.open_tcp_stream("127.0.0.1", int(port)) as viewer:
                assert await viewer.receive_some(12) == b"RFB 003.008\n"
                await viewer.send_all(b"RFB 003.003\n")
                await viewer.receive_some(4)
                await viewer.send_all(b"\1")
                for character in "echo (Hi)":
                    for pressed in (1, 0):
                        await viewer.send_all(struct.pack(">BBxxI", 4, pressed, ord(character)))
                while "echo (Hi)" not in (shown := await machine.screen()):
                    await trio.sleep(0.2)
                assert "grub>" in shown


class Viewer:
    """One that knows zlib alone, whose stream goes on for as long as it is connected."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.inflate = zlib.decompressobj()
        self.dots = bytearray()
        self.size = (0, 0)

    async def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = await self.stream.receive_some(65536)
            assert data, "it was disconnected"
            self.buffer += data
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    async def begin(self) -> None:
        await self.exactly(12)
        await self.stream.send_all(b"RFB 003.003\n")
        await self.exactly(4)
        await self.stream.send_all(b"\1")
        *self.size, length = struct.unpack(">HH16xI", await self.exactly(24))
        await self.exactly(length)
        self.dots = bytearray(4 * self.size[0] * self.size[1])
        await self.stream.send_all(struct.pack(">BxHi", 2, 1, 6))

    async def ask(self) -> None:
        await self.stream.send_all(struct.pack(">BBHHHH", 3, 1, 0, 0, *self.size))

    async def update(self) -> None:
        (count,) = struct.unpack(">xxH", await self.exactly(4))
        for _ in range(count):
            x, y, width, height, encoding, length = struct.unpack(">HHHHiI", await self.exactly(16))
            assert encoding == 6
            data = self.inflate.decompress(await self.exactly(length))
            for row in range(height):
                at = 4 * ((y + row) * self.size[0] + x)
                self.dots[at : at + 4 * width] = data[4 * width * row : 4 * width * (row + 1)]

    def picture(self) -> bytes:
        """Red, green and blue of every dot."""
        found = bytearray(3 * len(self.dots) // 4)
        found[0::3], found[1::3], found[2::3] = self.dots[2::4], self.dots[1::4], self.dots[0::4]
        return bytes(found)


async def test_a_viewer_stays_connected_over_upgrades():
    image = pytest.importorskip("PIL.Image", reason="pillow is an oracle of the tests")
    demo = files("devmodel.demo") / "machine.toml"
    async with Machine(str(demo), "--vnc", "127.0.0.1:0", apart="core") as machine:
        await machine.console.expect(PROMPT)
        (port,) = re.findall(r"^devmodel: vnc on 127.0.0.1:(\d+)$", machine.said(), re.MULTILINE)
        shown = image.open(io.BytesIO(await machine.png())).convert("RGB").tobytes()
        with trio.fail_after(60):
            async with await trio.open_tcp_stream("127.0.0.1", int(port)) as stream:
                viewer = Viewer(stream)
                await viewer.begin()
                for _ in range(3):
                    await viewer.ask()
                    await viewer.update()
                    assert viewer.picture() == shown
                    viewer.dots[:] = bytes(len(viewer.dots))
                    upgrade = [sys.executable, "-m", "devmodel", "upgrade", machine.domain]
                    await trio.run_process(upgrade, capture_stderr=True)
                async with await trio.open_tcp_stream("127.0.0.1", int(port)) as late:
                    await Viewer(late).begin()
