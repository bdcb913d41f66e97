"""Model-specific registers that the processor itself has, and the time-stamp counter (SDM vol. 4; vol. 3 §18.17)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import clock, faults, segments, stops, tlb
    from cython.cimports.hvcore.cpu.kinds import WRMSR
    from cython.cimports.hvcore.cpu.state import (
        EFER_NXE, EXIT_RDMSR, EXIT_WRMSR, HAS_NX, HAS_PAT, HAS_SEP, HAS_TSC, M32, M64, MSR_EFER, MSR_PAT,
        MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC, RAX, RCX, RDX, VEC_GP, s64, u32, u64,
    )
else:
    from hvcore.cpu import clock, faults, segments, stops, tlb
    from hvcore.cpu.constants import (
        EFER_NXE, EXIT_RDMSR, EXIT_WRMSR, HAS_NX, HAS_PAT, HAS_SEP, HAS_TSC, M32, M64, MSR_EFER, MSR_PAT,
        MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC, RAX, RCX, RDX, VEC_GP, WRMSR, s64, u32,
        u64,
    )
# fmt: on


MSR_RANGE_1 = cython.declare(u32, (1 << 31) + (1 << 30))  # C000_0000h
MSR_RANGE_2 = cython.declare(u32, (1 << 31) + (1 << 30) + (1 << 16))  # C001_0000h


def time_stamp(c):
    """The time-stamp counter: 1 GHz, from the host's monotonic clock."""
    return (clock.now() + c.tsc_offset) & M64


def has_msr(c, index):
    """Whether the processor itself has this MSR; all others are the common layer's policy."""
    if index == MSR_TSC:
        return c.features & HAS_TSC
    elif MSR_SYSENTER_CS <= index <= MSR_SYSENTER_EIP:
        return c.features & HAS_SEP
    elif index == MSR_PAT:
        return c.features & HAS_PAT
    elif index == MSR_EFER:
        return c.extended & HAS_NX
    return 0


def read_msr(c, index):
    """The value of an MSR that the processor has."""
    if index == MSR_TSC:
        return time_stamp(c)
    elif index == MSR_SYSENTER_CS:
        return c.sysenter_cs
    elif index == MSR_SYSENTER_ESP:
        return c.sysenter_esp
    elif index == MSR_SYSENTER_EIP:
        return c.sysenter_eip
    elif index == MSR_PAT:
        return c.pat
    return c.efer


def pat_valid(value):
    """Whether all eight fields name a memory type: UC, WC, WT, WP, WB or UC- (SDM vol. 3 table 12-10)."""
    i: u32
    kind: u64
    for i in range(8):
        kind = (value >> (8 * i)) & 0xFF
        if kind > 7 or kind == 2 or kind == 3:
            return 0
    return 1


def write_msr(c, index, value):
    """Set an MSR that the processor has; 0 if the value is refused."""
    if index == MSR_TSC:
        c.tsc_offset = 0
        c.tsc_offset = cython.cast(s64, value - time_stamp(c)) if cython.compiled else value - time_stamp(c)
    elif index == MSR_SYSENTER_CS:
        c.sysenter_cs = value & M32
    elif index == MSR_SYSENTER_ESP:
        c.sysenter_esp = value & M32
    elif index == MSR_SYSENTER_EIP:
        c.sysenter_eip = value & M32
    elif index == MSR_PAT:
        if not pat_valid(value):
            return 0
        c.pat = value
    else:
        if value & (EFER_NXE ^ M64):
            return 0
        c.efer = value
        tlb.flush(c)
    return 1


def msr_intercepted(c, index, write):
    """Whether the backend wants to see an access to this MSR; those in no range of the bitmap it always does."""
    i: u32
    if not (c.intercepts.wrmsr if write else c.intercepts.rdmsr):
        return 0
    if not c.msr_bitmap_used:
        return 1
    if index < 0x2000:
        i = index
    elif MSR_RANGE_1 <= index < MSR_RANGE_1 + 0x2000:
        i = 0x2000 + index - MSR_RANGE_1
    elif MSR_RANGE_2 <= index < MSR_RANGE_2 + 0x2000:
        i = 0x4000 + index - MSR_RANGE_2
    else:
        return 1
    return ((c.msr_write[i >> 3] if write else c.msr_read[i >> 3]) >> (i & 7)) & 1


def access_msr(c, o):
    """RDMSR and WRMSR."""
    index: u32 = c.regs[RCX] & M32
    write: u32 = o.kind == WRMSR
    value: u64
    if not segments.privileged(c):
        return
    if msr_intercepted(c, index, write):
        stops.stop(c, EXIT_WRMSR if write else EXIT_RDMSR, o)
        c.info.number = index
    elif not has_msr(c, index):
        faults.exception(c, VEC_GP, 0)
    elif not write:
        value = read_msr(c, index)
        c.regs[RAX] = value & M32
        c.regs[RDX] = value >> 32
    elif not write_msr(c, index, (c.regs[RDX] & M32) << 32 | (c.regs[RAX] & M32)):
        faults.exception(c, VEC_GP, 0)
