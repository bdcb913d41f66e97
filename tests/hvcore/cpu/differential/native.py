"""The host's own processor as the oracle for user-mode 32-bit programs, where it will have them.

A program runs in compatibility mode, in this very process, at the addresses that `machines` gives its memory, until a
signal ends it: HLT is #GP in ring 3. Only for programs that the subject has run to an end, and by hand
(`--kind user32`): what strays could make system calls. It needs x86-64 Linux, gcc, and leave to map the first 64 KiB.
"""

import ctypes
import functools
import mmap
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.hvcore.cpu.bench import CS, DS, ES, FLAT_CODE, FLAT_DATA, SS
from tests.hvcore.cpu.differential.compare import Pair, left_its_code
from tests.hvcore.cpu.differential.machines import (
    ALIASES,
    CODE,
    CODE_END,
    DATA,
    DATA_END,
    HALT,
    PADDING,
    PATTERN,
    READ_ONLY,
    STACK,
    STACK_END,
    STRAYED,
    WINDOW,
    Outcome,
    Start,
    Subject,
)

SOURCE = r"""
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

static sigjmp_buf back;
static uint64_t stopped[12];
static uint32_t entry[9];
static struct { uint32_t offset; uint16_t selector; } __attribute__((packed)) target;
static char stack[65536];

static void on_signal(int number, siginfo_t *info, void *context)
{
    static const int order[10] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_EFL, REG_RIP};
    ucontext_t *u = context;
    int i;
    for (i = 0; i < 10; i++)
        stopped[i] = u->uc_mcontext.gregs[order[i]];
    stopped[10] = number == SIGALRM ? 99 : u->uc_mcontext.gregs[REG_TRAPNO];
    stopped[11] = u->uc_mcontext.gregs[REG_CR2];
    siglongjmp(back, 1);
}

int map(int fd, unsigned long at, unsigned long offset, unsigned long length, int write, int execute)
{
    int rights = PROT_READ | (write ? PROT_WRITE : 0) | (execute ? PROT_EXEC : 0);
    return mmap((void *)at, length, rights, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, offset) == (void *)at;
}

void run(const uint32_t *registers, uint32_t at, uint64_t *result)
{
    static const int signals[6] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGALRM};
    struct sigaction action, before[6];
    struct itimerval second = {{0, 0}, {1, 0}}, none = {{0, 0}, {0, 0}};
    stack_t ours = {stack, 0, sizeof stack}, theirs;
    int i;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaltstack(&ours, &theirs);
    for (i = 0; i < 6; i++)
        sigaction(signals[i], &action, &before[i]);
    memcpy(entry, registers, sizeof entry);
    target.offset = at;
    target.selector = 0x23;
    setitimer(ITIMER_REAL, &second, 0);
    if (!sigsetjmp(back, 0))
        __asm__ volatile(
            "mov $0x2B, %%eax\n\tmov %%eax, %%ds\n\tmov %%eax, %%es\n\tlea %[entry], %%r8\n\tlea %[target], %%r9\n\t"
            "mov 32(%%r8), %%eax\n\tpush %%rax\n\tpopfq\n\t"
            "mov (%%r8), %%eax\n\tmov 4(%%r8), %%ecx\n\tmov 8(%%r8), %%edx\n\tmov 12(%%r8), %%ebx\n\t"
            "mov 20(%%r8), %%ebp\n\tmov 24(%%r8), %%esi\n\tmov 28(%%r8), %%edi\n\tmov 16(%%r8), %%esp\n\tljmp *(%%r9)"
            : : [entry] "m"(entry), [target] "m"(target) : "memory");
    setitimer(ITIMER_REAL, &none, 0);
    __asm__ volatile("cld");
    for (i = 0; i < 6; i++)
        sigaction(signals[i], &before[i], 0);
    sigaltstack(&theirs, 0);
    memcpy(result, stopped, sizeof stopped);
}
"""


