"""Flags that wait for a stub: right wherever somebody sees them (SDM vol. 1, 3.4.3.1 and vol. 2 of each instruction).

In every test an operation sets the flags, accesses to memory follow, and XOR EBX, EBX would overwrite them.
"""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, ESI, ESP, Bench
from tests.hvcore.cpu.jit.host_code import GENERAL, faulted, go, seen
from tests.hvcore.cpu.test_paging import P, Paged, W

CF, PF, AF, ZF, SF, OF = 0x1, 0x4, 0x10, 0x40, 0x80, 0x800
STATUS = CF | PF | AF | ZF | SF | OF
LEFT_OPEN = {"shift": STATUS ^ AF, "longer shift": STATUS ^ AF ^ OF, "product": CF | OF}
"""What the SDM defines of the flags of an operation that leaves some undefined."""

SETTERS = {  # its code, EAX and ECX before it, and the flags behind it
    "ADD": ("01c8", 0x7FFF_FFFF, 1, OF | SF | AF | PF),
    "ADD, with carry out": ("01c8", 0xFFFF_FFFF, 1, CF | ZF | AF | PF),
    "ADD of an immediate": ("83c0ff", 1, 0, CF | ZF | AF | PF),
    "ADD of 16 bits": ("6601c8", 0x1234_FFFF, 1, CF | ZF | AF | PF),
    "ADD of 8 bits": ("00c8", 0x127F, 1, OF | SF | AF),
    "ADD of 8 bits, AH": ("80c4ff", 0x0100, 0, CF | ZF | AF | PF),
    "ADD from memory": ("0306", 0x7FFF_FFFF, 0, OF | SF | AF | PF),
    "ADD of 16 bits from memory": ("660306", 0xFFFF, 0, CF | ZF | AF | PF),
    "SUB": ("29c8", 0x8000_0000, 1, OF | AF | PF),
    "SUB of an immediate": ("2d 02000000", 1, 0, CF | SF | AF | PF),
    "SUB of 8 bits from memory": ("2a06", 0, 0, CF | SF | AF | PF),
    "CMP": ("39c8", 0, 1, CF | SF | AF | PF),
    "CMP of 8 bits": ("38c8", 0x80, 1, OF | AF),
    "CMP with memory": ("3906", 1, 0, ZF | PF),
    "CMP of memory with an immediate": ("833e02", 0, 0, CF | SF | AF | PF),
    "CMP of 8 bits of memory": ("803e02", 0, 0, CF | SF | AF | PF),
    "OR": ("09c8", 0x8000_0000, 0, SF | PF),
    "OR of 16 bits": ("6609c8", 0x8000, 0, SF | PF),
    "AND": ("21c8", 5, 2, ZF | PF),
    "XOR": ("31c8", 0x8000_0000, 1, SF),
    "XOR from memory": ("3306", 1, 0, ZF | PF),
    "TEST": ("85c8", 3, 1, 0),
    "TEST of itself": ("85c0", 0x8000_0000, 0, SF | PF),
    "TEST of 8 bits": ("a880", 0x80, 0, SF),
    "NEG": ("f7d8", 0x8000_0000, 0, CF | OF | SF | PF),
    "NEG of 8 bits": ("f6d8", 1, 0, CF | SF | AF | PF),
    "SHL by 1, a shift": ("d1e0", 0x4000_0000, 0, OF | SF | PF),
    "SHL by 1 with carry out, a shift": ("d1e0", 0xC000_0000, 0, CF | SF | PF),
    "SHR by 1, a shift": ("d1e8", 0x8000_0001, 0, CF | OF | PF),
    "SAR by 1, a shift": ("d1f8", 0x8000_0001, 0, CF | SF | PF),
    "SHL by 5, a longer shift": ("c1e005", 0x0C00_0000, 0, CF | SF | PF),
    "SHR by 31, a longer shift": ("c1e81f", 0xC000_0000, 0, CF),
    "SAR by 4, a longer shift": ("c1f804", 0x8000_0008, 0, CF | SF | PF),
    "IMUL, a product": ("0fafc1", 0x1_0000, 0x1_0000, CF | OF),
    "IMUL that fits, a product": ("0fafc1", 0xFFFF_FFFF, 5, 0),
    "IMUL of itself, a product": ("0fafc0", 0x1_0000, 0, CF | OF),
    "IMUL from memory, a product": ("0faf06", 0x8000_0000, 0, 0),
    "IMUL from memory that does not fit, a product": ("0faf4604", 0x8000_0000, 0, CF | OF),
}  # fmt: skip
DATA = struct.pack("<II", 1, 2)  # what ESI points at


