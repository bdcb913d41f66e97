"""Makes random programs of integer instructions: every form of operand, branches, loops, calls, stacks, strings.

Some registers are *frozen*: their values are known and no instruction of the program changes them, so that
memory operands through them land where they should. A few operands go anywhere on purpose, and fault.
"""

from collections.abc import Callable

from tests.hvcore.cpu.bench import CS, DS, ES, FS, GS, SS
from tests.hvcore.cpu.differential import machines
from tests.hvcore.cpu.differential.dice import Dice
from tests.hvcore.cpu.differential.machines import (
    ALIASES,
    DATA,
    DATA_END,
    HLT,
    READ_ONLY,
    STACK,
    STACK_END,
    Start,
)
from tests.hvcore.cpu.differential.program import (
    AF,
    CF,
    COMPARE,
    OF,
    PF,
    SF,
    STATUS,
    UNDEFINED,
    UNICORN_LOSES,
    ZF,
    Instruction,
    repaired,
)

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)
DF = 0x400
PREFIX = {ES: b"\x26", CS: b"\x2e", SS: b"\x36", DS: b"\x3e", FS: b"\x64", GS: b"\x65"}
PAIRS = {0: (3, 6), 1: (3, 7), 2: (5, 6), 3: (5, 7), 4: (6,), 5: (7,), 6: (5,), 7: (3,)}  # 16-bit addressing
CONDITION_READS = [OF, CF, ZF, CF | ZF, SF, PF, SF | OF, SF | OF | ZF]
VALUES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


