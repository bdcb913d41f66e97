"""Blocks that run often, translated to host code.

An x86-64 host can do a guest's 32-bit arithmetic itself. A block that has run `translate_after` times in a flat
address space (MODE_FLAT: Linux, and every other 32-bit system that does not use segments) is translated once, an
operation at a time, each to what `execute` would do: registers stay in the processor's record, memory goes through
the same TLB, the flags stay lazy. What has no translation here, and whatever does not hit, calls the interpreter's
own functions. So the two agree by construction wherever it is hard to.

What differs is what is known when a block is translated. Flags that the next operation overwrites are not written
down; a condition right behind its comparison uses the host's flags; and a branch to a translated block of the same
page, or through the TLB to one of another, becomes a jump (`link`), which looks at what is pending as the loop does.

Conventions of the code that is made here: RBX points into the record, R12 at the guest's memory, R13 at the half of
the TLB that the privilege level sees. The guest's general registers are in host registers of their own (`home`) from
the way in to the way out; around a call of one of our functions they are in the record (`call_out`). RAX, RCX and RDX
are for the moment; so is R14, which lives across a call. A block returns 0 when it came to its end, PARTIAL when it
left after `native_done` operations, or the place of a jump that may be linked. Before a block lies its *linked entry*
for jumps from other blocks, which expects the new EIP in RAX; `Block.native` is what follows it.

Compiled only; where memory may not be executed, or on another host, every block is interpreted.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import arith, execute, flags, mmu
    from cython.cimports.hvcore.cpu.assembler import *
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.native import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *

    ARENA, ROOM = 0x2000000, 0x8000

SETS = cython.declare(u32, 1)  # all status flags
READS = cython.declare(u32, 2)
KEEPS_CARRY = cython.declare(u32, 16)  # INC and DEC: all but CF
EXITS = cython.declare(u32, 4)  # it may fault, and the flags must stand in the record then
CALLS = cython.declare(u32, 8)  # it has no translation
MODIFIES = cython.declare(u32, 32)  # memory: the block may be left behind it, written over, with its flags

TOUCHES = cython.declare(
    u32, 64
)  # it sets flags by a count, and leaves the others: of use only with all before it

ALL = cython.declare(u32, 1)  # which of an operation's flags are wanted: every one,
CARRY = cython.declare(u32, 2)  # or CF, which an INC or DEC will leave alone

TLB_READ = cython.declare(u32, 0)  # offsets in a `Tlb`
TLB_WRITE = cython.declare(u32, 8)
TLB_FETCH = cython.declare(u32, 16)
TLB_ADD = cython.declare(u32, 24)

ABOVE = cython.declare(u32, 7)  # conditions, as Jcc numbers them
CARRY_SET = cython.declare(u32, 2)
OVERFLOW = cython.declare(u32, 0)
ZERO = cython.declare(u32, 4)
NOT_ZERO = cython.declare(u32, 5)

RECORD_BIAS = cython.declare(u64, 128)  # from the record's start to where RBX points


def allow(c) -> None:
    """Get an arena for host code, if this host gives one, and write the way in and out."""
    if cython.compiled:
        if not HOST_IS_X86_64:
            return
        c.code = map_code(ARENA)
        if not c.code:
            return
        c.code_used = 16
        for register in (3, 5, 12, 13, 14, 15):
            opcode(c, 0x50 | (register & 7), 0, 0, 0, register)  # PUSH
        with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, -8)  # aligned for calls
        with_memory(c, X_LEA, 1, HBX, HDI, NO_REG, 0, RECORD_BIAS)
        with_register(c, X_STORE, 1, HSI, HDX)
        load64(c, H12, field(c, cython.address(c.host)))
        load64(c, HAX, field(c, cython.address(c.tlb_half)))
        shift(c, 4, 1, HAX, 5)
        with_memory(c, X_LEA, 1, H13, HBX, HAX, 0, field(c, cython.address(c.tlb[0])))
        load_homes(c)
        with_register(c, 0xFF, 0, 4, HDX)  # JMP RDX
        c.code_leave = c.code_used
        store_homes(c)
        c.code_leave_stored = c.code_used
        with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, 8)
        for register in (15, 14, 13, 12, 5, 3):
            opcode(c, 0x58 | (register & 7), 0, 0, 0, register)  # POP
        put8(c, 0xC3)
        c.code_store = c.code_used
        store_homes(c)
        put8(c, 0xC3)
        c.code_load = c.code_used
        load_homes(c)
        put8(c, 0xC3)
        c.code_start = c.code_used
        linked_entry(c, 0, 0)
        c.code_used = c.code_start
        c.translate_after = 16


def field(c, where):
    """The offset of a field in the record from RBX."""
    return cython.cast(u64, where) - cython.cast(u64, cython.cast(cython.p_void, c)) - RECORD_BIAS


def enter(c, at):
    """Run the host code at `at`."""
    return enter_code(
        cython.cast(cython.p_void, c.code + 16),
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


# What translated code calls


def store_slowly(c, seg, off, value, size):
    """A store that missed the TLB: 0 it is done, 1 it faulted, 2 done, and the block that runs was written over."""
    mmu.write(c, seg, off, value, size)
    if c.fault:
        return 1
    return 0 if c.blocks[c.current].valid else 2


def interpret(c, j):
    """Have operation `j` interpreted: 0 go on, 1 it faulted, 2 it went elsewhere, 3 its block was written over."""
    c.count_interpreted[c.ops[j].kind] += 1
    if execute.perform(c, j, j + 1) == j and not c.gone:
        return 1
    if c.gone:
        c.gone = 0
        return 2
    return 0 if c.blocks[c.current].valid else 3


# Pieces


def register_at(c, number):
    """The offset of a general register."""
    return field(c, cython.address(c.regs[number]))


def home(number):
    """The host register that holds a general register."""
    if number < 4:
        return number + 8
    return H15 if number == RSP else number


def load_homes(c):
    """Every general register from the record to its home."""
    i: u32
    for i in range(8):
        load(c, home(i), register_at(c, i))


def store_homes(c):
    """And back."""
    i: u32
    for i in range(8):
        store64(c, home(i), register_at(c, i))


def get(c, number, reg):
    """A host register = a general register."""
    with_register(c, X_STORE, 0, home(number), reg)


def put(c, number, reg):
    """A general register = a host register's 32 bits."""
    with_register(c, X_STORE, 0, reg, home(number))


