"""The arena of host code: the way in and out, and how translated blocks are linked (docs/translator.md).

A block's end leaves for the loop with the place of a jump, which `link` aims at the block that came next, if it is
translated; where a jump goes that is found in a register or in memory, a table remembers.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import host, registers
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADD, ALU_AND, ALU_CMP, ALU_SUB, CS, JUMPS, M32, MODE_FLAT, NO_PAGE, NO_REG, PAGE_BITS, RETURNS,
        SHL, SHR, TLB_MASK, Return, s64, u32, u64,
    )
    from cython.cimports.libc.string import memset
else:
    from hvcore.cpu.constants import (
        ALU_ADD, ALU_AND, ALU_CMP, ALU_SUB, CS, JUMPS, M32, MODE_FLAT, NO_PAGE, NO_REG, PAGE_BITS, RETURNS,
        SHL, SHR, TLB_MASK, s64, u32, u64,
    )
# fmt: on

CALLEE_SAVED = cython.declare(u32, 0xF028)  # RBX, RBP, R12 to R15: what System V's calls keep


def allow(c):
    """Get an arena for host code, and write the way in; 0 if this host gives none."""
    if cython.compiled:
        if not host.HOST_IS_X86_64:
            return 0
        host.map_code(host.ARENA, cython.address(c.arena.code), cython.address(c.arena.run))
        if not c.arena.code:
            return 0
        c.arena.used = WAY_IN
        emit_way_in(c)
        return 1
    else:
        return 0


def begin(c):
    """Put blocks behind what there is now, which are the routines that all of them use."""
    c.arena.start = c.arena.used
    emit_linked_entry(c, 0, c.arena.used)
    c.arena.linked = c.arena.used - c.arena.start
    c.arena.used = c.arena.start


def emit_way_in(c):
    """From C with the record in RDI, to the block in RSI: save what is C's, and load what blocks expect."""
    i: u32
    for i in range(16):
        if (CALLEE_SAVED >> i) & 1:
            asm.emit_push(c, i)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, -8)  # lea rsp, [rsp - 8]: aligned for calls
    asm.emit_mem64(c, asm.LEA, asm.BX, asm.DI, NO_REG, 0, asm.RECORD_BIAS)  # lea rbx, [rdi + bias]
    asm.emit_move64(c, asm.DX, asm.SI)
    asm.emit_load64(c, asm.R12, cython.address(c.host))
    asm.emit_load64(c, asm.R13, cython.address(c.remaining))
    registers.emit_load_homes(c)
    asm.emit_jump_to_register(c, asm.DX)


def emit_way_out(c):
    """Back to C, with the general registers in the record; and the routines that bring them there and home."""
    i: u32
    c.arena.leave = c.arena.used
    registers.emit_store_homes(c)
    c.arena.leave_stored = c.arena.used
    asm.emit_load64(c, asm.CX, cython.address(c.count_base))
    asm.emit_reg64(c, asm.SUB, asm.CX, asm.R13)  # sub rcx, r13
    asm.emit_store64(c, asm.CX, cython.address(c.icount))
    emit_give_mxcsr(c)
    asm.emit_call_near(c, c.arena.give_x87)
    asm.emit_mem64(c, asm.LEA, asm.SP, asm.SP, NO_REG, 0, 8)
    for i in range(16):
        if (CALLEE_SAVED >> (15 - i)) & 1:
            asm.emit_pop(c, 15 - i)
    asm.emit_return(c)
    c.arena.store = c.arena.used
    registers.emit_store_homes(c)
    asm.emit_return(c)
    c.arena.load = c.arena.used
    registers.emit_load_homes(c)
    asm.emit_return(c)
    c.arena.take_mxcsr = c.arena.used
    emit_take_mxcsr(c)
    asm.emit_return(c)
    c.arena.give_mxcsr = c.arena.used
    emit_give_mxcsr(c)
    asm.emit_return(c)


