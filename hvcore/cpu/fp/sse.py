"""MMX, SSE and SSE2 instructions (SDM vol. 1 ch. 9 to 11, vol. 2): which instruction a code is, and MXCSR.

An instruction is an opcode's second byte with one of four mandatory prefixes; `opcodes.VECTORS` says which
exist and what they need, and `forms` is that for C. What they do is in files of their own: `sse_arithmetic`,
`sse_conversions`, `sse_moves`, `sse_integers`.
"""

import cython

from hvcore.cpu import opcodes

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import (
        mmx,
        softfloat,
        sse_arithmetic,
        sse_conversions,
        sse_integers,
        sse_moves,
        sse_operands,
        x87_registers,
    )
    from cython.cimports.hvcore.cpu.kinds import VECTOR_CONTROL
    from cython.cimports.hvcore.cpu.state import (
        CR0_EM, CR0_TS, CR4_OSFXSR, HAS_CLFSH, REP, REPNE, VEC_GP, VEC_NM, VEC_UD, u32, u64,
    )
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import (
        CR0_EM, CR0_TS, CR4_OSFXSR, HAS_CLFSH, REP, REPNE, VECTOR_CONTROL, VEC_GP, VEC_NM, VEC_UD, u32, u64,
    )
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import (
        mmx,
        softfloat,
        sse_arithmetic,
        sse_conversions,
        sse_integers,
        sse_moves,
        sse_operands,
        x87_registers,
    )

    globals().update(enums("fp/sse.pxd"))
    forms = [0] * 1024
# fmt: on


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
    if value > sse_operands.MXCSR_MASK:
        faults.exception(c, VEC_GP, 0)
        return
    c.mxcsr = value
    mmu.update_blocks(c)


def prefix_of(c, o):
    """The mandatory prefix; beside F2 or F3, a 66 does not count."""
    if o.rep == REP:
        return sse_operands.PF3
    if o.rep == REPNE:
        return sse_operands.PF2
    return sse_operands.P66 if o.size != c.code_size else sse_operands.NP


def exists(o, op, pp, form):
    """Whether an encoding is an instruction at all."""
    if form == NONE or (form & REGISTERS and not o.isreg) or (form & MEMORY and o.isreg):
        return 0
    if mmx.SHIFT_WORDS <= op <= mmx.SHIFT_QWORDS:
        return (mmx.immediate_shifts(op, pp == sse_operands.P66) >> o.reg) & 1
    return 1


def execute(c, o):
    """One instruction."""
    op: u32 = o.sub
    pp: u32
    form: u32
    if o.kind == VECTOR_CONTROL:
        control(c, o)
        return
    pp = prefix_of(c, o)
    form = forms[pp * 256 + op]
    if not exists(o, op, pp, form):
        faults.exception_plain(c, VEC_UD)
        return
    if not ready(c, form):
        return
    c.f_all = 0
    c.f_flags = 0
    c.f_masks = (c.mxcsr >> 7) & softfloat.EXCEPTIONS
    c.f_round = (c.mxcsr >> 13) & 3
    c.f_flush = c.mxcsr & sse_operands.FTZ
    dispatch(c, o, op, pp)
    c.f_flush = 0


def dispatch(c, o, op, pp):
    """Have the instruction's family do it. The opcodes go upwards, and those that do not exist are gone."""
    if op <= sse_moves.STORE_ALIGNED or op == sse_moves.MOVNTP or op == sse_moves.MOVMSK:
        sse_moves.move_float(c, o, op, pp)
    elif op <= sse_conversions.CVT_TO_INTEGER:
        sse_conversions.convert_mixed(c, o, op, pp)
    elif op == sse_arithmetic.UCOMIS or op == sse_arithmetic.COMIS:
        sse_arithmetic.compare_scalar(c, o, op, pp)
    elif sse_arithmetic.AND <= op <= sse_arithmetic.XOR:
        sse_arithmetic.bitwise(c, o, op)
    elif op == sse_conversions.CVT_PRECISION:
        sse_conversions.convert_real(c, o, pp)
    elif op == sse_conversions.CVT_SINGLES or op == sse_conversions.CVT_DOUBLES:
        sse_conversions.convert_integer(c, o, op, pp)
    elif op <= sse_arithmetic.MAX or op == sse_arithmetic.CMP:
        sse_arithmetic.arithmetic(c, o, op, pp)
    elif (
        op == sse_moves.MOVD_LOAD
        or op == sse_moves.MOVQ_LOAD
        or op == sse_moves.MOVD_STORE
        or op == sse_moves.MOVQ_STORE
        or op == sse_moves.MOVQ_BETWEEN
        or op == sse_moves.MOVNTQ
        or op == sse_moves.MOVNTI
    ):
        sse_moves.move_integer(c, o, op, pp)
    elif op == sse_moves.PSHUF or sse_moves.PINSRW <= op <= sse_moves.SHUFP:
        sse_moves.shuffle(c, o, op, pp)
    elif mmx.SHIFT_WORDS <= op <= mmx.SHIFT_QWORDS:
        sse_integers.shift_immediate(c, o, op, pp)
    elif op == mmx.EMMS:
        c.fp_used = 0
        c.fp_top = 0
    elif op == sse_moves.MASKMOV:
        sse_moves.masked_store(c, o, pp)
    else:
        sse_integers.packed_integer(c, o, op, pp)
