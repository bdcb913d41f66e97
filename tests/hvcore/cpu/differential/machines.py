"""The two machines that a case runs on, with the same 64 KiB of memory below their code and page tables.

In 32-bit code paging is on, so that a case may fault, cross pages and see a page at two addresses:

| linear            | what it is                                       |
|-------------------|--------------------------------------------------|
| 01000 to 02FFF    | code, which may only be read                     |
| 08000 to 0AFFF    | data; again at 20000, and at 408000 (where the TLB collides) |
| 0B000             | data that may only be read                       |
| 0D000 to 0EFFF    | stack                                            |
| all else          | not present                                      |

In 16-bit code there is no paging, and every segment starts where SEGMENTS says.
"""

import ctypes
import functools
import mmap
import random
import struct
import threading
import time
from typing import NamedTuple

import unicorn
from unicorn import x86_const as x86

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import CS, DS, ES, FLAT_CODE, FLAT_DATA, FS, GS, SS, Bench

CODE, CODE_END = 0x1000, 0x3000
DATA, DATA_END = 0x8000, 0xB000
READ_ONLY = 0xB000
STACK, STACK_END = 0xD000, 0xF000
ALIASES = (0x20000, 0x408000)
WINDOW = 0x10000
REACH = 0x20000  # of 16-bit code
MEMORY = 0x200000
TABLES = 0x100000
SEGMENTS = {ES: 0x0200, CS: 0, SS: 0, DS: 0x0100, FS: 0x0400, GS: 0x0040}  # selectors in real mode
NEVER = CODE_END - 16  # a stop that is not reached; Unicorn wants one in memory that is present
PATIENCE = 0.1  # seconds, after which instructions are counted
ENDLESS = 30_000  # instructions; no case means to run as many
REGISTERS = (
    x86.UC_X86_REG_EAX, x86.UC_X86_REG_ECX, x86.UC_X86_REG_EDX, x86.UC_X86_REG_EBX,
    x86.UC_X86_REG_ESP, x86.UC_X86_REG_EBP, x86.UC_X86_REG_ESI, x86.UC_X86_REG_EDI,
    x86.UC_X86_REG_EFLAGS, x86.UC_X86_REG_EIP,
)  # fmt: skip
HALT, STRAYED = -1, -2
HLT = b"\xf4"
PADDING = HLT * 16  # for a program cut short
PATTERN = random.Random(1).randbytes(WINDOW)
memcmp = ctypes.CDLL(None).memcmp
memcmp.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t


class Start(NamedTuple):
    """What a program begins with."""

    registers: list[int]
    flags: int


class Outcome(NamedTuple):
    """How a program ended. `stop`: an exception's vector, HALT, or STRAYED (endless, or out of its code)."""

    stop: int
    eip: int
    fault_address: int
    registers: list[int]
    flags: int
    memory: bytes


def page_tables() -> bytes:
    """A directory and two tables, for TABLES."""
    first, second = [0] * 1024, [0] * 1024

    def present(table: list[int], linear: int, physical: int, rights: int = 7) -> None:
        table[(linear >> 12) & 1023] = physical | rights

    for page in range(CODE, CODE_END, 4096):
        present(first, page, page, 5)
    for page in (*range(DATA, DATA_END, 4096), *range(STACK, STACK_END, 4096)):
        present(first, page, page)
    present(first, READ_ONLY, READ_ONLY, 5)
    for offset in range(0, DATA_END - DATA, 4096):
        present(first, ALIASES[0] + offset, DATA + offset)
        present(second, ALIASES[1] + offset, DATA + offset)
    directory = [TABLES + 0x1000 | 7, TABLES + 0x2000 | 7, *[0] * 1022]
    return struct.pack("<3072I", *directory, *first, *second)


