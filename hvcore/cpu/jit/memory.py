"""Host code's accesses to memory: through the TLB, and the long way behind it (see translate.py).

The hit path is inline. Where it does not hit, a jump leads to a *stub* behind the block, which calls the
interpreter's own functions and comes back, or leaves the block if they fault.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import mmu
    from cython.cimports.hvcore.cpu.jit.arena import *
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.jit.memory import *
    from cython.cimports.hvcore.cpu.jit.registers import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def store_slowly(c, seg, off, value, size):
    """A store that missed the TLB: 0 it is done, 1 it faulted, 2 done, and the block that runs was written over."""
    mmu.write(c, seg, off, value, size)
    if c.fault:
        return 1
    return 0 if c.blocks[c.current].valid else 2


def stub(c, kind, j, o):
    """A new stub, for operation `j`."""
    s: cython.pointer(Stub) = cython.address(c.stubs[c.stubs_used])
    c.stubs_used += 1
    s.kind = kind
    s.op = j
    s.seg = o.seg
    s.size = o.size
    s.limit_site = 0
    s.reg = HAX
    s.value = VALUE_REG
    return s


def effective_address(c, o):
    """EAX = the offset of the memory operand."""
    base: u32 = NO_REG
    index: u32 = NO_REG
    if o.base != NO_REG:
        base = home(o.base)
    if o.index != NO_REG:
        index = home(o.index)
    if base == NO_REG and index == NO_REG:
        constant(c, HAX, o.disp & M32)
    elif index == NO_REG and not o.disp:
        with_register(c, X_STORE, 0, base, HAX)
    else:
        with_memory(c, X_LEA, 0, HAX, base, index, o.scale, o.disp & M32)


def checked(seg):
    """Whether an access looks at its segment: of ES, SS and DS a flat address space says all."""
    return seg >= FS or seg == CS  # which may not be written, and perhaps not be read


def look_up(c, s, tag):
    """RAX = the host offset of the linear address in EAX, by the TLB entry's `tag`; the stub where it misses."""
    n: u32 = 1 << s.size
    if checked(s.seg):
        with_register(c, X_STORE, 0, HAX, H14)
        with_memory(c, X_LEA, 1, HDX, HAX, NO_REG, 0, n)
        if tag == TLB_READ:
            with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.rd_size[s.seg])))
        else:
            with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.wr_size[s.seg])))
        s.limit_site = jump_if(c, ABOVE)
        with_field(c, X_ADD, 1, HAX, field(c, cython.address(c.base[s.seg])))
    with_register(c, X_STORE, 0, HAX, HCX)
    shift(c, 5, 0, HCX, 7)
    with_immediate(c, 4, 0, HCX, TLB_MASK << 5)
    with_register(c, X_STORE, 1, HAX, HDX)
    with_memory(c, X_XOR, 1, HDX, H13, HCX, 0, tag)
    with_immediate(c, 7, 1, HDX, 4096 - n)
    s.site = jump_if(c, ABOVE)
    with_memory(c, X_ADD, 1, HAX, H13, HCX, 0, TLB_ADD)
    c.host_flags = 0


def read_host(c, size, reg):
    """`reg` = what lies at the host offset RAX."""
    if size == 0:
        with_memory(c, X_MOVZX8, 0, reg, H12, HAX, 0, 0)
    elif size == 1:
        with_memory(c, X_MOVZX16, 0, reg, H12, HAX, 0, 0)
    else:
        with_memory(c, X_LOAD, 0, reg, H12, HAX, 0, 0)


def load_operand(c, j, o, size, reg):
    """`reg` = the memory operand of operation `j`."""
    s: cython.pointer(Stub) = stub(c, STUB_LOAD, j, o)
    s.size = size
    s.reg = reg
    effective_address(c, o)
    look_up(c, s, TLB_READ)
    read_host(c, size, reg)
    s.resume = c.code_used


def value_to(c, s, reg):
    """The value that a store stores, to a host register."""
    if s.value == VALUE_REG:
        get(c, s.reg, reg)
    elif s.value == VALUE_BYTE:
        get(c, s.reg, reg)
        if s.imm:
            shift(c, 5, 0, reg, 8)
        with_register(c, X_MOVZX8, 0, reg, reg)
    elif s.value == VALUE_IMM:
        constant(c, reg, s.imm)
    elif s.value == VALUE_RETURN:
        load(c, reg, field(c, cython.address(c.block_eip)))
        with_memory(c, X_LEA, 0, reg, reg, NO_REG, 0, s.imm)
    else:
        with_register(c, X_STORE, 0, H14, reg)


def write_host(c, s):
    """Store the value at the host offset RAX."""
    reg: u32 = HCX
    if s.value == VALUE_REG or (s.value == VALUE_BYTE and not s.imm):
        reg = home(s.reg)
    elif s.value == VALUE_R14:
        reg = H14
    else:
        value_to(c, s, HCX)
    if s.size == 1:
        put8(c, 0x66)
    with_memory(c, X_STORE if s.size else 0x88, 0, reg, H12, HAX, 0, 0)
    s.resume = c.code_used


def store_operand(c, j, o, value, reg, imm):
    """Store to the memory operand of operation `j`."""
    s: cython.pointer(Stub) = stub(c, STUB_STORE, j, o)
    s.value = value
    s.reg = reg
    s.imm = imm
    effective_address(c, o)
    look_up(c, s, TLB_WRITE)
    write_host(c, s)


