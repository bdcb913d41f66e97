"""Host code's accesses to memory: through the TLB, and the long way behind it (docs/translator.md).

The hit path is inline. Where it does not hit, a jump leads to a *stub* behind the block, which calls the
interpreter's own functions and comes back, or leaves the block if they fault.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import mmu, paging, physical, tlb
    from cython.cimports.hvcore.cpu.jit import arena, registers
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit.translation import Stub
    from cython.cimports.hvcore.cpu.state import (
        ALU_ADD, ALU_AND, ALU_CMP, CS, FS, F_DF, M32, NO_REG, PAGE_BITS, RBP, READ, RSP, SHR, SS, TLB_MASK,
        WRITE, Tlb, s64, u32, u64,
    )
else:
    from hvcore.cpu.constants import (
        ALU_ADD, ALU_AND, ALU_CMP, CS, FS, F_DF, M32, NO_REG, PAGE_BITS, RBP, READ, RSP, SHR, SS, TLB_MASK,
        WRITE, s64, u32, u64,
    )
# fmt: on


def store_slowly(c, seg, off, value, size):
    """A store that missed the TLB: 0 it is done, 1 it faulted, 2 done, and the block that runs was written over."""
    mmu.write(c, seg, off, value, size)
    if c.fault:
        return 1
    return 0 if c.blocks[c.current].valid else 2


def touch(c, lin, size, access):
    """Bring the page of an operand to the TLB; 0 if the interpreter must look: a fault, no plain memory, two pages."""
    page: u64 = lin & PAGE_BITS
    i: u64 = ((lin >> 12) & TLB_MASK) | c.tlb_half
    phys: u64
    slot: s64
    if c.watching or c.aligning or (lin & 0xFFF) + (cython.cast(u64, 1) << size) > 4096 or lin > M32:
        return 0
    phys = paging.translate(c, lin, access)
    if c.fault:  # the interpreter comes by it again
        c.fault = 0
        return 0
    slot = physical.locate(c, phys)
    if slot < 0:
        return 0
    tlb.fill(c, lin, phys, slot)
    return (c.tlb[i].wr if access == WRITE else c.tlb[i].rd) == page


def new_stub(c, t, kind, j, o):
    """Begin a stub for operation `j`; `emit_stub` writes it behind the block."""
    s: cython.pointer(Stub) = cython.address(t.stubs[t.stubs_used])
    t.stubs_used += 1
    s.kind = kind
    s.op = j
    s.seg = o.seg
    s.size = o.size
    s.again = 0
    s.checked = 0
    s.limit_site = 0
    s.stack_site = 0
    s.site = 0
    s.sites_used = 0
    s.vectors = t.vectors
    s.mxcsr_taken = t.mxcsr_taken
    s.x87_last = t.x87_last
    s.x87_memory = t.x87_memory
    s.waiting = t.waiting
    s.reg = asm.AX
    s.value = VALUE_REG
    s.keeps_place = 0
    return s


def note_site(s, site):
    """One more jump that leads to a stub."""
    s.sites[s.sites_used] = site
    s.sites_used += 1


def emit_effective_address(c, o):
    """Compute the offset of the memory operand in EAX."""
    base: u32 = NO_REG
    index: u32 = NO_REG
    if o.base != NO_REG:
        base = registers.home(o.base)
    if o.index != NO_REG:
        index = registers.home(o.index)
    if base == NO_REG and index == NO_REG:
        asm.emit_constant(c, asm.AX, o.disp & M32)  # mov eax, disp
    elif index == NO_REG and not o.disp:
        asm.emit_move(c, asm.AX, base)  # mov eax, base
    else:
        # lea eax, [base + index * n + disp]
        asm.emit_mem(c, asm.LEA, asm.AX, base, index, o.scale, o.disp & M32)
    if o.addr == 1:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax


def checked(t, seg):
    """Whether accesses look at this segment's base and limit; in a flat address space ES, SS and DS need no look."""
    return not t.flat or seg >= FS or seg == CS  # CS may not be written, and perhaps not be read


