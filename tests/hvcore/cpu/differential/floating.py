"""Random sequences of x87, MMX, SSE and SSE2 instructions, with the host's own silicon as the oracle.

Unicorn's floating point is QEMU's of 2020, without the x87's exception flags in many places; the host is exact. The
host runs them in 64-bit mode, so a sequence has only what is encoded alike there, and its memory is at [ESI].
"""

import ctypes
import functools
import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

import capstone

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.opcodes import VECTORS_WITH_IMMEDIATE
from tests.hvcore.cpu import test_sse, test_x87
from tests.hvcore.cpu.bench import EAX, EBX, ECX, EDI, ESI, Bench
from tests.hvcore.cpu.differential.compare import Case
from tests.hvcore.cpu.differential.dice import CASES_OF_A_POOL, Dice, pool
from tests.hvcore.cpu.differential.program import STATUS, Instruction, place
from tests.hvcore.cpu.silicon import SEQUENCE_MEMORY, library

CODE, IN, DATA, OUT = 0x1000, 0x10000, 0x18000, 0x20000
SIGNALS = {0: 0, 4: 6, 8: 16, 11: 13}  # SIGFPE is #MF or #XM
CONTROL_WORDS, MXCSRS = 224, 240  # offsets of valid ones in the memory
TRIES = ("at first", "linked", "linked again")
PLAIN_MEMORY = [c for c in test_x87.MEMORY if c not in {bytes([0xD9, 5 << 3]), bytes([0xD9, 7 << 3])}]


class Start(NamedTuple):
    image: bytes
    memory: bytes
    ecx: int
    flags: int


class Outcome(NamedTuple):
    stop: int  # 0 or an exception's vector, 16 also for #XM
    offset: int
    image: bytes
    memory: bytes
    ecx: int
    flags: int