def build() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "native.c"), Path(folder, "native.so")
        source.write_text(SOURCE)
        command = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-mno-red-zone", "-fcf-protection=none"]
        subprocess.run([*command, "-o", binary, source], check=True)
        return ctypes.CDLL(str(binary))


class Silicon:
    """An oracle, as `machines.Oracle`."""

    def __init__(self) -> None:
        if shutil.which("gcc") is None:
            raise RuntimeError("gcc is not there")
        self.library = build()
        descriptor = os.memfd_create("window")
        os.ftruncate(descriptor, WINDOW)
        self.memory = mmap.mmap(descriptor, WINDOW)
        size = DATA_END - DATA
        runs = [(CODE, CODE, CODE_END - CODE, 0, 1), (DATA, DATA, size, 1, 0), (STACK, STACK, STACK_END - STACK, 1, 0),
                (READ_ONLY, READ_ONLY, 0x1000, 0, 0), *((alias, DATA, size, 1, 0) for alias in ALIASES)]  # fmt: skip
        for at, offset, length, write, execute in runs:
            if not self.library.map(
                descriptor, ctypes.c_ulong(at), ctypes.c_ulong(offset), ctypes.c_ulong(length), write, execute
            ):
                raise RuntimeError(f"the host does not let us map {at:x}")
        os.close(descriptor)
        self.spoilt = False

    def load(self, code: bytes, base: int) -> None:
        text = (code + PADDING)[: CODE_END - base]
        self.memory[base : base + len(text)] = text

    def outside(self) -> tuple[bytes, bytes]:
        """Nothing, for the same reason."""
        return b"", b""

    def restore(self, outside: tuple[bytes, bytes]) -> None:
        """Nothing is written outside: it is not mapped."""

    def run(self, start: Start, base: int, *, at_most: int = 0) -> Outcome:
        """To its end, or for a second; `at_most` is of no use here."""
        del at_most
        self.memory[DATA:WINDOW] = PATTERN[DATA:WINDOW]
        registers = (ctypes.c_uint32 * 9)(*start.registers, start.flags | 0x202)
        result = (ctypes.c_uint64 * 12)()
        self.library.run(registers, ctypes.c_uint32(base), result)
        *values, flags, eip, trap, fault = result
        stop = STRAYED if trap == 99 else trap
        if stop == 13 and CODE <= eip < CODE_END and self.memory[eip] == 0xF4:
            stop, eip = HALT, eip + 1
        fault = fault if stop == 14 else 0
        return Outcome(stop, eip, fault, [v & 0xFFFFFFFF for v in values], flags, self.memory[DATA:WINDOW])


@functools.cache
def silicon() -> Silicon:
    """The only one: its memory can be mapped once."""
    return Silicon()


class UserSubject(Subject):
    """The processor in ring 3, with the selectors that Linux gives a 32-bit program."""

    def __init__(self) -> None:
        super().__init__(32)
        for number in (ES, SS, DS):
            self.processor.set_segment(number, 0x2B, 0, 0xFFFFFFFF, FLAT_DATA | 0x60)
        self.processor.set_segment(CS, 0x23, 0, 0xFFFFFFFF, FLAT_CODE | 0x60)

    def run(self, start: Start, base: int, **how: object) -> Outcome:
        outcome = super().run(start._replace(flags=start.flags | 0x202), base, **how)  # type: ignore[arg-type]
        if outcome.stop == 13 and outcome.eip < WINDOW and self.host[outcome.eip] == 0xF4:
            return outcome._replace(stop=HALT, eip=outcome.eip + 1)
        return outcome


class NativePair(Pair):
    """The host and the subject, in ring 3."""

    def __init__(self) -> None:
        super().__init__(32)
        self.oracle = silicon()  # type: ignore[assignment]

    def renew(self) -> None:
        self.subject = UserSubject()

    def dangerous(self, outcome: Outcome) -> bool:
        return outcome.stop == STRAYED or left_its_code(outcome)
