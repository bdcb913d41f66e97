"""The arena of host code: the way in and out, and how translated blocks are linked with each other (see translate.py).

A block's end leaves for the loop with the place of a jump, which `link` aims at the block that came next, if it is
translated; where a jump goes that is found in a register or in memory, a table remembers.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit.arena import *
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.jit.host import *
    from cython.cimports.hvcore.cpu.jit.registers import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *

    ARENA, ROOM = 0x2000000, 0x8000

CALLEE_SAVED = cython.declare(u32, 0xF028)  # RBX, RBP, R12 to R15: what System V's calls keep


def allow(c):
    """Get an arena for host code, and write the way in and out; 0 if this host gives none."""
    if cython.compiled:
        if not HOST_IS_X86_64:
            return 0
        c.code = map_code(ARENA)
        if not c.code:
            return 0
        c.code_used = WAY_IN
        way_in(c)
        way_out(c)
        return 1
    return 0


def begin(c):
    """Blocks are put behind what there is now, the routines that all of them use."""
    c.code_start = c.code_used
    linked_entry(c, 0, 0)
    c.code_used = c.code_start


def way_in(c):
    """From C with the record in RDI, to the block in RSI: save what is C's, and load what blocks expect."""
    i: u32
    for i in range(16):
        if (CALLEE_SAVED >> i) & 1:
            opcode(c, 0x50 | (i & 7), 0, 0, 0, i)  # PUSH
    with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, -8)  # aligned for calls
    with_memory(c, X_LEA, 1, HBX, HDI, NO_REG, 0, RECORD_BIAS)
    with_register(c, X_STORE, 1, HSI, HDX)
    load64(c, H12, field(c, cython.address(c.host)))
    load64(c, HAX, field(c, cython.address(c.tlb_half)))
    shift(c, 4, 1, HAX, 5)
    with_memory(c, X_LEA, 1, H13, HBX, HAX, 0, field(c, cython.address(c.tlb[0])))
    load_homes(c)
    with_register(c, 0xFF, 0, 4, HDX)  # JMP RDX


def way_out(c):
    """Back to C, with the general registers in the record; and the routines that bring them there and home."""
    i: u32
    c.code_leave = c.code_used
    store_homes(c)
    c.code_leave_stored = c.code_used
    with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, 8)
    for i in range(16):
        if (CALLEE_SAVED >> (15 - i)) & 1:
            opcode(c, 0x58 | ((15 - i) & 7), 0, 0, 0, 15 - i)  # POP
    put8(c, X_RET)
    c.code_store = c.code_used
    store_homes(c)
    put8(c, X_RET)
    c.code_load = c.code_used
    load_homes(c)
    put8(c, X_RET)


def enter(c, at):
    """Run the host code at `at`."""
    return enter_code(
        cython.cast(cython.p_void, c.code + WAY_IN),
        cython.cast(cython.p_void, c),
        cython.cast(cython.p_void, c.code + at),
    )


def forget_all(c):
    """Every block is forgotten; none runs."""
    i: u32
    c.code_used = c.code_start
    if cython.compiled:
        for i in range(JUMPS):
            c.jumps[i].eip = NO_PAGE


def full(c):
    """Whether it is time to forget everything, host code with it."""
    return c.code_used + 2 * ROOM > ARENA


def unlink(c, block):
    """Jumps from other blocks must no longer come to `block`: they leave for the loop instead."""
    at: u32 = c.blocks[block].native
    used: u32 = c.code_used
    if at:
        c.code_used = at - c.linked
        leave(c)
        c.code_used = used


def leave(c):
    """Back to the loop, at the EIP in RAX."""
    store64(c, HAX, field(c, cython.address(c.eip)))
    with_register(c, X_XOR, 0, HAX, HAX)
    jump_to(c, c.code_leave)


def finish(c, count):
    """The end of a block whose EIP is set already, after a call."""
    with_field(c, 0x83, 1, 0, field(c, cython.address(c.icount)))
    put8(c, count)
    with_register(c, X_XOR, 0, HAX, HAX)
    jump_to(c, c.code_leave_stored)