def defined(name: str) -> int:
    """The status flags that the SDM defines behind an operation of SETTERS."""
    kind = name.rpartition(", a ")[2]
    return LEFT_OPEN.get(kind, STATUS)


ACCESSES = {  # to the page at 300000; each faults if that is absent
    "a load": "8b1d 00003000",
    "a load of a byte": "8a1d 00003000",
    "a load of 16 bits": "668b1d 00003000",
    "a zero extension": "0fb61d 00003000",
    "a store": "890d 00003000",
    "a store of a byte": "880d 00003000",
    "a store of an immediate": "c705 00003000 01000000",
    "an addition": "031d 00003000",
    "a comparison": "3b1d 00003000",
    "a push of memory": "ff35 00003000",
    "an addition to memory": "010d 00003000",
    "a vector": "660f6f05 00003000",
}  # fmt: skip
HANDLER = 0x7E00


def handling(after: int) -> Paged:
    """A machine with paging whose page faults go to a HLT at HANDLER, and what ESI points at."""
    bench = Paged()
    p = bench.processor
    p.translate_after = after
    p.set_cr(4, p.cr(4) | 0x600)
    p.intercepts.exceptions = 0
    p.update_intercepts()
    bench.memory.write(0x5000, struct.pack("<QQQ", 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF))
    bench.memory.write(0x5100 + 14 * 8, struct.pack("<HHHH", HANDLER, 8, 0x8E00, 0))
    p.set_gdtr(0x5000, 0x17)
    p.set_idtr(0x5100, 0x7FF)
    bench.write(HANDLER, b"\xf4")
    bench.memory.write(0x9000, DATA)
    return bench


def start(bench: Bench, eax: int, ecx: int) -> None:
    for number in range(8):
        bench.processor.set_gpr(number, 0x8000)
    for number, value in ((EAX, eax), (ECX, ecx), (ESI, 0x9000), (ESP, 0x7000)):
        bench.processor.set_gpr(number, value)
    bench.processor.rflags = 2


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("setter", SETTERS)
def test_the_frame_of_a_fault_has_the_flags_of_what_was_done_before_it(setter: str, access: str) -> None:
    code, eax, ecx, flags = SETTERS[setter]
    seen_flags = []
    for after in (0, 1):
        bench = handling(after)
        # Where the page is present but the TLB misses the stub comes back; later it faults.
        bench.load(bytes.fromhex(f"{code} 8b16 8b5604 {ACCESSES[access]} 31db f4"))
        for right in (P | W, 0):
            bench.map(right)
            bench.processor.set_cr(3, bench.processor.cr(3))
            start(bench, eax, ecx)
            assert go(bench) == ExitKind.HLT
        assert bench.processor.rip == HANDLER
        frame = bench.processor.gpr(ESP)
        assert bench.read32(frame + 4) == 0x7C00 + len(bytes.fromhex(f"{code} 8b16 8b5604"))
        seen_flags.append(bench.read32(frame + 12))
    assert seen_flags[1] & defined(setter) == flags
    assert seen_flags[1] == seen_flags[0]


@pytest.mark.parametrize("setter", SETTERS)
def test_an_access_that_a_device_answers_leaves_with_the_flags_of_before(flat: Bench, setter: str) -> None:
    """The second of two: the stub of the first, whose page the TLB has not yet, leaves the operands as they were."""
    code, eax, ecx, flags = SETTERS[setter]
    outcomes = []
    for after in (0, 1):
        flat.processor.translate_after = after
        flat.memory.write(0x9000, DATA)
        flat.load(bytes.fromhex(f"{code} 8b15 00a00000 a1 00002000 31db f4"))
        start(flat, eax, ecx)
        kind = go(flat)
        outcomes.append(seen(flat, kind))
        assert kind == ExitKind.GUEST_PHYSICAL
        assert flat.processor.rflags & defined(setter) == flags
    assert outcomes[1] == outcomes[0]


