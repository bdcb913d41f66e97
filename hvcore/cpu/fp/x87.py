"""The x87's instructions D8 to DF, and WAIT (SDM vol. 1 ch. 8, vol. 2 app. A.5): which instruction a code is.

What they do is in files of their own: `x87_registers`, `x87_arithmetic`, `x87_transfer`, `x87_environment`,
`transcendental`. FLD, FST, FXCH and FFREE of registers are here. The functions behind `execute` see no reserved
encodings.
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
        load_extended,
        load_integer64,
        read_operand,
        store_decimal,
        store_extended,
        store_integer,
        store_real,
    )
    from cython.cimports.hvcore.cpu.kinds import ESC_M, ESC_R
    from cython.cimports.hvcore.cpu.state import CR0_EM, CR0_MP, CR0_TS, CS, RAX, VEC_NM, VEC_UD, u32, u64
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import CR0_EM, CR0_MP, CR0_TS, CS, ESC_M, ESC_R, RAX, VEC_NM, VEC_UD, u32, u64
    from hvcore.cpu.constants import enums
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
        load_extended,
        load_integer64,
        read_operand,
        store_decimal,
        store_extended,
        store_integer,
        store_real,
    )

    globals().update(enums("fp/x87.pxd"))
    holes = [0] * 128

# What is no instruction (SDM vol. 2 app. A.5): by opcode and ModRM.reg, a bit for each register, or all of the memory
# forms.
NO_REGISTERS = {
    (ESC_D9, 2): 0b1111_1110,  # but FNOP
    (ESC_D9, 4): 0b1100_1100,  # but FCHS, FABS, FTST, FXAM
    (ESC_D9, 5): 0b1000_0000,
    (ESC_DA, 4): 0xFF,
    (ESC_DA, 5): 0b1111_1101,  # but FUCOMPP
    (ESC_DA, 6): 0xFF,
    (ESC_DA, 7): 0xFF,
    (ESC_DB, 4): 0b1110_0000,  # but FNCLEX, FNINIT, and three of older processors
    (ESC_DB, 7): 0xFF,
    (ESC_DD, 6): 0xFF,
    (ESC_DD, 7): 0xFF,
    (ESC_DE, 3): 0b1111_1101,  # but FCOMPP
    (ESC_DF, 4): 0b1111_1110,  # but FNSTSW AX
    (ESC_DF, 7): 0xFF,
}
NO_MEMORY = {(ESC_D9, 1), (ESC_DB, 1), (ESC_DD, 1), (ESC_DF, 1), (ESC_DB, 4), (ESC_DB, 6), (ESC_DD, 5)}


def load_holes() -> None:
    """Copy the tables into the array that `reserved` reads."""
    for (sub, reg), registers in NO_REGISTERS.items():
        holes[8 * sub + reg] = registers
    for sub, reg in NO_MEMORY:
        holes[64 + 8 * sub + reg] = 1


load_holes()


def is_control(o):
    """Whether an instruction leaves the pointers to the last one alone (SDM vol. 1 §8.1.8)."""
    if o.kind == ESC_R:  # FNCLEX, FNINIT and their kin; FNSTSW AX
        return (o.sub == ESC_DB or o.sub == ESC_DF) and o.reg == 4
    if o.sub == ESC_D9:  # FLDENV, FLDCW, FNSTENV, FNSTCW
        return o.reg >= 4
    return o.sub == ESC_DD and (o.reg == 4 or o.reg >= 6)  # FRSTOR, FNSAVE, FNSTSW


def waits(o):
    """Whether an instruction looks at waiting exceptions: all but those with N in their names do."""
    if o.kind == ESC_R:
        return not ((o.sub == ESC_DB or o.sub == ESC_DF) and o.reg == 4)
    if o.sub == ESC_D9:
        return o.reg < 6
    return not (o.sub == ESC_DD and o.reg >= 6)


def reserved(o):
    """Whether an encoding is no instruction."""
    row: u32 = 8 * o.sub + o.reg
    if o.kind == ESC_M:
        return holes[64 + row]
    return (holes[row] >> o.rm) & 1


def register_form(c, o):
    """An instruction with operands in registers."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    i: u32 = o.rm
    if sub == ESC_D8 or sub == ESC_DC or sub == ESC_DE:
        arithmetic_of_registers(c, sub, reg, i)
    elif sub == ESC_D9 and reg >= 4:
        one_operand(c, o)
    elif sub == ESC_D9 and reg == 0:
        load(c, i)
    elif sub == ESC_D9 and reg == 2:
        pass  # FNOP
    elif (sub == ESC_DA or sub == ESC_DB) and reg < 4:
        conditional_move(c, condition_code(sub, reg), i)
    elif (sub == ESC_DA and reg == 5) or (sub == ESC_DD and (reg == 4 or reg == 5)):
        x87_registers.load_pair(c, i)  # FUCOMPP, FUCOM, FUCOMP
        compare_registers(c, 1, 2 if sub == ESC_DA else reg - 4)
    elif (sub == ESC_DB or sub == ESC_DF) and (reg == 5 or reg == 6):  # FUCOMI, FCOMI, FUCOMIP, FCOMIP
        compare_flags(c, i, reg == 5, sub == ESC_DF)
    elif sub == ESC_DB and i == 2:  # FNCLEX
        c.fp_status &= x87_registers.CONDITIONS
        c.ferr = c.ignne = 0
    elif sub == ESC_DB:
        if i == 3:  # FNINIT; the others of DB /4 are the 8087's and the 287's, and do nothing
            x87_registers.initialise(c)
    elif sub == ESC_DF and reg == 4:  # FNSTSW AX
        operands.put(c, RAX, 0, 1, x87_registers.status_word(c))
    elif reg == 0:
        free(c, i, sub == ESC_DF)
    elif reg == 1:
        exchange(c, i)
    else:
        store(c, i, sub == ESC_D9, reg == 3 or sub == ESC_DF)