def emit_look_up(c, t, s, tag):
    """Turn the offset in EAX into a host offset in RAX by the TLB; without a hit in `tag`, a jump leads to the stub."""
    n: u32 = 1 << s.size
    if checked(t, s.seg):
        s.checked = 1
        asm.emit_mem64(c, asm.LEA, asm.DX, asm.AX, NO_REG, 0, n)  # lea rdx, [rax + n]
        if tag == arena.TLB_READ:
            asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.rd_size[s.seg]))
        else:
            asm.emit_field64(c, asm.CMP, asm.DX, cython.address(c.wr_size[s.seg]))
        s.limit_site = asm.emit_jump_if(c, asm.ABOVE)
        asm.emit_field64(c, asm.ADD, asm.AX, cython.address(c.base[s.seg]))
    s.again = c.arena.used
    s.access = WRITE if tag == arena.TLB_WRITE else READ
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of this page
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_mem64(c, asm.XOR, asm.DX, asm.BX, asm.CX, 0, t.tlb + tag)  # xor rdx, [rbx + rcx + tag]
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4096 - n)  # cmp rdx, 4096 - n: another page, or over its end
    s.site = asm.emit_jump_if(c, asm.ABOVE)  # ja stub
    asm.emit_mem64(c, asm.ADD, asm.AX, asm.BX, asm.CX, 0, t.tlb + arena.TLB_ADD)  # add rax, [rbx + rcx + add]
    t.host_flags = 0


def emit_look_up_stack(c, t, s, number, tag):
    """The same at ESP or EBP. In flat code the page is mostly the same as before, and its entry stands apart."""
    if checked(t, s.seg):
        emit_look_up(c, t, s, tag)
        return
    s.stack_page = t.stack_page + (cython.sizeof(Tlb) if number == RBP else 0)
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_mem64(c, asm.XOR, asm.DX, asm.BX, NO_REG, 0, s.stack_page + tag)  # xor rdx, [rbx + its tag]
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4096 - (1 << s.size))  # cmp rdx, 4096 - n
    s.stack_site = asm.emit_jump_if(c, asm.ABOVE)  # ja stub: another page, or over the end of this one
    # add rax, [rbx + its add]
    asm.emit_mem64(c, asm.ADD, asm.AX, asm.BX, NO_REG, 0, s.stack_page + arena.TLB_ADD)
    s.stack_resume = c.arena.used
    s.stack_tag = tag
    t.host_flags = 0


def emit_find_stack_page(c, t, s):
    """Where an access at ESP or EBP is to another page than the last: note the TLB's entry, or go on to the stub."""
    missed: u32
    i: u32
    asm.bind(c, s.stack_site)
    asm.emit_move(c, asm.CX, asm.AX)  # mov ecx, eax
    asm.emit_shift(c, SHR, asm.CX, 7)  # shr ecx, 7
    asm.emit_imm(c, ALU_AND, asm.CX, TLB_MASK << 5)  # and ecx, TLB_MASK * 32: the entry of this page
    asm.emit_move64(c, asm.DX, asm.AX)  # mov rdx, rax
    asm.emit_mem64(c, asm.XOR, asm.DX, asm.BX, asm.CX, 0, t.tlb + s.stack_tag)  # xor rdx, [rbx + rcx + tag]
    asm.emit_imm64(c, ALU_CMP, asm.DX, 4096 - (1 << s.size))  # cmp rdx, 4096 - n
    missed = asm.emit_jump_if(c, asm.ABOVE)
    for i in range(arena.TLB_READ, arena.TLB_ADD + 8, 8):
        if i != arena.TLB_FETCH:
            asm.emit_mem64(c, asm.LOAD, asm.DX, asm.BX, asm.CX, 0, t.tlb + i)  # mov rdx, [rbx + rcx + field]
            # mov [rbx + the same field of the stack's page], rdx
            asm.emit_mem64(c, asm.STORE, asm.DX, asm.BX, NO_REG, 0, s.stack_page + i)
    asm.emit_reg64(c, asm.ADD, asm.AX, asm.DX)  # add rax, rdx: the last of them
    if s.keeps_place:
        emit_place_at_stack(c, s)
    asm.emit_jump_to(c, s.stack_resume)
    asm.bind(c, missed)


def emit_place_at_stack(c, s):
    """EDX becomes where a CALL pushes, or a RET pops."""
    # lea edx, [esp - n]
    asm.emit_mem(c, asm.LEA, asm.DX, asm.R15, NO_REG, 0, 0 if s.kind == STUB_LOAD else -4)