def put_word(c, number, reg):
    """A general register's low half = a host register's 16 bits."""
    put8(c, 0x66)
    with_register(c, X_STORE, 0, reg, home(number))


def get_byte(c, number, shift_, reg):
    """A host register = an 8-bit register; AH, CH, DH and BH cost the host's flags."""
    if shift_:
        with_register(c, X_STORE, 0, home(number), reg)
        shift(c, 5, 0, reg, 8)
        with_register(c, X_MOVZX8, 0, reg, reg)
        c.host_flags = 0
    else:
        with_register(c, X_MOVZX8, 0, reg, home(number))


def put_byte(c, number, shift_):
    """An 8-bit register = AL; the other bits stay."""
    if shift_:
        get(c, number, HCX)
        with_register(c, 0x88, 0, HAX, 5)  # MOV CH, AL
        put(c, number, HCX)
    else:
        with_register(c, 0x88, 0, HAX, home(number))


def get_sized(c, o, number, shift_, reg):
    """A host register = a general register of the size of `o`, zero-extended."""
    if o.size == 0:
        get_byte(c, number, shift_, reg)
    elif o.size == 1:
        with_register(c, X_MOVZX16, 0, reg, home(number))
    else:
        get(c, number, reg)


def put_sized(c, o, number, shift_):
    """A general register of the size of `o` = AL, AX or EAX."""
    if o.size == 0:
        put_byte(c, number, shift_)
    elif o.size == 1:
        put_word(c, number, HAX)
    else:
        put(c, number, HAX)


def store_registers(c):
    """The general registers to the record, before a call; the arguments come after, since they use homes."""
    call_near(c, c.code_store)


def load_registers(c):
    """And home again after it."""
    call_near(c, c.code_load)


def call_out(c, function):
    """Call a function of ours with the record in RDI, which it may change; the general registers stay there."""
    with_memory(c, X_LEA, 1, HDI, HBX, NO_REG, 0, -RECORD_BIAS)
    call(c, function)


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


# Memory


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


def load_stack(c, j, o):
    """EAX = what ESP points at."""
    s: cython.pointer(Stub) = stub(c, STUB_LOAD, j, o)
    s.seg = SS
    s.size = 2
    get(c, RSP, HAX)
    look_up(c, s, TLB_READ)
    read_host(c, 2, HAX)
    s.resume = c.code_used


def load_frame(c, j, o):
    """EAX = what EBP points at, on the stack."""
    s: cython.pointer(Stub) = stub(c, STUB_LOAD, j, o)
    s.seg = SS
    s.size = 2
    get(c, RBP, HAX)
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


# Flags


def remember(c, live, op, size, reg):
    """The result in `reg`, and the operands stored before, are where the flags come from."""
    if live == ALL:
        store64(c, reg, field(c, cython.address(c.cc_res)))
        set_field(c, 0, field(c, cython.address(c.cc_op)), op | (size << 16))  # cc_size lies behind it
    c.known = op
    c.known_size = size
    c.carry_stands = op == CC_INC or op == CC_DEC or op == CC_SHIFT or live == CARRY


def keep_carry(c, live, condition):
    """CF, or OF where a multiplication says both with it, is the host's `condition` now; where only it is wanted."""
    if live == CARRY:
        with_field(c, X_SETCC + condition, 0, 0, field(c, cython.address(c.cc_cf)))  # whose other bytes are 0


def keep_operands(c, live):
    """EAX and ECX are the operands that the flags come from."""
    if live == ALL:
        store64(c, HAX, field(c, cython.address(c.cc_a)))
        store64(c, HCX, field(c, cython.address(c.cc_b)))


def sized(c, op, size, reg, rm):
    """An instruction on two registers of 8, 16 or 32 bits; `op` is its 32-bit form."""
    if size == 1:
        put8(c, 0x66)
    with_register(c, op if size else op - 1, 0, reg, rm)


