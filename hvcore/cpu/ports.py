"""Ports: IN, OUT, INS, OUTS, and who may use them (SDM vol. 1 ch. 19)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import breakpoints, faults, mmu, operands, segments, stops, strings
    from cython.cimports.hvcore.cpu.kinds import INS, IN_I, OUT_I
    from cython.cimports.hvcore.cpu.state import (
        CR0_PE, ES, EXIT_IO, F_IOPL, M32, RAX, RCX, RDI, RDX, RSI, SIZE_MASK, TR, VEC_GP, u32, u64,
    )
else:
    from hvcore.cpu import breakpoints, faults, mmu, operands, segments, stops, strings
    from hvcore.cpu.constants import (
        CR0_PE, ES, EXIT_IO, F_IOPL, INS, IN_I, M32, OUT_I, RAX, RCX, RDI, RDX, RSI, SIZE_MASK, TR, VEC_GP,
        u32, u64,
    )
# fmt: on


def io_allowed(c, port, n):
    """IOPL, then the TSS's I/O permission bitmap (SDM vol. 1 §19.5); #GP(0) if neither allows it."""
    at: u64
    bits: u64
    if not c.cr0 & CR0_PE or (c.protected and c.cpl <= ((c.flags & F_IOPL) >> 12)):
        return 1
    at = segments.port_map(c)
    if c.fault:
        return 0
    at += port >> 3
    if at + 1 > c.limit[TR]:
        faults.exception(c, VEC_GP, 0)
        return 0
    bits = mmu.system_read(c, c.base[TR] + at, 2)
    if c.fault:
        return 0
    if (bits >> (port & 7)) & ((1 << n) - 1):
        faults.exception(c, VEC_GP, 0)
        return 0
    return 1


def intercepted(c, port, n):
    """Whether the backend wants to see an access to any of these ports."""
    i: u32
    if not c.intercepts.io:
        return 0
    if not c.io_bitmap_used:
        return 1
    for i in range(port, port + n):
        if i > 0xFFFF or (c.io_bitmap[i >> 3] >> (i & 7)) & 1:
            return 1
    return 0


def describe_port_access(c, o, port, read):
    """The facts of IN, OUT, INS and OUTS."""
    c.info.port = port
    c.info.size = 1 << o.size
    c.info.read = read
    c.info.string = 0
    c.info.rep = 0
    c.info.immediate = 0
    c.info.address_size = 1 << o.addr
    c.info.segment = o.seg


def port_access(c, o, port, read):
    """IN and OUT."""
    n: u32 = 1 << o.size
    if not io_allowed(c, port, n):
        return
    breakpoints.watch_port(c, port, n)
    if intercepted(c, port, n):
        stops.stop(c, EXIT_IO, o)
        describe_port_access(c, o, port, read)
        c.info.immediate = o.kind == IN_I or o.kind == OUT_I
    elif read:
        operands.put(c, RAX, 0, o.size, SIZE_MASK[o.size])


def string_port_access(c, o):
    """INS and OUTS. The common layer repeats them; with a count of zero nothing happens."""
    port: u32 = c.regs[RDX] & 0xFFFF
    n: u32 = 1 << o.size
    read: u32 = o.kind == INS
    seg: u32 = ES if read else o.seg
    if o.rep and not c.regs[RCX] & SIZE_MASK[o.addr]:
        return
    if not io_allowed(c, port, n):
        return
    breakpoints.watch_port(c, port, n)
    if not intercepted(c, port, n):
        strings.string(c, o)
        return
    stops.stop(c, EXIT_IO, o)
    describe_port_access(c, o, port, read)
    c.info.segment = seg
    c.info.string = 1
    c.info.rep = o.rep != 0
    c.info.linear_address = (c.base[seg] + (c.regs[RDI if read else RSI] & SIZE_MASK[o.addr])) & M32
