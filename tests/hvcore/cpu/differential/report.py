"""A failing case as a test that can be pasted: bytes, disassembly, what differs; and what that test calls, `agree`."""

import textwrap

import capstone
import pytest

from tests.hvcore.cpu.differential.compare import Case, Machines
from tests.hvcore.cpu.differential.kinds import BITS, BY_HAND, machines_for
from tests.hvcore.cpu.differential.program import laid_out, place
from tests.hvcore.cpu.silicon import needs_silicon

PASTE_INTO = "tests/hvcore/cpu/test_sequences.py"  # which imports `agree`


def disassembly(code: bytes, at: int, bits: int) -> str:
    """The instructions in `code`, on one line."""
    disassembler = capstone.Cs(
        capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_16
    )
    rows = list(disassembler.disasm(code, at))
    texts = [f"{row.mnemonic} {row.op_str}".strip() for row in rows]
    return "; ".join(texts if sum(row.size for row in rows) == len(code) else [*texts, "?"])


def named_test(pair: Machines, case: Case, kind: str, seed: int) -> str:
    """The case as the text of a test for the file PASTE_INTO, below a comment that says so."""
    placed = place(case.rows, case.base)
    found = pair.differences(case)
    starts = sorted(placed.undefined)
    ends = [*starts[1:], case.base + len(placed.code)]
    lines = [
        f'# For {PASTE_INTO}, below "What once differed", with a name that says what was wrong.',
        f"def test_{kind.replace('-', '_')}_case_{seed}_ends_as_in_the_oracle() -> None:",
        *(f"    # {line}" for row in found for line in textwrap.wrap(row, 100)),
        "    program = [",
    ]
    for start, end in zip(starts, ends, strict=True):
        code = placed.code[start - case.base : end - case.base]
        text = disassembly(code, start, pair.bits)
        lines.append(f'        ("{code.hex()}", 0x{placed.undefined[start]:x}),  # {start:05x}  {text}')
    lines += ["    ]", "    agree(", f'        "{kind}",', f"        0x{case.base:x},", "        program,"]
    lines += [f"        {pair.spelled(start)},".replace("'", '"') for start in case.starts]
    lines += [f"        pieces={case.pieces},"] * (case.pieces is not None)
    return "\n".join([*lines, "    )"])


def agree(
    kind: str, base: int, program: list[tuple[str, int]], *starts: tuple, pieces: int | None = None
) -> None:
    """Fail with what differs between the two machines of a kind; skip where the host has no such oracle.

    `program` is what stands at `base`, instruction by instruction: its bytes, and the status flags that mean nothing
    before it. A start is what the kind's machines spell (`spelled`), one run after the other on the same machines.
    `pieces` is the seed that `Case` has.
    """
    if kind not in BITS:
        needs_silicon()
    try:
        pair = machines_for(kind)
    except RuntimeError as error:
        if kind not in BY_HAND:
            raise
        pytest.skip(str(error))
    rows = laid_out([(bytes.fromhex(code), undefined) for code, undefined in program])
    found = pair.differences(Case(rows, base, [pair.start(*start) for start in starts], pieces))
    assert not found, "; ".join(found)
