"""The x87's instructions D8 to DF, and WAIT (SDM vol. 1 ch. 8, vol. 2 app. A.5): which instruction a code is.

What they do is in files of their own: `x87_registers`, `x87_arithmetic`, `x87_transfer`, `x87_environment`,
`transcendental`. Those that only move registers about are here.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import softfloat, transcendental, x87_registers
    from cython.cimports.hvcore.cpu.fp.x87_arithmetic import (
        arithmetic,
        compare_flags,
        compare_registers,
        examine,
        extract,
        partial_remainder,
        round_to_integer,
        scale,
    )
    from cython.cimports.hvcore.cpu.fp.x87_environment import environment
    from cython.cimports.hvcore.cpu.fp.x87_transfer import (
        conditional_move,
        constant,
        load_decimal,
        read_operand,
        store_decimal,
        store_extended,
        store_integer,
        store_real,
    )
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import *
    from hvcore.cpu.fp import softfloat, transcendental, x87_registers
    from hvcore.cpu.fp.x87_arithmetic import (
        arithmetic,
        compare_flags,
        compare_registers,
        examine,
        extract,
        partial_remainder,
        round_to_integer,
        scale,
    )
    from hvcore.cpu.fp.x87_environment import environment
    from hvcore.cpu.fp.x87_transfer import (
        conditional_move,
        constant,
        load_decimal,
        read_operand,
        store_decimal,
        store_extended,
        store_integer,
        store_real,
    )


def is_control(o):
    """Whether an instruction leaves the pointers to the last one alone."""
    if o.kind == ESC_R:
        return (o.sub == 3 and o.reg == 4) or (o.sub == 7 and o.reg == 4)
    if o.sub == 1:
        return o.reg >= 4
    return o.sub == 5 and (o.reg == 4 or o.reg >= 6)


def waits(o):
    """Whether an instruction looks at waiting exceptions."""
    if o.kind == ESC_R:
        return not ((o.sub == 3 and o.reg == 4) or (o.sub == 7 and o.reg == 4))
    if o.sub == 1:
        return o.reg < 6
    return not (o.sub == 5 and o.reg >= 6)


def reserved(o):
    """Whether an encoding is no instruction: #UD comes before #MF of an earlier one (SDM vol. 3 table 7-2)."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    i: u32 = o.rm
    if o.kind == ESC_M:
        return (reg == 1 and sub & 1) or (sub == 3 and (reg == 4 or reg == 6)) or (sub == 5 and reg == 5)
    if sub == 1:
        if reg == 4:
            return i == 2 or i == 3 or i >= 6
        return (reg == 2 and i != 0) or (reg == 5 and i == 7)
    if sub == 2:
        return reg >= 4 and not (reg == 5 and i == 1)
    if sub == 3:
        return reg == 7 or (reg == 4 and i >= 5)
    if sub == 5:
        return reg >= 6
    if sub == 6:
        return reg == 3 and i != 1
    return sub == 7 and (reg == 7 or (reg == 4 and i != 0))


