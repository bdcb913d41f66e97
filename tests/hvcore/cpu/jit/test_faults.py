"""A fault in host code leaves everything as it was before its instruction."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX
from tests.hvcore.cpu.jit.host_code import go, seen
from tests.hvcore.cpu.test_paging import FRAME, PG, WP, P, Paged, W

FAULTS = {  # one that meets the page at 300000, behind INC EAX and SUB EDX, EAX and before XOR EBX, EBX
    "a load": "8b0d 00003000", "a load of a byte": "8a0d 00003000", "a comparison": "3b0d 00003000",
    "an addition": "030d 00003000", "an addition with carry": "130d 00003000",
    "a multiplication": "0faf0d 00003000",
    "a sign extension": "0fbe0d 00003000", "a conditional move": "0f440d 00003000",
    "a store": "890d 00003000",
    "a store of a byte": "880d 00003000", "a store of 16 bits": "66c705 00003000 3412",
    "ADD to memory": "010d 00003000",
    "SBB to memory": "190d 00003000", "INC of memory": "ff05 00003000", "a push": "51",
    "a push of memory": "ff35 00003000",
    "a pop": "59", "a call": "e800000000", "an indirect call": "ff15 00003000", "a return": "c3",
    "LEAVE": "c9",
    "an operation that is interpreted": "d11d 00003000", "an exchange": "870d 00003000",
    "ADD to memory with LOCK": "f0010d 00003000", "XADD": "0fc10d 00003000", "CMPXCHG": "f00fb10d 00003000",
    "a division": "f735 00003000", "a vector": "660fef0d 00003000", "a store of a vector": "0f110d 00003000",
    "a comparison of reals": "660f2f0d 00003000", "a conversion to an integer": "f20f2c0d 00003000",
    "an x87 load": "d905 00003000", "an x87 store": "db3d 00003000", "LODS": "ad", "SCAS": "af",
}  # fmt: skip
STACKED = ("a push", "a pop", "a call", "a return")
STRINGS = ("LODS", "SCAS")


@pytest.mark.parametrize("where", ["nowhere", "read-only"])
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_leaves_everything_as_before_its_instruction(what: str, where: str) -> None:
    code = bytes.fromhex("40 29c2") + bytes.fromhex(FAULTS[what]) + bytes.fromhex("31db f4")
    outcomes = []
    for after in (0, 1):
        bench = Paged()
        p = bench.processor
        p.translate_after = after
        p.set_cr(0, PG | WP | 0x11)
        p.set_cr(4, p.cr(4) | 0x600)
        bench.run(bytes.fromhex("dbe3 f4"))  # FNINIT masks exceptions
        bench.load(code)
        for right in (P | W, P if where == "read-only" else 0, P | W):  # translated, faults, goes on
            bench.map(right)
            p.set_cr(3, p.cr(3))
            bench.write(FRAME, (0x7C20).to_bytes(4, "little") * 4)
            bench.write(0x7C20, b"\xf4")
            for number, start in enumerate(
                (5, 6, 7, 8, 0x300008 if what in STACKED else 0x8000, 0x300000, 9, 10)
            ):
                p.set_gpr(number, 0x300000 if number > 5 and what in STRINGS else start)
            p.rflags = 0x8D7
            before = p.icount
            kind = go(bench)
            outcomes.append((*seen(bench, kind), p.icount - before, bench.memory.read(FRAME, 16)))
            if kind == ExitKind.EXCEPTION:
                assert (p.rip, p.icount - before, p.gpr(EAX), p.gpr(EBX)) == (0x7C03, 2, 6, 8)
                assert p.rflags == 0x02  # of 7 - 6
    assert outcomes[3:] == outcomes[:3]
    assert where == "read-only" or outcomes[1][0] == ExitKind.EXCEPTION
