"""The screen as text, in colour for a terminal, and as a PNG that another library reads."""

import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import zlib

import msgspec
import pytest
import trio

from devmodel import ConfigError
from devmodel.board.parts import ALL
from devmodel.commands import mouse_actions
from devmodel.control.messages import Key, Mouse, Screen
from devmodel.control.monitor import Monitor
from devmodel.devices.vga_font import GLYPHS
from devmodel.devices.vga_frame import Frame
from devmodel.display import png
from devmodel.display.live import Lines
from devmodel.display.render import as_ansi, as_png
from tests.devmodel.devices.vga_bench import TEXT, Bench


def hello() -> Bench:
    """A text screen with Hi in its corner, white on blue, and the cursor behind it."""
    bench = Bench()
    bench.poke(TEXT, 0x1F48, 2)
    bench.poke(TEXT + 2, 0x1F69, 2)
    bench.set(0x3D4, 0x0F, 2)
    return bench


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Return a PNG's chunks, checking every one on the way."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        found[kind] = content
        at += 12 + length
    return found


def test_a_png_has_the_dots_of_the_picture_and_the_colours_of_the_dac():
    bench = hello()
    found = chunks(as_png(bench.vga.frame()))
    assert list(found) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (720, 400, 8, 3, 0, 0, 0)
    assert found[b"PLTE"] == b"".join(map(bytes, bench.vga.frame().colors()))
    raw = zlib.decompress(found[b"IDAT"])
    rows = [raw[n * 721 :][:721] for n in range(400)]
    assert {row[0] for row in rows} == {0}
    assert [row[1:] for row in rows] == bench.picture(cursor=True).rows


def test_a_terminal_is_written_where_it_differs():
    lines = Lines()
    begin = lines.show("one\ntwo\nthree\n", 80, 24)
    assert begin.startswith("\x1b[0m\x1b[2J")
    assert "two" in begin
    assert lines.show("one\ntwo\nthree\n", 80, 24) == ""
    assert lines.show("one\nTWO\nthree\n", 80, 24) == "\x1b[2;1H\x1b[0m\x1b[2KTWO"
    assert lines.show("one\n", 80, 24) == "\x1b[2;1H\x1b[0m\x1b[2K\x1b[3;1H\x1b[0m\x1b[2K"
    assert lines.show("one\ntwo\n", 40, 1) == "\x1b[0m\x1b[2J\x1b[1;1H\x1b[0m\x1b[2Kone", (
        "its size has changed"
    )


@pytest.mark.parametrize("how", ["q", "Ctrl-C", "the machine's end", "SIGTERM"])
def test_the_screen_lives_in_a_terminal_and_leaves_it_as_it_was(how):
    program = """
import time
from devmodel import DevmodelError
from devmodel.display.live import live
begin = time.monotonic()
def look(columns):
    if time.monotonic() > begin + 1.5:
        raise DevmodelError("it has ended")
    return f"columns {columns}, {time.monotonic() > begin + 0.3}"
live(look)
"""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, start_new_session=True
    )
    said = b""
    while b"True" not in said:
        said += os.read(master, 4096)
    assert said.startswith(b"\x1b[?1049h")
    assert not termios.tcgetattr(slave)[3] & termios.ICANON
    if how == "SIGTERM":
        process.terminate()
    elif how != "the machine's end":
        os.write(master, {"q": b"q", "Ctrl-C": b"\x03"}[how])
    while not said.endswith(b"\x1b[?1049l"):
        said += os.read(master, 4096)
    status = process.wait(10)
    assert status == (128 + signal.SIGTERM if how == "SIGTERM" else 0)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_png_in_true_colour():
    found = chunks(png.encode(1, [b"\1\2\3", b"\4\5\6"], None))
    assert list(found) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (1, 2, 8, 2, 0, 0, 0)
    assert zlib.decompress(found[b"IDAT"]) == b"\0\1\2\3\0\4\5\6"