@pytest.mark.parametrize("how", ["a store", "a push"])
@pytest.mark.parametrize("setter", SETTERS)
def test_a_block_that_is_written_over_leaves_with_flags_that_nothing_overwrites(
    flat: Bench, setter: str, how: str
) -> None:
    """XOR EBX, EBX becomes HLT."""
    code, eax, ecx, flags = SETTERS[setter]
    outcomes = []
    for after in (0, 1):
        flat.processor.translate_after = after
        flat.memory.write(0x9000, DATA)
        before = bytes.fromhex(code)
        write = "c605 {} f4" if how == "a store" else "bc {} 68 f4f4f4f4"
        end = 0x7C00 + len(before) + len(bytes.fromhex(write.format("00000000")))
        place = end if how == "a store" else end + 4
        flat.load(before + bytes.fromhex(write.format(struct.pack("<I", place).hex()) + "31db f4f4"))
        start(flat, eax, ecx)
        kind = go(flat)
        outcomes.append(seen(flat, kind))
        assert flat.processor.rflags & defined(setter) == flags
        assert flat.processor.gpr(EBX) == 0x8000
    assert outcomes[1] == outcomes[0]


STEPS = (
    "8b16",
    "8b560c",
    "895608",
    "31db",
    "f4",
)  # MOV EDX, [ESI] / MOV EDX, [ESI + 12] / MOV [ESI + 8], EDX …


@pytest.mark.parametrize("setter", SETTERS)
def test_a_count_that_ends_between_finds_the_flags(flat: Bench, setter: str) -> None:
    code, eax, ecx, flags = SETTERS[setter]
    p = flat.processor
    flat.memory.write(0x9000, DATA)
    flat.load(bytes.fromhex(code + "".join(STEPS)))
    for budget in (5, 4, 3, 2, 1):
        start(flat, eax, ecx)
        before = p.icount
        assert go(flat, budget=budget) == ExitKind.BUDGET
        assert p.icount - before == budget
        if budget < 5:
            assert p.rflags & defined(setter) == flags
        else:
            assert p.rflags & STATUS == ZF | PF


WATCHED = {"a read": (0x900C, 0x000F0402, 3), "a write": (0x9008, 0x000D0402, 4), "code": (None, 0x402, 3)}
"""Where DR0 points, DR7, and how many of the setter and STEPS are done when it traps; code: that of the write."""


@pytest.mark.parametrize("what", WATCHED)
@pytest.mark.parametrize("setter", SETTERS)
def test_a_breakpoint_between_finds_the_flags(flat: Bench, setter: str, what: str) -> None:
    """Both when it was there before the block was translated, and when the block had run without it."""
    code, eax, ecx, flags = SETTERS[setter]
    place, enabled, done = WATCHED[what]
    end = 0x7C00 + len(bytes.fromhex(code + "".join(STEPS[: done - 1])))
    for ran_before in (False, True):
        p = flat.processor
        p.set_dr(7, 0x400)
        flat.memory.write(0x9000, DATA)
        flat.load(bytes.fromhex(code + "".join(STEPS)))
        if ran_before:
            start(flat, eax, ecx)
            assert go(flat) == ExitKind.HLT
        p.set_dr(0, end if place is None else place)
        p.set_dr(7, enabled)
        start(flat, eax, ecx)
        assert go(flat) == ExitKind.EXCEPTION
        assert faulted(flat) == (1, end)
        assert p.rflags & defined(setter) == flags


@pytest.mark.parametrize("setter", SETTERS)
def test_a_single_step_between_finds_the_flags(flat: Bench, setter: str) -> None:
    """The block has run translated before."""
    code, eax, ecx, flags = SETTERS[setter]
    p = flat.processor
    flat.memory.write(0x9000, DATA)
    flat.load(bytes.fromhex(code + "".join(STEPS)))
    start(flat, eax, ecx)
    assert go(flat) == ExitKind.HLT
    at = 0x7C00
    start(flat, eax, ecx)
    for step in (code, *STEPS[:3]):
        p.rflags |= 0x100
        assert go(flat, at) == ExitKind.EXCEPTION
        at += len(bytes.fromhex(step))
        assert faulted(flat) == (1, at)
        assert p.rflags & defined(setter) == flags