def jump_through(c, count):
    """The end of a block that goes to the EIP in RAX: on to the block that was found there last, if it still is.

    `remember_jump` fills the table. Its entry says at which host offset that block lies, and the TLB must agree.
    """
    missed: u32[3]
    i: u32
    with_field(c, 0x83, 1, 0, field(c, cython.address(c.icount)))
    put8(c, count)
    with_register(c, X_STORE, 0, HAX, HCX)
    with_immediate(c, 4, 0, HCX, JUMPS - 1)
    shift(c, 4, 0, HCX, 5)
    with_memory(c, X_LEA, 1, HDX, HBX, HCX, 0, field(c, cython.address(c.jumps[0])))
    with_memory(c, X_CMP, 1, HAX, HDX, NO_REG, 0, 0)
    missed[0] = jump_if(c, NOT_ZERO)
    with_register(c, X_STORE, 0, HAX, HCX)
    shift(c, 5, 0, HCX, 7)
    with_immediate(c, 4, 0, HCX, TLB_MASK << 5)
    with_memory(c, X_LOAD, 1, H14, H13, HCX, 0, TLB_FETCH)
    with_register(c, X_XOR, 1, H14, HAX)
    with_immediate(c, 7, 1, H14, 4095)
    missed[1] = jump_if(c, ABOVE)
    with_memory(c, X_LOAD, 1, H14, H13, HCX, 0, TLB_ADD)
    with_memory(c, X_CMP, 1, H14, HDX, NO_REG, 0, 8)
    missed[2] = jump_if(c, NOT_ZERO)
    with_memory(c, 0xFF, 0, 4, HDX, NO_REG, 0, 16)  # JMP [RDX + 16]
    for i in range(3):
        bind(c, missed[i])
    leave(c)


def remember_jump(c, eip, block):
    """Let indirect jumps to `eip` find the translated `block`."""
    i: u64 = eip & (JUMPS - 1)
    c.jumps[i].eip = eip
    c.jumps[i].add = c.blocks[block].at - eip
    c.jumps[i].entry = cython.cast(u64, c.code) + c.blocks[block].native - c.linked


def leave_to(c, delta, count):
    """The end of a block of `count` operations, `delta` bytes from its start; `link` may aim the jump elsewhere."""
    site: u32
    with_field(c, 0x83, 1, 0, field(c, cython.address(c.icount)))
    put8(c, count)
    load(c, HAX, field(c, cython.address(c.block_eip)))
    with_memory(c, X_LEA, 0, HAX, HAX, NO_REG, 0, delta)
    site = jump(c)
    bind(c, site)
    store64(c, HAX, field(c, cython.address(c.eip)))
    constant(c, HAX, site)
    jump_to(c, c.code_leave)


def leave_early(c, done):
    """Leave a block after `done` operations, after a call."""
    set_field(c, 0, field(c, cython.address(c.native_done)), done)
    constant(c, HAX, PARTIAL)
    jump_to(c, c.code_leave_stored)


def linked_entry(c, block, count):
    """Where other blocks jump to, with the new EIP in RAX: goes on if the loop would."""
    refused: u32 = c.code_used
    entry: u32
    leave(c)
    entry = c.code_used
    store64(c, HAX, field(c, cython.address(c.block_eip)))
    constant(c, HCX, block)
    store64(c, HCX, field(c, cython.address(c.current)))
    load64(c, HCX, field(c, cython.address(c.icount)))
    with_immediate(c, 0, 1, HCX, count)
    with_field(c, X_CMP, 1, HCX, field(c, cython.address(c.stop_at)))
    aim(c, jump_if(c, ABOVE), refused)
    load64(c, HCX, field(c, cython.address(c.pin)))
    with_memory(c, X_LOAD, 0, HCX, HCX, NO_REG, 0, 0)
    with_field(c, X_AND, 0, HCX, field(c, cython.address(c.on_interrupt)))
    with_field(c, X_OR, 0, HCX, field(c, cython.address(c.special)))
    aim(c, jump_if(c, NOT_ZERO), refused)
    c.linked = c.code_used - entry


def link(c, site, block, eip, from_eip):
    """Let the jump at `site`, taken from a block at `from_eip` to `eip`, go to the translated `block`."""
    entry: u32 = c.blocks[block].native - c.linked
    i: u64
    missed: u32[3]
    for i in range(4):
        if c.code[site + i]:
            return  # it is aimed already, at what is not there now
    if not (eip ^ from_eip) & PAGE_BITS:
        aim(c, site, entry)
        return
    if c.code_used + ROOM > ARENA:
        return
    i = ((eip >> 12) & TLB_MASK) * 32
    aim(c, site, c.code_used)
    with_immediate(c, 7, 0, HAX, eip)  # the block may be mapped elsewhere, too
    missed[0] = jump_if(c, NOT_ZERO)
    constant(c, HCX, eip & PAGE_BITS)
    with_memory(c, X_CMP, 1, HCX, H13, NO_REG, 0, i + TLB_FETCH)
    missed[1] = jump_if(c, NOT_ZERO)
    constant(c, HCX, (c.blocks[block].at - eip) & M64)
    with_memory(c, X_CMP, 1, HCX, H13, NO_REG, 0, i + TLB_ADD)
    missed[2] = jump_if(c, NOT_ZERO)
    jump_to(c, entry)
    for i in range(3):
        aim(c, missed[i], site + 4)
