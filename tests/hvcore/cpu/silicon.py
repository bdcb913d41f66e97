"""The host's own floating point as an oracle: one instruction on given registers, by a small C helper.

A case is an FXSAVE image, sixteen bytes of memory, EFLAGS and the bytes of one instruction whose memory
operand, if it has one, is [eAX] (the same bytes in 32- and 64-bit mode). The image that comes back has no
instruction pointers: newer parts do not keep them.
"""

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from hvcore.cpu.exitinfo import ExitKind
from tests.hvcore.cpu.bench import EAX, EBX, ECX, Bench

SOURCE = r"""
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static unsigned char *page;
static sigjmp_buf back;
static unsigned char trapped[512];
static unsigned long trapped_at, trapped_cx, trapped_flags;

static void on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    memcpy(trapped, u->uc_mcontext.fpregs, 512);
    trapped_at = u->uc_mcontext.gregs[REG_RIP] - (unsigned long)page;
    trapped_cx = u->uc_mcontext.gregs[REG_RCX];
    trapped_flags = u->uc_mcontext.gregs[REG_EFL];
    siglongjmp(back, number);
}

int prepare(void)
{
    page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page != MAP_FAILED;
}

/* Returns 0, or the number of the signal that the instruction raised. */
int run(const unsigned char *code, int length, unsigned char *image, unsigned char *memory,
         unsigned long *registers)
{
    static unsigned char in[512] __attribute__((aligned(16))), out[512] __attribute__((aligned(16)));
    static unsigned char data[64] __attribute__((aligned(16)));
    struct sigaction action, fpe, ill;
    unsigned long flags = registers[1], ax = (unsigned long)data, cx = registers[0];
    unsigned int clean = 0x1F80;
    int number;
    memcpy(page, code, length);
    page[length] = 0xC3;
    memcpy(in, image, 512);
    memcpy(data, memory, 16);
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGFPE, &action, &fpe);
    sigaction(SIGILL, &action, &ill);
    number = sigsetjmp(back, 1);
    if (!number) {
        __asm__ volatile(
            "fxrstor %3\n\tpush %1\n\tpopfq\n\tcall *%5\n\tpushfq\n\tpop %1"
            "\n\tfxsave %4\n\tcld\n\tfninit\n\tldmxcsr %6"
            : "+a"(ax), "+d"(flags), "+c"(cx)
            : "m"(in), "m"(out), "r"(page), "m"(clean)
            : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    } else {
        memcpy(out, trapped, 512);
        __asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(clean));
    }
    sigaction(SIGFPE, &fpe, 0);
    sigaction(SIGILL, &ill, 0);
    memcpy(image, out, 512);
    memcpy(memory, data, 16);
    registers[0] = cx;
    registers[1] = flags;
    registers[2] = ax == (unsigned long)data ? 0x18000 : ax;
    return number;
}

/* A sequence, whose memory is at [eSI] and whose masked stores go to [eDI]. Registers: ECX, EFLAGS, EAX, and
   where it stopped. Returns as `run` does. */
int run_sequence(const unsigned char *code, int length, unsigned char *image, unsigned char *memory,
                 unsigned long *registers)
{
    static unsigned char in[512] __attribute__((aligned(16))), out[512] __attribute__((aligned(16)));
    static unsigned char data[SEQUENCE_MEMORY] __attribute__((aligned(64)));
    static const int signals[3] = {SIGFPE, SIGILL, SIGSEGV};
    struct sigaction action, before[3];
    unsigned long flags = registers[1], ax = registers[2], cx = registers[0], dx = 0;
    unsigned int clean = 0x1F80;
    int number, i;
    memcpy(page, code, length);
    page[length] = 0xC3;
    memcpy(in, image, 512);
    memcpy(data, memory, sizeof data);
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (i = 0; i < 3; i++)
        sigaction(signals[i], &action, &before[i]);
    number = sigsetjmp(back, 1);
    if (!number) {
        __asm__ volatile(
            "fxrstor %[in]\n\tpush %[flags]\n\tpopfq\n\tcall *%[page]\n\tpushfq\n\tpop %[flags]"
            "\n\tfxsave %[out]\n\tcld\n\tfninit\n\tldmxcsr %[clean]"
            : "+a"(ax), [flags] "+r"(flags), "+c"(cx), "+d"(dx)
            : [in] "m"(in), [out] "m"(out), [page] "r"(page), [clean] "m"(clean), "S"(data),
              "D"(data + SEQUENCE_MEMORY / 2)
            : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
        registers[3] = length;
    } else {
        memcpy(out, trapped, 512);
        cx = trapped_cx;
        flags = trapped_flags;
        registers[3] = trapped_at;
        __asm__ volatile("cld\n\tfninit\n\tldmxcsr %0" : : "m"(clean));
    }
    for (i = 0; i < 3; i++)
        sigaction(signals[i], &before[i], 0);
    memcpy(image, out, 512);
    memcpy(memory, data, sizeof data);
    registers[0] = cx;
    registers[1] = flags;
    return number;
}
"""
CODE = 0x1000
IN = 0x10000
SEQUENCE_MEMORY = 256  # bytes
DATA = 0x18000  # its low half is no status word
OUT = 0x18200


