"""Debug registers: what DR6 says of an exception, and MOV (SDM vol. 3 §18.2); `breakpoints` has what they enable."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import breakpoints, faults, segments, stops
    from cython.cimports.hvcore.cpu.kinds import MOV_R_DR
    from cython.cimports.hvcore.cpu.state import (
        CR4_DE, DR6_BD, DR6_BREAKPOINTS, DR7_GD, EXIT_DR_ACCESS, M32, M64, VEC_DB, VEC_UD, u32, u64,
    )
else:
    from hvcore.cpu import breakpoints, faults, segments, stops
    from hvcore.cpu.constants import (
        CR4_DE, DR6_BD, DR6_BREAKPOINTS, DR7_GD, EXIT_DR_ACCESS, M32, M64, MOV_R_DR, VEC_DB, VEC_UD, u32, u64,
    )
# fmt: on


DR6_ONES = cython.declare(u64, (1 << 32) - 0xF010)
DR7_WRITABLE = cython.declare(u64, (1 << 32) - 0xDC01)


def note_debug(c, bits):
    """Take note of a debug exception that is about to be delivered: `bits` of DR6 say what it is.

    B0 to B3 are those of this exception alone; BD, BS and BT stay until software clears them (SDM vol. 3 §18.2.3).
    """
    if not c.debug_bits:  # else one that is on its way already turns out to have another cause, too
        c.debug_before = c.debug[6]
    c.debug_bits = bits
    c.debug[6] = (c.debug[6] & (DR6_BREAKPOINTS ^ M64)) | bits


def move(c, o):
    """MOV from and to a debug register."""
    kind: u32 = o.kind
    n: u32 = o.reg
    raw: u64 = c.intercepts.dr_read if kind == MOV_R_DR else c.intercepts.dr_write
    if c.intercepts.dr_first:
        stops.access_register(c, o, EXIT_DR_ACCESS, n, cython.cast(u32, raw))
        c.info.read = kind == MOV_R_DR
    if c.fault or not segments.privileged(c):
        return
    if n == 4 or n == 5:
        if c.cr4 & CR4_DE:
            faults.exception_plain(c, VEC_UD)
            return
        n += 2
    stops.access_register(c, o, EXIT_DR_ACCESS, o.reg, cython.cast(u32, raw))
    if c.fault:
        c.info.read = kind == MOV_R_DR
        return
    if c.debug[7] & DR7_GD:  # general detect: the debug registers are somebody else's
        note_debug(c, DR6_BD)
        faults.exception_plain(c, VEC_DB)
        return
    if kind == MOV_R_DR:
        c.regs[o.rm] = c.debug[n]
    else:
        if n == 6:
            c.debug[6] = (c.regs[o.rm] & 0xE00F) | DR6_ONES
        elif n == 7:
            c.debug[7] = (c.regs[o.rm] & DR7_WRITABLE) | 0x400
        else:
            c.debug[n] = c.regs[o.rm] & M32
        breakpoints.arm(c)
