"""The picture of a text screen: glyphs, colours, blinking, cursor, and a PNG that another library reads."""

import io
import struct
import zlib

import attrs
import msgspec
import pytest
import trio

from devmodel import ConfigError
from devmodel.board.parts import ALL
from devmodel.cli import mouse_actions
from devmodel.display import font
from devmodel.display.render import picture
from devmodel.service.monitor import Key, Monitor, Mouse, Screen, text

GREY = tuple((17 * n, 17 * n, 255 - 17 * n) for n in range(16))


@attrs.frozen(kw_only=True)
class Text:
    columns: int = 4
    rows: int = 2
    characters: bytes = b"Hi  " + bytes(4)
    attributes: bytes = b"\x07" * 8
    cursor: tuple[int, int] | None = None
    cursor_lines: tuple[int, int] = (13, 14)
    glyph_height: int = 16
    glyph_width: int = 8
    fonts: tuple[bytes, bytes] = (bytes(8192), bytes(8192))
    palette: tuple[tuple[int, int, int], ...] = GREY
    blink: bool = True


def dots(png: bytes) -> list[bytes]:
    """Return the rows of palette indices, checking every chunk on the way."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    assert chunks[b"PLTE"] == b"".join(map(bytes, GREY))
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[n * (width + 1) :][: width + 1] for n in range(height)]
    assert {row[0] for row in rows} == {0}
    return [row[1:] for row in rows]


def cell(rows: list[bytes], column: int, row: int = 0, width: int = 8) -> list[bytes]:
    return [line[column * width : (column + 1) * width] for line in rows[row * 16 : row * 16 + 16]]


def bits(glyph: bytes, foreground: int = 7, background: int = 0) -> list[bytes]:
    return [bytes(foreground if row >> bit & 1 else background for bit in range(7, -1, -1)) for row in glyph]


def test_without_a_font_of_the_guests_ours_is_used():
    rows = dots(picture(Text()))
    assert (len(rows), len(rows[0])) == (32, 32)
    assert cell(rows, 0) == bits(font.GLYPHS[ord("H")])
    assert cell(rows, 1) == bits(font.GLYPHS[ord("i")])
    assert cell(rows, 2, 1) == bits(bytes(16))


def test_a_guests_font_is_shown_and_attribute_bit_3_chooses_between_two():
    a = bytearray(8192)
    b = bytearray(8192)
    a[32 * ord("H") : 32 * ord("H") + 2] = b"\x81\x42"
    b[32 * ord("i") : 32 * ord("i") + 2] = b"\xff\x01"
    rows = dots(picture(Text(fonts=(bytes(a), bytes(b)), attributes=b"\x07\x0f" + b"\x07" * 6)))
    assert cell(rows, 0) == bits(b"\x81\x42" + bytes(14))
    assert cell(rows, 1) == bits(b"\xff\x01" + bytes(14), 15)


def test_colours_and_blinking():
    screen = Text(attributes=b"\x9e" * 8)
    assert cell(dots(picture(screen)), 0) == bits(font.GLYPHS[ord("H")], 14, 1)
    assert cell(dots(picture(screen, blink_on=False)), 0) == bits(bytes(16), 0, 1)
    assert cell(dots(picture(attrs.evolve(screen, blink=False))), 0) == bits(font.GLYPHS[ord("H")], 14, 9)


def test_the_cursor():
    rows = cell(dots(picture(Text(cursor=(1, 3)))), 3, 1)
    assert [n for n, row in enumerate(rows) if row == b"\7" * 8] == [13, 14]
    assert not any(map(any, cell(dots(picture(Text(cursor=(1, 3)), cursor=False)), 3, 1)))


def test_the_ninth_dot_is_repeated_in_lines_and_blank_in_letters():
    rows = dots(picture(Text(characters=b"\xc4\xdb\xb3H" * 2, glyph_width=9)))
    assert len(rows[0]) == 36
    assert cell(rows, 0, width=9)[7] == b"\7" * 9
    assert cell(rows, 1, width=9)[0] == b"\7" * 9
    assert {row[8] for row in cell(rows, 3, width=9)} == {0}


@pytest.mark.parametrize("height", [8, 14, 19, 32])
def test_other_heights(height):
    assert len(dots(picture(Text(glyph_height=height)))) == 2 * height


def test_every_printable_character_has_a_glyph_of_its_own():
    glyphs = [font.GLYPHS[code] for code in range(0x21, 0x7F)]
    assert len(set(glyphs)) == len(glyphs)
    assert all(len(glyph) == 16 for glyph in font.GLYPHS)
    assert font.GLYPHS[0x20] == bytes(16)


def test_another_library_reads_the_picture():
    image = pytest.importorskip("PIL.Image", reason="only a second opinion")
    with image.open(io.BytesIO(picture(Text()))) as loaded:
        assert loaded.size == (32, 32)
        assert loaded.convert("RGB").getpixel((1, 3)) == GREY[7]


def test_text():
    assert text(Text()) == "Hi\n"
    assert text(Text(characters=b"\xb0a\0b    ")) == "░a b\n"


class Machine:
    name = "test"
    parts = ALL
    upgrades = 0
    takes = True

    def __init__(self) -> None:
        self.pressed: list[list[str]] = []
        self.done: list[tuple[object, ...]] = []

    def screen(self) -> Text:
        return Text()

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
    assert (await monitor.answer(b'{"command": "key", "keys": ["a", "ctrl-alt-delete"]}')).error == ""
    assert machine.pressed == [["a"], ["ctrl", "alt", "delete"]]
    assert (await monitor.answer(b'{"command": "key", "keys": ["any"]}')).error == "there is no key 'any'"
    assert (await monitor.answer(b'{"command": "info"}')).machine == "test"
    assert "Invalid value 'dance'" in (await monitor.answer(b'{"command": "dance"}')).error
    assert "malformed" in (await monitor.answer(b"\xff{")).error
    assert (Screen().png, Key(keys=[]).keys) == (False, [])


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