def emit_take_mxcsr(c):
    """Bring the guest's MXCSR to the host's, if it is not there; the host's flags are lost."""
    taken: u32
    asm.emit_compare_field(c, cython.address(c.mxcsr_taken), 0)
    taken = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_mxcsr(c, asm.STMXCSR, cython.address(c.host_mxcsr))
    asm.emit_mxcsr(c, asm.LDMXCSR, cython.address(c.mxcsr))
    asm.emit_set_field(c, cython.address(c.mxcsr_taken), 1)
    asm.bind(c, taken)


def emit_give_mxcsr(c):
    """Bring it back to the record, with what has been noted in it, and the host's own to the host's."""
    given: u32
    asm.emit_compare_field(c, cython.address(c.mxcsr_taken), 0)
    given = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_mxcsr(c, asm.STMXCSR, cython.address(c.mxcsr))
    asm.emit_mxcsr(c, asm.LDMXCSR, cython.address(c.host_mxcsr))
    asm.emit_set_field(c, cython.address(c.mxcsr_taken), 0)
    asm.bind(c, given)


def within(c, mode, at):
    """Whether IP stays below 64 KiB in all of the page that a block of 16-bit code at host offset `at` lies in.

    If so, no jump from block to block in that page passes the end, where IP would begin at 0 again.
    """
    return mode & CODE_32 or ((c.block_eip - (at & 0xFFF)) & M32) <= LAST_PAGE


def enter(c, block):
    """Run the host code of `block`, which is at `block_eip`, and of those that it is linked to.

    Returns 0, PARTIAL, or the jump that `link` may aim.
    """
    stop_at: u64 = c.stop_at  # read once: `stop` may make it 0 meanwhile, from another thread
    c.count_base = stop_at
    c.remaining = stop_at - c.icount - c.blocks[block].count
    c.code_delta = (c.block_eip - c.blocks[block].at) & M32
    return host.enter_code(
        cython.cast(cython.p_void, c.arena.run + WAY_IN),
        cython.cast(cython.p_void, c),
        cython.cast(cython.p_void, c.arena.run + c.blocks[block].native),
    )


def forget_all(c):
    """Every block is forgotten; none runs."""
    if cython.compiled:
        c.arena.used = c.arena.start
        forget_jumps(c)


def forget_jumps(c):
    """Indirect jumps no longer know where they led: to blocks of another mode."""
    i: u32
    if cython.compiled:
        for i in range(2 * JUMPS):
            c.jumps[i].eip = NO_PAGE
        forget_returns(c)


def forget_returns(c):
    """RETs no longer know where they go on: a page with code may lie elsewhere, or may not be executed."""
    if cython.compiled:
        memset(cython.address(c.returns[0]), 0xFF, 2 * RETURNS * cython.sizeof(Return))


def full(c):
    """Whether it is time to forget everything, host code with it."""
    if cython.compiled:
        return c.arena.used + 2 * ROOM > host.ARENA
    else:
        return 0


def unlink(c, block):
    """Jumps from other blocks must no longer come to `block`: they leave for the loop instead."""
    at: u32 = c.blocks[block].native
    used: u32 = c.arena.used
    if at:
        c.arena.used = at - c.arena.linked
        emit_eip(c, c.blocks[block].at)
        emit_leave(c)
        c.arena.used = used


# What a block begins with


def emit_beginning(c, t):
    """A block's own routine (`mark`), where it goes if it is refused, and its linked entry."""
    refused: u32
    t.mark = c.arena.used
    asm.emit_load(c, asm.CX, cython.address(c.code_delta))
    asm.emit_mem(c, asm.LEA, asm.CX, asm.CX, NO_REG, 0, t.at & M32)  # lea ecx, [rcx + at]
    asm.emit_store64(c, asm.CX, cython.address(c.block_eip))
    asm.emit_set_field(c, cython.address(c.current), t.block)
    asm.emit_return(c)
    refused = c.arena.used
    asm.emit_imm64(c, ALU_ADD, asm.R13, t.count)
    emit_eip(c, t.at)
    emit_leave(c)
    t.refused = refused
    emit_linked_entry(c, t.count, refused)


