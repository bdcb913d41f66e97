"""Random instructions against Unicorn (QEMU's translator): registers, flags that are defined, memory.

DEVMODEL_UNICORN_CASES sets how many a run tries; a failure names its seed and its one instruction.
"""

import os
import random
import struct
from collections.abc import Callable
from typing import NamedTuple

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import Bench

unicorn = pytest.importorskip("unicorn", reason="the oracle, Unicorn, is not installed")
from unicorn import x86_const as x86  # noqa: E402

CASES = int(os.environ.get("DEVMODEL_UNICORN_CASES", "20000" if COMPILED else "600"))
CODE = 0x1000
DATA = 0x10000
SIZE = 0x4000
STACK = DATA + SIZE // 2
CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
ALL = CF | PF | AF | ZF | SF | OF
REGISTERS = [
    x86.UC_X86_REG_EAX, x86.UC_X86_REG_ECX, x86.UC_X86_REG_EDX, x86.UC_X86_REG_EBX,
    x86.UC_X86_REG_ESP, x86.UC_X86_REG_EBP, x86.UC_X86_REG_ESI, x86.UC_X86_REG_EDI,
]  # fmt: skip


class Case(NamedTuple):
    code: bytes
    registers: list[int]
    flags: int
    undefined: int


class Maker:
    """Makes instructions whose memory operand lies in the data window."""

    def __init__(self, seed: int, bits: int) -> None:
        self.random = random.Random(seed)
        self.bits = bits
        self.registers = [self.value() for _ in range(8)]
        self.registers[4] = STACK
        self.prefix = b""
        self.operand = 4 if bits == 32 else 2
        if self.random.random() < 0.3:
            self.prefix = b"\x66"
            self.operand ^= 6
        self.wide_address = bits == 32

    def value(self) -> int:
        return self.random.choice(
            [
                self.random.getrandbits(32),
                self.random.getrandbits(8),
                0,
                1,
                0x7FFFFFFF,
                0x80000000,
                0xFFFFFFFF,
                0x8000,
            ]
        )

    def modrm(self, reg: int, *, memory: bool | None = None) -> bytes:
        r = self.random
        if memory is None:
            memory = r.random() < 0.5
        if not memory:
            return bytes([0xC0 | reg << 3 | r.randrange(8)])
        target = DATA + r.randrange(64, SIZE - 64)
        if self.bits == 16:
            target &= 0xFFFF  # DS and SS have base DATA there
            target = (target - DATA) % 0x10000
            return self.modrm16(reg, target)
        mode = r.choice("abcdef")
        if mode == "a":
            return bytes([reg << 3 | 5]) + struct.pack("<I", target)
        base = r.choice([0, 1, 2, 3, 6, 7])
        if mode in "bcd":
            disp = {"b": 0, "c": r.randrange(-128, 128), "d": r.randrange(-5000, 5000)}[mode]
            self.registers[base] = (target - disp) & 0xFFFFFFFF
            head = bytes([{"b": 0, "c": 0x40, "d": 0x80}[mode] | reg << 3 | base])
            return head + (b"" if mode == "b" else struct.pack("<b" if mode == "c" else "<i", disp))
        index = r.choice([i for i in (0, 1, 2, 3, 5, 6, 7) if i != base])
        scale = r.randrange(4)
        disp = r.randrange(-128, 128)
        self.registers[index] = r.randrange(0, 1 << 20)
        self.registers[base] = (target - disp - (self.registers[index] << scale)) & 0xFFFFFFFF
        return bytes([0x44 | reg << 3, scale << 6 | index << 3 | base]) + struct.pack("<b", disp)

    def modrm16(self, reg: int, target: int) -> bytes:
        r = self.random
        rm = r.randrange(8)
        disp = r.randrange(-128, 128)
        pairs = {0: (3, 6), 1: (3, 7), 2: (5, 6), 3: (5, 7), 4: (6,), 5: (7,), 6: (5,), 7: (3,)}[rm]
        rest = (target - disp) & 0xFFFF
        if len(pairs) == 2:
            self.registers[pairs[1]] = r.getrandbits(16) | (r.getrandbits(16) << 16)
            rest = (rest - self.registers[pairs[1]]) & 0xFFFF
        self.registers[pairs[0]] = rest | (r.getrandbits(16) << 16)
        return bytes([0x40 | reg << 3 | rm]) + struct.pack("<b", disp)

    def immediate(self, size: int) -> bytes:
        return self.value().to_bytes(4, "little")[:size]


