"""Host code in words: what a block of guest code becomes (docs/translator.md).

    python -m tests.hvcore.cpu.listing "01d8 31c9 75fa"

translates that code at 7C00 and prints it; Capstone disassembles. `--write` writes `listings/` anew, to be read before
it is committed.
"""

import re
import sys
from pathlib import Path

from tests.hvcore.cpu.bench import Bench

FOLDER = Path(__file__).parent / "listings"
BLOCKS = {
    "loop": "49 75fd",  # dec ecx / jnz
    "move": "89d8 88e1 0fb6d4 668bfe eb00",  # between registers of every size
    "load_and_store": "8b4608 668b06 8a26 894e04 885e01 eb00",
    "segment": "64a100600000 eb00",  # a load through FS looks at its limit
    "stack": "50 5b 6a05 c9 eb00",
    "modify": "0106 fe06 668306ff eb00",
    "flags_dead": "01d8 29c8 31db 85db eb00",  # only those of the last are kept
    "flags_kept": "01d8 8b06 83c1ff eb00",  # those of the first too, if the load faults
    "flags_waiting": "c1e003 890e 0fafc3 890e 31c0 eb00",  # those of SHL and of IMUL, each for the stub of a store
    "carry": "01d8 11ca 41 72fe",  # ADC takes CF from the host's, INC leaves it to the JC
    "compare_and_jump": "39d8 7cfc",
    "condition_of_another_block": "0f94c0 0f42cb eb00",  # SETZ, CMOVB
    "shifts": "c1e003 d1e8 c1f904 d3e2 c1c705 eb00",
    "multiply": "0fafc3 6bc90a f7e3 f7d8 eb00",
    "repeated": "f3a4 ab eb00",  # REP MOVSB, STOSD
    "scan": "f2ae f3a6 eb00",  # REPNE SCASB, REPE CMPSB
    "string": "ac 66af eb00",  # LODSB, SCASW
    "call": "e8f6000000",
    "return": "c20800",
    "indirect": "ffe0",
    "locked": "f00106 f00fb10e eb00",
    "divide": "f7f1 eb00",
    "vectors": "660fefc0 660ffc06 0f29460f 660f7ec0 eb00",  # no look at MXCSR
    "reals": "f20f58c1 f20f5906 660f2fc1 7700",
    "mmx": "0f6f06 0ffcc1 0f7f4608 0f77 eb00",  # MOVQ, PADDB, MOVQ, EMMS
    "x87": "d906 dec1 dfe0 dd1e eb00",  # FLD, FADDP, FNSTSW AX, FSTP
    "interpreted": "27 d9e8 eb00",  # DAA, FLD1
    "eflags": "9c 9d",  # PUSHF, POPF
    "interrupts": "fa fb",  # CLI, STI
    "frame": "60 61 c8 100000 eb00",  # PUSHA, POPA, ENTER
    "eight_bytes": "f00fc70e 7500",  # LOCK CMPXCHG8B
    "port": "ec",  # ends its block, which goes on to no other
}
"""Guest code whose host code stands in `listings/`, for test_listings.py."""

_IN_RECORD = re.compile(r"\[rbx(?: \+ (r\w+))?(?: ([+-]) (\w+))?\]")


def translated(code: bytes, at: int = 0x7C00) -> Bench:
    """A flat 32-bit machine that has just translated, and run once, the block `code`."""
    bench = Bench(32, 1 << 20)
    p = bench.processor
    bench.run(bytes.fromhex("dbe3 f4"))  # FNINIT masks the x87's exceptions
    p.translate_after = 1
    p.set_gpr(2, 0)
    for register in (4, 5, 6, 7):
        p.set_gpr(register, 0x6000)
    p.set_gpr(0, 0x6100)
    p.set_cr(4, 0x600)
    p.intercepts.exceptions = 0xFFFF_FFFF
    p.update_intercepts()
    bench.load(code, at)
    p.run(1)
    return bench


def _field(found: re.Match[str], fields: dict[int, str]) -> str:
    """Name a field of the record instead of its displacement."""
    index, sign, number = found.groups(default="")
    displacement = int(f"{sign}{number or 0}", 0)
    return f"[{fields.get(displacement, f'rbx + {displacement}')}{' + ' + index if index else ''}]"


def listing(bench: Bench, at: int = 0x7C00) -> list[str]:
    """One line an instruction of the block at linear address `at`; labels instead of addresses."""
    import capstone

    names, fields = bench.processor.host_code_names
    ((base, code),) = bench.processor.host_code(at)
    instructions = list(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm(code, base))
    starts = {i.address for i in instructions}
    targets = set()
    for i in instructions:
        if (i.mnemonic.startswith("j") or i.mnemonic == "call") and i.op_str.startswith("0x"):
            targets.add(int(i.op_str, 16))
    labels = {address: f".{n}" for n, address in enumerate(sorted(targets & starts))}
    lines = []
    for i in instructions:
        if i.address in labels:
            lines.append(f"{labels[i.address]}:")
        text = i.op_str
        if text.startswith("0x") and (i.mnemonic.startswith("j") or i.mnemonic == "call"):
            target = int(text, 16)
            text = labels.get(target) or names.get(target) or "elsewhere"
        if i.mnemonic == "movabs":
            register, _, value = text.partition(", ")
            text = f"{register}, {names.get(int(value, 0), value)}"
        text = _IN_RECORD.sub(lambda found: _field(found, fields), text)
        if i.mnemonic == "jmp" and text == "leave" and lines[-1].startswith("    movabs rax, 0x"):
            lines[-1] = "    mov rax, site"  # the jump that a link may aim, and where it is aimed now
        lines.append(f"    {i.mnemonic} {text}".rstrip().replace(" ptr ", " "))
    return lines


def described(code: str) -> str:
    """The listing of the block of these bytes, in hexadecimal, as text."""
    return "\n".join([f"; {code}", *listing(translated(bytes.fromhex(code))), ""])


def main(arguments: list[str]) -> None:
    """Print the listing of what is given, or write those of BLOCKS."""
    if arguments == ["--write"]:
        for name, code in BLOCKS.items():
            (FOLDER / f"{name}.txt").write_text(described(code))
    else:
        print(described(" ".join(arguments)), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