def emit_linked_entry(c, count, refused):
    """Where other blocks jump to; it goes on if the loop would, and else leaves for that. Its length never differs."""
    asm.emit_imm64(c, ALU_SUB, asm.R13, count)  # sub r13, count
    asm.aim(c, asm.emit_jump_if(c, asm.CARRY_SET), refused)
    emit_look_for_pending(c)
    asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), refused)


def emit_look_for_pending(c):
    """The host's ZF becomes 0 if INTR is up and somebody wants to know, or anything is pending; RCX is lost."""
    asm.emit_load64(c, asm.CX, cython.address(c.wanted_pin))
    asm.emit_mem(c, asm.LOAD, asm.CX, asm.CX, NO_REG, 0, 0)  # mov ecx, [rcx]: the INTR pin
    asm.emit_field64(c, asm.OR, asm.CX, cython.address(c.special))  # or rcx, special: `stop_wanted` too


def emit_look_beyond(c, t):
    """A block over the end of its page runs only where its tail is what the next page has, and CS reaches that far."""
    i: s64 = t.block
    last: u32 = c.blocks[i].length - 1
    rest: u32 = 4096 - (t.at & 0xFFF)
    emit_eip(c, t.at)
    asm.emit_load(c, asm.CX, cython.address(c.limit[CS]))
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.AX, NO_REG, 0, last)  # lea rdx, [rax + last]
    asm.emit_reg64(c, asm.CMP, asm.DX, asm.CX)  # cmp rdx, rcx
    asm.aim(c, asm.emit_jump_if(c, asm.ABOVE), t.refused)
    if not t.flat:
        asm.emit_field(c, asm.ADD, asm.AX, cython.address(c.base[CS]))  # add eax, base[cs]
    asm.emit_mem(c, asm.LEA, asm.AX, asm.AX, NO_REG, 0, rest)  # lea eax, [rax + the page's rest]
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of the next page
    asm.emit_mem64(c, asm.CMP, asm.AX, asm.BX, asm.CX, 0, t.tlb + TLB_FETCH)  # cmp rax, [rbx + rcx + fetch]
    asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), t.refused)
    asm.emit_mem64(c, asm.ADD, asm.AX, asm.BX, asm.CX, 0, t.tlb + TLB_ADD)  # add rax, [rbx + rcx + add]
    asm.emit_constant(c, asm.CX, c.blocks[c.blocks[i].tail].at)
    asm.emit_reg64(c, asm.CMP, asm.AX, asm.CX)  # cmp rax, rcx: the tail's host offset
    asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), t.refused)


def emit_mark(c, t):
    """Before a function of ours is called, `block_eip` and `current` are set; RCX is lost."""
    asm.emit_call_near(c, t.mark)


# What it ends with


def emit_eip(c, at):
    """`mov eax, code_delta; lea eax, [rax + at]`: the EIP of the code at a host offset near the block's."""
    asm.emit_load(c, asm.AX, cython.address(c.code_delta))
    asm.emit_mem(c, asm.LEA, asm.AX, asm.AX, NO_REG, 0, at & M32)


def emit_leave(c):
    """Leave for the loop, at the EIP in RAX, with nothing to link."""
    asm.emit_store64(c, asm.AX, cython.address(c.eip))
    asm.emit_reg(c, asm.XOR, asm.AX, asm.AX)
    asm.emit_jump_to(c, c.arena.leave)


def emit_finish(c):
    """End a block whose EIP an interpreted operation has set already; the general registers are in the record."""
    asm.emit_reg(c, asm.XOR, asm.AX, asm.AX)
    asm.emit_jump_to(c, c.arena.leave_stored)


def emit_leave_early(c, t, done):
    """Leave a block after `done` of its operations; the general registers are in the record, and it is marked."""
    asm.emit_imm64(c, ALU_ADD, asm.R13, t.count)  # none of them is counted; the loop counts those done
    asm.emit_set_field(c, cython.address(c.native_done), done)
    asm.emit_constant(c, asm.AX, PARTIAL)
    asm.emit_jump_to(c, c.arena.leave_stored)