class FloatingPair:
    """The host and this project's processor, which translates nothing, or everything (`translate_after` 1)."""

    def __init__(self, translate_after: int = 0) -> None:
        self.bits = 32
        self.translate_after = translate_after
        self.stops: dict[int, int] = {}
        self.instructions = 0
        self.beyond = 0
        host = library()
        if host is None:
            raise RuntimeError("the oracle is an x86-64 host with gcc")
        self.host: ctypes.CDLL = host
        self.interpreter = FloatingPair() if translate_after else None
        self.renew()

    @property
    def translated(self) -> int:
        return self.bench.processor.statistics["translated"]

    def renew(self) -> None:
        self.bench = Bench(32, 1 << 20)
        p = self.bench.processor
        p.translate_after = self.translate_after
        p.set_cr(4, 0x600)
        p.set_cr(0, 0x31)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.update_intercepts()
        self.bench.write(CODE + 0x800, bytes.fromhex("0f ae 05") + OUT.to_bytes(4, "little") + b"\xf4")
        self.bench.write(CODE, bytes.fromhex("0f ae 0b"))  # FXRSTOR [EBX]

    def differences(self, case: Case) -> list[str]:
        placed = place(case.rows, CODE + 3)
        self.bench.write(CODE + 3, placed.code + b"\xf4")
        for start in case.starts:
            theirs = self.on_silicon(placed.code, start)
            interpreted = self.interpreted(placed.code, start) if self.interpreter else None
            self.stops[theirs.stop or -1] = self.stops.get(theirs.stop or -1, 0) + 1
            for how in TRIES if self.translate_after else TRIES[:1]:
                ours = self.on_subject(len(placed.code), start)
                found = list(compare(ours, theirs))
                if not found and interpreted and ours.image[:28] != interpreted.image[:28]:
                    found = [f"FXSAVE: {ours.image[:28].hex()}, interpreter {interpreted.image[:28].hex()}"]
                if found:
                    return [f"run 1 {how}", *found]
        return []

    def interpreted(self, code: bytes, start: Start) -> Outcome:
        """What the interpreter makes of it: it knows where the last x87 instruction and its operand were."""
        assert self.interpreter is not None
        self.interpreter.bench.write(CODE + 3, code + b"\xf4")
        return self.interpreter.on_subject(len(code), start)

    @staticmethod
    def plainer(start: Start) -> Iterator[Start]:
        """Starts with a register or a part of memory that is zero."""
        for at in (*range(32, 288, 16), *range(0, 32, 4)):
            value = (0x37F if at == 0 else 0x1F80 if at == 24 else 0).to_bytes(
                16 if at >= 32 else 4, "little"
            )
            yield start._replace(image=start.image[:at] + value + start.image[at + len(value) :])
        for at in range(0, SEQUENCE_MEMORY, 16):
            yield start._replace(memory=start.memory[:at] + bytes(16) + start.memory[at + 16 :])
        yield start._replace(ecx=0)
        yield start._replace(flags=0)

    @staticmethod
    def spelled(start: Start) -> str:
        """The start as a test has it: the arguments of `start`."""
        return f"({sparse(start.image)}, {sparse(start.memory)}, 0x{start.ecx:x}, 0x{start.flags:x})"

    @staticmethod
    def start(image: dict[int, str], memory: dict[int, str], ecx: int, flags: int) -> Start:
        """The other way round."""
        return Start(full(image, 512), full(memory, SEQUENCE_MEMORY), ecx, flags)

    def on_silicon(self, code: bytes, start: Start) -> Outcome:
        image = ctypes.create_string_buffer(start.image, 512)
        memory = ctypes.create_string_buffer(start.memory, SEQUENCE_MEMORY)
        registers = (ctypes.c_ulong * 4)(start.ecx, start.flags | 2, 0, 0)
        signal = self.host.run_sequence(code, len(code), image, memory, registers)
        stop = SIGNALS[signal]
        return Outcome(
            stop, registers[3], image.raw, memory.raw, registers[0] & 0xFFFFFFFF, registers[1] & STATUS
        )

    def on_subject(self, length: int, start: Start) -> Outcome:
        p, host = self.bench.processor, self.bench.memory.host
        host[IN : IN + 512] = start.image
        host[DATA : DATA + SEQUENCE_MEMORY] = start.memory
        for number, value in (
            (EAX, 0),
            (EBX, IN),
            (ECX, start.ecx),
            (ESI, DATA),
            (EDI, DATA + SEQUENCE_MEMORY // 2),
        ):
            p.set_gpr(number, value)
        p.rflags = start.flags
        p.rip = CODE
        before = p.icount
        kind = p.run(1000)
        self.instructions += p.icount - before
        stop = p.exit.vector if kind == ExitKind.EXCEPTION else 0 if kind == ExitKind.HLT else -2
        offset, ecx, flags = p.rip - CODE - 3, p.gpr(ECX), p.rflags & STATUS
        p.rip = CODE + 0x800
        p.run(100)
        image, memory = bytes(host[OUT : OUT + 512]), bytes(host[DATA : DATA + SEQUENCE_MEMORY])
        return Outcome(16 if stop == 19 else stop, offset, image, memory, ecx, flags)


def sparse(data: bytes) -> dict[int, str]:
    """What is not zero, by offset."""
    rows = {at: data[at : at + 16].rstrip(b"\0").hex() for at in range(0, len(data), 16)}
    return {at: row for at, row in rows.items() if row}


def full(rows: dict[int, str], size: int) -> bytes:
    """The other way round."""
    data = bytearray(size)
    for at, row in rows.items():
        data[at : at + len(row) // 2] = bytes.fromhex(row)
    return bytes(data)


def compare(ours: Outcome, theirs: Outcome) -> Iterator[str]:
    """All but the x87's last instruction and operand, which newer parts do not keep."""
    if (ours.stop, ours.offset) != (theirs.stop, theirs.offset):
        yield f"end: exception {ours.stop} at {ours.offset:x}, silicon {theirs.stop} at {theirs.offset:x}"
        return
    pairs = {
        "control": (ours.image[:2], theirs.image[:2]),
        "status": (ours.image[2:4], theirs.image[2:4]),
        "tags": (ours.image[4:5], theirs.image[4:5]),
        "mxcsr": (ours.image[24:28], theirs.image[24:28]),
        "memory": (ours.memory, theirs.memory),
        "ecx": (struct.pack("<I", ours.ecx), struct.pack("<I", theirs.ecx)),
        "flags": (struct.pack("<H", ours.flags), struct.pack("<H", theirs.flags)),
    }
    for i in range(8):
        pairs[f"st{i}"] = ours.image[32 + 16 * i : 42 + 16 * i], theirs.image[32 + 16 * i : 42 + 16 * i]
        pairs[f"xmm{i}"] = ours.image[160 + 16 * i : 176 + 16 * i], theirs.image[160 + 16 * i : 176 + 16 * i]
    for name, (a, b) in pairs.items():
        if a != b:
            yield f"{name}: {a[::-1].hex()}, silicon {b[::-1].hex()}"


def make(kind: str, seed: int, *, masked: bool = False) -> Case:
    """A sequence of the kind `x87` or `sse`, or translated; each has a few of the other, for they share registers.

    `masked` has most begin with all of SSE's exceptions masked.
    """
    r = Dice(f"{kind} {seed}")
    kind = kind.removesuffix("-translated")
    rows: list[Instruction] = []
    labels = 0
    open_label = -1
    for _ in range(r.choice([2, 3, 4, 6, 8, 12])):
        if open_label >= 0 and r.random() < 0.4:
            rows.append(Instruction(b"", label=open_label))
            open_label = -1
        if open_label < 0 and r.random() < 0.12:
            rows += [
                Instruction(compared(r, kind)),
                Instruction(bytes([0x70 + r.randrange(16)]), target=labels),
            ]
            open_label, labels = labels, labels + 1
            continue
        other = r.random() < 0.1
        rows.append(Instruction(x87(r) if (kind == "x87") != other else vector(r)))
    if open_label >= 0:
        rows.append(Instruction(b"", label=open_label))
    number = seed // CASES_OF_A_POOL
    image, memory = registers_and_memory(r, number, masked)
    ecx = int.from_bytes(r.choice(pool(test_sse.register, number))[:4], "little")
    return Case(rows, CODE + 3, [Start(image, memory, ecx, r.getrandbits(12) & STATUS)])


def registers_and_memory(r: Dice, number: int, masked: bool) -> tuple[bytes, bytes]:
    """An FXSAVE image and the memory, of the values in the pools with this number."""
    head, mxcsr = r.choice(pool(x87_head, number)), r.choice(pool(valid_mxcsr, number))
    if masked and r.random() < 0.8:
        mxcsr = bytes([mxcsr[0] & 0x3F | 0x80, mxcsr[1] | 0x1F, *mxcsr[2:]])
    stack = b"".join(r.choices(pool(x87_register, number), k=8))
    vectors = b"".join(r.choices(pool(test_sse.register, number), k=8))
    rows = b"".join(r.choices(pool(memory_row, number), k=CONTROL_WORDS // 16))
    controls = b"".join([head[:2] for head in r.choices(pool(x87_head, number), k=8)])
    mxcsrs = b"".join(r.choices(pool(valid_mxcsr, number), k=4))
    return head + mxcsr + bytes(4) + stack + vectors + bytes(224), rows + controls + mxcsrs


def x87_head(r: random.Random) -> bytes:
    """The first 24 bytes of an FXSAVE image: control, status, tags."""
    return test_x87.head_for(r)[:24]


def x87_register(r: random.Random) -> bytes:
    return test_x87.extended(r) + bytes(6)


def valid_mxcsr(r: random.Random) -> bytes:
    return test_sse.mxcsr_for(r).to_bytes(4, "little")


def memory_row(r: random.Random) -> bytes:
    return test_x87.memory_for(r) if r.random() < 0.5 else test_sse.register(r)


def at(modrm: int, offset: int) -> bytes:
    """ModR/M for [ESI + `offset`]."""
    reg = modrm & 0x38
    if offset < 128:
        return bytes([0x46 | reg, offset])
    return bytes([0x86 | reg]) + offset.to_bytes(4, "little")


@functools.cache
def no_instruction(code: bytes) -> bool:
    return next(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32).disasm(code, 0), None) is None


def x87(r: Dice) -> bytes:
    x = r.random()
    if x < 0.25:
        code = r.choice(test_x87.MATHEMATICAL)
    elif x < 0.3:
        return r.choice([b"\xd9", b"\xd9", b"\x9b\xd9"]) + at(
            r.choice([5, 7]) << 3, CONTROL_WORDS + 2 * r.randrange(8)
        )
    elif x < 0.6:
        escape, modrm = r.choice(PLAIN_MEMORY)
        return bytes([escape]) + at(modrm, r.randrange(0, CONTROL_WORDS - 10))
    else:
        code = r.choice(test_x87.EXACT)
        while no_instruction(code) and r.random() < 0.95:
            code = r.choice(test_x87.EXACT)
    return code


def vector(r: Dice) -> bytes:
    x = r.random()
    if x < 0.04:  # LDMXCSR, STMXCSR
        return b"\x0f\xae" + at(r.choice([2, 3]) << 3, MXCSRS + 4 * r.randrange(4))
    if x < 0.12:
        return r.choice([b"\x83\xc1" + r.randbytes(1), b"\x8b" + at(0x08, 4 * r.randrange(56))])
    if x < 0.14:
        return b"\x0f\x77"
    reals = [v for v in test_sse.EXACT if v[0] in test_sse.REAL]
    opcode, prefix = r.choice(reals if r.random() < 0.4 else [*test_sse.EXACT, (0xF7, 0), (0xF7, 1)])
    code = test_sse.instruction(r, opcode, prefix)
    tail = b""
    if opcode in VECTORS_WITH_IMMEDIATE:
        code, tail = code[:-1], code[-1:]
    if code[-1] >= 0xC0 or opcode == 0x77:
        return code + tail
    aligned = r.random() < 0.95
    offset = 16 * r.randrange(12) if aligned else r.randrange(CONTROL_WORDS - 16)
    return code[:-1] + at(code[-1], offset) + tail


def compared(r: Dice, kind: str) -> bytes:
    """FCOMI and its kin, COMISS and its kin, or a comparison."""
    if r.random() < 0.2:
        return b"\x83\xf9" + r.randbytes(1)
    if kind == "x87":
        return bytes([r.choice([0xDB, 0xDF]), r.choice([0xE8, 0xF0]) + r.randrange(8)])
    return r.choice([b"", b"\x66"]) + bytes([0x0F, r.choice([0x2E, 0x2F]), 0xC0 | r.randrange(64)])
