"""Draws a VGA text screen as the monitor would show it."""

from typing import Final, Protocol

from devmodel.display import font, png

DOTS_9: Final = range(0xC0, 0xE0)  # characters whose ninth dot repeats the eighth (VGA: line graphics enable)


class TextScreen(Protocol):
    """What the VGA says of a text mode: see `devmodel.devices.vga_screen`."""

    @property
    def columns(self) -> int: ...  # noqa: D102
    @property
    def rows(self) -> int: ...  # noqa: D102
    @property
    def characters(self) -> bytes: ...  # noqa: D102
    @property
    def attributes(self) -> bytes: ...  # noqa: D102
    @property
    def cursor(self) -> tuple[int, int] | None: ...  # noqa: D102
    @property
    def cursor_lines(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def glyph_height(self) -> int: ...  # noqa: D102
    @property
    def glyph_width(self) -> int: ...  # noqa: D102
    @property
    def fonts(self) -> tuple[bytes, bytes]: ...  # noqa: D102
    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]: ...  # noqa: D102
    @property
    def blink(self) -> bool: ...  # noqa: D102


def picture(screen: TextScreen, *, cursor: bool = True, blink_on: bool = True) -> bytes:
    """Return the screen as a PNG; `blink_on` is the half of the second in which blinking characters show."""
    height, width = screen.glyph_height, screen.glyph_width
    loaded = [any(plane) for plane in screen.fonts]
    cells: dict[tuple[int, int], list[bytes]] = {}
    rows: list[bytes] = []
    for row in range(screen.rows):
        lines: list[list[bytes]] = [[] for _ in range(height)]
        for column in range(screen.columns):
            at = row * screen.columns + column
            code, attribute = screen.characters[at], screen.attributes[at]
            cell = cells.get((code, attribute))
            if cell is None:
                cell = _cell(screen, code, attribute, loaded, blink_on=blink_on)
                cells[code, attribute] = cell
            if cursor and screen.cursor == (row, column):
                cell = _with_cursor(cell, attribute & 0x0F, screen.cursor_lines, width)
            for y in range(height):
                lines[y].append(cell[y])
        rows += [b"".join(line) for line in lines]
    return png.encode(screen.columns * width, rows, screen.palette)


def _cell(
    screen: TextScreen, code: int, attribute: int, loaded: list[bool], *, blink_on: bool
) -> list[bytes]:
    """Return the rows of one character, a byte a dot, in palette indices."""
    foreground, background = attribute & 0x0F, attribute >> 4
    if screen.blink:
        if background & 8 and not blink_on:
            foreground = background & 7
        background &= 7
    which = attribute >> 3 & 1
    if loaded[which]:
        glyph = screen.fonts[which][32 * code : 32 * code + 32]
    else:
        glyph = (
            font.GLYPHS[code] if screen.glyph_height >= font.HEIGHT else _squeezed(code, screen.glyph_height)
        )
    colours = (background, foreground)
    rows = []
    for y in range(screen.glyph_height):
        dots = glyph[y] if y < len(glyph) else 0
        row = bytearray(colours[dots >> bit & 1] for bit in range(7, -1, -1))
        if screen.glyph_width == 9:
            row.append(row[7] if code in DOTS_9 else background)
        rows.append(bytes(row))
    return rows


def _squeezed(code: int, height: int) -> bytes:
    """Return a glyph of our own in fewer rows."""
    glyph = font.GLYPHS[code]
    return bytes(
        glyph[y * font.HEIGHT // height] | glyph[min(y * font.HEIGHT // height + 1, 15)]
        for y in range(height)
    )


def _with_cursor(cell: list[bytes], colour: int, lines: tuple[int, int], width: int) -> list[bytes]:
    first, last = lines
    return [bytes([colour]) * width if first <= y <= last else row for y, row in enumerate(cell)]