def emit_leave_to(c, t, delta):
    """End a block with a jump that `link` may aim; it goes on `delta` bytes from the block's start."""
    note_leave(t, asm.emit_jump(c), delta)


def emit_branch_to(c, t, o):
    """The same with the target of the branch `o`."""
    note_branch(t, asm.emit_jump(c), o)


def note_branch(t, site, o):
    """Note a jump that is the branch `o`, for `emit_leaves`; with 16-bit operands it stays below 64 KiB."""
    note_leave(t, site, o.off + o.imm)
    t.leaves[t.leaves_used - 1].wraps = o.size == 1


def note_leave(t, site, delta):
    """Note a jump that leaves the block, for `emit_leaves`."""
    t.leaves[t.leaves_used].site = site
    t.leaves[t.leaves_used].wraps = 0
    t.leaves[t.leaves_used].delta = delta
    t.leaves_used += 1


def emit_leaves(c, t):
    """Behind the block: where its jumps lead as long as they are not linked, back to the loop with what to link."""
    i: u32
    here: u64
    if t.return_site:
        emit_return_point(c, t)
    for i in range(t.leaves_used):
        here = c.arena.used
        asm.bind(c, t.leaves[i].site)
        emit_eip(c, t.at + t.leaves[i].delta)
        if t.leaves[i].wraps:
            asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
        asm.emit_store64(c, asm.AX, cython.address(c.eip))
        asm.emit_set_field(c, cython.address(c.current), t.block)
        asm.emit_constant(c, asm.AX, (here << 32) | t.leaves[i].site)
        asm.emit_jump_to(c, c.arena.leave)


def emit_note_return(c, t):
    """A CALL has pushed the EIP in ECX: the RET that pops it goes on at the block's return point.

    EDX is where it was pushed, or that in its page.
    """
    asm.emit_imm(c, ALU_AND, asm.DX, (RETURNS - 1) << 2)  # and edx, 255 * 4
    asm.emit_mem64(c, asm.STORE, asm.CX, asm.BX, asm.DX, 2, t.returns)  # mov [rbx + rdx * 4 + returns], rcx
    t.return_site = asm.emit_place(c, asm.CX)  # lea rcx, [return point]
    asm.emit_mem64(c, asm.STORE, asm.CX, asm.BX, asm.DX, 2, t.returns + 8)  # mov [… + returns + 8], rcx


def emit_return_point(c, t):
    """Where a RET goes on behind the block's CALL, with the EIP in RAX: jumps that `link` may aim.

    It lies in the CALL's page. That this still is where it was when the CALL ran, `forget_returns` sees to.
    """
    asm.bind(c, t.return_site)
    asm.emit_mem(c, asm.LEA, asm.AX, asm.AX, NO_REG, 0, -(t.at + t.return_delta))  # lea eax, [rax - at]
    asm.emit_field(c, asm.CMP, asm.AX, cython.address(c.code_delta))
    note_leave(t, asm.emit_jump_if(c, asm.ZERO), t.return_delta)  # returned from a function in the same page
    asm.emit_field(c, asm.STORE, asm.AX, cython.address(c.code_delta))
    emit_leave_to(c, t, t.return_delta)


def emit_set_code_delta(c):
    """`code_delta` becomes EAX. Mostly it is that already, and a store would only hold up whoever loads it next."""
    same: u32
    asm.emit_field(c, asm.CMP, asm.AX, cython.address(c.code_delta))
    same = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_field(c, asm.STORE, asm.AX, cython.address(c.code_delta))
    asm.bind(c, same)


