"""Shows what is on a VGA's monitor: as text, as text in colour for a terminal (ECMA-48), as a PNG or PPM."""

from typing import Final

from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_picture import Picture, picture
from devmodel.devices.vga_text import TextScreen
from devmodel.display import png

RESET: Final = "\x1b[0m"
LEAST_COLUMNS: Final = 8
MOST_COLUMNS: Final = 640
CP437_CONTROLS: Final = "\0☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
"""What the codes below 20h look like, which Python's code page 437 leaves control characters."""
SHOWN: Final = {**dict(enumerate(CP437_CONTROLS)), 0x00: " ", 0x7F: "⌂"}


def as_text(screen: TextScreen) -> str:
    """Return a screen as lines of text, without blanks at their ends and empty lines at its end."""
    return screen.text().rstrip("\n") + "\n"


def as_png(frame: Frame) -> bytes:
    """Return a frame as a PNG."""
    drawn = picture(frame)
    return png.encode(drawn.width, drawn.rows, drawn.palette)


def as_ppm(frame: Frame) -> bytes:
    """Return a frame as a portable pixmap: its header, and three bytes a dot."""
    drawn = picture(frame)
    rows = drawn.rows
    if drawn.palette is not None:
        dots = [bytes(color) for color in drawn.palette]
        rows = [b"".join([dots[dot] for dot in row]) for row in rows]
    return b"P6\n%d %d\n255\n" % (drawn.width, drawn.height) + b"".join(rows)


def as_ansi(frame: Frame, columns: int) -> str:
    """Return a frame for a terminal with 24-bit colour: characters, or half blocks in as many `columns`."""
    if frame.text_mode:
        return _ansi_text(TextScreen.of(frame))
    return _ansi_picture(picture(frame), min(max(columns, LEAST_COLUMNS), MOST_COLUMNS))


def _ansi_text(screen: TextScreen) -> str:
    lines = []
    for row in range(screen.rows):
        pieces, last = [], None
        for column in range(screen.columns):
            at = row * screen.columns + column
            code, attribute = screen.characters[at], screen.attributes[at]
            colors = _colors(screen, attribute)
            if screen.cursor == (row, column):
                colors = colors[1], colors[0], False
            if colors != last:
                foreground, background, blinks = last = colors
                pieces.append(RESET + "\x1b[5m" * blinks + _sgr(38, foreground) + _sgr(48, background))
            pieces.append(SHOWN.get(code) or bytes((code,)).decode("cp437"))
        lines.append("".join(pieces) + RESET)
    return "\n".join(lines) + "\n"


def _colors(screen: TextScreen, attribute: int) -> tuple[tuple[int, int, int], tuple[int, int, int], bool]:
    """Return foreground, background, and whether the character blinks."""
    background = attribute >> 4
    blinks = screen.blink and bool(background & 8)
    if screen.blink:
        background &= 7
    return screen.colors[attribute & 15], screen.colors[background], blinks


def _sgr(what: int, color: tuple[int, int, int]) -> str:
    red, green, blue = color
    return f"\x1b[{what};2;{red};{green};{blue}m"


def _ansi_picture(drawn: Picture, columns: int) -> str:
    """Return a picture as half blocks, of which one has two dots, one above the other."""
    columns = min(columns, drawn.width)
    halves = max(2 * round(drawn.height * columns / drawn.width / 2), 2)
    across = [(2 * x + 1) * drawn.width // (2 * columns) for x in range(columns)]
    rows = [drawn.rows[(2 * y + 1) * drawn.height // (2 * halves)] for y in range(halves)]
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        pieces, last = [], None
        for x in across:
            colors = _dot(drawn, upper, x), _dot(drawn, lower, x)
            if colors != last:
                pieces.append(_sgr(38, colors[0]) + _sgr(48, colors[1]))
                last = colors
            pieces.append("▀")
        lines.append("".join(pieces) + RESET)
    return "\n".join(lines) + "\n"


def _dot(drawn: Picture, row: bytes, x: int) -> tuple[int, int, int]:
    if drawn.palette is not None:
        return drawn.palette[row[x]]
    return row[3 * x], row[3 * x + 1], row[3 * x + 2]