class Case(NamedTuple):
    code: bytes
    image: bytes
    memory: bytes
    ecx: int = 0
    flags: int = 2


class Outcome(NamedTuple):
    """What an instruction left; `trap` is 0, or the exception that stopped it."""

    trap: int
    image: bytes
    memory: bytes
    eax: int
    ecx: int
    flags: int


@functools.cache
def library() -> ctypes.CDLL | None:
    if platform.machine() not in {"x86_64", "AMD64"} or shutil.which("gcc") is None:
        return None
    folder = tempfile.mkdtemp()
    source, binary = Path(folder, "silicon.c"), Path(folder, "silicon.so")
    source.write_text(SOURCE)
    command = [
        "gcc",
        f"-DSEQUENCE_MEMORY={SEQUENCE_MEMORY}",
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        "-mno-red-zone",
        "-fcf-protection=none",
    ]
    subprocess.run([*command, "-o", binary, source], check=True)
    loaded = ctypes.CDLL(str(binary))
    shutil.rmtree(folder)
    return loaded if loaded.prepare() else None


def needs_silicon() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        pytest.skip("the oracle is an x86-64 host with gcc")
    return loaded


def on_silicon(case: Case) -> Outcome:
    image, memory = ctypes.create_string_buffer(case.image, 512), ctypes.create_string_buffer(case.memory, 16)
    registers = (ctypes.c_ulong * 3)(case.ecx, case.flags, 0)
    signal = needs_silicon().run(case.code, len(case.code), image, memory, registers)
    trap = {0: 0, 4: 6, 8: 19}[signal]
    return Outcome(
        trap, image.raw, memory.raw, registers[2] & 0xFFFFFFFF, registers[0] & 0xFFFFFFFF, registers[1]
    )


class Subject:
    """This project's processor: FXRSTOR [EBX]; the instruction; then, from another block, FXSAVE."""

    def __init__(self) -> None:
        self.bench = Bench(32, 1 << 20)
        p = self.bench.processor
        p.set_cr(4, 0x600)
        p.set_cr(0, 0x31)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.update_intercepts()
        self.bench.write(CODE + 0x800, bytes.fromhex("0f ae 05") + OUT.to_bytes(4, "little") + b"\xf4")

    def run(self, case: Case) -> Outcome:
        p, host = self.bench.processor, self.bench.memory.host
        host[IN : IN + 512] = case.image
        host[DATA : DATA + 16] = case.memory
        code = bytes.fromhex("0f ae 0b") + case.code + b"\xf4"
        self.bench.write(CODE, code)
        p.set_gpr(EAX, DATA)
        p.set_gpr(EBX, IN)
        p.set_gpr(ECX, case.ecx)
        p.rflags = case.flags
        p.rip = CODE
        kind = p.run(100)
        trap = p.exit.vector if kind == ExitKind.EXCEPTION else 0
        eax, ecx, flags = p.gpr(EAX), p.gpr(ECX), p.rflags
        p.rip = CODE + 0x800
        assert p.run(100) == ExitKind.HLT
        image, memory = bytes(host[OUT : OUT + 512]), bytes(host[DATA : DATA + 16])
        return Outcome(trap, image, memory, eax, ecx, flags)