OVERWRITERS = {  # what sets flags itself behind an operation whose flags wait, before an access that faults
    "INC": "43", "DEC of 8 bits": "feca", "ADC": "83d200", "SBB of memory": "1816", "ADD to memory": "0116",
    "a shift by CL": "d3e2", "a rotation": "c1c203", "a rotation through carry": "c1d203",
    "a shift of memory": "c126 03", "SHLD": "0fa4c205", "a shift of 8 bits": "c0e203", "MUL": "f7e1",
    "IMUL of 16 bits": "660fafd1", "IMUL of an immediate": "6bd105", "BSF": "0fbcd1", "BT": "0fa3ca",
    "BTS of memory": "0fab0e", "CLC": "f8", "STC": "f9", "CMC": "f5", "SAHF": "9e", "POPF": "6a41 9d",
    "COMISD": "660f2fc1", "COMISS with memory": "0f2f06", "FCOMI": "d9e8 dbf0 ddd8", "SCAS": "8bfe ae",
    "CMPS": "8bfe a6", "CMPXCHG": "f00fb116", "XADD": "0fc116", "an operation that is interpreted": "27",
    "a division": "31d2 83c901 f7f1", "AND": "83e2 0f", "a comparison with memory": "3b16",
    "SETC": "0f92c2", "CMOV": "0f42d1", "LAHF": "9f", "PUSHF": "9c",
}  # fmt: skip


@pytest.mark.parametrize("between", ["", "8b1e"], ids=["at once", "behind a load"])
@pytest.mark.parametrize("overwriter", OVERWRITERS)
@pytest.mark.parametrize("setter", ["ADD", "SUB", "OR", "SHR by 1, a shift", "IMUL, a product"])
def test_flags_wait_no_longer_than_to_the_next_that_are_set_or_read(
    setter: str, overwriter: str, between: str
) -> None:
    code, eax, ecx, _ = SETTERS[setter]
    outcomes = []
    for after in (0, 1):
        bench = handling(after)
        bench.run(bytes.fromhex("dbe3 f4"))  # FNINIT masks exceptions
        bench.load(bytes.fromhex(f"{code} {between} {OVERWRITERS[overwriter]} 891d 00003000 31db f4"))
        for right in (P | W, 0):
            bench.map(right)
            bench.processor.set_cr(3, bench.processor.cr(3))
            bench.memory.write(0x9000, DATA)
            start(bench, eax, ecx)
            kind = go(bench)
            frame = bench.memory.read(bench.processor.gpr(ESP), 16) if not right else b""
            outcomes.append((seen(bench, kind), frame, bench.memory.read(0x9000, 16)))
        assert bench.processor.rip == HANDLER
    assert outcomes[2:] == outcomes[:2]


@pytest.mark.parametrize("setter", SETTERS)
def test_a_limit_that_is_passed_in_segmented_code_finds_the_flags(real: Bench, setter: str) -> None:
    """In real mode, where 32-bit operands and addresses have prefixes and 16-bit operands have none."""
    code, eax, ecx, flags = SETTERS[setter]
    words = bytes.fromhex(code)
    words = words[1:] if words[0] == 0x66 else words if "8 bits" in setter else b"\x66" + words
    outcomes = []
    for after in (0, 1):
        p = real.processor
        p.translate_after = after
        real.memory.write(0x9000, DATA)
        prefix = b"\x67" if "memory" in setter else b""
        real.load(prefix + words + bytes.fromhex("668b1effff 31db f4"))
        start(real, eax, ecx)
        kind = go(real)
        outcomes.append(seen(real, kind))
        assert faulted(real) == (GENERAL, 0x7C00 + len(prefix + words))
        assert p.rflags & defined(setter) == flags
    assert outcomes[1] == outcomes[0]


@pytest.mark.parametrize("access", ["8b1d 00003000", "891d 00003000"], ids=["a load", "a store"])
def test_a_condition_behind_a_stub_that_came_back_is_of_the_comparison_before_it(access: str) -> None:
    """ADD, whose flags that stub computed, and CMP EDX, ECX and SETZ AL behind the access."""
    for after in (0, 1):
        bench = handling(after)
        bench.load(bytes.fromhex(f"01c8 {access} 39ca 0f94c0 f4"))
        bench.map(P | W)
        start(bench, 0xFFFF_FFFF, 0x8000)
        assert go(bench) == ExitKind.HLT
        assert bench.processor.gpr(EAX) & 0xFF == 1
        assert bench.processor.rflags & STATUS == ZF | PF