def emit_jump_through(c, t):
    """End a block that goes to the EIP in RAX: on to the block that was found there last, if it still is there.

    `remember_jump` fills the table. Its entry says at which host offset that block lies, and the TLB must agree.
    """
    missed: u32[3]
    i: u32
    if not t.flat:
        emit_segmented_jump_through(c, t)
        return
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_imm(c, ALU_AND, asm.CX, JUMPS - 1)  # and ecx, JUMPS - 1
    asm.emit_shift(c, SHL, asm.CX, 5)  # shl ecx, 5
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.BX, asm.CX, 0, t.jumps)  # lea rdx, [rbx + rcx + jumps]
    asm.emit_mem64(c, asm.CMP, asm.AX, asm.DX, NO_REG, 0, 0)  # cmp rax, [rdx]: the same EIP
    missed[0] = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of its page
    asm.emit_mem64(c, asm.LOAD, asm.R14, asm.BX, asm.CX, 0, t.tlb + TLB_FETCH)  # mov r14, [rbx + rcx + fetch]
    asm.emit_reg64(c, asm.XOR, asm.R14, asm.AX)  # xor r14, rax
    asm.emit_imm64(c, ALU_CMP, asm.R14, 4095)  # cmp r14, 4095: it may be executed
    missed[1] = asm.emit_jump_if(c, asm.ABOVE)
    asm.emit_mem64(c, asm.LOAD, asm.R14, asm.BX, asm.CX, 0, t.tlb + TLB_ADD)  # mov r14, [rbx + rcx + add]
    asm.emit_mem64(c, asm.CMP, asm.R14, asm.DX, NO_REG, 0, 8)  # cmp r14, [rdx + 8]: at the same host offset
    missed[2] = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_mem(c, asm.LOAD, asm.CX, asm.DX, NO_REG, 0, 24)  # mov ecx, [rdx + 24]
    asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.code_delta))
    asm.emit_jump_to_memory(c, asm.DX, 16)  # jmp [rdx + 16]
    for i in range(3):
        asm.bind(c, missed[i])
    emit_leave(c)


def emit_segmented_jump_through(c, t):
    """The same where CS has a base. An entry is known by the mode too, for EIP alone says little there."""
    missed: u32[3]
    i: u32
    asm.emit_move(c, asm.R14, asm.AX)  # mov r14d, eax
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_imm(c, ALU_AND, asm.CX, JUMPS - 1)  # and ecx, JUMPS - 1
    asm.emit_shift(c, SHL, asm.CX, 5)  # shl ecx, 5
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.BX, asm.CX, 0, t.jumps)  # lea rdx, [rbx + rcx + jumps]
    asm.emit_constant(c, asm.CX, jump_key(0, c.blocks[t.block].mode))
    asm.emit_reg64(c, asm.OR, asm.CX, asm.AX)  # or rcx, rax
    asm.emit_mem64(c, asm.CMP, asm.CX, asm.DX, NO_REG, 0, 0)  # cmp rcx, [rdx]: the same EIP, of the same mode
    missed[0] = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_field(c, asm.ADD, asm.AX, cython.address(c.base[CS]))  # add eax, base[cs]
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of its page
    asm.emit_mem64(c, asm.XOR, asm.AX, asm.BX, asm.CX, 0, t.tlb + TLB_FETCH)  # xor rax, [rbx + rcx + fetch]
    asm.emit_imm64(c, ALU_CMP, asm.AX, 4095)  # cmp rax, 4095: it may be executed
    missed[1] = asm.emit_jump_if(c, asm.ABOVE)
    asm.emit_mem64(c, asm.LOAD, asm.AX, asm.BX, asm.CX, 0, t.tlb + TLB_ADD)  # mov rax, [rbx + rcx + add]
    asm.emit_field64(c, asm.ADD, asm.AX, cython.address(c.base[CS]))  # add rax, base[cs]
    asm.emit_mem64(c, asm.CMP, asm.AX, asm.DX, NO_REG, 0, 8)  # cmp rax, [rdx + 8]: at the same host offset
    missed[2] = asm.emit_jump_if(c, asm.NOT_ZERO)
    asm.emit_mem(c, asm.LOAD, asm.CX, asm.DX, NO_REG, 0, 24)  # mov ecx, [rdx + 24]
    asm.emit_field(c, asm.STORE, asm.CX, cython.address(c.code_delta))
    asm.emit_jump_to_memory(c, asm.DX, 16)  # jmp [rdx + 16]
    for i in range(3):
        asm.bind(c, missed[i])
    asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    emit_leave(c)


# Links


