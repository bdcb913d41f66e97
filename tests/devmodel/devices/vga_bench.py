"""A VGA on a bench, and the modes of IBM's BIOS as it programs them (IBM PS/2 BIOS interface TR, video modes)."""

from typing import Final

import attrs

from devmodel.board.clock import ManualClock
from devmodel.devices.vga import Vga
from devmodel.devices.vga_memory import VIEW
from devmodel.devices.vga_picture import Picture, picture
from devmodel.devices.vga_text import TextScreen

TEXT: Final = 0x1_8000
"""0xB8000 in the window."""
MIB: Final = 1 << 20

# Miscellaneous output; sequencer 1-4; graphics 0-8; attribute 10h-14h. CRTC 0-18h. Palette.
EGA: Final = "000102030405 1407 38393a3b3c3d3e3f"
CGA: Final = "00131517 02040607 1011121314151617"
GREYS: Final = "00080808080808081018181818181818"
DARK: Final = "00010203040506071011121314151617"
COUNT: Final = "000102030405060708090a0b0c0d0e0f"
BRIGHT: Final = "003f3f3f3f3f3f3f3f3f3f3f3f3f3f3f"
MODES: Final = {
    "00": (
        "67 08030002 0000000000100e00ff 0c000f0800",
        "2d2728902ba0bf1f 004f0d0e00000000 9c8e8f141f96b9a3ff",
        EGA,
    ),
    "03": (
        "67 00030002 0000000000100e00ff 0c000f0800",
        "5f4f50825581bf1f 004f0d0e00000000 9c8e8f281f96b9a3ff",
        EGA,
    ),
    "04": (
        "63 09030002 0000000000300f00ff 0100030000",
        "2d2728902b80bf1f 00c1000000000000 9c8e8f140096b9a2ff",
        CGA,
    ),
    "06": (
        "63 01010006 0000000000000d00ff 0100010000",
        "5f4f50825480bf1f 00c1000000000000 9c8e8f280096b9c2ff",
        "00171717171717171717171717171717",
    ),
    "07": (
        "66 00030003 0000000000100a00ff 0e000f0800",
        "5f4f50825581bf1f 004f0d0e00000000 9c8e8f280f96b9a3ff",
        GREYS,
    ),
    "0d": (
        "63 090f0006 000000000000050fff 01000f0000",
        "2d2728902b80bf1f 00c0000000000000 9c8e8f140096b9e3ff",
        DARK,
    ),
    "0e": (
        "63 010f0006 000000000000050fff 01000f0000",
        "5f4f50825480bf1f 00c0000000000000 9c8e8f280096b9e3ff",
        DARK,
    ),
    "0f": (
        "a2 010f0006 0000000000000505ff 0b00050000",
        "5f4f50825480bf1f 0040000000000000 83855d280f63bae3ff",
        "00080000181800000008000000180000",
    ),
    "10": (
        "a3 010f0006 000000000000050fff 01000f0000",
        "5f4f50825480bf1f 0040000000000000 83855d280f63bae3ff",
        EGA,
    ),
    "11": (
        "e3 010f0006 0000000000000501ff 01000f0000",
        "5f4f508254800b3e 0040000000000000 ea8cdf2800e704e3ff",
        BRIGHT,
    ),
    "12": (
        "e3 010f0006 000000000000050fff 01000f0000",
        "5f4f508254800b3e 0040000000000000 ea8cdf2800e704e3ff",
        EGA,
    ),
    "13": (
        "63 010f000e 000000000040050fff 41000f0000",
        "5f4f50825480bf1f 0041000000000000 9c8e8f284096b9a3ff",
        COUNT,
    ),
    "X": (
        "e3 010f0006 000000000040050fff 41000f0000",
        "5f4f508254800d3e 0041000000000000 eaacdf2800e706e3ff",
        COUNT,
    ),
}
"""By number. X is Abrash's: 320 by 240 in planes."""