def emit_look_up_operand(c, t, s, o, tag):
    """The same of the memory operand of an operation, whose offset is in EAX.

    What lies below EBP is mostly a variable in a frame; what lies above may be anything, where EBP is no frame pointer.
    """
    if o.index == NO_REG and o.seg == SS and (o.base == RSP or (o.base == RBP and (o.disp >> 31) & 1)):
        emit_look_up_stack(c, t, s, o.base, tag)
    else:
        emit_look_up(c, t, s, tag)


def emit_look_up_aligned(c, t, s, tag):
    """The same for 16 bytes that must be aligned: else the stub raises the exception."""
    emit_look_up(c, t, s, tag)
    asm.emit_imm_byte(c, asm.TEST_BYTE, asm.DX, 15)  # test dl, 15: RDX is the offset in its page
    note_site(s, asm.emit_jump_if(c, asm.NOT_ZERO))


def emit_read_host(c, size, reg):
    """`mov reg, [r12 + rax]`, zero-extended."""
    if size == 0:
        asm.emit_mem(c, asm.MOVZX8, reg, asm.R12, asm.AX, 0, 0)
    elif size == 1:
        asm.emit_mem(c, asm.MOVZX16, reg, asm.R12, asm.AX, 0, 0)
    else:
        asm.emit_mem(c, asm.LOAD, reg, asm.R12, asm.AX, 0, 0)


def emit_load_operand(c, t, j, o, size, reg):
    """Load the memory operand of operation `j` to `reg`."""
    emit_effective_address(c, o)
    emit_load_at(c, t, j, o, size, reg)


def emit_load_at(c, t, j, o, size, reg):
    """The same of the operand whose offset is in EAX."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_LOAD, j, o)
    s.size = size
    s.reg = reg
    emit_look_up_operand(c, t, s, o, arena.TLB_READ)
    emit_read_host(c, size, reg)
    s.resume = c.arena.used


def emit_value(c, s, reg):
    """Bring the value that a store stores to a host register."""
    if s.value == VALUE_REG:
        registers.emit_get(c, s.reg, reg)
    elif s.value == VALUE_BYTE:
        registers.emit_get(c, s.reg, reg)
        if s.imm:
            asm.emit_shift(c, SHR, reg, 8)
        asm.emit_reg(c, asm.MOVZX8, reg, reg)
    elif s.value == VALUE_IMM:
        asm.emit_constant(c, reg, s.imm)
    elif s.value == VALUE_RETURN:
        asm.emit_load(c, reg, cython.address(c.code_delta))  # mov reg, code_delta
        asm.emit_mem(c, asm.LEA, reg, reg, NO_REG, 0, s.imm)  # lea reg, [reg + host offset behind the CALL]
    else:
        asm.emit_move(c, reg, asm.R14)


def emit_write_host(c, t, s):
    """`mov [r12 + rax], value`."""
    reg: u32 = asm.CX
    if s.value == VALUE_REG or (s.value == VALUE_BYTE and not s.imm):
        reg = registers.home(s.reg)
    elif s.value == VALUE_R14:
        reg = asm.R14
    else:
        emit_value(c, s, asm.CX)
    if s.size == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_mem(c, asm.STORE if s.size else asm.STORE8, reg, asm.R12, asm.AX, 0, 0)
    if s.value == VALUE_RETURN and t.flat and not (s.imm ^ t.at) & PAGE_BITS & M32:  # it lies in this page
        s.keeps_place = 1
        arena.emit_note_return(c, t)
    s.resume = c.arena.used


def emit_store_operand(c, t, j, o, value, reg, imm):
    """Store to the memory operand of operation `j`."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_STORE, j, o)
    s.value = value
    s.reg = reg
    s.imm = imm
    emit_effective_address(c, o)
    emit_look_up_operand(c, t, s, o, arena.TLB_WRITE)
    emit_write_host(c, t, s)


def emit_push(c, t, j, o, value, reg, imm):
    """Push as many bits as the operand size of `o` says."""
    n: u64 = cython.cast(u64, 1) << o.size
    s: cython.pointer(Stub) = new_stub(c, t, STUB_PUSH, j, o)
    s.value = value
    s.reg = reg
    s.imm = imm
    s.seg = SS
    asm.emit_mem(c, asm.LEA, asm.AX, asm.R15, NO_REG, 0, -n)  # lea eax, [esp - n]
    if not t.stack32:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, asm.AX)  # movzx eax, ax
    emit_look_up_stack(c, t, s, RSP, arena.TLB_WRITE)
    emit_write_host(c, t, s)
    emit_move_stack(c, t, -n)