def alu(m: Maker) -> tuple[bytes, int]:
    sub, form = m.random.randrange(8), m.random.randrange(6)
    undefined = AF if sub in {1, 4, 6} else 0
    if form < 4:
        return bytes([sub * 8 + form]) + m.modrm(m.random.randrange(8)), undefined
    return bytes([sub * 8 + form]) + m.immediate(1 if form == 4 else m.operand), undefined


def alu_immediate(m: Maker) -> tuple[bytes, int]:
    sub, opcode = m.random.randrange(8), m.random.choice([0x80, 0x81, 0x83])
    code = bytes([opcode]) + m.modrm(sub) + m.immediate(m.operand if opcode == 0x81 else 1)
    return code, AF if sub in {1, 4, 6} else 0


def shift(m: Maker) -> tuple[bytes, int]:
    sub, opcode = (
        m.random.choice([0, 1, 2, 3, 4, 5, 7]),
        m.random.choice([0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3]),
    )
    count = m.random.choice([0, 1, 2, 7, 8, 15, 16, 17, 31, 32, m.random.randrange(256)])
    bits = 8 if opcode in {0xC0, 0xD0, 0xD2} else 8 * m.operand
    code = bytes([opcode]) + m.modrm(sub)
    if opcode >= 0xD2:
        m.registers[1] = (m.registers[1] & ~0xFF) | count if code[1] >= 0xC0 else m.registers[1]
        count = m.registers[1] & 0xFF
    elif opcode >= 0xD0:
        count = 1
    else:
        code += bytes([count])
    count &= 31
    undefined = 0
    if count:
        if sub >= 4:
            undefined |= AF
        if count != 1:
            undefined |= OF
        if sub >= 4 and count >= bits:
            undefined |= CF
    return code, undefined


def unary(m: Maker) -> tuple[bytes, int]:
    opcode = m.random.choice([0xF6, 0xF7, 0xFE, 0xFF])
    sub = m.random.choice([2, 3]) if opcode < 0xF8 else m.random.choice([0, 1])
    return bytes([opcode]) + m.modrm(sub), 0


def multiply(m: Maker) -> tuple[bytes, int]:
    undefined = PF | AF | ZF | SF
    which = m.random.randrange(5)
    if which == 0:
        return bytes([0x69]) + m.modrm(m.random.randrange(8)) + m.immediate(m.operand), undefined
    if which == 1:
        return bytes([0x6B]) + m.modrm(m.random.randrange(8)) + m.immediate(1), undefined
    if which == 2:
        return b"\x0f\xaf" + m.modrm(m.random.randrange(8)), undefined
    sub = m.random.choice([4, 5, 6, 7])
    return bytes([m.random.choice([0xF6, 0xF7])]) + m.modrm(sub), ALL if sub > 5 else undefined


def move(m: Maker) -> tuple[bytes, int]:
    reg = m.random.randrange(8)
    opcode = m.random.choice([0x88, 0x89, 0x8A, 0x8B, 0x86, 0x87, 0xC6, 0xC7, 0x84, 0x85])
    if opcode in {0xC6, 0xC7}:
        return bytes([opcode]) + m.modrm(0) + m.immediate(1 if opcode == 0xC6 else m.operand), 0
    return bytes([opcode]) + m.modrm(reg), AF if opcode in {0x84, 0x85} else 0


def extend(m: Maker) -> tuple[bytes, int]:
    return bytes([0x0F, m.random.choice([0xB6, 0xB7, 0xBE, 0xBF])]) + m.modrm(m.random.randrange(8)), 0