@attrs.define
class Bench:
    """The adapter with a clock in the hand; `video` is memory as a core shares it."""

    clock: ManualClock = attrs.field(factory=ManualClock)
    video: memoryview | None = None
    vga: Vga = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.vga = Vga(clock=self.clock, video=self.video)

    @classmethod
    def with_memory(cls, size: int = 16 * MIB) -> "Bench":
        """Return one with as much memory as a core shares."""
        return cls(video=memoryview(bytearray(size + VIEW)))

    def out(self, port: int, value: int) -> None:
        """Write a byte to a port."""
        self.vga.write(port - 0x3B0, 1, value)

    def into(self, port: int) -> int:
        """Read a byte from a port."""
        return self.vga.read(port - 0x3B0, 1)

    def set(self, port: int, index: int, value: int) -> None:
        """Write a register behind an index."""
        self.out(port, index)
        self.out(port + 1, value)

    def get(self, port: int, index: int) -> int:
        """Read a register behind an index."""
        self.out(port, index)
        return self.into(port + 1)

    def attribute(self, index: int, value: int) -> None:
        """Write a register of the attribute controller, and leave the screen on."""
        self.into(0x3DA)
        self.into(0x3BA)
        self.out(0x3C0, index)
        self.out(0x3C0, value)
        self.out(0x3C0, 0x20)

    def get_palette(self, index: int) -> int:
        """Read a register of the attribute controller's palette."""
        return self.vga.memory.state.attribute[index]

    def color(self, index: int, red: int, green: int, blue: int) -> None:
        """Write a colour of the DAC."""
        self.out(0x3C8, index)
        for level in (red, green, blue):
            self.out(0x3C9, level)

    def vbe(self, index: int, value: int) -> None:
        """Write a register of the Bochs VBE extensions."""
        self.vga.vbe.write(0, 2, index)
        self.vga.vbe.write(1, 2, value)

    def vbe_get(self, index: int) -> int:
        """Read one."""
        self.vga.vbe.write(0, 2, index)
        return self.vga.vbe.read(1, 2)

    def mode(self, number: str) -> None:
        """Set a mode of the BIOS; memory is left as it is."""
        registers, crtc, palette = (hexadecimal(text) for text in MODES[number])
        base = 0x3D4 if registers[0] & 1 else 0x3B4
        self.out(0x3C2, registers[0])
        for index, value in enumerate(registers[1:5], 1):
            self.set(0x3C4, index, value)
        self.set(base, 0x11, 0)
        for index, value in enumerate(crtc):
            self.set(base, index, value)
        for index, value in enumerate(registers[5:14]):
            self.set(0x3CE, index, value)
        for index, value in enumerate(palette + registers[14:]):
            self.attribute(index, value)

    def planar(self, *, write_mode: int = 0, mask: int = 15) -> None:
        """Sequential access to all planes at 0xA0000, as in mode 12h."""
        self.set(0x3C4, 4, 6)
        self.set(0x3C4, 2, mask)
        self.set(0x3CE, 5, write_mode)
        self.set(0x3CE, 6, 5)

    def poke(self, address: int, value: int, size: int = 1) -> None:
        """Write into the window."""
        self.vga.memory.write(address, size, value)

    def peek(self, address: int, size: int = 1) -> int:
        """Read from it."""
        return self.vga.memory.read(address, size)

    def planes(self, address: int) -> tuple[int, ...]:
        """Return a byte of each plane."""
        self.vga.memory.flush()
        return tuple(self.vga.memory.octets[4 * address : 4 * address + 4])

    def put(self, address: int, *values: int) -> None:
        """Put a byte into each plane, behind the back of a chip whose window is not plain."""
        self.vga.memory.octets[4 * address : 4 * address + 4] = bytes(values)

    def text(self) -> TextScreen:
        """Return the characters on the screen."""
        frame = self.vga.frame()
        assert frame.text_mode
        return TextScreen.of(frame)

    def picture(self, *, cursor: bool = False, blink_on: bool = True) -> Picture:
        """Return the dots on the screen."""
        return picture(self.vga.frame(), cursor=cursor, blink_on=blink_on)

    def dots(
        self, y: int, first: int, last: int, *, cursor: bool = False, blink_on: bool = True
    ) -> list[int]:
        """Return dots of a line, as numbers of the DAC's colours."""
        return list(self.picture(cursor=cursor, blink_on=blink_on).rows[y][first:last])


def hexadecimal(text: str) -> bytes:
    """Return bytes of hexadecimal digits that are grouped anyhow."""
    return bytes.fromhex(text.replace(" ", ""))
