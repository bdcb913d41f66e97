"""Breakpoints: what DR7 enables at DR0 to DR3 for code, data and ports, and which of them are met (SDM vol. 3 §18.2.4).

`debug` has the registers themselves, and what DR6 says of an exception.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import tlb
    from cython.cimports.hvcore.cpu.state import (
        CR4_DE, CS, DR7_ENABLES, F_RF, M32, M64, SPECIAL_DEBUG, u32, u64,
    )
else:
    from hvcore.cpu import tlb
    from hvcore.cpu.constants import CR4_DE, CS, DR7_ENABLES, F_RF, M32, M64, SPECIAL_DEBUG, u32, u64
# fmt: on


def watch(c, lin, n, write):
    """Note the data breakpoints (SDM vol. 3 §18.2.4) that an access of `n` bytes meets; a trap follows."""
    i: u32
    kind: u64
    size: u64
    at: u64
    for i in range(4):
        if not (c.debug[7] >> (2 * i)) & 3:
            continue
        kind = (c.debug[7] >> (16 + 4 * i)) & 3
        size = (c.debug[7] >> (18 + 4 * i)) & 3
        at = c.debug[i] & (size ^ M64)
        if (kind == 3 or (kind == 1 and write)) and at < lin + n and lin <= at + size:
            c.watch_hit |= 1 << i


def watch_port(c, port, n):
    """Note the I/O breakpoints that an access meets (SDM vol. 3 §18.2.4, R/W 10b); a trap follows."""
    i: u32
    size: u64
    if not c.special & SPECIAL_DEBUG or not c.cr4 & CR4_DE:
        return
    for i in range(4):
        size = (c.debug[7] >> (18 + 4 * i)) & 3
        if (c.debug[7] >> (2 * i)) & 3 and (c.debug[7] >> (16 + 4 * i)) & 3 == 2:
            if (c.debug[i] & (size ^ M64)) < port + n and port <= (c.debug[i] | size):
                c.watch_hit |= 1 << i


def here(c):
    """The instruction breakpoints at CS:EIP, as DR6 shows them; none while RF is set (SDM vol. 3 §18.3.1.1)."""
    lin: u64 = (c.base[CS] + c.eip) & M32
    hit: u32 = 0
    i: u32
    if c.flags & F_RF:
        return 0
    for i in range(4):
        if (c.debug[7] >> (2 * i)) & 3 and not (c.debug[7] >> (16 + 4 * i)) & 3 and c.debug[i] == lin:
            hit |= 1 << i
    return hit


def arm(c):
    """Follow a change of DR7 or DR0 to DR3: the TLB must not hide pages that are watched."""
    i: u32
    c.watching = 0
    for i in range(4):
        if (c.debug[7] >> (2 * i)) & 3 and (c.debug[7] >> (16 + 4 * i)) & 1:
            c.watching = 1
    if c.debug[7] & DR7_ENABLES:
        c.special |= SPECIAL_DEBUG
    else:
        c.special &= SPECIAL_DEBUG ^ M32
    tlb.flush(c)
