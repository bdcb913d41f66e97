"""What the video DAC of a VGA is given at one moment (IBM PS/2 Hardware Interface TR, Video: color plane enable).

Input status 1 shows two of these eight bits, so that a program can see that a picture comes out without looking at a
monitor.
"""

from typing import Final

from devmodel.devices.vga_frame import Frame
from devmodel.devices.vga_picture import GraphicsDots, TextDots, Words
from devmodel.devices.vga_registers import Attribute

STATUS_MUX: Final = ((2, 0), (5, 4), (3, 1), (7, 6))
"""Which of the outputs P7 to P0 status bits 5 and 4 are, by bits 5-4 of color plane enable."""
CURSOR_PHASE: Final = 8
"""The cursor shows for so many frames, and does not for as many."""
BLINK_PHASE: Final = 16


class Beam:
    """The registers as they are; `words` is memory, which may change."""

    def __init__(self, frame: Frame, words: Words) -> None:
        """Look at registers only; `frame` needs no memory."""
        self._frame = frame
        self._words = words
        self._scan_of = frame.scan_of()
        self._line_clock = frame.line_clock
        self._dots: dict[int, TextDots | GraphicsDots] = {}
        self._blanked = frame.horizontal.blanked, frame.vertical.blanked
        self._dark = frame.blank or frame.vbe_enabled
        self.overscan: Final = 0 if self._dark else frame.attribute[Attribute.OVERSCAN]
        """The colour of the border; 0 while there is no picture."""
        self._high, self._low = STATUS_MUX[frame.attribute[Attribute.COLOR_PLANE_ENABLE] >> 4 & 3]

    def displayed(self, frames: int, line: int, column: int, dot: int) -> int:
        """Return bits 5 and 4 of input status 1 at a dot of a character that is displayed; frames have numbers."""
        columns, lines = self._blanked
        if self._dark or column in columns or line in lines:
            return 0
        scan = self._scan_of(line * self._line_clock)
        panning = self._frame.panning(scan)
        dots = self._drawer(frames).dots(scan, range(column, column + 1 + bool(panning)))
        return self._status(dots[panning + dot])

    def outside(self, line: int, column: int) -> int:
        """Return them where nothing is displayed."""
        columns, lines = self._blanked
        return 0 if column in columns or line in lines else self._status(self.overscan)

    def _status(self, outputs: int) -> int:
        return (outputs >> self._high & 1) << 5 | (outputs >> self._low & 1) << 4

    def _drawer(self, frames: int) -> TextDots | GraphicsDots:
        """Return what makes dots of memory in this frame; nothing that it remembers is of memory."""
        phase = frames & (CURSOR_PHASE | BLINK_PHASE)
        dots = self._dots.get(phase)
        if dots is None:
            blink_on = not phase & BLINK_PHASE
            if self._frame.text_mode:
                dots = TextDots(self._frame, self._words, cursor=not phase & CURSOR_PHASE, blink_on=blink_on)
            else:
                dots = GraphicsDots(self._frame, self._words, blink_on=blink_on)
            self._dots[phase] = dots
        dots.forget()
        return dots
