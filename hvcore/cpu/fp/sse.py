"""MMX, SSE and SSE2 instructions (SDM vol. 1 ch. 9 to 11, vol. 2): which instruction a code is, and MXCSR.

An instruction is an opcode's second byte with one of four mandatory prefixes; `opcodes.VECTORS` says which
exist and what they need, and `forms` is that for C. What they do is in files of their own: `sse_arithmetic`,
`sse_conversions`, `sse_moves`, `sse_integers`.
"""

import cython

from hvcore.cpu import opcodes

if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import sse_operands, x87_registers
    from cython.cimports.hvcore.cpu.fp.mmx import packed
    from cython.cimports.hvcore.cpu.fp.sse_arithmetic import arithmetic, compare_scalar
    from cython.cimports.hvcore.cpu.fp.sse_conversions import convert_integer, convert_mixed, convert_real
    from cython.cimports.hvcore.cpu.fp.sse_integers import packed_integer, shift_immediate
    from cython.cimports.hvcore.cpu.fp.sse_moves import masked_store, move_float, move_integer, shuffle
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import *
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import sse_operands, x87_registers
    from hvcore.cpu.fp.mmx import packed
    from hvcore.cpu.fp.sse_arithmetic import arithmetic, compare_scalar
    from hvcore.cpu.fp.sse_conversions import convert_integer, convert_mixed, convert_real
    from hvcore.cpu.fp.sse_integers import packed_integer, shift_immediate
    from hvcore.cpu.fp.sse_moves import masked_store, move_float, move_integer, shuffle

    globals().update(enums("fp/sse.pxd"))
    forms = [0] * 1024


def load_forms() -> None:
    """Copy the table of vector instructions into the array that `execute` reads."""
    for (opcode, prefix), form in opcodes.VECTORS.items():
        forms[prefix * 256 + opcode] = form


load_forms()


def ready(c, form):
    """Whether an instruction of this form may be executed; the exception if not (SDM vol. 3 §13.1)."""
    which: u32 = form & FORM
    has: u32 = c.has_sse
    if which == MMX:
        has = c.has_mmx
    elif which == XMM2 or which == MMX_SSE2:
        has = c.has_sse2
    if not has or c.cr0 & CR0_EM or (which >= XMM and not c.cr4 & CR4_OSFXSR):
        faults.exception_plain(c, VEC_UD)
        return 0
    if c.cr0 & CR0_TS:
        faults.exception_plain(c, VEC_NM)
        return 0
    if which < XMM and x87_registers.pending(c):
        return 0
    return 1


def control(c, o):
    """0F AE: LDMXCSR, STMXCSR and CLFLUSH. The decoder makes NOPs of the fences that the model has."""
    value: u64
    if o.reg >= 5:
        if o.isreg or o.reg != 7 or not c.features & HAS_CLFSH:
            faults.exception_plain(c, VEC_UD)
        else:  # there is no cache, but the byte must be one that could be read
            mmu.read(c, o.seg, operands.address(c, o), 0)
        return
    if o.isreg or not ready(c, XMM):
        if not c.fault:
            faults.exception_plain(c, VEC_UD)
        return
    if o.reg == 3:
        mmu.write(c, o.seg, operands.address(c, o), c.mxcsr, 2)
        return
    value = mmu.read(c, o.seg, operands.address(c, o), 2)
    if c.fault:
        return
    if value > 0xFFFF:
        faults.exception(c, VEC_GP, 0)
        return
    c.mxcsr = value
    mmu.update_blocks(c)


def execute(c, o):
    """One instruction."""
    op: u32 = o.sub
    pp: u32 = sse_operands.NP
    form: u32
    if o.kind == VECTOR_CONTROL:
        control(c, o)
        return
    if o.rep == REP:
        pp = sse_operands.PF3
    elif o.rep == REPNE:
        pp = sse_operands.PF2
    elif o.size != c.code_size:
        pp = sse_operands.P66
    form = forms[pp * 256 + op]
    if form == NONE or (form & REGISTERS and not o.isreg) or (form & MEMORY and o.isreg):
        faults.exception_plain(c, VEC_UD)
        return
    if (
        0x71 <= op <= 0x73
        and not (0xCC if op == 0x73 and pp == sse_operands.P66 else 0x44 if op == 0x73 else 0x54) >> o.reg & 1
    ):
        faults.exception_plain(c, VEC_UD)
        return
    if not ready(c, form):
        return
    c.f_all = 0
    c.f_flags = 0
    c.f_masks = (c.mxcsr >> 7) & 0x3F
    c.f_round = (c.mxcsr >> 13) & 3
    c.f_flush = c.mxcsr & sse_operands.FTZ
    if op < 0x2A or op == 0x2B or op == 0x50:
        move_float(c, o, op, pp)
    elif op == 0x2E or op == 0x2F:
        compare_scalar(c, o, op, pp)
    elif op < 0x2E:
        convert_mixed(c, o, op, pp)
    elif 0x54 <= op <= 0x57:  # AND, ANDN, OR, XOR
        if sse_operands.fetch(c, o, 2, 1):
            op = 0xDB if op == 0x54 else 0xDF if op == 0x55 else 0xEB if op == 0x56 else 0xEF
            c.xmm[2 * o.reg] = packed(op, c.xmm[2 * o.reg], c.src[0])
            c.xmm[2 * o.reg + 1] = packed(op, c.xmm[2 * o.reg + 1], c.src[1])
    elif op == 0x5A:
        convert_real(c, o, pp)
    elif op == 0x5B or op == 0xE6:
        convert_integer(c, o, op, pp)
    elif op < 0x60 or op == 0xC2:
        arithmetic(c, o, op, pp)
    elif op == 0x6E or op == 0x6F or op == 0x7E or op == 0x7F or op == 0xD6 or op == 0xE7 or op == 0xC3:
        move_integer(c, o, op, pp)
    elif op == 0x70 or 0xC4 <= op <= 0xC6:
        shuffle(c, o, op, pp)
    elif op <= 0x73 and op > 0x70:
        shift_immediate(c, o, op, pp)
    elif op == 0x77:
        c.fp_used = 0
        c.fp_top = 0
    elif op == 0xF7:
        masked_store(c, o, pp)
    else:
        packed_integer(c, o, op, pp)
    c.f_flush = 0