def emit_push_return(c, t, j, o):
    """Push the EIP behind a CALL, which ends its block."""
    t.return_delta = o.off
    emit_push(c, t, j, o, VALUE_RETURN, 0, (t.at + o.off) & M32)


def emit_load_stack(c, t, j, o, number):
    """Load from the stack, at ESP or EBP, to EAX, as many bits as the operand size of `o` says."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_LOAD, j, o)
    s.seg = SS
    if t.stack32:
        registers.emit_get(c, number, asm.AX)
    else:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, registers.home(number))  # movzx eax, sp or bp
    emit_look_up_stack(c, t, s, number, arena.TLB_READ)
    emit_read_host(c, o.size, asm.AX)
    s.resume = c.arena.used
    s.keeps_place = t.flat and o.ends  # for `translate.emit_return_to_caller`


def emit_load_string(c, t, j, o, seg, number, reg):
    """Load what ESI or EDI points at to `reg`, for a string instruction, and move that on as DF says."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_LOAD, j, o)
    s.seg = seg
    s.reg = reg
    emit_pointer(c, o, number)
    emit_look_up(c, t, s, arena.TLB_READ)
    emit_read_host(c, o.size, reg)
    s.resume = c.arena.used
    emit_direction(c, o)
    emit_advance(c, o, number)


def emit_pointer(c, o, number):
    """The offset that SI, ESI, DI or EDI has, to EAX, for a string instruction."""
    if o.addr == 1:
        asm.emit_reg(c, asm.MOVZX16, asm.AX, registers.home(number))  # movzx eax, si or di
    else:
        registers.emit_get(c, number, asm.AX)


def emit_direction(c, o):
    """EDX becomes twice the size of an item if strings go down, else 0."""
    asm.emit_load(c, asm.DX, cython.address(c.flags))  # mov edx, flags
    asm.emit_imm(c, ALU_AND, asm.DX, F_DF)  # and edx, DF
    asm.emit_shift(c, SHR, asm.DX, 9 - o.size)  # shr edx, n


def emit_advance(c, o, number):
    """Move ESI or EDI on by an item, after `emit_direction`."""
    if o.addr == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_reg(c, asm.SUB, registers.home(number), asm.DX)  # sub home, edx
    if o.addr == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_imm(c, ALU_ADD, registers.home(number), cython.cast(u64, 1) << o.size)  # add home, size


def emit_move_stack(c, t, bytes_):
    """`lea esp, [esp + bytes_]`, which leaves the host's flags; of SP the upper half stays, and ECX is lost."""
    emit_set_stack(c, t, asm.R15, bytes_)


def emit_set_stack(c, t, base, bytes_):
    """`lea esp, [base + bytes_]`, or of SP."""
    if t.stack32:
        asm.emit_mem(c, asm.LEA, asm.R15, base, NO_REG, 0, bytes_)
    else:
        asm.emit_mem(c, asm.LEA, asm.CX, base, NO_REG, 0, bytes_)
        registers.emit_put_word(c, RSP, asm.CX)


def emit_load_to_modify(c, t, j, o):
    """Load a memory operand that will be written back to EAX.

    R14 becomes where it lies on the host, or 0 if `emit_write_back` must go the long way.
    """
    emit_effective_address(c, o)
    emit_load_to_modify_at(c, t, j, o)


