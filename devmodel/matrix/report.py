"""How a matrix goes, on a terminal; and what came of it, as a table and as JUnit's XML."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, TextIO
from xml.etree import ElementTree as ET

from devmodel.matrix.cell import Outcome
from devmodel.matrix.plan import Cell
from ioreq.lines import printable

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Progress:
    """Shows how far a matrix is: in a line that changes on a terminal, elsewhere by a line a cell."""

    def __init__(self, cells: Sequence[Cell], stream: TextIO | None = None) -> None:
        self._total = len(cells)
        self._stream = stream or sys.stderr
        self._counts: Counter[str] = Counter()
        self._running: dict[str, None] = {}

    def began(self, cell: Cell) -> None:
        """Show a cell that is run now."""
        self._running[cell.name] = None
        self._show()

    def ended(self, cell: Cell, outcome: Outcome) -> None:
        """Show what came of one."""
        self._running.pop(cell.name, None)
        self._counts[outcome.status] += 1
        if self._stream.isatty():
            if outcome.status != "passed":
                self._stream.write(f"\r\033[K{_line(cell, outcome)}\n")
            self._show()
        else:
            self._stream.write(f"[{self._counts.total()}/{self._total}] {_line(cell, outcome)}\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._stream.isatty():
            self._stream.write("\r\033[K")
            self._stream.flush()

    def _show(self) -> None:
        if self._stream.isatty():
            counts = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            running = "; ".join(list(self._running)[:4])
            self._stream.write(f"\r\033[K[{self._counts.total()}/{self._total}] {counts}  {running}"[:200])
            self._stream.flush()


def _line(cell: Cell, outcome: Outcome) -> str:
    why = f": {printable(outcome.why)}" if outcome.why else ""
    return f"{outcome.status} {cell.name} ({outcome.seconds:.1f} s){why}"


def table(outcomes: Mapping[str, Outcome], cells: Sequence[Cell]) -> str:
    """Return a line a cell, in the order of the cells, and one that counts them."""
    axes = list(cells[0].axes)
    widths = {axis: max(len(axis), *(len(cell.axes[axis]) for cell in cells)) for axis in axes}
    title = "  ".join(f"{axis.upper():<{widths[axis]}}" for axis in axes)
    lines = [f"{title}  {'RESULT':<7}  SECONDS"]
    for cell in cells:
        outcome = outcomes[cell.name]
        places = "  ".join(f"{cell.axes[axis]:<{widths[axis]}}" for axis in axes)
        why = f"  {printable(outcome.why)}" if outcome.why else ""
        lines.append(f"{places}  {outcome.status:<7}  {outcome.seconds:7.1f}{why}")
    counts = Counter(outcome.status for outcome in outcomes.values())
    lines.append(f"{len(cells)} cells: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    return "\n".join(lines) + "\n"


def junit(outcomes: Mapping[str, Outcome], cells: Sequence[Cell], name: str) -> bytes:
    """Return what CI systems read: a test suite, a case a cell."""
    counts = Counter(outcome.status for outcome in outcomes.values())
    total = sum(outcome.seconds for outcome in outcomes.values())
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(cells)),
        failures=str(counts["failed"]),
        errors=str(counts["error"]),
        time=f"{total:.3f}",
    )
    for cell in cells:
        outcome = outcomes[cell.name]
        case = ET.SubElement(
            suite, "testcase", classname=name, name=_xml(cell.name), time=f"{outcome.seconds:.3f}"
        )
        if outcome.status != "passed":
            kind = "failure" if outcome.status == "failed" else "error"
            ET.SubElement(case, kind, message=_xml(outcome.why)).text = _xml(outcome.why)
        if outcome.output:
            ET.SubElement(case, "system-out").text = _xml(outcome.output)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    """Return text without what XML cannot say (XML 1.0, Char): most control characters, and halves of pairs."""
    return _NO_XML.sub("", text)