class Watchdog:
    """Ends a run that does not. (Unicorn's own timeout starts a thread for every run, which takes longer than it.)"""

    def __init__(self) -> None:
        self.runs = 0
        self.running: unicorn.Uc | None = None
        self.stopped = False
        """The run has been ended. On a busy host that may be one that had hardly begun."""
        self.lock = threading.Lock()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        seen = 0
        while True:
            time.sleep(PATIENCE)
            with self.lock:
                if self.running is not None and self.runs == seen:
                    self.stopped = True
                    self.running.emu_stop()
                seen = self.runs

    def run(self, uc: unicorn.Uc, begin: int, at_most: int) -> None:
        self.runs += 1
        self.stopped = False
        self.running = None if at_most else uc
        try:
            uc.emu_start(begin, NEVER, count=at_most)
        finally:
            with self.lock:  # so that it is not the next run that is ended
                self.running = None


@functools.cache
def watchdog() -> Watchdog:
    """The only one."""
    return Watchdog()


class Oracle:
    """Unicorn."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.watchdog = watchdog()
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32 if bits == 32 else unicorn.UC_MODE_16)
        self.memory = mmap.mmap(-1, MEMORY)
        pointer = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.uc.mem_map_ptr(0, MEMORY, unicorn.UC_PROT_ALL, pointer)
        if bits == 32:
            self.memory[TABLES : TABLES + 0x3000] = page_tables()
            self.uc.reg_write(x86.UC_X86_REG_CR3, TABLES)
            self.uc.reg_write(x86.UC_X86_REG_CR0, 0x80010011)
        else:
            self.uc.reg_write(x86.UC_X86_REG_CR4, 0x600)
            names = {ES: "ES", SS: "SS", DS: "DS", FS: "FS", GS: "GS"}
            for number, name in names.items():
                self.uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), SEGMENTS[number])
        self.vector = HALT
        self.fault_address = 0
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self.interrupted)
        self.fresh = self.uc.context_save()
        self.spoilt = False
        self.numbers = (ctypes.c_int * len(REGISTERS))(*REGISTERS)
        self.values = (ctypes.c_uint64 * len(REGISTERS))()
        size = ctypes.sizeof(ctypes.c_uint64)
        at = ctypes.addressof(self.values)
        self.pointers = (ctypes.c_void_p * len(REGISTERS))(*(at + size * i for i in range(len(REGISTERS))))

    def interrupted(self, uc: unicorn.Uc, number: int, _: object) -> None:
        """An exception: stop, for Unicorn would go on at whatever address 0 names."""
        self.vector = number
        if number == 14:
            self.fault_address = uc.reg_read(x86.UC_X86_REG_CR2)
        uc.emu_stop()

    def load(self, code: bytes, base: int) -> None:
        text = (code + PADDING)[: CODE_END - base]
        self.memory[base : base + len(text)] = text
        self.uc.ctl_remove_cache(base, base + len(text))

    def outside(self) -> tuple[bytes, bytes]:
        """As `Subject.outside`."""
        return self.memory[:DATA], self.memory[WINDOW:REACH]

    def restore(self, outside: tuple[bytes, bytes]) -> None:
        """Make what `Subject.outside` told of what it was, before a program is run again."""
        self.memory[:DATA], self.memory[WINDOW:REACH] = outside

    def run(self, start: Start, base: int, *, at_most: int = 0) -> Outcome:
        uc, memory = self.uc, self.memory
        if self.spoilt:  # a pending fault would make the next one a double fault
            uc.context_restore(self.fresh)
            self.spoilt = False
        memory[DATA:WINDOW] = PATTERN[DATA:WINDOW]
        self.values[:9] = (*start.registers, start.flags | 2)
        # The binding's own way to many registers makes arrays anew each time, which takes longer than a run.
        uc._do_reg_write_batch(self.numbers, self.pointers, 9)
        self.vector = HALT
        if at_most:
            uc.ctl_flush_tb()  # what was translated before would not count
        try:
            self.watchdog.run(uc, base, at_most)
        except unicorn.UcError as error:
            self.vector = 6 if error.errno == unicorn.UC_ERR_INSN_INVALID else STRAYED
        if self.watchdog.stopped:
            self.vector = STRAYED
        if at_most:
            uc.ctl_flush_tb()
        uc._do_reg_read_batch(self.numbers, self.pointers, len(REGISTERS))
        *registers, flags, eip = (value & 0xFFFFFFFF for value in self.values)
        if self.vector == HALT and self.bits == 16:
            eip &= 0xFFFF
        if self.vector == HALT and (eip >= CODE_END or memory[eip - 1] != 0xF4):
            self.vector = STRAYED
        self.spoilt = self.vector != HALT
        fault = self.fault_address if self.vector == 14 else 0
        return Outcome(self.vector, eip, fault, registers, flags, memory[DATA:WINDOW])


class Subject:
    """This project's processor."""

    def __init__(self, bits: int, translate_after: int = 0) -> None:
        self.bench = Bench(bits, MEMORY)
        p = self.processor = self.bench.processor
        p.translate_after = translate_after
        self.host = self.bench.memory.host
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.host))
        if bits == 32:
            self.bench.write(TABLES, page_tables())
            p.set_cr(3, TABLES)
            p.set_cr(0, 0x80010031)
            p.set_cr(4, 0x600)
            for number in SEGMENTS:  # the selectors that Unicorn begins with
                p.set_segment(number, 0, 0, 0xFFFFFFFF, FLAT_CODE if number == CS else FLAT_DATA)
        else:
            p.set_cr(4, 0x600)
            p.set_cr(0, 0x30)
            for number, selector in SEGMENTS.items():
                p.set_segment(number, selector, selector << 4, 0xFFFF, 0x9B if number == CS else 0x93)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.intercepts.software_interrupt = True
        p.update_intercepts()

    def load(self, code: bytes, base: int) -> None:
        self.host[base : base + len(code) + len(PADDING)] = code + PADDING
        self.processor.invalidate_code(CODE, CODE_END - CODE)

    def outside(self) -> tuple[bytes, bytes]:
        """What a program in 16-bit code may write besides what every run begins with afresh."""
        return bytes(self.host[:DATA]), bytes(self.host[WINDOW:REACH])

    def restore(self, outside: tuple[bytes, bytes]) -> None:
        """Undo what a run wrote there, for the next to find what the oracle finds."""
        below, above = outside
        if memcmp(self.at, below, DATA) or memcmp(self.at + WINDOW, above, REACH - WINDOW):
            self.host[:DATA], self.host[WINDOW:REACH] = below, above
            self.processor.invalidate_code(0, REACH)

    def run(self, start: Start, base: int, *, pieces: random.Random | None = None) -> Outcome:
        """Run to the end; with `pieces`, a few instructions at a time."""
        p, host = self.processor, self.host
        host[DATA:WINDOW] = PATTERN[DATA:WINDOW]
        for number, value in enumerate(start.registers):
            p.set_gpr(number, value)
        p.rflags = start.flags
        p.rip = base
        p.activity = 0
        if pieces is None:
            kind = p.run(ENDLESS)
        else:
            last = p.icount + ENDLESS
            kind = ExitKind.BUDGET
            while kind == ExitKind.BUDGET and p.icount < last:
                kind = p.run(pieces.randrange(1, 8))
        eip, stop, fault = p.rip, STRAYED, 0
        if kind == ExitKind.HLT:
            stop, eip = HALT, eip + (host[eip] == 0xF4)
        elif kind == ExitKind.EXCEPTION:
            stop = p.exit.vector
            if stop in {3, 4}:
                eip += p.exit.instruction_length
            elif stop == 14:
                fault = p.exit.fault_address
        elif kind == ExitKind.SOFTWARE_INTERRUPT:
            stop, eip = p.exit.vector, eip + p.exit.instruction_length
        return Outcome(stop, eip, fault, self.bench.registers(), p.rflags, bytes(host[DATA:WINDOW]))