def conditional(m: Maker) -> tuple[bytes, int]:
    return bytes([0x0F, m.random.choice([0x40, 0x90]) + m.random.randrange(16)]) + m.modrm(
        m.random.randrange(8)
    ), 0


def bits_of(m: Maker) -> tuple[bytes, int]:
    undefined = PF | AF | SF | OF | ZF  # ZF is kept by BT, but QEMU and silicon differ in what it documents
    if m.random.random() < 0.5:
        return b"\x0f\xba" + m.modrm(m.random.randrange(4, 8)) + m.immediate(1), undefined & ~ZF
    reg = m.random.randrange(8)
    code = bytes([0x0F, m.random.choice([0xA3, 0xAB, 0xB3, 0xBB])]) + m.modrm(reg)
    if code[2] < 0xC0 and m.registers[reg] not in range(-256, 256):
        # Of memory this bit number would reach out of the window: it is a register's instead.
        code = code[:2] + bytes([0xC0 | code[2] & 0x3F])
    return code, undefined & ~ZF


def scan(m: Maker) -> tuple[bytes, int]:
    return bytes([0x0F, m.random.choice([0xBC, 0xBD])]) + m.modrm(m.random.randrange(8)), ALL & ~ZF


def double_shift(m: Maker) -> tuple[bytes, int]:
    opcode = m.random.choice([0xA4, 0xAC])
    bits = 8 * m.operand
    count = m.random.randrange(bits)
    undefined = AF | (OF if count > 1 else 0) if count else 0
    return bytes([0x0F, opcode]) + m.modrm(m.random.randrange(8)) + bytes([count]), undefined


def exchange(m: Maker) -> tuple[bytes, int]:
    which = m.random.choice([0xB0, 0xB1, 0xC0, 0xC1])
    return bytes([0x0F, which]) + m.modrm(m.random.randrange(8)), 0


def exchange_8(m: Maker) -> tuple[bytes, int]:
    m.prefix = b""
    return b"\x0f\xc7" + m.modrm(1, memory=True), 0


def short(m: Maker) -> tuple[bytes, int]:
    opcode = m.random.choice(
        [0x27, 0x2F, 0x37, 0x3F, 0x98, 0x99, 0x9E, 0x9F, 0xF5, 0xF8, 0xF9, 0xFC, *range(0x40, 0x54),
         *range(0x55, 0x5C), *range(0x5D, 0x60), 0x60, 0x61, *range(0x91, 0x98)]
    )  # fmt: skip
    undefined = {0x27: OF, 0x2F: OF, 0x37: OF | SF | ZF | PF, 0x3F: OF | SF | ZF | PF}.get(opcode, 0)
    return bytes([opcode]), undefined


def adjust(m: Maker) -> tuple[bytes, int]:
    return bytes([m.random.choice([0xD4, 0xD5]), m.random.randrange(1, 256)]), OF | AF | CF


def swap(m: Maker) -> tuple[bytes, int]:
    m.prefix = b"" if m.bits == 32 else b"\x66"
    return bytes([0x0F, 0xC8 + m.random.randrange(8)]), 0


def string(m: Maker) -> tuple[bytes, int]:
    opcode = m.random.choice([0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF])
    offset = DATA if m.bits == 32 else 0
    m.registers[6] = offset + m.random.randrange(1024, SIZE - 1024)
    m.registers[7] = offset + m.random.randrange(1024, SIZE - 1024)
    m.registers[1] = m.random.randrange(40)
    prefix = m.random.choice([b"", b"\xf2", b"\xf3"])
    direction = m.random.choice([b"", b"\xfd"])
    m.prefix, operand = b"", m.prefix
    return direction + prefix + operand + bytes([opcode]), 0


MAKERS: list[Callable[[Maker], tuple[bytes, int]]] = [
    alu, alu, alu_immediate, shift, unary, multiply, move, extend, conditional, bits_of, scan, double_shift,
    exchange, exchange_8, short, adjust, swap, string,
]  # fmt: skip