def carry_to_host(c):
    """Have CF in the host's; EDX is lost, EAX and ECX are kept."""
    if c.host_flags & HOST_CF:
        return
    if c.carry_stands:
        with_field(
            c, X_MOVZX8, 0, HDX, field(c, cython.address(c.cc_cf))
        )  # a byte: it may just have been stored
        shift(c, 5, 0, HDX, 1)  # SHR: what was bit 0 is CF
    elif c.known == CC_SUB:
        load64(c, HDX, field(c, cython.address(c.cc_a)))
        with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.cc_b)))
    elif c.known == CC_ADD:
        load64(c, HDX, field(c, cython.address(c.cc_res)))
        with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.cc_a)))
    elif c.known == CC_LOGIC:
        put8(c, 0xF8)  # CLC
    else:
        store64(c, HAX, field(c, cython.address(c.native_kept[0])))
        store64(c, HCX, field(c, cython.address(c.native_kept[1])))
        store_registers(c)
        call_out(c, cython.cast(cython.p_void, flags.carry))
        load_registers(c)
        shift(c, 5, 0, HAX, 1)
        load64(c, HAX, field(c, cython.address(c.native_kept[0])))
        load64(c, HCX, field(c, cython.address(c.native_kept[1])))
    c.host_flags = HOST_CF


def prepare(c, code):
    """Make condition `code` one of the host's, and return which."""
    k: u32 = code >> 1
    need: u32 = HOST_ZF
    if k == 0:
        need = HOST_OF
    elif k == 1:
        need = HOST_CF
    elif k == 3:
        need = HOST_CF | HOST_ZF
    elif k >= 6:
        need = HOST_ZF | HOST_OF
    if need & c.host_flags == need:
        return code
    if c.known == CC_SUB or c.known == CC_ADD:
        load64(c, HAX, field(c, cython.address(c.cc_a)))
        load64(c, HCX, field(c, cython.address(c.cc_b)))
        sized(c, X_CMP if c.known == CC_SUB else X_ADD, c.known_size, HAX, HCX)
        c.host_flags = HOST_ALL
    elif c.known == CC_LOGIC or (need == HOST_ZF and c.known != UNKNOWN and c.known != CC_FLAGS):
        load64(c, HAX, field(c, cython.address(c.cc_res)))
        sized(c, X_TEST, c.known_size, HAX, HAX)
        c.host_flags = HOST_ALL if c.known == CC_LOGIC else HOST_ZF
    else:
        store_registers(c)
        constant(c, HSI, code)
        call_out(c, cython.cast(cython.p_void, flags.condition))
        load_registers(c)
        with_register(c, X_TEST, 0, HAX, HAX)
        c.host_flags = 0
        return NOT_ZERO
    return code


def arithmetic(c, sub, live, size):
    """EAX = EAX op ECX, with its flags; all of ADD OR ADC SBB AND SUB XOR CMP TEST (0 to 8)."""
    op: u32 = CC_LOGIC
    if sub == 2 or sub == 3:
        carry_to_host(c)
        keep_operands(c, live)
        sized(c, X_ADC if sub == 2 else X_SBB, size, HAX, HCX)
        op = CC_ADC if sub == 2 else CC_SBB
    elif sub == 0:
        keep_operands(c, live)
        sized(c, X_ADD, size, HAX, HCX)
        op = CC_ADD
    elif sub == 5 or sub == 7:
        keep_operands(c, live)
        sized(c, X_SUB, size, HAX, HCX)
        op = CC_SUB
    elif sub == 1:
        sized(c, X_OR, size, HAX, HCX)
    elif sub == 6:
        sized(c, X_XOR, size, HAX, HCX)
    else:
        sized(c, X_AND, size, HAX, HCX)
    c.host_flags = HOST_ALL
    keep_carry(c, live, CARRY_SET)
    if live == ALL and size == 0:
        with_register(c, X_MOVZX8, 0, HAX, HAX)
    elif live == ALL and size == 1:
        with_register(c, X_MOVZX16, 0, HAX, HAX)
    remember(c, live, op, size, HAX)


def arithmetic_in_place(c, o, sub, live, immediate):
    """The same of 32 bits where both operands are at home, or the second is an immediate; not ADC and SBB."""
    op: u32 = CC_LOGIC
    code: u32 = X_AND
    reg: u32 = home(o.reg)
    rm: u32 = HCX
    writes: u32 = sub < 7
    if not immediate:
        rm = home(o.rm)
    elif live == ALL or sub >= 8:
        constant(c, HCX, o.imm & M32)
        immediate = 0
    if sub == 0:
        op = CC_ADD
        code = X_ADD
    elif sub == 5 or sub == 7:
        op = CC_SUB
        code = X_SUB
    elif sub == 1:
        code = X_OR
    elif sub == 6:
        code = X_XOR
    if live == ALL:
        if op != CC_LOGIC:
            store64(c, reg, field(c, cython.address(c.cc_a)))
            store64(c, rm, field(c, cython.address(c.cc_b)))
        if not writes and not (sub == 8 and reg == rm):  # the result is wanted, but not in the register
            with_register(c, X_STORE, 0, reg, HAX)
            reg = HAX
        with_register(c, X_TEST if sub == 8 and reg == rm else code, 0, reg, rm)
    elif not writes:
        if immediate:
            with_immediate(c, 7, 0, reg, o.imm & M32)
        else:
            with_register(c, X_CMP if sub == 7 else X_TEST, 0, reg, rm)
    elif immediate:
        with_immediate(c, sub, 0, reg, o.imm & M32)
    else:
        with_register(c, code, 0, reg, rm)
    c.host_flags = HOST_ALL
    keep_carry(c, live, CARRY_SET)
    remember(c, live, op, 2, reg)


