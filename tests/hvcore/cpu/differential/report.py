"""A failing case as a test that can be pasted: bytes, disassembly, what differs."""

import capstone

from tests.hvcore.cpu.differential.compare import Case, Machines
from tests.hvcore.cpu.differential.program import place


def disassembly(code: bytes, base: int, bits: int) -> list[str]:
    disassembler = capstone.Cs(
        capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_16
    )
    lines, at = [], 0
    while at < len(code):
        row = next(disassembler.disasm(code[at:], base + at, 1), None)
        length = row.size if row else 1
        text = f"{row.mnemonic} {row.op_str}".strip() if row else "?"
        lines.append(f"{base + at:05x}  {code[at : at + length].hex():22} {text}")
        at += length
    return lines


def named_test(pair: Machines, case: Case, kind: str, seed: int) -> str:
    placed = place(case.rows, case.base)
    found = pair.differences(case)
    lines = [
        f"def test_{kind.replace('-', '_')}_case_{seed}_ends_as_in_the_oracle() -> None:",
        *(f"    # {line}" for line in disassembly(placed.code, case.base, pair.bits)),
        *(f"    # {line}" for line in found),
        f'    code = bytes.fromhex("{placed.code.hex(" ")}")',
    ]
    lines += [f"    agree(code, 0x{case.base:x}, {pair.spelled(start)})" for start in case.starts]
    return "\n".join(lines)