def test_another_library_reads_the_picture():
    image = pytest.importorskip("PIL.Image", reason="only a second opinion")
    with image.open(io.BytesIO(as_png(hello().vga.frame()))) as loaded:
        assert loaded.size == (720, 400)
        assert loaded.convert("RGB").getpixel((0, 0)) == (0, 0, 170)


def test_every_printable_character_has_a_glyph_of_its_own():
    glyphs = [GLYPHS[code] for code in range(0x21, 0x7F)]
    assert len(set(glyphs)) == len(glyphs)
    assert all(len(glyph) == 16 for glyph in GLYPHS)
    assert GLYPHS[0x20] == bytes(16)


def test_text_in_colour_has_a_line_for_every_row_with_its_colours_and_the_cursor_inverted():
    lines = as_ansi(hello().vga.frame(), 80).splitlines()
    assert len(lines) == 25
    white, blue, black = "255;255;255", "0;0;170", "0;0;0"
    assert lines[0].startswith(
        f"\x1b[0m\x1b[38;2;{white}m\x1b[48;2;{blue}mHi\x1b[0m\x1b[38;2;{black}m\x1b[48;2;{black}m "
    )
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines[:2]] == ["Hi" + " " * 78, " " * 80]


def test_text_in_colour_shows_what_blinks_and_the_glyphs_of_control_codes():
    bench = Bench()
    bench.poke(TEXT, 0x8701, 2)
    bench.set(0x3D4, 0x0F, 2)
    assert "\x1b[5m\x1b[38;2;170;170;170m\x1b[48;2;0;0;0m☺" in as_ansi(bench.vga.frame(), 80)


def test_graphics_in_colour_are_half_blocks():
    bench = Bench()
    bench.mode("13")
    for line in range(100):
        for x in range(0, 320, 8):
            bench.poke(320 * line + x, 0x0101_0101_0101_0101, 8)
    lines = as_ansi(bench.vga.frame(), 64).splitlines()
    assert len(lines) == 20  # 640 by 400 dots, two to a block
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines] == ["▀" * 64] * 20
    assert lines[0] == "\x1b[38;2;0;0;170m\x1b[48;2;0;0;170m" + "▀" * 64 + "\x1b[0m"
    assert lines[19].startswith("\x1b[38;2;0;0;0m")


class Machine:
    name = "test"
    parts = ALL
    upgrades = 0
    paused = False
    memory = 64 << 20
    consoles = ("tcp:127.0.0.1:4000",)
    takes = True

    def __init__(self, bench: Bench | None = None) -> None:
        self.bench = bench or hello()
        self.pressed: list[list[str]] = []
        self.done: list[tuple[object, ...]] = []

    def screen(self) -> Frame:
        return self.bench.vga.frame()

    def check_keys(self, keys: list[str]) -> None:
        if keys == ["any"]:
            raise ValueError("there is no key 'any'")

    def takes_keys(self) -> bool:
        return self.takes

    def press(self, keys: list[str]) -> None:
        self.pressed.append(keys)

    def hold(self, keys: list[str], *, pressed: bool) -> None:
        self.done.append((*keys, pressed, trio.current_time()))

    def takes_mouse(self) -> bool:
        return self.takes

    def point(self, right: int, down: int, wheel: int) -> None:
        self.done.append((right, down, wheel))

    def click(self, button: str, *, pressed: bool) -> None:
        self.done.append((button, pressed))


