"""A real VNC viewer and `devmodel screen --png` see the same picture, and keys by VNC reach the guest."""

import io
import re
import shutil
import struct

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