def stand_carry(c, live):
    """Have CF in `cc_cf`, where INC and DEC leave it."""
    if live and not c.carry_stands:
        carry_to_host(c)
        keep_carry(c, CARRY, CARRY_SET)
        c.carry_stands = 1


def step(c, live, down, reg):
    """`reg` +- 1 with the flags of INC and DEC, which leave CF alone."""
    with_immediate(c, 5 if down else 0, 0, reg, 1)
    c.host_flags = HOST_ZF | HOST_OF
    if live:
        remember(c, live, CC_DEC if down else CC_INC, 2, reg)


def shifted(c, live, op, count, reg):
    """`reg` shifted by a constant: SHL SHR SAR (4, 5, 7), with flags as `flags.shift` defines them."""
    if live == ALL:
        with_register(c, X_STORE, 0, reg, HDX)
    shift(c, op, 0, reg, count)
    c.host_flags = HOST_CF | HOST_ZF
    keep_carry(c, live, CARRY_SET)
    if live == ALL:
        keep_carry(c, CARRY, CARRY_SET)
        if op == 4:  # OF is the result's sign against CF
            with_register(c, 0x192, 0, 0, HCX)  # SETB CL
            with_register(c, X_MOVZX8, 0, HCX, HCX)
            with_register(c, X_STORE, 0, reg, HDX)
            shift(c, 5, 0, HDX, 31)
            with_register(c, X_XOR, 0, HDX, HCX)
        elif op == 5 and count == 1:  # the operand's sign
            shift(c, 5, 0, HDX, 31)
        else:
            with_register(c, X_XOR, 0, HDX, HDX)
        store64(c, HDX, field(c, cython.address(c.cc_a)))
        c.host_flags = 0
    remember(c, live, CC_SHIFT, 2, reg)


def rotate(c, o, live):
    """ROL and ROR of a 32-bit register by a constant; where nobody asks for CF and OF, by the host alone."""
    if live:
        call_shift(c, o)
        return
    get(c, o.reg, HAX)
    shift(c, 1 if o.kind == ROR32_I else 0, 0, HAX, o.imm & 31)
    put(c, o.reg, HAX)
    c.host_flags = 0


def shift_by_cl(c, o, live):
    """SHL SHR SAR of a 32-bit register by CL; a count of 0 does nothing, to the flags either."""
    none: u32
    get(c, RCX, HCX)
    with_immediate(c, 4, 0, HCX, 31)
    none = jump_if(c, ZERO)
    get(c, o.reg, HAX)
    opcode(c, 0xD3, 0, 0, 0, 0)
    put8(c, 0xC0 | (o.sub << 3) | HAX)
    if live:
        with_register(c, 0x192, 0, 0, HCX)  # SETB CL
        with_register(c, X_MOVZX8, 0, HCX, HCX)
        with_field(c, X_STORE, 0, HCX, field(c, cython.address(c.cc_cf)))
        with_register(c, X_STORE, 0, HAX, HDX)
        if o.sub == 5:  # OF is what was bit 31 before the last step
            shift(c, 5, 0, HDX, 30)
        elif o.sub == 7:
            with_register(c, X_XOR, 0, HDX, HDX)
        else:
            shift(c, 5, 0, HDX, 31)
            with_register(c, X_XOR, 0, HDX, HCX)
        store64(c, HDX, field(c, cython.address(c.cc_a)))
        remember(c, ALL, CC_SHIFT, 2, HAX)
    put(c, o.reg, HAX)
    bind(c, none)
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0


def count_to_ecx(c, o):
    """ECX = the count of a shift, a constant or CL."""
    if o.kind == SHIFT_RC or o.kind == SHLD_RC or o.kind == SHRD_RC:
        get_byte(c, RCX, 0, HCX)
    else:
        constant(c, HCX, o.imm & 0xFF)


def put_result(c, o):
    """The register of `o`, of its size, = EAX."""
    put_sized(c, o, o.reg, o.rsh)
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0


def call_shift(c, o):
    """Shifts and rotations that are too rare for code of their own."""
    count_to_ecx(c, o)
    get_sized(c, o, o.reg, o.rsh, HDX)
    store_registers(c)
    constant(c, HSI, o.sub)
    constant(c, H8, o.size)
    call_out(c, cython.cast(cython.p_void, flags.shift))
    load_registers(c)
    put_result(c, o)