class Maker:
    """Makes one program, `rows`, with the registers it wants to start with."""

    def __init__(self, seed: int | str, bits: int, *, user: bool = False) -> None:
        self.random = Dice(seed)
        self.user = user  # for a host's 32-bit user mode: no INT n, and FS and GS are its own
        self.bits = bits
        self.native = bits // 8
        self.rows: list[Instruction] = []
        self.functions: list[list[Instruction]] = []
        self.labels = 0
        self.depth = 0
        self.inside = False  # a function, which must find its return address again
        r = self.random
        self.registers = [self.value() for _ in range(8)]
        self.registers[ESP] = r.randrange(STACK + 0x400, STACK_END - 0x400) & ~(self.native - 1)
        if r.random() < 0.05:
            self.registers[ESP] = STACK + 0x1000 + r.randrange(-6, 7)
        self.frozen = {ESP}
        self.pointers: list[int] = []  # frozen, in the data window
        self.indices: list[int] = []  # frozen, small
        for number in r.sample([EBX, EBP, ESI, EDI], r.randrange(2, 4)):
            self.frozen.add(number)
            if not self.pointers or r.random() < 0.6:
                self.pointers.append(number)
                self.registers[number] = self.target("w") - (0 if bits == 32 else 0x1000)
            else:
                self.indices.append(number)
                self.registers[number] = r.choice([0, 1, 4, r.randrange(256)])
        if r.random() < 0.2:
            self.frozen.add(ECX)
            self.indices.append(ECX)
            self.registers[ECX] = r.randrange(64)

    # Values and places

    def value(self) -> int:
        r = self.random
        x = r.random()
        return r.choice(VALUES) if x < 0.5 else r.getrandbits(32 if x < 0.75 else 8)

    def immediate(self, size: int) -> bytes:
        return self.value().to_bytes(4, "little")[:size]

    def target(self, access: str) -> int:
        """A linear address for a memory operand."""
        r = self.random
        x = r.random()
        if x < 0.84:
            return r.randrange(DATA + 16, DATA_END - 0x400)
        if x < 0.90:
            return DATA + 0x1000 * r.randrange(1, 3) - r.randrange(1, 8)
        if self.bits == 16:
            return self.on_the_stack(access) if x < 0.95 else r.randrange(DATA, DATA_END - 0x400)
        if x < 0.96:
            return r.choice(ALIASES) + r.randrange(0, DATA_END - DATA - 16)
        if x < 0.985:
            return self.on_the_stack(access)
        return r.choice(
            [
                READ_ONLY + r.randrange(16, 4000), READ_ONLY - r.randrange(1, 4),
                READ_ONLY + 0x1000 - (r.randrange(1, 4) if access == "r" or self.user else 16),
                READ_ONLY + 0x1000 + r.randrange(64), DATA - r.randrange(1, 8), r.getrandbits(32),
            ]
        )  # fmt: skip

    def on_the_stack(self, access: str) -> int:
        """Somewhere on the stack; to be written only where no return address is."""
        return self.random.randrange(STACK, STACK_END - 16 if access == "r" else STACK + 0x200)

    def segment(self, default: int) -> tuple[bytes, int]:
        """A prefix and the linear base of the segment it chooses."""
        r = self.random
        prefix, number = b"", default
        if r.random() < 0.15:
            number = r.choice([ES, CS, SS, DS] if self.user else [ES, CS, SS, DS, FS, GS])
            if number == CS and self.bits == 32:
                number = DS
            prefix = PREFIX[number]
        return prefix, 0 if self.bits == 32 else machines.SEGMENTS[number] << 4

    def register(self, size: int, access: str) -> int:
        """A register's number as an instruction has it; for a write, one that is not frozen."""
        r = self.random
        if access == "r":
            return r.randrange(8)
        if size == 1:
            free = [n for n in range(8) if n & 3 not in self.frozen]
        else:
            free = [n for n in range(8) if n not in self.frozen]
        return r.choice(free)

    def may_change(self, *numbers: int) -> bool:
        return not self.frozen.intersection(numbers)

    def free(self, size: int = 4) -> int:
        return self.register(size, "w")

    # Operands

    def operand(self, reg: int, size: int, access: str, *, memory: bool | None = None) -> tuple[bytes, bytes]:
        """Prefixes and ModR/M with what follows it, for an operand of `size` in a register or in memory."""
        r = self.random
        if memory is None:
            memory = r.random() < 0.45
        if not memory:
            return b"", bytes([0xC0 | reg << 3 | self.register(size, access)])
        wide = self.bits == 32
        prefix = b""
        if r.random() < 0.1:
            wide = not wide
            prefix = b"\x67"
        head, rest = (self.memory32 if wide else self.memory16)(reg, access)
        return head + prefix if r.random() < 0.5 else prefix + head, rest

    def memory32(self, reg: int, access: str) -> tuple[bytes, bytes]:
        r = self.random
        if self.bits == 32 and r.random() < 0.008:  # anywhere
            base = r.choice([n for n in range(8) if n not in {ESP, EBP}])
            return b"", bytes([0x80 | reg << 3 | base]) + self.immediate(4)
        mode = r.choice("ddbbbsssse")
        target = self.target(access)
        if mode == "d":
            prefix, start = self.segment(DS)
            disp = (target - start).to_bytes(4, "little", signed=target - start < 0)
            return prefix, bytes([reg << 3 | 5]) + disp
        if mode == "e":  # ESP, which is not known to the byte
            prefix, start = self.segment(SS)
            disp = bytes([r.randrange(-64, 64 if access == "r" else -16) & 0xFF])
            if prefix and start:
                prefix = b""
            return prefix, bytes([0x44 | reg << 3, r.choice([0x24, 0x64, 0xA4, 0xE4])]) + disp
        base = r.choice(self.pointers)
        prefix, start = self.segment(SS if base == EBP else DS)
        where = self.registers[base]
        tail = b""
        index = r.choice([*self.indices, *self.pointers]) if mode == "s" else None
        if index is not None:
            scale = r.randrange(4)
            where += self.registers[index] << scale
            tail = bytes([scale << 6 | index << 3 | base])
            base = 4
        if r.random() < 0.5:  # near the pointer, wherever that is
            target = (where + r.randrange(-128, 128)) + start
            if self.bits == 16 and not DATA <= target < STACK_END - 64:
                target = self.target(access)
        disp = (target - start - where + (1 << 31)) % (1 << 32) - (1 << 31)
        if disp == 0 and tail[-1:] != b"" and tail[-1] & 7 != EBP and r.random() < 0.7:
            return prefix, bytes([reg << 3 | base]) + tail
        if disp == 0 and not tail and base != EBP:
            return prefix, bytes([reg << 3 | base])
        if -128 <= disp < 128 and r.random() < 0.9:
            return prefix, bytes([0x40 | reg << 3 | base]) + tail + bytes([disp & 0xFF])
        return prefix, bytes([0x80 | reg << 3 | base]) + tail + (disp & 0xFFFFFFFF).to_bytes(4, "little")

    def memory16(self, reg: int, access: str) -> tuple[bytes, bytes]:
        r = self.random
        target = self.target(access)
        if target > 0xFF00:  # out of reach of 16 bits
            target = r.randrange(DATA, DATA_END - 64)
        values = {*self.pointers, *self.indices}
        known = [rm for rm, pair in PAIRS.items() if values.issuperset(pair)]
        if not known or r.random() < 0.2:
            prefix, start = self.segment(DS)
            return prefix, bytes([reg << 3 | 6]) + (target - start & 0xFFFF).to_bytes(2, "little")
        rm = r.choice(known)
        prefix, start = self.segment(SS if EBP in PAIRS[rm] else DS)
        where = sum(self.registers[n] for n in PAIRS[rm]) & 0xFFFF
        disp = (target - start - where) & 0xFFFF
        if disp == 0 and rm != 6:
            return prefix, bytes([reg << 3 | rm])
        if disp < 128 or disp >= 0xFF80:
            return prefix, bytes([0x40 | reg << 3 | rm, disp & 0xFF])
        return prefix, bytes([0x80 | reg << 3 | rm]) + disp.to_bytes(2, "little")

    # Emitting

    def emit(
        self, code: bytes, defines: int = 0, undefines: int = 0, reads: int = 0, **more: int | bytes | bool
    ) -> None:
        self.rows.append(Instruction(code, defines & ~undefines, undefines, reads, **more))  # type: ignore[arg-type]

    def size(self) -> tuple[bytes, int]:
        """An operand-size prefix, or none, and the size in bytes that results."""
        if self.random.random() < 0.2:
            return b"\x66", 6 - self.native
        return b"", self.native

    def sized(self, byte: float = 0.3) -> tuple[bytes, int, int]:
        """As `size`, or one byte; and the opcode's low bit."""
        if self.random.random() < byte:
            return b"", 1, 0
        prefix, size = self.size()
        return prefix, size, 1

    def load(self, register: int, value: int) -> None:
        """MOV of a known value."""
        prefix = b"" if self.bits == 32 else b"\x66"
        self.emit(prefix + bytes([0xB8 + register]) + (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def lost(self, what: str) -> int:
        """The flags that Unicorn loses, where it is the oracle."""
        return 0 if self.user else UNICORN_LOSES[what]

    def new_label(self) -> int:
        self.labels += 1
        return self.labels - 1

    def put_label(self, label: int) -> None:
        self.rows.append(Instruction(b"", label=label))


def lock(m: Maker, prefix: bytes, modrm: bytes) -> bytes:
    return b"\xf0" + prefix if modrm[0] < 0xC0 and m.random.random() < 0.05 else prefix


def alu(m: Maker) -> None:
    r = m.random
    sub = r.choice([0, 1, 2, 3, 4, 5, 6, 7, 7])
    undefines = UNDEFINED["logic"] if sub in {1, 4, 6} else 0
    reads = CF if sub in {2, 3} else 0
    prefix, size, low = m.sized()
    access = "r" if sub == 7 else "w"
    form = r.randrange(6)
    if form < 2:
        head, rest = m.operand(m.register(size, "r"), size, access)
        if access == "w":
            head = lock(m, head, rest)
        code = prefix + head + bytes([sub * 8 + low]) + rest
    elif form < 4:
        head, rest = m.operand(m.register(size, access), size, "r")
        code = prefix + head + bytes([sub * 8 + 2 + low]) + rest
    elif form == 4 and (sub == 7 or m.may_change(EAX)):
        code = prefix + bytes([sub * 8 + 4 + low]) + m.immediate(size)
    else:
        head, rest = m.operand(sub, size, access)
        if low and r.random() < 0.6:
            code = prefix + head + b"\x83" + rest + m.immediate(1)
        else:
            code = prefix + head + bytes([0x80 + low]) + rest + m.immediate(size)
    m.emit(code, STATUS, undefines, reads)


def test(m: Maker) -> None:
    prefix, size, low = m.sized()
    if m.random.random() < 0.7:
        head, rest = m.operand(m.register(size, "r"), size, "r")
        m.emit(prefix + head + bytes([0x84 + low]) + rest, STATUS, UNDEFINED["logic"])
    else:
        head, rest = m.operand(m.random.randrange(2) if m.user else 0, size, "r")  # Unicorn knows no /1
        m.emit(prefix + head + bytes([0xF6 + low]) + rest + m.immediate(size), STATUS, UNDEFINED["logic"])


def unary(m: Maker) -> None:
    prefix, size, low = m.sized()
    which = m.random.randrange(5)
    if which == 4 and size > 1:
        code = prefix + bytes([m.random.choice([0x40, 0x48]) + m.register(size, "w")])
        m.emit(code, STATUS & ~CF)
        return
    which &= 3
    head, rest = m.operand((0, 1, 2, 3)[which], size, "w")
    opcode = 0xFE if which < 2 else 0xF6
    defines = (STATUS & ~CF, STATUS & ~CF, 0, STATUS)[which]
    if which != 3 or m.user:  # Unicorn's LOCK NEG has wrong flags
        head = lock(m, head, rest)
    m.emit(prefix + head + bytes([opcode + low]) + rest, defines)


def shift(m: Maker) -> None:
    r = m.random
    sub = r.randrange(8)
    prefix, size, low = m.sized()
    form = r.choice([0xC0, 0xC0, 0xD0, 0xD2])
    count: int | None = 1
    if form == 0xC0:
        count = r.choice([1, 1, 2, 3, 7, 8, 15, 16, 17, 24, 31, 32, 33, r.randrange(256)])
    elif form == 0xD2:
        if m.may_change(ECX) and r.random() < 0.7:
            count = r.choice([0, 1, 2, 5, 8, 9, 16, 17, 31, 32])
            m.emit(bytes([0xB1, count]))
        else:
            count = m.registers[ECX] if ECX in m.frozen and ECX in m.indices else None
    head, rest = m.operand(sub, size, "w")
    defines, undefines = shift_flags(sub, count, size)
    reads = CF if sub in {2, 3} else 0
    tail = bytes([count or 0]) if form == 0xC0 else b""
    m.emit(prefix + head + bytes([form + low]) + rest + tail, defines, undefines, reads)


def shift_flags(sub: int, count: int | None, size: int) -> tuple[int, int]:
    """What a shift or rotation defines and leaves undefined."""
    rotation = sub < 4
    changed = CF | OF if rotation else STATUS
    if count is None:
        return 0, UNDEFINED["rotate many"] if rotation else UNDEFINED["shift out"]
    count &= 31
    if count == 0:
        return 0, 0
    if rotation:
        return changed, UNDEFINED["rotate many"] if count > 1 else 0
    if count >= 8 * size and sub != 7:
        return changed, UNDEFINED["shift out"]
    return changed, UNDEFINED["shift many"] if count > 1 else UNDEFINED["shift"]


def double_shift(m: Maker) -> None:
    r = m.random
    prefix, size = m.size()
    opcode = r.choice([0xA4, 0xAC])
    count = r.choice([0, 1, 1, r.randrange(8 * size)])  # more than the size of the operand: undefined
    undefines = 0 if count == 0 else UNDEFINED["double shift" if count == 1 else "double shift many"]
    tail = bytes([count | r.choice([0, 32, 224])])
    if m.may_change(ECX) and r.random() < 0.3:
        m.emit(b"\xb1" + tail)
        tail = b""
        opcode += 1
    head, rest = m.operand(m.register(size, "r"), size, "w")
    m.emit(prefix + head + bytes([0x0F, opcode]) + rest + tail, STATUS if count else 0, undefines)


def multiply(m: Maker) -> None:
    r = m.random
    undefines = UNDEFINED["multiply"]
    prefix, size = m.size()
    which = r.randrange(5)
    if which < 3:
        head, rest = m.operand(m.register(size, "w"), size, "r")
        opcode, tail = ((b"\x69", m.immediate(size)), (b"\x6b", m.immediate(1)), (b"\x0f\xaf", b""))[which]
        m.emit(prefix + head + opcode + rest + tail, STATUS, undefines)
        return
    prefix, size, low = m.sized()
    if not m.may_change(EAX, *([EDX] if size > 1 else [])):
        return
    head, rest = m.operand(r.choice([4, 5]), size, "r")
    m.emit(prefix + head + bytes([0xF6 + low]) + rest, STATUS, undefines)


def divide(m: Maker) -> None:
    r = m.random
    prefix, size, low = m.sized()
    if not m.may_change(EAX, EDX):
        return
    signed = r.random() < 0.5
    if r.random() < 0.9:  # one that fits, mostly
        if size == 1:
            m.emit((b"\x66" if m.bits == 16 else b"") + b"\x0f\xb6\xc0" if not signed else b"\x98")
        elif signed:
            m.emit(prefix + b"\x99")
        else:
            m.emit(b"\x31\xd2", STATUS, UNDEFINED["logic"])
    head, rest = m.operand(7 if signed else 6, size, "r")
    m.emit(prefix + head + bytes([0xF6 + low]) + rest, 0, UNDEFINED["divide"])


def move(m: Maker) -> None:
    r = m.random
    prefix, size, low = m.sized()
    which = r.randrange(6)
    if which < 2:
        head, rest = m.operand(m.register(size, "r"), size, "w")
        m.emit(prefix + head + bytes([0x88 + low]) + rest)
    elif which < 4:
        head, rest = m.operand(m.register(size, "w"), size, "r")
        m.emit(prefix + head + bytes([0x8A + low]) + rest)
    elif which == 4:
        head, rest = m.operand(0, size, "w")
        m.emit(prefix + head + bytes([0xC6 + low]) + rest + m.immediate(size))
    elif r.random() < 0.5:
        code = bytes([(0xB8 if low else 0xB0) + m.register(size, "w")]) + m.immediate(size)
        m.emit(prefix + code)
    else:
        store = r.random() < 0.5
        if not store and not m.may_change(EAX):
            return
        head, start = m.segment(DS)
        offset = (m.target("w") - start) & 0xFFFFFFFF
        wide = 2 if m.bits == 16 or (offset < 0xFF00 and r.random() < 0.1) else 4
        address = b"" if wide == m.native else b"\x67"
        code = bytes([(0xA2 if store else 0xA0) + low]) + offset.to_bytes(wide, "little")
        m.emit(prefix + head + address + code)


def exchange(m: Maker) -> None:
    prefix, size, low = m.sized()
    if m.random.random() < 0.3 and m.may_change(EAX) and size > 1:
        m.emit(prefix + bytes([0x90 + m.register(size, "w")]))
        return
    head, rest = m.operand(m.register(size, "w"), size, "w")
    m.emit(prefix + lock(m, head, rest) + bytes([0x86 + low]) + rest)


def extend(m: Maker) -> None:
    prefix, size = m.size()
    source, low = m.random.choice([(1, 0), (2, 1)])
    head, rest = m.operand(m.register(size, "w"), source, "r")
    m.emit(prefix + head + bytes([0x0F, m.random.choice([0xB6, 0xBE]) + low]) + rest)


def conditional(m: Maker) -> None:
    r = m.random
    code = r.randrange(16)
    reads = CONDITION_READS[code >> 1]
    if r.random() < 0.5:
        head, rest = m.operand(r.randrange(8), 1, "w")
        m.emit(head + bytes([0x0F, 0x90 + code]) + rest, 0, 0, reads)
    else:
        prefix, size = m.size()
        head, rest = m.operand(m.register(size, "w"), size, "r")
        m.emit(prefix + head + bytes([0x0F, 0x40 + code]) + rest, 0, 0, reads)


def address_of(m: Maker) -> None:
    prefix, size = m.size()
    head, rest = m.operand(m.register(size, "w"), size, "r", memory=True)
    m.emit(prefix + head + b"\x8d" + rest)


def bits_of(m: Maker) -> None:
    r = m.random
    prefix, size = m.size()
    sub = r.randrange(4, 8)
    access = "r" if sub == 4 else "w"
    undefines = UNDEFINED["bit test"]
    if r.random() < 0.4:
        head, rest = m.operand(sub, size, access)
        head = lock(m, head, rest) if sub > 4 else head
        m.emit(prefix + head + b"\x0f\xba" + rest + m.immediate(1), CF, undefines)
        return
    memory = r.random() < 0.5
    reg = m.register(size, "r")
    if memory:  # the bit number moves the address
        reg = m.free()
        m.load(reg, r.choice([r.randrange(-300, 300), r.randrange(32), r.randrange(-8000, 8000)]))
    head, rest = m.operand(reg, size, access, memory=memory)
    head = lock(m, head, rest) if sub > 4 else head
    m.emit(prefix + head + bytes([0x0F, {4: 0xA3, 5: 0xAB, 6: 0xB3, 7: 0xBB}[sub]]) + rest, CF, undefines)


def scan(m: Maker) -> None:
    """BSF and BSR; of zero, the destination is left alone, as AMD documents and every part does."""
    prefix, size = m.size()
    head, rest = m.operand(m.register(size, "w"), size, "r")
    m.emit(prefix + head + bytes([0x0F, m.random.choice([0xBC, 0xBD])]) + rest, STATUS, UNDEFINED["bit scan"])


def compare_exchange(m: Maker) -> None:
    r = m.random
    if r.random() < 0.3:
        if m.may_change(EAX, EDX):
            head, rest = m.operand(1, 8, "w", memory=True)
            m.emit(lock(m, head, rest) + b"\x0f\xc7" + rest, ZF, m.lost("cmpxchg8b"))
            if not m.user:
                m.rows.append(COMPARE)
        return
    prefix, size, low = m.sized()
    if r.random() < 0.5:
        head, rest = m.operand(m.register(size, "w"), size, "w")
        m.emit(prefix + lock(m, head, rest) + bytes([0x0F, 0xC0 + low]) + rest, STATUS)
    elif m.may_change(EAX):
        head, rest = m.operand(m.register(size, "r"), size, "w")
        m.emit(prefix + lock(m, head, rest) + bytes([0x0F, 0xB0 + low]) + rest, STATUS)


def accumulator(m: Maker) -> None:
    """Instructions of one byte on EAX and the flags."""
    r = m.random
    if r.random() < 0.35:
        code, defines, reads = r.choice(
            [(0xF5, CF, CF), (0xF8, CF, 0), (0xF9, CF, 0), (0xFC, 0, 0), (0xFD, 0, 0)]
        )
        m.emit(bytes([code]), defines, 0, reads)
        return
    if not m.may_change(EAX):
        return
    which = r.randrange(10)
    decimal, ascii_ = UNDEFINED["decimal"], UNDEFINED["ascii"]
    if which < 2:
        m.emit(bytes([(0x27, 0x2F)[which]]), STATUS, decimal, CF | AF)
    elif which < 4:
        m.emit(bytes([(0x37, 0x3F)[which - 2]]), STATUS, ascii_, AF)
    elif which == 4:
        m.emit(bytes([0xD4, r.choice([10, 10, r.randrange(256)])]), STATUS, UNDEFINED["ascii multiply"])
    elif which == 5:
        m.emit(bytes([0xD5, r.choice([10, r.randrange(256)])]), STATUS, UNDEFINED["ascii multiply"])
    elif which == 6:
        m.emit(m.size()[0] + b"\x98")
    elif which == 7:
        if m.may_change(EDX):
            m.emit(m.size()[0] + b"\x99")
    elif which == 8:
        m.emit(b"\x9f", 0, 0, STATUS & ~OF)
    else:
        m.emit(b"\x9e", STATUS & ~OF)


def byte_swap(m: Maker) -> None:
    m.emit((b"" if m.bits == 32 else b"\x66") + bytes([0x0F, 0xC8 + m.free()]))


def translate(m: Maker) -> None:
    if not m.may_change(EAX) or EBX not in m.pointers:
        return
    prefix, start = m.segment(DS)
    if start and not DATA <= m.registers[EBX] + start < DATA_END:
        prefix = b""
    m.emit(prefix + b"\xd7")


def stack(m: Maker) -> None:
    r = m.random
    prefix, size = m.size()
    which = r.randrange(9)
    if which < 2:
        m.emit(prefix + bytes([0x50 + r.randrange(8)]))
    elif which == 2:
        m.emit(prefix + (b"\x68" + m.immediate(size) if r.random() < 0.5 else b"\x6a" + m.immediate(1)))
    elif which == 3:
        head, rest = m.operand(6, size, "r")
        m.emit(prefix + head + b"\xff" + rest)
    elif which < 6:
        m.emit(prefix + bytes([0x58 + m.free()]))
    elif which == 6:
        head, rest = m.operand(0, size, "w")
        m.emit(prefix + head + b"\x8f" + rest)
    elif which == 7:
        m.emit(prefix + b"\x9c", 0, 0, STATUS)
    else:
        # Of 16 bits: of 32, parts differ in whether the upper half is written (SDM vol. 2, PUSH).
        prefix = b"\x66" if m.bits == 32 else b""
        m.emit(prefix + bytes([r.choice([0x06, 0x0E, 0x16, 0x1E])]))


def stack_frames(m: Maker) -> None:
    r = m.random
    prefix, size = m.size()
    which = r.randrange(5)
    if which == 0:
        m.emit(prefix + b"\x60")
    elif which == 1:
        if m.may_change(EAX, ECX, EDX, EBX, EBP, ESI, EDI):
            m.emit(prefix + b"\x61")
    elif which == 2:
        if m.may_change(EBP):
            level = r.choice([0, 0, 0, 1, 2, 3, 33])
            if not m.user:
                # How much of EBP an ENTER of another size than the stack's changes is for silicon to say.
                prefix = b""
            m.emit(prefix + b"\xc8" + r.randrange(64).to_bytes(2, "little") + bytes([level]))
            move(m)
            if r.random() < 0.5 and not level:
                m.emit(prefix + b"\xc9")
    elif which == 3:  # POPF, without TF, VM and what only a kernel changes
        value = (m.value() & (STATUS | DF)) | r.choice(
            [0, 0x200000] if m.user else [0, 0x200000, 0x40000, 0x4000]
        )
        m.emit(prefix + b"\x68" + value.to_bytes(4, "little")[:size])
        m.emit(prefix + b"\x9d", STATUS)
    else:
        step = r.choice([4, 8, -4, -8, 2, -2])
        code = bytes([0x83, 0xC4, step & 0xFF]) if r.random() < 0.5 else bytes([0x83, 0xEC, -step & 0xFF])
        m.emit((b"" if m.bits == 32 else b"\x66") + code, STATUS)


def string(m: Maker) -> None:
    r = m.random
    kind = r.choice([0xA4, 0xA6, 0xAA, 0xAC, 0xAE])
    source = kind in {0xA4, 0xA6, 0xAC}
    destination = kind != 0xAC
    wanted = [n for n, needed in ((ESI, source), (EDI, destination), (EAX, kind == 0xAC)) if needed]
    repeat = r.choice([b"", b"\xf2", b"\xf3", b"\xf3"])
    if repeat:
        wanted.append(ECX)
    if not m.may_change(*wanted):
        return
    size_prefix, _, low = m.sized()
    head = b""
    if source:
        head, start = m.segment(DS)
        m.load(ESI, m.target("r") - start)
    if destination:
        m.load(EDI, m.target("w") - (0 if m.bits == 32 else machines.SEGMENTS[ES] << 4))
    if repeat:
        compares = kind in {0xA6, 0xAE}
        m.load(
            ECX,
            r.choice([0, 1, 2, r.randrange(40), r.randrange(40), 0xFFFF if compares else r.randrange(3000)]),
        )
    if r.random() < 0.3:
        m.emit(r.choice([b"\xfc", b"\xfd"]))
    compares = kind in {0xA6, 0xAE}
    address_size = b"\x67" if r.random() < 0.1 else b""
    prefixes = [p for p in (head, repeat, size_prefix, address_size) if p]
    r.shuffle(prefixes)
    defines = STATUS if compares and not repeat else 0  # none if ECX is 0
    m.emit(
        b"".join(prefixes) + bytes([kind + low]), defines, partial=bool(compares and repeat and not m.user)
    )


COPIES = [  # loads and stores that change no bit: prefix and opcode, ModR/M reg, bytes
    ((b"\x0f\x10", 3, 16), (b"\x0f\x11", 3, 16)),  # MOVUPS
    ((b"\xf3\x0f\x6f", 2, 16), (b"\xf3\x0f\x7f", 2, 16)),  # MOVDQU
    ((b"\x0f\x28", 3, 16), (b"\x0f\x29", 3, 16)),  # MOVAPS, mostly #GP
    ((b"\x0f\x6f", 4, 8), (b"\x0f\x7f", 4, 8)),  # MOVQ, MMX
    ((b"\xf3\x0f\x7e", 1, 8), (b"\x66\x0f\xd6", 1, 8)),  # MOVQ, SSE2
    ((b"\xf3\x0f\x10", 1, 4), (b"\xf3\x0f\x11", 1, 4)),  # MOVSS
    ((b"\xf2\x0f\x10", 1, 8), (b"\x66\x0f\x17", 1, 8)),  # MOVSD, MOVHPD
    ((b"\xdf", 5, 8), (b"\xdf", 7, 8)),  # FILD, FISTP
    ((b"\xdb", 5, 10), (b"\xdb", 7, 10)),  # FLD, FSTP of 80 bits
    ((b"\xdb", 0, 4), (b"\xdb", 3, 4)),  # FILD, FISTP of 32 bits
]


def copy(m: Maker) -> None:
    """From memory to memory through a vector register or the x87: whole or, where it faults, not at all."""
    r = m.random
    load, store = r.choice(COPIES)
    if load[0] == b"\x0f\x28" and (not m.user or r.random() < 0.7):  # QEMU does not ask for alignment
        return
    if load[0][0] >= 0xD8:
        m.emit(b"\xdb\xe3")
    for (code, reg, size), access in ((load, "r"), (store, "w")):
        head, rest = m.operand(reg, size, access, memory=True)
        m.emit(head + code + rest)
    if load[0] == b"\x0f\x6f":
        m.emit(b"\x0f\x77")


def nothing(m: Maker) -> None:
    r = m.random
    if r.random() < 0.5:
        m.emit(r.choice([b"\x90", b"\x66\x90", b"\x0f\x1f\xc0", b"\x3e\x90"]))
    else:
        head, rest = m.operand(0, 4, "r", memory=True)
        m.emit(head + b"\x0f\x1f" + rest)


def interrupt(m: Maker) -> None:
    """Ends the program: INT n, INT3, INTO, UD2, an undefined instruction, BOUND."""
    r = m.random
    if r.random() < 0.7:
        return
    which = r.randrange(5)
    if which == 0:
        m.emit(b"\xce", 0, 0, OF)
    elif which == 1 and m.user:
        return
    elif which == 1:
        m.emit(bytes([0xCD, r.randrange(0x20, 0x100)]))
    else:
        m.emit((b"\xcc", b"\x0f\x0b", b"\x0f\xff\xc0")[which - 2])


PLAIN: list[Callable[[Maker], None]] = [
    alu, alu, alu, alu, test, unary, unary, shift, shift, double_shift, multiply, divide, move, move, move,
    exchange, extend, extend, conditional, conditional, address_of, bits_of, scan, compare_exchange,
    accumulator, byte_swap, translate, stack, stack, stack_frames, string, copy, nothing, interrupt,
]  # fmt: skip


# Control flow


def condition_setter(m: Maker) -> None:
    """Mostly a comparison, for that is what is fused with the jump behind it."""
    r = m.random
    x = r.random()
    if x < 0.35:
        prefix, size, low = m.sized(0.2)
        m.emit(
            prefix
            + bytes(
                [r.choice([0x38, 0x3A]) + low, 0xC0 | m.register(size, "r") << 3 | m.register(size, "r")]
            ),
            STATUS,
        )
    elif x < 0.6:
        prefix, size, low = m.sized(0.2)
        if low and r.random() < 0.6:
            m.emit(prefix + bytes([0x83, 0xF8 | m.register(size, "r")]) + m.immediate(1), STATUS)
        else:
            m.emit(prefix + bytes([0x80 + low, 0xF8 | m.register(size, "r")]) + m.immediate(size), STATUS)
    elif x < 0.75:
        prefix, size, low = m.sized(0.2)
        a = m.register(size, "r")
        b = a if r.random() < 0.7 else m.register(size, "r")
        m.emit(prefix + bytes([0x84 + low, 0xC0 | a << 3 | b]), STATUS, UNDEFINED["logic"])
    else:
        r.choice([alu, unary, test, shift, alu])(m)


def jump_if(m: Maker, code: int, label: int) -> None:
    near = bytes([0x0F, 0x80 + code])
    if m.random.random() < 0.3:  # the near form although the short one would do
        m.emit(b"", 0, 0, CONDITION_READS[code >> 1], target=label, near=near, wide=m.native)
    else:
        short = bytes([0x70 + code])
        m.emit(short, 0, 0, CONDITION_READS[code >> 1], target=label, near=near, wide=m.native)


def jump(m: Maker, label: int) -> None:
    r = m.random
    x = r.random()
    if x < 0.6:
        m.emit(b"\xeb", target=label, near=b"\xe9", wide=m.native, ends=True)
    elif x < 0.7:
        prefix, wide = (b"\x66", 2) if m.bits == 32 else (b"\x66", 4)
        m.emit(b"", target=label, near=prefix + b"\xe9", wide=wide, ends=True)
    elif x < 0.85:
        m.emit(b"\x68", target=label, absolute=m.native)
        m.emit(b"\xc3", ends=True, indirect=label)
    else:
        number = m.free()
        m.emit(bytes([0xB8 + number]), target=label, absolute=m.native)
        m.emit(bytes([0xFF, 0xE0 | number]), ends=True, indirect=label)


def forward(m: Maker) -> None:
    r = m.random
    label = m.new_label()
    if r.random() < 0.85:
        condition_setter(m)
    jump_if(m, r.randrange(16), label)
    block(m, r.randrange(1, 4))
    if r.random() < 0.4:
        end = m.new_label()
        jump(m, end)
        m.put_label(label)
        block(m, r.randrange(1, 3))
        m.put_label(end)
    else:
        m.put_label(label)


def skip(m: Maker) -> None:
    """JCXZ."""
    label = m.new_label()
    m.emit((b"\x67" if m.random.random() < 0.2 else b"") + b"\xe3", target=label)
    block(m, m.random.randrange(1, 3))
    m.put_label(label)


def loop(m: Maker) -> None:
    r = m.random
    free = [n for n in range(8) if n not in m.frozen]
    if len(free) < 3 or sum(n < 4 for n in free) < 2:
        return
    counter = ECX if ECX in free and r.random() < 0.6 else r.choice(free)
    count = r.randrange(1, 6)
    label = m.new_label()
    up = r.random() < 0.25
    step = r.choice([1, 1, 2, 3])
    m.load(counter, 0 if up else count * step)
    m.put_label(label)
    saved, m.frozen = m.frozen, m.frozen | {counter}
    block(m, r.randrange(1, 5))
    m.frozen = saved
    wide = b"" if m.bits == 32 else b"\x66"
    x = r.random()
    if up:
        m.emit(wide + bytes([0x83, 0xC0 | counter, step]), STATUS)
        if r.random() < 0.4:
            m.frozen = m.frozen | {counter}
            move(m)
            m.frozen = saved
        m.emit(wide + bytes([0x83, 0xF8 | counter, count * step]), STATUS)
        jump_if(m, r.choice([0x2, 0x5, 0xC, 0x8]), label)  # B NZ L S
    elif counter == ECX and step == 1 and x < 0.4:
        kind = r.choice([0xE2, 0xE2, 0xE1, 0xE0])
        looks = kind != 0xE2
        m.emit(bytes([kind]), 0, m.lost("loope") if looks else 0, ZF if looks else 0, target=label)
        if looks and not m.user:
            m.rows.append(COMPARE)
    elif x < 0.7:
        if step == 1:
            m.emit(wide + bytes([0x48 + counter]), STATUS & ~CF)
        else:
            m.emit(wide + bytes([0x83, 0xE8 | counter, step]), STATUS)
        jump_if(m, r.choice([0x5, 0xF]), label)  # NZ G
    else:
        m.emit(wide + bytes([0x83, 0xC0 | counter, -step & 0xFF]), STATUS)
        m.emit(wide + bytes([0x85, 0xC0 | counter << 3 | counter]), STATUS, UNDEFINED["logic"])
        jump_if(m, r.choice([0x5, 0xF, 0x5]), label)


def call(m: Maker) -> None:
    r = m.random
    label = m.new_label()
    if r.random() < 0.3:
        number = m.free()
        m.emit(bytes([0xB8 + number]), target=label, absolute=m.native)
        m.emit(bytes([0xFF, 0xD0 | number]), ends=True, call=True, indirect=label)
    else:
        m.emit(b"", target=label, near=b"\xe8", wide=m.native, ends=True, call=True)
    outer, m.rows = m.rows, []
    m.put_label(label)
    pushed = r.choice([0, 0, 1])
    numbers = [m.free() for _ in range(pushed)]
    for number in numbers:
        m.emit(bytes([0x50 + number]))
    inside, m.inside = m.inside, True
    block(m, r.randrange(1, 4))
    m.inside = inside
    for number in reversed(numbers):
        m.emit(bytes([0x58 + number]))
    if r.random() < 0.25 and not m.inside:  # a function that calls has its own return address to keep
        m.emit(b"\xc2" + r.choice([0, 4, 8]).to_bytes(2, "little"), ends=True, returns=True)
    else:
        m.emit(b"\xc3", ends=True, returns=True)
    m.functions.append(m.rows)
    m.rows = outer


BALANCED = [f for f in PLAIN if f not in {stack, stack_frames}]  # what leaves the stack pointer alone


def block(m: Maker, count: int) -> None:
    """Instructions and, not too deep, branches."""
    r = m.random
    m.depth += 1
    for _ in range(count):
        x = r.random()
        if x > 0.3 or m.depth > 3:
            r.choice(BALANCED if m.inside else PLAIN)(m)
        elif x < 0.14:
            forward(m)
        elif x < 0.16:
            skip(m)
        elif x < 0.25:
            loop(m)
        else:
            call(m)
    m.depth -= 1


def make(seed: int | str, bits: int, *, user: bool = False) -> tuple[list[Instruction], list[Start]]:
    """A program and what it starts with, twice: the second time its blocks are decoded and know each other."""
    m = Maker(seed, bits, user=user)
    r = m.random
    block(m, r.choice([2, 3, 4, 5, 6, 8]))
    rows = [*m.rows, Instruction(HLT, ends=True)]
    for function in m.functions:
        rows += function
    starts = [Start(m.registers, flags(r))]
    again = [v if n in m.frozen else m.value() for n, v in enumerate(m.registers)]
    starts.append(Start(again, flags(r)))
    return repaired(rows), starts


def flags(r: Dice) -> int:
    return (r.getrandbits(12) & STATUS) | (DF if r.random() < 0.1 else 0)