def emit_load_to_modify_at(c, t, j, o):
    """The same of the operand whose offset is in EAX."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_MODIFY, j, o)
    emit_look_up_operand(c, t, s, o, arena.TLB_WRITE)
    asm.emit_mem64(c, asm.LEA, asm.R14, asm.R12, asm.AX, 0, 0)  # lea r14, [r12 + rax]
    emit_read_host(c, o.size, asm.AX)
    s.resume = c.arena.used


def emit_write_back(c, t, j, o):
    """Store EAX to the operand that `emit_load_to_modify` found."""
    s: cython.pointer(Stub) = new_stub(c, t, STUB_WRITE_BACK, j, o)
    asm.emit_reg64(c, asm.TEST, asm.R14, asm.R14)  # test r14, r14
    s.site = asm.emit_jump_if(c, asm.ZERO)
    if o.size == 1:
        asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_mem(c, asm.STORE if o.size else asm.STORE8, asm.AX, asm.R14, NO_REG, 0, 0)
    s.resume = c.arena.used
    t.host_flags = 0


def emit_touch(c, s):
    """Where an access of STUB_INTERPRET misses the TLB: look the page up and try again, or go on to the interpreter."""
    failed: u32
    asm.emit_store64(c, asm.AX, cython.address(c.native_kept[1]))
    registers.emit_store_registers(c)
    asm.emit_move64(c, asm.SI, asm.AX)
    asm.emit_constant(c, asm.DX, s.size)
    asm.emit_constant(c, asm.CX, s.access)
    registers.emit_call_out(c, cython.cast(cython.p_void, touch))
    registers.emit_load_registers(c)
    asm.emit_reg(c, asm.TEST, asm.AX, asm.AX)
    failed = asm.emit_jump_if(c, asm.ZERO)
    registers.emit_load_vectors(c, s.vectors)
    asm.emit_load64(c, asm.AX, cython.address(c.native_kept[1]))
    asm.emit_jump_to(c, s.again)
    asm.bind(c, failed)


def emit_arguments(c, s):
    """Bring segment, offset, value and size to where `mmu.read`, `mmu.read_to_modify` or `store_slowly` want them."""
    if s.kind == STUB_WRITE_BACK:
        asm.emit_load64(c, asm.DX, cython.address(c.native_off))
        asm.emit_move(c, asm.CX, asm.AX)
        if s.size == 0:
            asm.emit_reg(c, asm.MOVZX8, asm.CX, asm.CX)
    else:
        asm.emit_move(c, asm.DX, asm.AX)
        if s.kind == STUB_MODIFY:
            asm.emit_store64(c, asm.DX, cython.address(c.native_off))
        if s.kind == STUB_LOAD or s.kind == STUB_MODIFY:
            asm.emit_constant(c, asm.CX, s.size)
        else:
            emit_value(c, s, asm.CX)
    asm.emit_constant(c, asm.SI, s.seg)
    asm.emit_constant(c, asm.R8, s.size)


def emit_stub(c, t, s):
    """The long way of an access: a call of the interpreter's own functions, and back, or out of the block."""
    failed: u32
    fault: u32
    registers.emit_store_registers(c)
    arena.emit_mark(c, t)
    emit_arguments(c, s)
    if s.kind == STUB_LOAD or s.kind == STUB_MODIFY:
        if s.kind == STUB_LOAD:
            registers.emit_call_out(c, cython.cast(cython.p_void, mmu.read))
        else:
            registers.emit_call_out(c, cython.cast(cython.p_void, mmu.read_to_modify))
            asm.emit_reg(c, asm.XOR, asm.R14, asm.R14)  # xor r14d, r14d
        asm.emit_compare_field(c, cython.address(c.fault), 0)
        failed = asm.emit_jump_if(c, asm.NOT_ZERO)
        registers.emit_load_registers(c)
        registers.emit_load_vectors(c, s.vectors)
        if s.kind == STUB_LOAD and s.reg != asm.AX:
            asm.emit_move(c, s.reg, asm.AX)
        if s.keeps_place:
            emit_place_at_stack(c, s)
        asm.emit_jump_to(c, s.resume)
        asm.bind(c, failed)
        arena.emit_leave_early(c, t, s.op)
        return
    registers.emit_call_out(c, cython.cast(cython.p_void, store_slowly))
    asm.emit_reg(c, asm.TEST, asm.AX, asm.AX)
    failed = asm.emit_jump_if(c, asm.NOT_ZERO)
    registers.emit_load_registers(c)
    registers.emit_load_vectors(c, s.vectors)
    asm.emit_jump_to(c, s.resume)
    asm.bind(c, failed)
    asm.emit_imm(c, ALU_CMP, asm.AX, 2)
    fault = asm.emit_jump_if(c, asm.NOT_ZERO)
    # A CALL ends its block, so that it need not be left because it was written over.
    if s.value == VALUE_RETURN:
        registers.emit_load_registers(c)
        asm.emit_jump_to(c, s.resume)
    if s.kind == STUB_PUSH:
        emit_move_stack(c, t, -(cython.cast(u64, 1) << s.size))
        asm.emit_store64(c, asm.R15, cython.address(c.regs[RSP]))
    arena.emit_leave_early(c, t, s.op + 1)
    asm.bind(c, fault)
    arena.emit_leave_early(c, t, s.op)