def register_form(c, o):
    """An instruction with operands in registers."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    i: u32 = o.rm
    n: u32 = (c.fp_top + i) & 7
    pops: u32
    if sub == 0 or sub == 4 or sub == 6:
        pops = sub == 6
        if reg == 2 or reg == 3:  # FCOM, FCOMP; DE D9 is FCOMPP
            if sub == 6:
                if reg == 3 and i != 1:
                    faults.exception_plain(c, VEC_UD)
                    return
                pops = reg - 1
            else:
                pops = reg - 2
            x87_registers.load_pair(c, i)
            compare_registers(c, 0, pops)
        elif x87_registers.load_pair(c, i):
            arithmetic(c, reg, i if sub else 0, pops)
        elif x87_registers.answer(c, i if sub else 0) and pops:
            x87_registers.pop(c)
    elif sub == 1 and reg == 0:
        load(c, i)
    elif reg == 1 and (sub == 1 or sub == 5 or sub == 7):
        exchange(c, i)
    elif sub == 1 and reg >= 4:
        one_operand(c, o)
    elif sub == 1 and reg == 2:
        if i:
            faults.exception_plain(c, VEC_UD)  # D9 D0 is FNOP
    elif (sub == 1 and reg == 3) or ((sub == 5 or sub == 7) and (reg == 2 or reg == 3)):
        store(c, i, sub == 1, reg == 3 or sub == 7)
    elif sub == 2 and reg < 4:  # FCMOVB, E, BE and U: conditions as Jcc numbers them
        conditional_move(c, 2 + 2 * reg if reg < 3 else 10, i)
    elif sub == 3 and reg < 4:  # FCMOVNB, NE, NBE and NU
        conditional_move(c, 3 + 2 * reg if reg < 3 else 11, i)
    elif (sub == 2 and reg == 5 and i == 1) or (sub == 5 and (reg == 4 or reg == 5)):
        x87_registers.load_pair(c, i)  # FUCOM, FUCOMP, FUCOMPP
        compare_registers(c, 1, 2 if sub == 2 else reg - 4)
    elif (sub == 3 or sub == 7) and (reg == 5 or reg == 6):  # FUCOMI, FCOMI, FUCOMIP, FCOMIP
        compare_flags(c, i, reg == 5, sub == 7)
    elif sub == 3 and reg == 4 and i < 5:
        if i == 2:  # FNCLEX
            c.fp_status &= x87_registers.CONDITIONS
            c.ferr = c.ignne = 0
        elif i == 3:  # FNINIT
            x87_registers.initialise(c)
    elif (sub == 5 or sub == 7) and reg == 0:  # FFREE, FFREEP
        x87_registers.conclude(c)
        c.fp_used &= (1 << n) ^ 0xFF
        if sub == 7:
            x87_registers.pop(c)
    elif sub == 7 and reg == 4 and i == 0:  # FNSTSW AX
        operands.put(c, RAX, 0, 1, x87_registers.status_word(c))
    else:
        faults.exception_plain(c, VEC_UD)


def load(c, i):
    """FLD of ST(i)."""
    n: u32 = (c.fp_top + i) & 7
    if not x87_registers.full(c, i):
        x87_registers.stack_underflow(c)
    elif not x87_registers.stack_overflow(c):
        x87_registers.conclude(c)
        x87_registers.push(c, c.fp_se[n], c.fp_sig[n])
        return
    x87_registers.push_answer(c)


def exchange(c, i):
    """FXCH: an empty register counts as the indefinite, if a stack underflow is masked."""
    n: u32 = (c.fp_top + i) & 7
    se: u32
    sig: u64
    if not x87_registers.full(c, 0) or not x87_registers.full(c, i):
        x87_registers.stack_underflow(c)
        if not x87_registers.conclude(c):
            return
        if not x87_registers.full(c, 0):
            x87_registers.set_register(c, 0, 0xFFFF, softfloat.DEFAULT_NAN)
        if not x87_registers.full(c, i):
            x87_registers.set_register(c, i, 0xFFFF, softfloat.DEFAULT_NAN)
    else:
        x87_registers.conclude(c)
    se = c.fp_se[n]
    sig = c.fp_sig[n]
    x87_registers.set_register(c, i, c.fp_se[c.fp_top], c.fp_sig[c.fp_top])
    x87_registers.set_register(c, 0, se, sig)


def store(c, i, alias, pops):
    """FST and FSTP to ST(i), and D9 D8 to D9 DF, an `alias` of FSTP that only pops where ST(0) is empty."""
    if alias and not x87_registers.full(c, 0):
        x87_registers.conclude(c)
    elif not x87_registers.full(c, 0):
        x87_registers.stack_underflow(c)
        if not x87_registers.answer(c, i):
            return
    else:
        x87_registers.conclude(c)
        x87_registers.set_register(c, i, c.fp_se[c.fp_top], c.fp_sig[c.fp_top])
    if pops:
        x87_registers.pop(c)


def one_operand(c, o):
    """The instructions D9 E0 to D9 FF, whose operands are ST(0), or ST(0) and ST(1)."""
    which: u32 = (o.reg & 3) * 8 + o.rm
    two: u32 = (
        which == x87_registers.FYL2X
        or which == x87_registers.FPATAN
        or which == x87_registers.FPREM1
        or which == x87_registers.FPREM
        or which == x87_registers.FYL2XP1
        or which == x87_registers.FSCALE
    )
    if reserved(o):
        faults.exception_plain(c, VEC_UD)
    elif which == x87_registers.FXAM:
        examine(c)
    elif x87_registers.FLD1 <= which <= x87_registers.FLDZ:
        constant(c, which - x87_registers.FLD1)
    elif which == x87_registers.FDECSTP or which == x87_registers.FINCSTP:
        x87_registers.conclude(c)
        c.fp_top = (c.fp_top + (1 if which == x87_registers.FINCSTP else 7)) & 7
    elif which == x87_registers.FXTRACT:
        x87_registers.load_register(c, 0, 0)
        extract(c)
    elif not x87_registers.full(c, 0) or (two and not x87_registers.full(c, 1)):
        one_operand_missing(c, which)
    else:
        x87_registers.load_register(c, 0, 0)
        if two:
            x87_registers.load_register(c, 1, 1)
        compute(c, which)


def one_operand_missing(c, which):
    """An operand of D9 E0 to D9 FF is an empty register: a stack underflow, with the indefinite as the result."""
    x87_registers.stack_underflow(c)
    if (
        which == x87_registers.FPTAN
        or which == x87_registers.FSINCOS
        or which == x87_registers.FSIN
        or which == x87_registers.FCOS
    ):
        c.fp_status &= x87_registers.C2 ^ 0xFFFF
    if which == x87_registers.FTST:
        compare_registers(c, 0, 0)
    elif which == x87_registers.FPTAN or which == x87_registers.FSINCOS:
        transcendental.underflow_pair(c)
    elif which == x87_registers.FPREM1 or which == x87_registers.FPREM:
        x87_registers.answer(c, 0)
        c.fp_status &= x87_registers.C2 ^ 0xFFFF
    elif which == x87_registers.FYL2X or which == x87_registers.FPATAN or which == x87_registers.FYL2XP1:
        if x87_registers.answer(c, 1):
            x87_registers.pop(c)
    else:
        x87_registers.answer(c, 0)


def compute(c, which):
    """Those of D9 E0 to D9 FF that compute, with their operands unpacked."""
    if which == x87_registers.FCHS:
        x87_registers.conclude(c)
        c.fp_se[c.fp_top] ^= 0x8000
    elif which == x87_registers.FABS:
        x87_registers.conclude(c)
        c.fp_se[c.fp_top] &= 0x7FFF
    elif which == x87_registers.FTST:
        softfloat.load_integer(c, 1, 0, 0)
        compare_registers(c, 0, 0)
    elif which == x87_registers.FPREM1 or which == x87_registers.FPREM:
        partial_remainder(c, which == x87_registers.FPREM1)
    elif which == x87_registers.FSQRT:
        if not x87_registers.one_nan(c):
            softfloat.square_root(c, x87_registers.precision(c), softfloat.MIN80, softfloat.MAX80)
        x87_registers.answer(c, 0)
    elif which == x87_registers.FRNDINT:
        round_to_integer(c)
    elif which == x87_registers.FSCALE:
        scale(c)
    else:
        transcendental.execute(c, which)


def memory_form(c, o):
    """An instruction with an operand in memory."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    there: u32
    value: u64
    if not sub & 1:
        if not read_operand(c, o, sub >> 1):
            return
        there = x87_registers.load_top(c)
        if reg == 2 or reg == 3:
            compare_registers(c, 0, reg - 2)
        elif there:
            arithmetic(c, reg, 0, 0)
        else:
            x87_registers.answer(c, 0)
    elif sub == 3 and reg == 5:  # FLD of 80 bits
        value = mmu.read(c, o.seg, operands.address(c, o), 3)
        if c.fault:
            return
        c.f_flags = mmu.read(c, o.seg, (operands.address(c, o) + 8) & SIZE_MASK[o.addr], 1)
        if c.fault:
            return
        reg = c.f_flags
        c.f_flags = 0
        if x87_registers.stack_overflow(c):
            x87_registers.push_answer(c)
        else:
            x87_registers.conclude(c)
            x87_registers.push(c, reg, value)
    elif sub == 3 and reg == 7:
        store_extended(c, o)
    elif sub == 7 and reg == 4:
        load_decimal(c, o)
    elif sub == 7 and reg == 6:
        store_decimal(c, o)
    elif sub == 7 and reg == 5:
        value = mmu.read(c, o.seg, operands.address(c, o), 3)
        if c.fault:
            return
        softfloat.load_integer(c, 0, value >> 63, (0 - value) & M64 if value >> 63 else value)
        x87_registers.push_operand(c)
    elif sub == 7 and reg == 7:
        store_integer(c, o, 3, 1)
    elif reg == 0:  # FLD, FILD
        if not read_operand(c, o, sub >> 1):
            return
        c.v_kind[0] = c.v_kind[1]
        c.v_sign[0] = c.v_sign[1]
        c.v_denormal[0] = c.v_denormal[1]
        c.v_exp[0] = c.v_exp[1]
        c.v_sig[0] = c.v_sig[1]
        x87_registers.push_operand(c)
    elif reg == 2 or reg == 3:
        if sub == 1:
            store_real(c, o, 2, reg == 3)
        elif sub == 5:
            store_real(c, o, 3, reg == 3)
        else:
            store_integer(c, o, 2 if sub == 3 else 1, reg == 3)
    elif (sub == 1 or sub == 5) and (reg == 4 or reg == 6):
        environment(c, o)
    elif sub == 1 and reg == 5:
        value = mmu.read(c, o.seg, operands.address(c, o), 1)
        if not c.fault:
            x87_registers.set_control(c, cython.cast(u32, value))
    elif sub == 1 and reg == 7:
        mmu.write(c, o.seg, operands.address(c, o), c.fp_control, 1)
    elif sub == 5 and reg == 7:
        mmu.write(c, o.seg, operands.address(c, o), x87_registers.status_word(c), 1)
    else:
        faults.exception_plain(c, VEC_UD)


def execute(c, o, eip):
    """One instruction; `eip` is its own address."""
    if c.cr0 & (CR0_EM | CR0_TS):
        faults.exception_plain(c, VEC_NM)
        return
    if c.fp_status & x87_registers.SUMMARY and waits(o) and not reserved(o) and x87_registers.pending(c):
        return
    c.f_flags = 0
    c.f_up = 0
    c.f_masks = c.fp_control & 0x3F
    c.f_round = (c.fp_control >> 10) & 3
    if o.kind == ESC_R:
        register_form(c, o)
    else:
        memory_form(c, o)
    if c.fault or is_control(o):
        return
    c.fp_ip = eip
    c.fp_cs = c.sel[CS]
    c.fp_opcode = (o.sub << 8) | cython.cast(u32, o.modrm)
    if o.kind == ESC_M:
        c.fp_dp = operands.address(c, o)
        c.fp_ds = c.sel[o.seg]


def wait(c):
    """WAIT."""
    if c.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS:
        faults.exception_plain(c, VEC_NM)
    elif c.has_fpu:
        x87_registers.pending(c)