def call_double_shift(c, o):
    """SHLD and SHRD of registers."""
    count_to_ecx(c, o)
    with_register(c, X_STORE, 0, HCX, HAX)
    get(c, o.reg, HDX)
    get(c, o.rm, HCX)
    store_registers(c)
    with_register(c, X_STORE, 0, HAX, H8)
    constant(c, HSI, o.kind == SHRD_RI or o.kind == SHRD_RC)
    constant(c, H8 + 1, 2)
    call_out(c, cython.cast(cython.p_void, arith.double_shift))
    load_registers(c)
    put_result(c, o)


def multiplied(c, live, reg, rm):
    """`reg` = `reg` * `rm` as IMUL does it."""
    with_register(c, X_IMUL, 0, reg, rm)
    keep_product_flags(c, live, reg)


def keep_product_flags(c, live, reg):
    """The flags of a multiplication whose low half is in `reg`, as `arith.multiplied` has them."""
    c.host_flags = 0
    keep_carry(c, live, OVERFLOW)
    if live == ALL:
        with_register(c, X_SETCC, 0, 0, HCX)  # SETO CL
        with_register(c, X_MOVZX8, 0, HCX, HCX)
        with_field(c, X_STORE, 0, HCX, field(c, cython.address(c.cc_cf)))
        store64(c, HCX, field(c, cython.address(c.cc_a)))
    remember(c, live, CC_SHIFT, 2, reg)


# Blocks


def traits(o):
    """What an operation does with flags and whether it may leave: SETS, READS, EXITS, MODIFIES, CALLS."""
    kind: u32 = o.kind
    if (not o.isreg and o.addr != 2) or o.rep or o.lock:
        return READS | EXITS | CALLS
    if kind == ALU_RR or kind == ALU_RI or kind == ALU_RM or kind == ALU_MR or kind == ALU_MI:
        if o.size == 3 or (o.size == 0 and kind != ALU_MR and kind != ALU_MI):
            return READS | EXITS | CALLS
        return (
            SETS
            | (READS if o.sub == 2 or o.sub == 3 else 0)
            | (0 if kind == ALU_RR or kind == ALU_RI else EXITS)
            | (MODIFIES if (kind == ALU_MR or kind == ALU_MI) and o.sub < 7 else 0)
        )
    elif ADD32_RR <= kind <= TEST32_RI or kind == SHL32_I or kind == SHR32_I or kind == SAR32_I:
        if (
            kind == ADD32_RM
            or kind == OR32_RM
            or kind == AND32_RM
            or kind == SUB32_RM
            or kind == XOR32_RM
            or kind == CMP32_RM
        ):
            return SETS | EXITS
        return SETS
    elif kind == ADD32_MR or kind == ADD32_MI:
        return SETS | EXITS | MODIFIES
    elif kind == CMP32_MR or kind == CMP32_MI:
        return SETS | EXITS
    elif kind == CMP8_RR or kind == CMP8_RI or kind == TEST8_RR or kind == TEST8_RI:
        return SETS
    elif kind == CMP8_RM or kind == CMP8_MI:
        return SETS | EXITS
    elif kind == ALU8_RR or kind == ALU8_RI or kind == ALU8_RM:
        return SETS | (READS if o.sub == 2 or o.sub == 3 else 0) | (EXITS if kind == ALU8_RM else 0)
    elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR or kind == IMUL32_RR:
        return SETS
    elif kind == IMUL32_RM:
        return SETS | EXITS
    elif (
        kind == MOV32_RR
        or kind == MOV32_RI
        or kind == LEA32
        or kind == MOVZX8_R
        or kind == NOP
        or (kind == JMP and o.size == 2)
        or (
            (
                kind == MOVZX_R
                or kind == MOVSX_R
                or kind == NOT_R
                or kind == XCHG_RR
                or kind == CWD
                or kind == CBW
            )
            and o.size == 2
        )
        or ((kind == MOV_RR or kind == MOV_RI) and o.size == 0)
    ):
        return 0
    elif (
        LOAD32 <= kind <= STORE8
        or kind == LOAD16
        or kind == STORE16
        or kind == PUSH32
        or kind == PUSH32_I
        or kind == POP32
        or kind == MOVZX8_M
        or kind == MOVZX16_M
        or kind == CALL32
        or kind == RET32
        or (kind == MOVSX_M and o.size == 2)
        or (kind == MOV_MI and o.size <= 1)
    ):
        return EXITS
    elif (
        kind == JMP_R or kind == JMP_M or kind == CALL_R or kind == CALL_M or kind == PUSH_M
    ) and o.size == 2:
        return EXITS
    elif ((kind == JZ or kind == JNZ or kind == JCC or kind == CMOV_R) and o.size == 2) or kind == SETCC_R:
        return READS
    elif kind == INC32 or kind == DEC32:
        return KEEPS_CARRY
    elif kind == INC32_M or kind == DEC32_M:
        return KEEPS_CARRY | EXITS | MODIFIES
    elif kind == SHIFT_RI or kind == SHIFT_RC:
        return TOUCHES if o.size == 2 and o.sub >= 4 and kind == SHIFT_RC else READS
    elif kind == ROL32_I or kind == ROR32_I:
        return TOUCHES
    elif kind == LODS:
        return EXITS
    elif kind == SCAS:
        return SETS | EXITS
    elif kind == BSWAP and o.size == 2:
        return 0
    elif o.size != 2:
        return READS | EXITS | CALLS
    elif (kind == MUL_R and (o.sub == 4 or o.sub == 5)) or kind == NEG_R or kind == IMUL_RI:
        return SETS
    elif (kind == MUL_M and (o.sub == 4 or o.sub == 5)) or kind == IMUL_MI:
        return SETS | EXITS
    elif kind == CMOV_M:
        return READS | EXITS
    elif kind == LEAVE_FRAME:
        return EXITS
    elif kind == SHLD_RI or kind == SHRD_RI or kind == SHLD_RC or kind == SHRD_RC:
        return READS
    return READS | EXITS | CALLS