def jump_key(eip, mode):
    """What an entry of `jumps` is known by: EIP, and of code that is not flat the mode above it."""
    return eip if mode & MODE_FLAT else eip | (cython.cast(u64, mode) << 32)


def remember_jump(c, eip, block):
    """Let indirect jumps to `eip` find the translated `block`."""
    i: u64 = eip & (JUMPS - 1)
    if not c.blocks[block].mode & (MODE_FLAT | CODE_32) and eip - (c.blocks[block].at & 0xFFF) > LAST_PAGE:
        return  # not `within`
    if c.tlb_half:
        i += JUMPS
    c.jumps[i].eip = jump_key(eip, c.blocks[block].mode)
    c.jumps[i].add = c.blocks[block].at - eip
    c.jumps[i].entry = cython.cast(u64, c.arena.run) + c.blocks[block].native - c.arena.linked
    c.jumps[i].delta = (eip - c.blocks[block].at) & M32


def link(c, left, block, eip):
    """Let the jump `left`, with which the block `current` ended, go to the translated `block` at `eip`."""
    site: u32 = left & M32
    leave: u32 = left >> 32
    if asm.aimed_at(c, site) != leave:
        return  # at a block that is not there now
    at: u64 = c.blocks[block].at
    if (at ^ c.blocks[c.current].at) & PAGE_BITS == 0 and eip == (c.code_delta + at) & M32:
        asm.aim(c, site, c.blocks[block].native - c.arena.linked)
    elif c.arena.used + ROOM <= host.ARENA:
        asm.aim(c, site, c.arena.used)
        emit_crossing(c, block, (eip - c.code_delta) & M32, leave)


def emit_crossing(c, block, to, leave):
    """Go on to `block` in another page, if that is what lies where `to` is from the code that jumps; else to `leave`.

    `to` is the EIP less `code_delta`, so this holds wherever the two pages are mapped, in whatever process.
    """
    tlb: u64 = asm.field(c, cython.address(c.tlb[c.tlb_half]))
    mode: u32 = c.blocks[block].mode
    offset: u64 = c.blocks[block].at & 0xFFF
    emit_eip(c, to)
    if not mode & MODE_FLAT:
        if not mode & CODE_32:  # `within`, of the other page
            asm.emit_mem(c, asm.LEA, asm.CX, asm.AX, NO_REG, 0, -offset)  # lea ecx, [rax - offset]
            asm.emit_imm(c, ALU_CMP, asm.CX, LAST_PAGE)
            asm.aim(c, asm.emit_jump_if(c, asm.ABOVE), leave)
        asm.emit_move(c, asm.R14, asm.AX)  # mov r14d, eax
        asm.emit_field(c, asm.ADD, asm.AX, cython.address(c.base[CS]))  # add eax, base[cs]
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of its page
    asm.emit_mem64(c, asm.LOAD, asm.DX, asm.BX, asm.CX, 0, tlb + TLB_FETCH)  # mov rdx, [rbx + rcx + fetch]
    asm.emit_reg64(c, asm.XOR, asm.DX, asm.AX)  # xor rdx, rax
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4095)  # cmp rdx, 4095: it may be executed
    asm.aim(c, asm.emit_jump_if(c, asm.ABOVE), leave)
    asm.emit_mem64(c, asm.LOAD, asm.DX, asm.BX, asm.CX, 0, tlb + TLB_ADD)  # mov rdx, [rbx + rcx + add]
    asm.emit_reg64(c, asm.ADD, asm.DX, asm.AX)  # add rdx, rax: its host offset
    asm.emit_constant(c, asm.CX, c.blocks[block].at)
    asm.emit_reg64(c, asm.CMP, asm.DX, asm.CX)  # cmp rdx, rcx: the block's
    asm.aim(c, asm.emit_jump_if(c, asm.NOT_ZERO), leave)
    if not mode & MODE_FLAT:
        asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    asm.emit_reg(c, asm.SUB, asm.AX, asm.CX)  # sub eax, ecx
    emit_set_code_delta(c)
    asm.emit_jump_to(c, c.blocks[block].native - c.arena.linked)