async def test_the_monitor_answers_each_command_and_survives_nonsense():
    machine = Machine()
    monitor = Monitor(machine)
    assert (await monitor.answer(b'{"command": "screen"}')).text == "Hi\n"
    assert (await monitor.answer(b'{"command": "screen", "png": true}')).png.startswith("iVBORw0KGgo")
    assert "Hi" in (await monitor.answer(b'{"command": "screen", "ansi": 80}')).text
    assert "Expected `int` <= 640" in (await monitor.answer(b'{"command": "screen", "ansi": 10000}')).error
    assert (await monitor.answer(b'{"command": "key", "keys": ["a", "ctrl-alt-delete"]}')).error == ""
    assert machine.pressed == [["a"], ["ctrl", "alt", "delete"]]
    assert (await monitor.answer(b'{"command": "key", "keys": ["any"]}')).error == "there is no key 'any'"
    assert (await monitor.answer(b'{"command": "info"}')).machine == "test"
    assert "Invalid value 'dance'" in (await monitor.answer(b'{"command": "dance"}')).error
    assert "malformed" in (await monitor.answer(b"\xff{")).error
    assert (Screen().png, Screen().ansi, Key(keys=[]).keys) == (False, 0, [])


async def test_the_monitor_says_how_to_see_graphics():
    bench = Bench()
    bench.mode("12")
    monitor = Monitor(Machine(bench))
    answer = await monitor.answer(b'{"command": "screen"}')
    assert answer.error == "the screen is in a graphics mode (640x480): --png or --ansi shows it"
    assert (await monitor.answer(b'{"command": "screen", "png": true}')).png
    assert "▀" * 80 in re.sub(
        r"\x1b\[[0-9;]*m", "", (await monitor.answer(b'{"command": "screen", "ansi": 80}')).text
    )


async def test_no_key_is_typed_if_one_is_unknown_and_a_lost_one_is_told(autojump_clock):
    machine = Machine()
    monitor = Monitor(machine)
    assert (await monitor.answer(b'{"command": "key", "keys": ["a", "any"]}')).error
    assert machine.pressed == []
    machine.takes = False
    answer = await monitor.answer(b'{"command": "key", "keys": ["a", "b"]}')
    assert answer.error == "the guest takes no keys: typed 0 of 2"
    assert machine.pressed == []


async def test_keys_are_held_as_long_as_is_asked(autojump_clock):
    machine = Machine()
    begin = trio.current_time()
    answer = await Monitor(machine).answer(b'{"command": "key", "keys": ["ctrl-a"], "hold": 1500}')
    assert answer.error == ""
    assert machine.done == [("ctrl", "a", True, begin), ("ctrl", "a", False, pytest.approx(begin + 1.5))]


async def test_the_mouse_does_one_thing_after_the_other(autojump_clock):
    machine = Machine()
    monitor = Monitor(machine)
    actions = mouse_actions("move 10 -5 click left wheel -1 press side release side".split())  # noqa: SIM905
    command = msgspec.json.encode(Mouse(actions=actions))
    assert (await monitor.answer(command)).error == ""
    assert [step for step in machine.done if step != (0, 0, 0)] == [
        (10, -5, 0), ("left", True), ("left", False), (0, 0, -1), ("side", True), ("side", False)
    ]  # fmt: skip
    wrong = b'{"command": "mouse", "actions": [{"press": "nose"}]}'
    assert "no button 'nose'" in (await monitor.answer(wrong)).error
    machine.takes = False
    assert (await monitor.answer(command)).error == "the guest takes nothing from the mouse: done 0 of 5"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("jump", "mouse: 'jump'; allowed: move, wheel, press, release, click"),
        ("move 1", "mouse move: ''; allowed: a number from -10000 to 10000"),
        ("wheel x", "mouse wheel: 'x'; allowed: a number from -10000 to 10000"),
        ("move 10001 0", "mouse move: '10001'; allowed: a number from -10000 to 10000"),
        ("click nose", "mouse click: 'nose'; allowed: left, right, middle, side, extra"),
        ("click left " * 257, "mouse: 257 actions; at most 256 are allowed"),
    ],
)
def test_what_no_mouse_can_do_is_told_in_a_line(words, line):
    with pytest.raises(ConfigError) as caught:
        mouse_actions(words.split())
    assert str(caught.value) == line