class Oracle:
    """Unicorn with the same memory."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32 if bits == 32 else unicorn.UC_MODE_16)
        self.uc.mem_map(0, 0x40000)
        if bits == 16:
            for segment in (x86.UC_X86_REG_DS, x86.UC_X86_REG_ES, x86.UC_X86_REG_SS):
                self.uc.reg_write(segment, DATA >> 4)
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self.interrupted)

    def interrupted(self, uc: unicorn.Uc, number: int, _: object) -> None:
        """An exception: Unicorn would go on at whatever address 0 names."""
        del number
        uc.emu_stop()

    def run(self, case: Case, data: bytes) -> tuple[bool, list[int], int, bytes]:
        uc = self.uc
        uc.mem_write(DATA, data)
        uc.mem_write(CODE, case.code + b"\xf4" * 4)
        uc.ctl_remove_cache(CODE, CODE + 32)
        for register, value in zip(REGISTERS, case.registers, strict=True):
            uc.reg_write(register, value)
        uc.reg_write(x86.UC_X86_REG_EFLAGS, case.flags | 2)
        try:
            uc.emu_start(CODE, CODE + len(case.code))
            fine = uc.reg_read(x86.UC_X86_REG_EIP) == CODE + len(case.code)
        except unicorn.UcError:
            fine = False
        flags = uc.reg_read(x86.UC_X86_REG_EFLAGS)
        return fine, [uc.reg_read(r) for r in REGISTERS], flags, bytes(uc.mem_read(DATA, SIZE))


class Subject:
    """This project's processor with the same memory."""

    def __init__(self, bits: int) -> None:
        self.bench = Bench(bits, 1 << 20)
        self.bits = bits
        if bits == 16:
            for number in (0, 2, 3):
                self.bench.processor.set_segment(number, DATA >> 4, DATA, 0xFFFF, 0x93)
        self.bench.processor.intercepts.exceptions = 0xFFFFFFFF
        self.bench.processor.update_intercepts()

    def run(self, case: Case, data: bytes) -> tuple[bool, list[int], int, bytes]:
        p = self.bench.processor
        self.bench.memory.host[DATA : DATA + SIZE] = data
        self.bench.write(CODE, case.code + b"\xf4" * 4)
        for number, value in enumerate(case.registers):
            p.set_gpr(number, value)
        p.rflags = case.flags
        p.rip = CODE
        kind = p.run(3000)
        fine = kind == ExitKind.HLT and p.rip == CODE + len(case.code)
        return fine, self.bench.registers(), p.rflags, bytes(self.bench.memory.host[DATA : DATA + SIZE])


def make(seed: int, bits: int) -> Case:
    m = Maker(seed, bits)
    code, undefined = m.random.choice(MAKERS)(m)
    if bits == 16:
        m.registers[4] = SIZE // 2
    return Case(m.prefix + code, m.registers, m.random.getrandbits(12) & ALL, undefined)


@pytest.mark.parametrize("bits", [16, 32])
def test_random_instructions_end_as_in_unicorn(bits: int) -> None:
    oracle, subject = Oracle(bits), Subject(bits)
    data = random.Random(1).randbytes(SIZE)
    base = int(os.environ.get("DEVMODEL_UNICORN_SEED", "0"))
    for seed in range(base, base + CASES // 2):
        case = make(seed, bits)
        fine, registers, flags, memory = oracle.run(case, data)
        ours = subject.run(case, data)
        what = (
            f"seed {seed}, {bits} bits: {case.code.hex()} {[hex(r) for r in case.registers]} {case.flags:x}"
        )
        assert ours[0] == fine, what
        if not fine:
            continue
        assert [hex(r) for r in ours[1]] == [hex(r) for r in registers], what
        mask = (ALL & ~case.undefined) | 0x400
        assert hex(ours[2] & mask) == hex(flags & mask), what
        assert ours[3] == memory, what