def condition_code(sub, reg):
    """What FCMOV asks for, as Jcc numbers it: B, E, BE or U, and with DB the opposite."""
    code: u32 = 10 if reg == 3 else 2 + 2 * reg
    return code + 1 if sub == ESC_DB else code


def arithmetic_of_registers(c, sub, reg, i):
    """D8, DC and DE: arithmetic with ST(0) and ST(i), FCOM, FCOMP, FCOMPP."""
    dest: u32 = 0 if sub == ESC_D8 else i
    pops: u32 = sub == ESC_DE
    if reg == 2 or reg == 3:  # FCOM, FCOMP; and DE D9 is FCOMPP
        pops = reg - 1 if sub == ESC_DE else reg - 2
        x87_registers.load_pair(c, i)
        compare_registers(c, 0, pops)
    elif x87_registers.load_pair(c, i):
        arithmetic(c, reg, dest, pops)
    elif x87_registers.answer(c, dest) and pops:
        x87_registers.pop(c)


def free(c, i, pops):
    """FFREE, and FFREEP, which also pops."""
    x87_registers.conclude(c)
    c.fp_used &= (1 << ((c.fp_top + i) & 7)) ^ 0xFF
    if pops:
        x87_registers.pop(c)


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
            x87_registers.set_register(c, 0, softfloat.NEGATIVE_SPECIAL, softfloat.DEFAULT_NAN)
        if not x87_registers.full(c, i):
            x87_registers.set_register(c, i, softfloat.NEGATIVE_SPECIAL, softfloat.DEFAULT_NAN)
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
    if which == x87_registers.FXAM:
        examine(c)
    elif x87_registers.FLD1 <= which <= x87_registers.FLDZ:
        constant(c, which)
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
        x87_registers.answer_twice(c)
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
    value: u64
    if not sub & 1:
        arithmetic_with_memory(c, o)
    elif reg == 0:  # FLD, FILD
        if read_operand(c, o, sub >> 1, 0):
            x87_registers.push_operand(c)
    elif reg == 2 or reg == 3:  # FST, FSTP, FIST, FISTP
        if sub == ESC_D9:
            store_real(c, o, 2, reg == 3)
        elif sub == ESC_DD:
            store_real(c, o, 3, reg == 3)
        else:
            store_integer(c, o, 2 if sub == ESC_DB else 1, reg == 3)
    elif sub == ESC_DB and reg == 5:
        load_extended(c, o)
    elif sub == ESC_DB:
        store_extended(c, o)
    elif sub == ESC_DF and reg == 4:
        load_decimal(c, o)
    elif sub == ESC_DF and reg == 5:
        load_integer64(c, o)
    elif sub == ESC_DF and reg == 6:
        store_decimal(c, o)
    elif sub == ESC_DF:
        store_integer(c, o, 3, 1)
    elif reg == 4 or reg == 6:
        environment(c, o, sub == ESC_DD)
    elif sub == ESC_DD:  # FNSTSW
        mmu.write(c, o.seg, operands.address(c, o), x87_registers.status_word(c), 1)
    elif reg == 7:  # FNSTCW
        mmu.write(c, o.seg, operands.address(c, o), c.fp_control, 1)
    else:  # FLDCW
        value = mmu.read(c, o.seg, operands.address(c, o), 1)
        if not c.fault:
            x87_registers.set_control(c, cython.cast(u32, value))


def arithmetic_with_memory(c, o):
    """D8, DA, DC and DE: arithmetic with ST(0) and memory, FCOM, FCOMP, FICOM, FICOMP."""
    there: u32
    if not read_operand(c, o, o.sub >> 1, 1):
        return
    there = x87_registers.load_top(c)
    if o.reg == 2 or o.reg == 3:
        compare_registers(c, 0, o.reg - 2)
    elif there:
        arithmetic(c, o.reg, 0, 0)
    else:
        x87_registers.answer(c, 0)


def execute(c, o, eip):
    """One instruction; `eip` is its own address."""
    if c.cr0 & (CR0_EM | CR0_TS):
        faults.exception_plain(c, VEC_NM)
        return
    if reserved(o):  # it comes before #MF of an earlier instruction (SDM vol. 3 table 7-2)
        faults.exception_plain(c, VEC_UD)
        return
    if c.fp_status & x87_registers.SUMMARY and waits(o) and x87_registers.pending(c):
        return
    c.f_flags = 0
    c.f_up = 0
    c.f_masks = c.fp_control & softfloat.EXCEPTIONS
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
    """WAIT, or FWAIT: nothing but a look at waiting exceptions."""
    if c.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS:
        faults.exception_plain(c, VEC_NM)
    elif c.has_fpu:
        x87_registers.pending(c)