def push(c, j, o, value, reg, imm):
    """Push 32 bits."""
    s: cython.pointer(Stub) = stub(c, STUB_PUSH, j, o)
    s.value = value
    s.reg = reg
    s.imm = imm
    s.seg = SS
    s.size = 2
    with_memory(c, X_LEA, 0, HAX, H15, NO_REG, 0, -4)
    look_up(c, s, TLB_WRITE)
    write_host(c, s)
    drop_stack(c, -4)


def load_stack(c, j, o, number):
    """EAX = 32 bits of the stack, at ESP or EBP."""
    s: cython.pointer(Stub) = stub(c, STUB_LOAD, j, o)
    s.seg = SS
    s.size = 2
    get(c, number, HAX)
    look_up(c, s, TLB_READ)
    read_host(c, 2, HAX)
    s.resume = c.code_used


def load_string(c, j, o, seg, number, reg):
    """`reg` = the item of a string instruction that ESI or EDI points at, which then moves on as DF says."""
    s: cython.pointer(Stub) = stub(c, STUB_LOAD, j, o)
    s.seg = seg
    s.reg = reg
    get(c, number, HAX)
    look_up(c, s, TLB_READ)
    read_host(c, o.size, reg)
    s.resume = c.code_used
    load(c, HDX, field(c, cython.address(c.flags)))
    with_immediate(c, 4, 0, HDX, F_DF)
    shift(c, 5, 0, HDX, 9 - o.size)  # twice the size if it goes down, else 0
    with_register(c, X_SUB, 0, home(number), HDX)
    with_immediate(c, 0, 0, home(number), cython.cast(u64, 1) << o.size)


def drop_stack(c, bytes_):
    """ESP += `bytes_`."""
    with_memory(c, X_LEA, 0, H15, H15, NO_REG, 0, bytes_)


def load_to_modify(c, j, o):
    """EAX = a memory operand that will be written back; R14 where it lies, 0 if `write_back` must go the long way."""
    s: cython.pointer(Stub) = stub(c, STUB_MODIFY, j, o)
    effective_address(c, o)
    look_up(c, s, TLB_WRITE)
    with_memory(c, X_LEA, 1, H14, H12, HAX, 0, 0)
    read_host(c, o.size, HAX)
    s.resume = c.code_used


def write_back(c, j, o):
    """Store EAX to the operand that `load_to_modify` found."""
    s: cython.pointer(Stub) = stub(c, STUB_WRITE_BACK, j, o)
    with_register(c, X_TEST, 1, H14, H14)
    s.site = jump_if(c, ZERO)
    if o.size == 1:
        put8(c, 0x66)
    with_memory(c, X_STORE if o.size else 0x88, 0, HAX, H14, NO_REG, 0, 0)
    s.resume = c.code_used
    c.host_flags = 0


def long_way_arguments(c, s):
    """Segment, offset, value and size for `mmu.read`, `mmu.read_to_modify` or `store_slowly`."""
    if s.kind == STUB_WRITE_BACK:
        load64(c, HDX, field(c, cython.address(c.native_off)))
        with_register(c, X_STORE, 0, HAX, HCX)
        if s.size == 0:
            with_register(c, X_MOVZX8, 0, HCX, HCX)
    else:
        with_register(c, X_STORE, 0, H14 if checked(s.seg) else HAX, HDX)
        if s.kind == STUB_MODIFY:
            store64(c, HDX, field(c, cython.address(c.native_off)))
        if s.kind == STUB_LOAD or s.kind == STUB_MODIFY:
            constant(c, HCX, s.size)
        else:
            value_to(c, s, HCX)
    constant(c, HSI, s.seg)
    constant(c, H8, s.size)


def finish_stub(c, s):
    """The long way of an access: the interpreter's own functions."""
    failed: u32
    fault: u32
    bind(c, s.site)
    if s.limit_site:
        bind(c, s.limit_site)
    store_registers(c)
    long_way_arguments(c, s)
    if s.kind == STUB_LOAD or s.kind == STUB_MODIFY:
        if s.kind == STUB_LOAD:
            call_out(c, cython.cast(cython.p_void, mmu.read))
        else:
            call_out(c, cython.cast(cython.p_void, mmu.read_to_modify))
            with_register(c, X_XOR, 0, H14, H14)
        with_field(c, 0x83, 0, 7, field(c, cython.address(c.fault)))
        put8(c, 0)
        failed = jump_if(c, NOT_ZERO)
        load_registers(c)
        if s.kind == STUB_LOAD and s.reg != HAX:
            with_register(c, X_STORE, 0, HAX, s.reg)
        jump_to(c, s.resume)
        bind(c, failed)
        leave_early(c, s.op)
        return
    call_out(c, cython.cast(cython.p_void, store_slowly))
    with_register(c, X_TEST, 0, HAX, HAX)
    failed = jump_if(c, NOT_ZERO)
    load_registers(c)
    jump_to(c, s.resume)
    bind(c, failed)
    with_immediate(c, 7, 0, HAX, 2)
    fault = jump_if(c, NOT_ZERO)
    if s.value == VALUE_RETURN:  # the block was written over, but this ends it anyhow
        load_registers(c)
        jump_to(c, s.resume)
    if s.kind == STUB_PUSH:
        drop_stack(c, -4)
        store64(c, H15, register_at(c, RSP))
    leave_early(c, s.op + 1)
    bind(c, fault)
    leave_early(c, s.op)