def translate(c, block):
    """Translate a block; it stays interpreted if the arena is full."""
    first: u32 = c.blocks[block].ops
    count: u32 = c.blocks[block].count
    live: u64 = 0  # by operation: whose flags are wanted,
    carries: u64 = 0  # and of whose only CF is
    flags_live: u32 = 1  # all but CF
    carry_live: u32 = 1
    t: u32
    j: u32 = 0
    entry: u32
    if cython.compiled:
        if not c.code or c.code_used + ROOM > ARENA:
            return
        for j in range(count):  # backwards: whose flags are wanted
            t = traits(cython.address(c.ops[first + count - 1 - j]))
            if t & TOUCHES:
                flags_live |= carry_live
            if flags_live or t & MODIFIES:
                live |= cython.cast(u64, 1) << (count - 1 - j)
            elif carry_live and not t & KEEPS_CARRY:
                carries |= cython.cast(u64, 1) << (count - 1 - j)
            if t & KEEPS_CARRY:
                carry_live |= flags_live
                flags_live = 0
            if t & SETS:
                flags_live = carry_live = 0
            if t & (READS | EXITS):
                flags_live = carry_live = 1
        c.stubs_used = 0
        c.known = UNKNOWN
        c.carry_stands = 0
        c.host_flags = 0
        c.count_translated += 1
        linked_entry(c, block, count)
        entry = c.code_used
        j = 0
        while j < count:
            j = operation(
                c,
                cython.address(c.ops[first + j]),
                first,
                j,
                count,
                ALL if (live >> j) & 1 else CARRY if (carries >> j) & 1 else 0,
            )
        for j in range(c.stubs_used):
            finish_stub(c, cython.address(c.stubs[j]))
        c.blocks[block].native = entry


