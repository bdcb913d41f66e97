"""MOVS, STOS, CMPS and SCAS as the host's own (SDM vol. 2, REP): once, or upwards as far as both pages reach.

Where there is more to it (downwards, an item over the end of a page, a trap behind each iteration) the interpreter does
it.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import arena, flags, memory, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.kinds import CMPS, MOVS, STOS
    from cython.cimports.hvcore.cpu.state import (
        ALU_AND, ALU_CMP, ALU_OR, ES, F_DF, F_TF, M32, NO_REG, PAGE_BITS, RAX, RCX, RDI, REP, RSI, SHL, SHR,
        TLB_MASK, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        ALU_AND, ALU_CMP, ALU_OR, CMPS, ES, F_DF, F_TF, M32, MOVS, NO_REG, PAGE_BITS, RAX, RCX, RDI, REP, RSI,
        SHL, SHR, STOS, TLB_MASK, u32, u64,
    )
# fmt: on


MOST_ITEMS = cython.declare(u32, 4096)


def emit(c, t, j, o, live):
    """One instruction."""
    if o.kind == MOVS or o.kind == STOS:
        if o.rep:
            emit_repeated(c, t, j, o)
        else:
            emit_once(c, t, j, o)
    elif o.rep:
        emit_repeated_comparison(c, t, j, o)
    elif o.kind == CMPS:
        emit_comparison(c, t, j, o, live)
    else:
        emit_scan(c, t, j, o, live)


def emit_once(c, t, j, o):
    """An item, in the direction of DF."""
    from_: cython.pointer(Stub) = cython.NULL
    to: cython.pointer(Stub)
    reg: u32 = registers.home(RAX)
    if o.kind == MOVS:
        from_ = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
        memory.emit_pointer(c, o, RSI)
        memory.emit_look_up(c, t, from_, arena.TLB_READ)
        memory.emit_read_host(c, o.size, asm.R14)
        reg = asm.R14
    to = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    to.seg = ES
    memory.emit_pointer(c, o, RDI)
    memory.emit_look_up(c, t, to, arena.TLB_WRITE)
    if o.size == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_mem(c, asm.STORE if o.size else asm.STORE8, reg, asm.R12, asm.AX, 0, 0)
    memory.emit_direction(c, o)
    if o.kind == MOVS:
        memory.emit_advance(c, o, RSI)
    memory.emit_advance(c, o, RDI)
    to.resume = c.arena.used
    if o.kind == MOVS:
        from_.resume = c.arena.used


def emit_comparison(c, t, j, o, live):
    """CMPS of one item with another: the one at ESI comes first."""
    first: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    second: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    second.seg = ES
    memory.emit_pointer(c, o, RSI)
    memory.emit_look_up(c, t, first, arena.TLB_READ)
    memory.emit_read_host(c, o.size, asm.R14)
    memory.emit_pointer(c, o, RDI)
    memory.emit_look_up(c, t, second, arena.TLB_READ)
    memory.emit_direction(c, o)
    memory.emit_advance(c, o, RSI)
    memory.emit_advance(c, o, RDI)
    memory.emit_read_host(c, o.size, asm.CX)
    asm.emit_move(c, asm.AX, asm.R14)  # mov eax, r14d
    flags.emit_arithmetic(c, t, ALU_CMP, live, o.size)
    first.resume = c.arena.used
    second.resume = c.arena.used
    t.host_flags = 0


def emit_scan(c, t, j, o, live):
    """SCAS of one item."""
    memory.emit_load_string(c, t, j, o, ES, RDI, asm.CX)
    registers.emit_get_sized(c, t, o, RAX, 0, asm.AX)
    flags.emit_arithmetic(c, t, ALU_CMP, live, o.size)


def emit_repeated(c, t, j, o):
    """MOVS and STOS with REP, as many items as CX or ECX says, upwards; R14 has their bytes.

    For MOST_ITEMS at most: the interpreter looks for interrupts between so many and the next.
    """
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    none: u32
    asm.emit_test_field(c, cython.address(c.flags), F_DF | F_TF)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    emit_count(c, o, asm.R14)
    asm.emit_reg(c, asm.TEST, asm.R14, asm.R14)  # test r14d, r14d
    none = asm.emit_jump_if(c, asm.ZERO)
    asm.emit_imm(c, ALU_CMP, asm.R14, MOST_ITEMS)  # cmp r14d, MOST_ITEMS
    memory.note_site(s, asm.emit_jump_if(c, asm.ABOVE))
    asm.emit_shift(c, SHL, asm.R14, o.size)  # shl r14d, size
    if o.kind == MOVS:
        memory.emit_pointer(c, o, RSI)
        emit_check_run(c, t, s, o, o.seg, arena.TLB_READ)
        emit_look_up_run(c, t, s, arena.TLB_READ)
        asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    memory.emit_pointer(c, o, RDI)
    emit_check_run(c, t, s, o, ES, arena.TLB_WRITE)
    emit_look_up_run(c, t, s, arena.TLB_WRITE)
    asm.emit_move(c, asm.DX, asm.DI)  # mov edx, edi
    asm.emit_mem64(c, asm.LEA, asm.DI, asm.R12, asm.AX, 0, 0)  # lea rdi, [r12 + rax]
    if o.kind == MOVS:
        asm.emit_move(c, asm.AX, asm.SI)  # mov eax, esi
        asm.emit_load64(c, asm.SI, cython.address(c.native_kept[0]))
        asm.emit_reg64(c, asm.ADD, asm.SI, asm.R12)  # add rsi, r12
    else:
        registers.emit_get(c, RAX, asm.AX)
    emit_count(c, o, asm.CX)
    asm.emit_repeat(c, asm.REPEAT_MOVS if o.kind == MOVS else asm.REPEAT_STOS, asm.REP, o.size)
    if o.kind == MOVS:
        asm.emit_move(c, asm.SI, asm.AX)  # mov esi, eax
        emit_advance_by(c, o, RSI, asm.R14)
    asm.emit_move(c, asm.DI, asm.DX)  # mov edi, edx
    emit_advance_by(c, o, RDI, asm.R14)
    if o.addr == 1:
        registers.emit_put_word(c, RCX, asm.CX)  # which is 0 now
    else:
        registers.emit_put(c, RCX, asm.CX)
    asm.bind(c, none)
    s.resume = c.arena.used
    t.host_flags = 0


def emit_repeated_comparison(c, t, j, o):
    """CMPS and SCAS with REPE or REPNE, upwards, page by page; the flags are the last comparison's.

    Between two pages something may be pending, as between two blocks: then the interpreter goes on.
    """
    s: cython.pointer(Stub) = memory.new_stub(c, t, memory.STUB_INTERPRET, j, o)
    none: u32
    ended: u32
    done: u32
    again: u32
    asm.emit_test_field(c, cython.address(c.flags), F_DF | F_TF)
    s.site = asm.emit_jump_if(c, asm.NOT_ZERO)
    emit_count(c, o, asm.R14)
    asm.emit_reg(c, asm.TEST, asm.R14, asm.R14)  # test r14d, r14d
    none = asm.emit_jump_if(c, asm.ZERO)
    again = c.arena.used  # with the items that are left in R14
    asm.emit_shift64(c, SHL, asm.R14, o.size)  # shl r14, size
    if o.kind == CMPS:
        memory.emit_pointer(c, o, RSI)
        emit_shorten_run(c, t, s, o, o.seg)
        emit_look_up_run(c, t, s, arena.TLB_READ)
        asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    memory.emit_pointer(c, o, RDI)
    emit_shorten_run(c, t, s, o, ES)
    emit_look_up_run(c, t, s, arena.TLB_READ)
    asm.emit_shift64(c, SHR, asm.R14, o.size)  # shr r14, size: the items of this run
    asm.emit_reg(c, asm.TEST, asm.R14, asm.R14)  # test r14d, r14d: a shift by 0 leaves the flags
    memory.note_site(s, asm.emit_jump_if(c, asm.ZERO))
    asm.emit_move(c, asm.DX, asm.DI)  # mov edx, edi
    asm.emit_mem64(c, asm.LEA, asm.DI, asm.R12, asm.AX, 0, 0)  # lea rdi, [r12 + rax]
    if o.kind == CMPS:
        asm.emit_store64(c, asm.SI, cython.address(c.native_kept[1]))
        asm.emit_load64(c, asm.SI, cython.address(c.native_kept[0]))
        asm.emit_reg64(c, asm.ADD, asm.SI, asm.R12)  # add rsi, r12
    else:
        registers.emit_get(c, RAX, asm.AX)
    asm.emit_move(c, asm.CX, asm.R14)  # mov ecx, r14d
    asm.emit_repeat(
        c,
        asm.REPEAT_CMPS if o.kind == CMPS else asm.REPEAT_SCAS,
        asm.REP if o.rep == REP else asm.REPNE,
        o.size,
    )
    asm.emit_reg(c, asm.SUB, asm.R14, asm.CX)  # sub r14d, ecx: the items that were compared
    if o.kind == CMPS:
        emit_load_last(c, o, asm.AX, asm.SI)
    else:
        registers.emit_get_sized(c, t, o, RAX, 0, asm.AX)
    emit_load_last(c, o, asm.CX, asm.DI)
    asm.emit_move(c, asm.DI, asm.DX)  # mov edi, edx
    asm.emit_sized(c, asm.SUB, o.addr, registers.home(RCX), asm.R14)  # sub cx or ecx, r14
    asm.emit_shift(c, SHL, asm.R14, o.size)  # shl r14d, size
    if o.kind == CMPS:
        asm.emit_load64(c, asm.SI, cython.address(c.native_kept[1]))
        emit_advance_by(c, o, RSI, asm.R14)
    emit_advance_by(c, o, RDI, asm.R14)
    flags.emit_arithmetic(c, t, ALU_CMP, flags.ALL, o.size)
    ended = asm.emit_jump_if(c, asm.NOT_ZERO if o.rep == REP else asm.ZERO)
    emit_count(c, o, asm.R14)
    asm.emit_reg(c, asm.TEST, asm.R14, asm.R14)  # test r14d, r14d
    done = asm.emit_jump_if(c, asm.ZERO)
    arena.emit_look_for_pending(c)
    asm.aim(c, asm.emit_jump_if(c, asm.ZERO), again)
    memory.note_site(s, asm.emit_jump(c))
    asm.bind(c, ended)
    asm.bind(c, done)
    asm.bind(c, none)
    s.resume = c.arena.used
    flags.forget(t)  # if there was nothing to compare, they are what they were


def emit_load_last(c, o, reg, base):
    """The item before the host address in `base`, zero-extended."""
    n: u64 = cython.cast(u64, 1) << o.size
    op: u32 = asm.MOVZX8 if o.size == 0 else asm.MOVZX16 if o.size == 1 else asm.LOAD
    asm.emit_mem(c, op, reg, base, NO_REG, 0, -n)  # mov reg, [base - n]


def emit_count(c, o, reg):
    """CX or ECX, by the address size."""
    if o.addr == 1:
        asm.emit_reg(c, asm.MOVZX16, reg, registers.home(RCX))  # movzx reg, cx
    else:
        registers.emit_get(c, RCX, reg)


def emit_advance_by(c, o, number, bytes_):
    """Step SI, ESI, DI or EDI by as many bytes as a host register has; the flags of the host are lost."""
    asm.emit_sized(c, asm.ADD, o.addr, registers.home(number), bytes_)  # add si or esi, bytes


def emit_check_run(c, t, s, o, seg, tag):
    """Turn the offset in EAX into a linear address in RAX; a jump leads to the stub if R14 bytes from there do not fit.

    They have to lie below the segment's limit, and not wrap at 64 KiB.
    """
    if not memory.checked(t, seg):
        return
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.AX, asm.R14, 0, 0)  # lea rdx, [rax + r14]
    if tag == arena.TLB_READ:
        asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.rd_size[seg]))
    else:
        asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.wr_size[seg]))
    memory.note_site(s, asm.emit_jump_if(c, asm.ABOVE))
    if o.addr == 1:
        asm.emit_imm64(c, ALU_CMP, asm.DX, 0x10000)  # cmp rdx, 64 KiB
        memory.note_site(s, asm.emit_jump_if(c, asm.ABOVE))
    asm.emit_field64(c, asm.ADD, asm.AX, cython.address(c.base[seg]))


def emit_shorten_run(c, t, s, o, seg):
    """The same of a run that is read, and may be as short as it must, in its page as well: R14 becomes fewer bytes."""
    if memory.checked(t, seg):
        asm.emit_load64(c, asm.DX, cython.address(c.rd_size[seg]))
        asm.emit_reg64(c, asm.SUB, asm.DX, asm.AX)  # sub rdx, rax: up to the limit
        memory.note_site(s, asm.emit_jump_if(c, asm.CARRY_SET))
        emit_shorten(c)
        if o.addr == 1:
            asm.emit_constant(c, asm.DX, 0x10000)
            asm.emit_reg(c, asm.SUB, asm.DX, asm.AX)  # sub edx, eax: up to 64 KiB
            emit_shorten(c)
        asm.emit_field64(c, asm.ADD, asm.AX, cython.address(c.base[seg]))
    asm.emit_move(c, asm.DX, asm.AX)  # mov edx, eax
    asm.emit_imm(c, ALU_OR, asm.DX, PAGE_BITS & M32)  # or edx, ~4095
    asm.emit_negate(c, asm.DX)  # neg edx: up to the end of the page
    emit_shorten(c)


def emit_shorten(c):
    """R14 becomes RDX, if that is less."""
    asm.emit_reg64(c, asm.CMP, asm.R14, asm.DX)  # cmp r14, rdx
    asm.emit_reg64(c, asm.CMOV + asm.ABOVE, asm.R14, asm.DX)  # cmova r14, rdx


def emit_look_up_run(c, t, s, tag):
    """Turn the linear address in RAX into a host offset, if R14 bytes from there lie in a page that the TLB knows.

    Else a jump leads to the stub.
    """
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of this page
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_mem64(c, asm.XOR, asm.DX, asm.BX, asm.CX, 0, t.tlb + tag)  # xor rdx, [rbx + rcx + tag]
    asm.emit_mem64(c, asm.LEA, asm.DX, asm.DX, asm.R14, 0, 0)  # lea rdx, [rdx + r14]
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4096)  # cmp rdx, 4096: another page, or over its end
    memory.note_site(s, asm.emit_jump_if(c, asm.ABOVE))
    asm.emit_mem64(c, asm.ADD, asm.AX, asm.BX, asm.CX, 0, t.tlb + arena.TLB_ADD)  # add rax, [rbx + rcx + add]
