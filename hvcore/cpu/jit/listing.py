"""What there is to see of host code: its bytes, and names for what they refer to (docs/translator.md).

Only tests and the tool that lists blocks (`python -m tests.hvcore.cpu.listing`) ask; nothing here is needed to run.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, msrs
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import memory, translate
    from cython.cimports.hvcore.cpu.state import u32, u64
else:
    from hvcore.cpu.constants import u32, u64


def host_code(c, block):
    """Where the host code of a block lies, and its bytes.

    Behind it may lie what `arena.link` put there later.
    """
    i: u32
    end: u32
    begin: u32
    if not cython.compiled or not c.blocks[block].native:
        return 0, b""
    begin = c.blocks[block].host_code
    end = c.arena.used
    for i in range(1, c.blocks_used):
        if begin < c.blocks[i].host_code < end:
            end = c.blocks[i].host_code
    return cython.cast(u64, c.arena.run) + begin, bytes([c.arena.code[at] for at in range(begin, end)])


def places(c):
    """The routines that all blocks use, by their address."""
    if not cython.compiled or not c.arena.code:
        return {}
    base = cython.cast(u64, c.arena.run)
    return {
        base + c.arena.leave: "leave",
        base + c.arena.leave_stored: "leave_stored",
        base + c.arena.store: "store_registers",
        base + c.arena.load: "load_registers",
        base + c.arena.carry: "carry",
        base + c.arena.status: "status",
        base + c.arena.eflags: "eflags",
        base + c.arena.take_mxcsr: "take_mxcsr",
        base + c.arena.give_mxcsr: "give_mxcsr",
        base + c.arena.take_x87: "take_x87",
        base + c.arena.give_x87: "give_x87",
    }


def fields(c):
    """The fields of the record that host code uses, by their displacement from RBX."""
    if not cython.compiled:
        return {}
    i: u32
    found = {
        asm.field(c, cython.address(c.eip)): "eip",
        asm.field(c, cython.address(c.flags)): "flags",
        asm.field(c, cython.address(c.cc_op)): "cc_op",
        asm.field(c, cython.address(c.cc_cf)): "cc_cf",
        asm.field(c, cython.address(c.cc_of)): "cc_of",
        asm.field(c, cython.address(c.cc_a)): "cc_a",
        asm.field(c, cython.address(c.cc_b)): "cc_b",
        asm.field(c, cython.address(c.cc_res)): "cc_res",
        asm.field(c, cython.address(c.special)): "special",
        asm.field(c, cython.address(c.wanted_pin)): "wanted_pin",
        asm.field(c, cython.address(c.code_delta)): "code_delta",
        asm.field(c, cython.address(c.told)): "told",
        asm.field(c, cython.address(c.cpl)): "cpl",
        asm.field(c, cython.address(c.cr4)): "cr4",
        asm.field(c, cython.address(c.shadow)): "shadow",
        asm.field(c, cython.address(c.mxcsr_taken)): "mxcsr_taken",
        asm.field(c, cython.address(c.x87_taken)): "x87_taken",
        asm.field(c, cython.address(c.fp_ip)): "fp_ip",
        asm.field(c, cython.address(c.fp_cs)): "fp_cs",
        asm.field(c, cython.address(c.fp_opcode)): "fp_opcode",
        asm.field(c, cython.address(c.fp_dp)): "fp_dp",
        asm.field(c, cython.address(c.fp_ds)): "fp_ds",
        asm.field(c, cython.address(c.tlb[0].rd)): "tlb[0].rd",
        asm.field(c, cython.address(c.tlb[0].wr)): "tlb[0].wr",
        asm.field(c, cython.address(c.tlb[0].ex)): "tlb[0].ex",
        asm.field(c, cython.address(c.tlb[0].add)): "tlb[0].add",
        asm.field(c, cython.address(c.block_eip)): "block_eip",
        asm.field(c, cython.address(c.current)): "current",
        asm.field(c, cython.address(c.fault)): "fault",
        asm.field(c, cython.address(c.native_done)): "native_done",
        asm.field(c, cython.address(c.native_off)): "native_off",
        asm.field(c, cython.address(c.native_kept[0])): "native_kept",
        asm.field(c, cython.address(c.native_kept[1])): "native_kept[1]",
        asm.field(c, cython.address(c.waiting_operand)): "waiting_operand",
        asm.field(c, cython.address(c.jumps[0])): "jumps",
        asm.field(c, cython.address(c.stack_pages[0].rd)): "stack_pages[0].rd",
        asm.field(c, cython.address(c.stack_pages[0].wr)): "stack_pages[0].wr",
        asm.field(c, cython.address(c.stack_pages[0].add)): "stack_pages[0].add",
        asm.field(c, cython.address(c.stack_pages[1].rd)): "stack_pages[1].rd",
        asm.field(c, cython.address(c.stack_pages[1].wr)): "stack_pages[1].wr",
        asm.field(c, cython.address(c.stack_pages[1].add)): "stack_pages[1].add",
        asm.field(c, cython.address(c.returns[0].eip)): "returns[0].eip",
        asm.field(c, cython.address(c.returns[0].entry)): "returns[0].entry",
    }
    for i in range(8):
        found[asm.field(c, cython.address(c.regs[i]))] = f"regs[{i}]"
        found[asm.field(c, cython.address(c.xmm[2 * i]))] = f"xmm[{i}]"
        found[asm.field(c, cython.address(c.sel[i]))] = f"sel[{i}]"
        found[asm.field(c, cython.address(c.base[i]))] = f"base[{i}]"
        found[asm.field(c, cython.address(c.rd_size[i]))] = f"rd_size[{i}]"
        found[asm.field(c, cython.address(c.wr_size[i]))] = f"wr_size[{i}]"
    return {int(where) - ((int(where) >> 63) << 64): name for where, name in found.items()}  # signed


def functions():
    """The functions of ours that host code calls, by their address."""
    if not cython.compiled:
        return {}
    return {
        cython.cast(u64, cython.cast(cython.p_void, mmu.read)): "mmu.read",
        cython.cast(u64, cython.cast(cython.p_void, mmu.read_to_modify)): "mmu.read_to_modify",
        cython.cast(u64, cython.cast(cython.p_void, memory.store_slowly)): "memory.store_slowly",
        cython.cast(u64, cython.cast(cython.p_void, memory.touch)): "memory.touch",
        cython.cast(u64, cython.cast(cython.p_void, translate.interpret)): "translate.interpret",
        cython.cast(u64, cython.cast(cython.p_void, msrs.time_stamp)): "msrs.time_stamp",
        cython.cast(u64, cython.cast(cython.p_void, flags.set_zero_flag)): "flags.set_zero_flag",
        cython.cast(u64, cython.cast(cython.p_void, flags.get_eflags)): "flags.get_eflags",
        cython.cast(u64, cython.cast(cython.p_void, flags.carry)): "flags.carry",
        cython.cast(u64, cython.cast(cython.p_void, flags.status)): "flags.status",
    }