def operation(c, o, first, j, count, live):
    """Translate operation `j` of a block; returns the number of the next."""
    kind: u32 = o.kind
    t: u32 = traits(o)
    last: u32 = j + 1 == count
    taken: u32
    reg: u32
    if t & CALLS:
        call_interpreter(c, o, first, j, count)
    elif kind == MOV32_RR:
        with_register(c, X_STORE, 0, home(o.rm), home(o.reg))
    elif kind == MOV32_RI:
        constant(c, home(o.reg), o.imm & M32)
    elif kind == LOAD32:
        load_operand(c, j, o, 2, home(o.reg))
    elif kind == STORE32:
        store_operand(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == STORE32_I or kind == MOV_MI:
        store_operand(c, j, o, VALUE_IMM, 0, o.imm)
    elif kind == LOAD8:
        load_operand(c, j, o, 0, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == STORE8:
        store_operand(c, j, o, VALUE_BYTE, o.reg, o.rsh)
    elif kind == LOAD16:
        load_operand(c, j, o, 1, HAX)
        put_word(c, o.reg, HAX)
    elif kind == STORE16:
        store_operand(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == MOVZX8_M or kind == MOVZX16_M:
        load_operand(c, j, o, 0 if kind == MOVZX8_M else 1, home(o.reg))
    elif kind == MOVSX_M:
        load_operand(c, j, o, o.sub, HAX)
        with_register(c, X_MOVSX8 if o.sub == 0 else X_MOVSX16, 0, HAX, HAX)
        put(c, o.reg, HAX)
    elif kind == MOVZX8_R:
        get_byte(c, o.rm, o.msh, HAX)
        put(c, o.reg, HAX)
    elif kind == MOVZX_R or kind == MOVSX_R:
        get(c, o.rm, HAX)
        if o.msh:
            shift(c, 5, 0, HAX, 8)
            c.host_flags = 0
        taken = X_MOVZX8 if kind == MOVZX_R else X_MOVSX8
        with_register(c, taken + o.sub, 0, HAX, HAX)
        put(c, o.reg, HAX)
    elif kind == MOV_RR:
        get_byte(c, o.rm, o.msh, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == MOV_RI:
        constant(c, HAX, o.imm)
        put_byte(c, o.reg, o.rsh)
    elif kind == LEA32:
        effective_address(c, o)
        put(c, o.reg, HAX)
    elif kind == NOP:
        pass
    elif kind == NOT_R:
        get(c, o.reg, HAX)
        put8(c, 0xF7)
        put8(c, 0xD0)
        put(c, o.reg, HAX)
    elif kind == XCHG_RR:
        get(c, o.reg, HAX)
        get(c, o.rm, HCX)
        put(c, o.rm, HAX)
        put(c, o.reg, HCX)
    elif kind == CWD:
        get(c, RAX, HAX)
        put8(c, 0x99)
        put(c, RDX, HDX)
    elif kind == CBW:
        get(c, RAX, HAX)
        put8(c, 0x98)
        put(c, RAX, HAX)
    elif kind == PUSH32:
        push(c, j, o, VALUE_REG, o.reg, 0)
    elif kind == PUSH32_I:
        push(c, j, o, VALUE_IMM, 0, o.imm)
    elif kind == PUSH_M:
        load_operand(c, j, o, 2, H14)
        push(c, j, o, VALUE_R14, 0, 0)
    elif kind == POP32:
        load_stack(c, j, o)
        drop_stack(c, 4)
        put(c, o.reg, HAX)
    elif kind == CMPJ32_RR or kind == CMPJ32_RI or kind == TESTJ32_RR:
        two_registers(c, o, 8 if kind == TESTJ32_RR else 7, ALL, kind == CMPJ32_RI)
    elif kind == INC32 or kind == DEC32:
        stand_carry(c, live)
        step(c, live, kind == DEC32, home(o.reg))
    elif kind == INC32_M or kind == DEC32_M:
        stand_carry(c, live)
        load_to_modify(c, j, o)
        step(c, live, kind == DEC32_M, HAX)
        write_back(c, j, o)
    elif kind == SHL32_I or kind == SHR32_I or kind == SAR32_I:
        shifted(c, live, 4 if kind == SHL32_I else 5 if kind == SHR32_I else 7, o.imm & 31, home(o.reg))
    elif kind == IMUL32_RR:
        multiplied(c, live, home(o.reg), home(o.rm))
    elif kind == IMUL32_RM:
        load_operand(c, j, o, 2, HAX)
        multiplied(c, live, home(o.reg), HAX)
    elif kind == IMUL_RI or kind == IMUL_MI:
        if kind == IMUL_MI:
            load_operand(c, j, o, 2, HAX)
        else:
            get(c, o.rm, HAX)
        constant(c, HCX, o.imm)
        multiplied(c, live, HAX, HCX)
        put(c, o.reg, HAX)
    elif kind == MUL_R or kind == MUL_M:
        if kind == MUL_M:
            load_operand(c, j, o, 2, HCX)
        else:
            get(c, o.reg, HCX)
        get(c, RAX, HAX)
        opcode(c, 0xF7, 0, 0, 0, 0)
        put8(c, 0xC0 | (o.sub << 3) | HCX)
        put(c, RAX, HAX)
        put(c, RDX, HDX)
        keep_product_flags(c, live, HAX)
    elif kind == NEG_R:
        get(c, o.reg, HCX)
        constant(c, HAX, 0)
        arithmetic(c, 5, live, 2)
        put(c, o.reg, HAX)
    elif kind == SETCC_R:
        taken = prepare(c, o.sub)
        with_register(c, X_SETCC + taken, 0, 0, HAX)
        put_byte(c, o.reg, o.rsh)
    elif kind == CMOV_R:
        taken = prepare(c, o.sub)
        with_register(c, X_CMOV + taken, 0, home(o.reg), home(o.rm))
    elif kind == CMOV_M:  # memory is read whether or not
        load_operand(c, j, o, 2, H14)
        taken = prepare(c, o.sub)
        with_register(c, X_CMOV + taken, 0, home(o.reg), H14)
    elif kind == LODS:
        load_string(c, j, o, o.seg, RSI, HAX)
        put_sized(c, o, RAX, 0)
    elif kind == SCAS:
        load_string(c, j, o, ES, RDI, HCX)
        get_sized(c, o, RAX, 0, HAX)
        arithmetic(c, 7, live, o.size)
    elif kind == LEAVE_FRAME:
        load_frame(c, j, o)
        with_memory(c, X_LEA, 0, H15, HBP, NO_REG, 0, 4)
        put(c, RBP, HAX)
    elif kind == BSWAP:
        get(c, o.reg, HAX)
        put8(c, 0x0F)
        put8(c, 0xC8 | HAX)
        put(c, o.reg, HAX)
    elif kind == ROL32_I or kind == ROR32_I:
        rotate(c, o, live)
    elif kind == SHIFT_RC and o.size == 2 and o.sub >= 4:
        shift_by_cl(c, o, live)
    elif kind == SHIFT_RI or kind == SHIFT_RC:
        call_shift(c, o)
    elif kind == SHLD_RI or kind == SHRD_RI or kind == SHLD_RC or kind == SHRD_RC:
        call_double_shift(c, o)
    elif kind == JMP:
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == JZ or kind == JNZ or kind == JCC:
        taken = prepare(c, o.sub)
        taken = jump_if(c, taken)
        leave_to(c, o.off, count)
        bind(c, taken)
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == CALL32:
        push(c, j, o, VALUE_RETURN, 0, o.off)
        leave_to(c, o.off + o.imm, count)
        return count
    elif kind == RET32:
        load_stack(c, j, o)
        drop_stack(c, 4 + o.imm)
        jump_through(c, count)
        return count
    elif kind == JMP_R or kind == CALL_R or kind == JMP_M or kind == CALL_M:
        if kind == JMP_R or kind == CALL_R:
            get(c, o.reg, HAX)
        else:
            load_operand(c, j, o, 2, HAX)
        if kind == CALL_R or kind == CALL_M:
            with_register(c, X_STORE, 0, HAX, H14)
            push(c, j, o, VALUE_RETURN, 0, o.off)
            with_register(c, X_STORE, 0, H14, HAX)
        jump_through(c, count)
        return count
    else:
        two_operands(c, o, j, live)
    if last:
        leave_to(c, o.off, count)
    return j + 1


def two_operands(c, o, j, live):
    """ADD OR ADC SBB AND SUB XOR CMP TEST in all their forms."""
    kind: u32 = o.kind
    sub: u32 = o.sub
    size: u32 = o.size
    if size == 0 and not (kind == ALU_MR or kind == ALU_MI):
        if kind == CMP8_RM or kind == ALU8_RM:
            load_operand(c, j, o, 0, HCX)
            get_byte(c, o.reg, o.rsh, HAX)
        elif kind == CMP8_MI:
            load_operand(c, j, o, 0, HAX)
            constant(c, HCX, o.imm)
        else:
            get_byte(c, o.reg, o.rsh, HAX)
            if kind == CMP8_RI or kind == TEST8_RI or kind == ALU8_RI:
                constant(c, HCX, o.imm)
            else:
                get_byte(c, o.rm, o.msh, HCX)
        arithmetic(c, sub, live, 0)
        if sub < 7:
            put_byte(c, o.reg, o.rsh)
        return
    if (
        kind == ALU_MR
        or kind == ALU_MI
        or kind == ADD32_MR
        or kind == ADD32_MI
        or kind == CMP32_MR
        or kind == CMP32_MI
    ):
        if sub >= 7:
            load_operand(c, j, o, size, HAX)
        else:
            load_to_modify(c, j, o)
        if kind == ALU_MI or kind == ADD32_MI or kind == CMP32_MI:
            constant(c, HCX, o.imm & SIZE_MASK[size])
        else:
            get_sized(c, o, o.reg, o.rsh, HCX)
        arithmetic(c, sub, live, size)
        if sub < 7:
            write_back(c, j, o)
        return
    if (
        kind == ALU_RM
        or kind == ADD32_RM
        or kind == OR32_RM
        or kind == AND32_RM
        or kind == SUB32_RM
        or kind == XOR32_RM
        or kind == CMP32_RM
    ):
        load_operand(c, j, o, size, HCX)
        get_sized(c, o, o.reg, 0, HAX)
        arithmetic(c, sub, live, size)
        if sub < 7:
            put_sized(c, o, o.reg, 0)
        return
    two_registers(
        c,
        o,
        sub,
        live,
        kind == ALU_RI
        or kind == ADD32_RI
        or kind == OR32_RI
        or kind == AND32_RI
        or kind == SUB32_RI
        or kind == XOR32_RI
        or kind == CMP32_RI
        or kind == TEST32_RI,
    )


def two_registers(c, o, sub, live, immediate):
    """The same of a register of 16 or 32 bits and a second, or an immediate."""
    if sub != 2 and sub != 3 and o.size == 2:
        arithmetic_in_place(c, o, sub, live, immediate)
        return
    get_sized(c, o, o.reg, 0, HAX)
    if immediate:
        constant(c, HCX, o.imm & SIZE_MASK[o.size])
    else:
        get_sized(c, o, o.rm, 0, HCX)
    arithmetic(c, sub, live, o.size)
    if sub < 7:
        put_sized(c, o, o.reg, 0)


def call_interpreter(c, o, first, j, count):
    """Have the interpreter do operation `j`."""
    went_on: u32
    fault: u32
    store_registers(c)
    constant(c, HSI, first + j)
    call_out(c, cython.cast(cython.p_void, interpret))
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0
    if j + 1 == count:
        with_immediate(c, 7, 0, HAX, 1)
        fault = jump_if(c, ZERO)
        if o.ends or changes_segments(o.kind):  # not linked: what follows may be of another mode
            finish(c, count)
        else:
            load_registers(c)
            leave_to(c, o.off, count)
        bind(c, fault)
        leave_early(c, j)
        return
    if changes_segments(o.kind):
        with_immediate(c, 7, 0, HAX, 1)
        fault = jump_if(c, ZERO)
        leave_early(c, j + 1)
        bind(c, fault)
        leave_early(c, j)
        return
    with_register(c, X_TEST, 0, HAX, HAX)
    went_on = jump_if(c, ZERO)
    with_immediate(c, 7, 0, HAX, 1)
    fault = jump_if(c, ZERO)
    leave_early(c, j + 1)
    bind(c, fault)
    leave_early(c, j)
    bind(c, went_on)
    load_registers(c)


def changes_segments(kind):
    """Whether the address space may no longer be flat after an operation."""
    return kind == MOV_SEG_R or kind == MOV_SEG_M or kind == POP_SEG or kind == LOAD_FAR
