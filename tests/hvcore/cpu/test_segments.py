"""Loading segment registers, and asking about descriptors (SDM vol. 3 §5.2 to §5.8; vol. 2 MOV, LAR, LSL, VERR)."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, EAX, EBX, ECX, ES, ESP, LDTR, SS, TR, Bench
from tests.hvcore.cpu.test_execute import GDT, TSS, descriptor, gate, protected

UD, NP, STACK, GP, PF = 6, 11, 12, 13, 14
SEL = 0x48
ZF = 0x40


class Kernel(Bench):
    """Ring 0, or what `ring` says, with every exception stopping, and descriptor 48 for a test to fill."""

    def __init__(self) -> None:
        super().__init__(32, 2 << 20)
        protected(self)
        p = self.processor
        p.set_gdtr(GDT, SEL + 7)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.update_intercepts()

    def ring(self, level: int) -> None:
        p = self.processor
        rights = level << 5
        p.set_segment(CS, 8 | level, 0, 0xFFFFFFFF, 0xC09B | rights)
        for number in (SS, DS, ES):
            p.set_segment(number, 0x10 | level, 0, 0xFFFFFFFF, 0xC093 | rights)

    def put(self, raw: bytes) -> None:
        self.write(GDT + SEL, raw)

    def outcome(self, code: str) -> tuple[int, int | None] | None:
        """Run; None if it was well, else the exception and its error code."""
        if self.run(bytes.fromhex(code) + b"\xcd\x03") == ExitKind.HLT:
            return None
        info = self.processor.exit
        assert self.processor.exit.kind == ExitKind.EXCEPTION
        if self.processor.rip != 0x7C00:  # INT 3 behind it, if the gate is not open to this ring
            assert (info.vector, info.error_code) == (GP, 3 * 8 + 2)
            return None
        return info.vector, info.error_code if info.has_error_code else None


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


MOV_DS, MOV_SS = "8ed8", "8ed0"  # from AX


@pytest.mark.parametrize(
    ("access", "ring", "rpl", "expected"),
    [
        (0x92, 0, 0, None),
        (0x90, 0, 0, None),  # read-only
        (0x96, 0, 0, None),  # expand-down
        (0x9A, 0, 0, None),  # readable code
        (0x98, 0, 0, (GP, SEL)),  # execute-only
        (0x12, 0, 0, (NP, SEL)),
        (0x18, 0, 0, (GP, SEL)),  # the type before presence
        (0x89, 0, 0, (GP, SEL)),  # a TSS
        (0x92, 0, 3, (GP, SEL)),  # DPL below RPL
        (0xF2, 0, 3, None),
        (0x92, 3, 0, (GP, SEL)),  # DPL below CPL
        (0xF2, 3, 0, None),
        (0xB2, 3, 3, (GP, SEL)),
        (0x9A, 3, 3, (GP, SEL)),
        (0x9E, 3, 3, None),  # conforming code is readable from any ring
        (0x9C, 3, 3, (GP, SEL)),  # if it is readable
    ],
)
def test_a_data_segment(kernel: Kernel, access: int, ring: int, rpl: int, expected: object) -> None:
    kernel.put(descriptor(0x1000, 0xFFFFF, access, 0xC))
    kernel.ring(ring)
    kernel.processor.set_gpr(EAX, SEL | rpl)
    before = kernel.processor.segment(DS)
    assert kernel.outcome(MOV_DS) == expected
    accessed = kernel.memory.read(GDT + SEL + 5, 1)[0] & 1
    if expected is None:
        assert kernel.processor.segment(DS) == (SEL | rpl, 0x1000, 0xFFFFFFFF, 0xC000 | access | 1)
        assert accessed
    else:
        assert kernel.processor.segment(DS) == before
        assert accessed == access & 1


@pytest.mark.parametrize(
    ("access", "ring", "selector", "expected"),
    [
        (0x92, 0, SEL, None),
        (0x96, 0, SEL, None),
        (0xF2, 3, SEL | 3, None),
        (0x92, 0, SEL | 1, (GP, SEL)),  # RPL
        (0xF2, 0, SEL, (GP, SEL)),  # DPL
        (0x90, 0, SEL, (GP, SEL)),  # read-only
        (0x9A, 0, SEL, (GP, SEL)),  # code
        (0x12, 0, SEL, (STACK, SEL)),
        (0x10, 0, SEL, (GP, SEL)),
        (0x92, 0, 0, (GP, 0)),
        (0x92, 3, 3, (GP, 0)),
    ],
)
def test_a_stack_segment(kernel: Kernel, access: int, ring: int, selector: int, expected: object) -> None:
    kernel.put(descriptor(0, 0 if access & 4 else 0xFFFFF, access, 0xC))
    kernel.ring(ring)
    kernel.processor.set_gpr(EAX, selector)
    assert kernel.outcome(MOV_SS) == expected


@pytest.mark.parametrize("register", range(8))
def test_cs_cannot_be_moved_to_and_there_are_six_registers(kernel: Kernel, register: int) -> None:
    kernel.put(descriptor(0, 0xFFFFF, 0x92, 0xC))
    kernel.processor.set_gpr(EAX, SEL)
    expected = (UD, None) if register in {1, 6, 7} else None
    assert kernel.outcome(bytes([0x8E, 0xC0 | register << 3]).hex()) == expected


@pytest.mark.parametrize(
    ("selector", "error"), [(SEL + 8, SEL + 8), (0xFFFB, 0xFFF8), (0x0C, 0x0C), (0xFFFF, 0xFFFC)]
)
def test_a_selector_outside_its_table(kernel: Kernel, selector: int, error: int) -> None:
    kernel.processor.set_segment(LDTR, 0, 0, 0, 0x10000)
    kernel.processor.set_gpr(EAX, selector)
    assert kernel.outcome(MOV_DS) == (GP, error)


def test_a_descriptor_that_the_limit_cuts_is_outside(kernel: Kernel) -> None:
    kernel.put(descriptor(0, 0xFFFFF, 0x92, 0xC))
    kernel.processor.set_gdtr(GDT, SEL + 6)
    kernel.processor.set_gpr(EAX, SEL)
    assert kernel.outcome(MOV_DS) == (GP, SEL)


def test_null_is_loaded_with_its_rpl_and_faults_when_used(kernel: Kernel) -> None:
    kernel.processor.set_gpr(EAX, 3)
    assert kernel.outcome(MOV_DS) is None
    assert kernel.processor.segment(DS).selector == 3
    assert kernel.outcome("a1 00600000") == (GP, 0)
    assert kernel.outcome("a3 00600000") == (GP, 0)


def test_a_segment_of_the_ldt(kernel: Kernel) -> None:
    kernel.put(descriptor(0x3800, 0xF, 0x82, 0))
    kernel.write(0x3808, descriptor(0x5000, 0xFFF, 0x92, 0x4))
    kernel.processor.set_gpr(EBX, SEL)
    kernel.processor.set_gpr(EAX, 0x0C)
    assert kernel.outcome("0f00d3 8ed8") is None
    assert kernel.processor.segment(DS).base == 0x5000
    kernel.processor.set_gpr(EAX, 0x14)
    assert kernel.outcome(MOV_DS) == (GP, 0x14)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (descriptor(0x3800, 0xF, 0x82, 0), None),
        (descriptor(0x3800, 0xF, 0x02, 0), (NP, SEL)),
        (descriptor(0x3800, 0xF, 0x92, 0), (GP, SEL)),
        (descriptor(0x3800, 0x67, 0x89, 0), (GP, SEL)),
    ],
)
def test_lldt(kernel: Kernel, raw: bytes, expected: object) -> None:
    kernel.put(raw)
    kernel.processor.set_gpr(EBX, SEL)
    assert kernel.outcome("0f00d3") == expected


@pytest.mark.parametrize(
    ("access", "expected"), [(0x89, None), (0x81, None), (0x8B, (GP, SEL)), (0x83, (GP, SEL)), (0x09, (NP, SEL)),
                             (0x82, (GP, SEL)), (0x92, (GP, SEL))]
)  # fmt: skip
def test_ltr_takes_an_available_tss_and_makes_it_busy(kernel: Kernel, access: int, expected: object) -> None:
    kernel.put(descriptor(TSS, 0x67, access, 0))
    kernel.processor.set_gpr(EBX, SEL)
    assert kernel.outcome("0f00db") == expected
    if expected is None:
        assert kernel.memory.read(GDT + SEL + 5, 1)[0] == access | 2
        assert kernel.processor.segment(TR).attributes == access | 2


@pytest.mark.parametrize("code", ["0f00d3", "0f00db"])
def test_the_tables_of_a_system_segment_are_global(kernel: Kernel, code: str) -> None:
    kernel.processor.set_gpr(EBX, SEL | 4)
    assert kernel.outcome(code) == (GP, SEL | 4)
    kernel.ring(3)
    assert kernel.outcome(code) == (GP, 0)


def test_null_is_an_ldt_and_no_task(kernel: Kernel) -> None:
    kernel.processor.set_gpr(EBX, 0)
    assert kernel.outcome("0f00d3") is None
    assert kernel.outcome("0f00db") == (GP, 0)


# LAR, LSL, VERR, VERW


@pytest.mark.parametrize(
    ("raw", "ring", "rpl", "lar", "lsl", "verr", "verw"),
    [
        (descriptor(0, 0xFFFFF, 0x92, 0xC), 0, 0, 1, 1, 1, 1),
        (descriptor(0, 0xFFFFF, 0x90, 0xC), 0, 0, 1, 1, 1, 0),
        (descriptor(0, 0xFFFFF, 0x98, 0xC), 0, 0, 1, 1, 0, 0),
        (descriptor(0, 0xFFFFF, 0x9A, 0xC), 0, 0, 1, 1, 1, 0),
        (descriptor(0, 0xFFFFF, 0x12, 0xC), 0, 0, 1, 1, 1, 1),  # presence does not matter
        (descriptor(0, 0xFFFFF, 0x92, 0xC), 3, 3, 0, 0, 0, 0),
        (descriptor(0, 0xFFFFF, 0x92, 0xC), 0, 3, 0, 0, 0, 0),
        (descriptor(0, 0xFFFFF, 0x9E, 0xC), 3, 3, 1, 1, 1, 0),  # conforming
        (descriptor(0x3800, 0xF, 0x82, 0), 0, 0, 1, 1, 0, 0),  # LDT
        (descriptor(TSS, 0x67, 0x8B, 0), 0, 0, 1, 1, 0, 0),
        (gate(8, 0, 0x8C), 0, 0, 1, 0, 0, 0),  # call gate
        (gate(8, 0, 0x85), 0, 0, 1, 0, 0, 0),  # task gate
        (gate(8, 0, 0x8E), 0, 0, 0, 0, 0, 0),  # interrupt gate
        (bytes(8), 0, 0, 0, 0, 0, 0),
    ],
)
def test_what_can_be_asked_about(
    kernel: Kernel, raw: bytes, ring: int, rpl: int, lar: int, lsl: int, verr: int, verw: int
) -> None:
    p = kernel.processor
    for code, allowed in (("0f02c3", lar), ("0f03c3", lsl), ("0f00e3", verr), ("0f00eb", verw)):
        kernel.put(raw)
        kernel.ring(ring)
        p.set_gpr(EBX, SEL | rpl)
        p.set_gpr(EAX, 0x12345678)
        p.rflags = 2 if allowed else 2 | ZF
        assert kernel.outcome(code) is None
        assert bool(p.rflags & ZF) == bool(allowed), code
        if code.startswith("0f00") or not allowed:
            assert p.gpr(EAX) == 0x12345678
        elif code == "0f02c3":
            assert (
                p.gpr(EAX)
                == struct.unpack("<I", raw[4:])[0] & 0xF0FF00 | struct.unpack("<I", raw[4:])[0] & 0xF0000
            )
        else:
            assert p.gpr(EAX) == (0xFFFFFFFF if raw[6] & 0x80 else struct.unpack("<H", raw[:2])[0])
        assert kernel.memory.read(GDT + SEL, 8) == raw  # asking does not make it accessed


@pytest.mark.parametrize("selector", [0, 3, SEL + 8, 0x0C])
def test_asking_about_what_does_not_exist_clears_zf_and_never_faults(kernel: Kernel, selector: int) -> None:
    for code in ("0f02c3", "0f03c3", "0f00e3", "0f00eb"):
        kernel.processor.set_gpr(EBX, selector)
        kernel.processor.rflags = 2 | ZF
        assert kernel.outcome(code) is None
        assert not kernel.processor.rflags & ZF


# Far transfers

FAR = struct.pack("<IH", 0x8000, SEL).hex()


@pytest.mark.parametrize("opcode", ["ea", "9a"])
@pytest.mark.parametrize(
    ("access", "ring", "rpl", "expected"),
    [
        (0x9A, 0, 0, None),
        (0x98, 0, 0, None),
        (0xFA, 3, 3, None),
        (0xFA, 3, 0, None),  # the RPL may be lower
        (0x9A, 0, 3, (GP, SEL)),  # but not higher
        (0x9A, 3, 3, (GP, SEL)),  # another ring
        (0xFA, 0, 0, (GP, SEL)),
        (0x9E, 3, 3, None),  # conforming: from outer rings
        (0xFE, 0, 0, (GP, SEL)),  # not from inner ones
        (0x92, 0, 0, (GP, SEL)),
        (0x1A, 0, 0, (NP, SEL)),
        (0x82, 0, 0, (GP, SEL)),  # LDT
        (0x8E, 0, 0, (GP, SEL)),  # interrupt gate
    ],
)
def test_a_far_jump_or_call(
    kernel: Kernel, opcode: str, access: int, ring: int, rpl: int, expected: object
) -> None:
    p = kernel.processor
    kernel.put(descriptor(0, 0xFFFFF, access, 0xC))
    kernel.ring(ring)
    kernel.write(0x8000, b"\xcd\x03")
    before = p.gpr(ESP)
    assert kernel.outcome(opcode + struct.pack("<IH", 0x8000, SEL | rpl).hex()) == expected
    if expected is None and ring:  # to the handler of INT 3 it is not open
        assert (p.cpl, p.segment(CS).selector) == (ring, SEL | ring)
    elif expected is None:
        assert (p.cpl, p.rip) == (0, 0x9030)
    else:
        assert (p.gpr(ESP), p.rip) == (before, 0x7C00)


def test_a_target_beyond_its_segment_is_a_fault_of_the_jump(kernel: Kernel) -> None:
    kernel.put(descriptor(0, 0x7FFF, 0x9A, 0x4))
    assert kernel.outcome("ea" + FAR) == (GP, 0)
    assert kernel.outcome("9a" + FAR) == (GP, 0)


@pytest.mark.parametrize(
    ("cs", "access", "expected"),
    [
        (SEL, 0x9A, None),
        (SEL | 3, 0xFA, None),
        (SEL | 3, 0x9E, None),
        (SEL, 0xFA, (GP, SEL)),
        (SEL, 0x92, (GP, SEL)),
        (SEL, 0x1A, (NP, SEL)),
        (0, 0x9A, (GP, 0)),
        (SEL + 8, 0x9A, (GP, SEL + 8)),
    ],
)
@pytest.mark.parametrize("opcode", ["cb", "cf"])
def test_a_far_return(kernel: Kernel, opcode: str, cs: int, access: int, expected: object) -> None:
    kernel.put(descriptor(0, 0xFFFFF, access, 0xC))
    kernel.write(0x8000, b"\xcd\x03")
    p = kernel.processor
    flags = (2,) if opcode == "cf" else ()
    kernel.write(0x7000, struct.pack(f"<{4 + len(flags)}I", 0x8000, cs, *flags, 0x6F00, 0x23))
    p.set_gpr(ESP, 0x7000)
    p.set_gpr(ECX, 7)
    assert kernel.outcome(opcode) == expected
    if expected is not None:
        assert (p.gpr(ESP), p.cpl) == (0x7000, 0)


@pytest.mark.parametrize("opcode", ["cb", "cf"])
@pytest.mark.parametrize(
    ("ss", "access", "expected"),
    [
        (0x23, 0xF2, None),
        (0, 0xF2, (GP, 0)),
        (3, 0xF2, (GP, 0)),
        (0x20, 0xF2, (GP, 0x20)),  # RPL
        (0x13, 0xF2, (GP, 0x10)),  # DPL
        (SEL | 3, 0xF0, (GP, SEL)),
        (SEL | 3, 0x72, (STACK, SEL)),
    ],
)
def test_the_stack_of_an_outer_ring(
    kernel: Kernel, opcode: str, ss: int, access: int, expected: object
) -> None:
    kernel.put(descriptor(0, 0xFFFFF, access, 0xC))
    kernel.write(0x8000, b"\xcd\x03")
    flags = (2,) if opcode == "cf" else ()
    kernel.write(0x7000, struct.pack(f"<{4 + len(flags)}I", 0x8000, 0x1B, *flags, 0x6F00, ss))
    kernel.processor.set_gpr(ESP, 0x7000)
    assert kernel.outcome(opcode) == expected
    assert kernel.processor.cpl == (3 if expected is None else 0)


def test_a_return_to_an_inner_ring_is_refused(kernel: Kernel) -> None:
    kernel.ring(3)
    kernel.write(0x7000, struct.pack("<II", 0x8000, 8))
    kernel.processor.set_gpr(ESP, 0x7000)
    assert kernel.outcome("cb") == (GP, 8)


@pytest.mark.parametrize(
    ("size", "esp", "code", "after"),
    [
        (0x00, 0x2FFFC, "661f", 0x2FFFE),
        (0x00, 0x2FFFC, "17", 0x20000),
        (0x00, 0x2FFFE, "6617", 0x20000),
        (0x40, 0x2FFFC, "17", 0x30000),
        (0x40, 0x2FFFE, "6617", 0x30000),
    ],
)
@pytest.mark.parametrize("loaded", [0x00, 0x40])
def test_pop_ss_moves_the_stack_pointer_of_the_segment_it_pops_from(
    kernel: Kernel, size: int, esp: int, code: str, after: int, loaded: int
) -> None:
    """As on silicon (test386): the size of what is loaded counts from the next instruction on."""
    p = kernel.processor
    kernel.put(descriptor(0, 0xFFFFF, 0x92, 8 | loaded >> 4))
    p.set_segment(SS, 0x10, 0, 0xFFFFFFFF, 0x8093 | size << 8)
    for at in (0xFFFC, 0xFFFE, 0x2FFFC, 0x2FFFE):
        kernel.write(at, struct.pack("<H", SEL))
    p.set_gpr(ESP, esp)
    kernel.load(bytes.fromhex(code))
    p.run(1)
    assert p.gpr(ESP) == after
    assert p.segment(DS if code.endswith("1f") else SS).selector == SEL


def test_pop_ss_in_real_mode_wraps_at_64_kib() -> None:
    bench = Bench()
    bench.processor.set_gpr(ESP, 0x2FFFE)
    bench.write(0xFFFE, struct.pack("<H", 0x1234))
    bench.run(b"\x17", 1)
    assert (bench.processor.segment(SS).selector, bench.processor.gpr(ESP)) == (0x1234, 0x20000)


@pytest.mark.parametrize(
    ("memory", "register", "expected", "zero"),
    [(3, 0, None, 0), (2, 2, None, 0), (0, 1, (GP, 0), None)],
)
def test_arpl_writes_only_where_the_rpl_changes(
    kernel: Kernel, memory: int, register: int, expected: tuple[int, int] | None, zero: int | None
) -> None:
    """A read-only operand is no fault as long as there is nothing to write (seen on AMD's processors)."""
    p = kernel.processor
    p.set_segment(DS, 0x10, 0, 0xFFFFFFFF, 0xC091)
    kernel.write(0x6000, struct.pack("<H", memory))
    p.set_gpr(EAX, register)
    p.rflags = 2 | ZF
    assert kernel.outcome("63 05 00600000".replace(" ", "")) == expected
    if zero is not None:
        assert p.rflags & ZF == zero
    assert kernel.memory.read(0x6000, 2) == struct.pack("<H", memory)


def test_arpl_in_a_read_only_page_faults_only_where_it_writes_and_leaves_zf(kernel: Kernel) -> None:
    p = kernel.processor
    for i in range(256):
        kernel.write(0x101000 + 4 * i, struct.pack("<I", i << 12 | (5 if i == 0xA else 7)))
    kernel.write(0x100000, struct.pack("<I", 0x101007))
    p.set_cr(3, 0x100000)
    p.set_cr(0, 0x80010011)
    kernel.write(0xA000, struct.pack("<H", 1))
    for register, expected in ((1, None), (2, (PF, 3))):
        p.set_gpr(EAX, register)
        p.rflags = 2
        assert kernel.outcome("630500a00000") == expected
        assert not p.rflags & ZF
