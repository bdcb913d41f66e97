"""The x87: its registers, its instructions D8 to DF, FXSAVE and FXRSTOR (SDM vol. 1 ch. 8, vol. 2).

An instruction loads its operands into `v_*`, lets `softfloat` or `transcendental` compute, and `conclude`s:
the exceptions go into the status word, and whether an unmasked one forbids the result is the answer. Nothing
changes before the memory operand is known to be good.

An unmasked exception waits in the status word (ES) until the next waiting instruction. With CR0.NE that
raises #MF. Without, it pulls FERR# (`State.ferr`), stops for the backend and does not complete: the board may
make an IRQ 13 of it and answer with IGNNE# (`State.ignne`), upon which the instruction goes on. Nothing does
so yet, so such a guest stands still there, as a PC does whose FERR# leads nowhere.

Not modelled: an image (FSAVE, FRSTOR, FSTENV, FLDENV, FXSAVE, FXRSTOR) in what is no memory; it raises #GP(0).
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import flags, mmu, operands, transcendental
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.softfloat import *
    from cython.cimports.hvcore.cpu.state import *
    from cython.cimports.hvcore.cpu.x87 import *
else:
    from hvcore.cpu import flags, mmu, operands, transcendental
    from hvcore.cpu.constants import *
    from hvcore.cpu.constants import enums
    from hvcore.cpu.softfloat import *

    globals().update(enums("x87.pxd"))
    PI_SIG = 0xC90F_DAA2_2168_C235
    L2T_SIG = 0xD49A_784B_CD1B_8AFE
    L2E_SIG = 0xB8AA_3B29_5C17_F0BC
    LG2_SIG = 0x9A20_9A84_FBCF_F799
    LN2_SIG = 0xB172_17F7_D1CF_79AC
    BCD_LIMIT = 10**18 - 1
    BCD_INDEFINITE = 0xC000_0000_0000_0000

EXIT_FERR_FREEZE = cython.declare(u32, 32)  # ExitKind

# State


def power_on(c):
    """After reset the registers are zero, not empty, and exceptions unmasked (SDM vol. 3 table 10-1)."""
    i: u32
    initialise(c)
    c.fp_control = 0x40
    c.fp_used = 0xFF
    c.mxcsr = 0x1F80
    for i in range(8):
        c.fp_se[i] = 0
        c.fp_sig[i] = 0
    for i in range(16):
        c.xmm[i] = 0


def initialise(c):
    """FNINIT."""
    c.fp_control = 0x37F
    c.fp_status = 0
    c.fp_top = 0
    c.fp_used = 0
    c.fp_opcode = 0
    c.fp_ip = 0
    c.fp_cs = 0
    c.fp_dp = 0
    c.fp_ds = 0
    c.ferr = 0


def summarise(c):
    """ES and B say whether an exception is unmasked."""
    if c.fp_status & 0x3F & (c.fp_control ^ 0x3F):
        c.fp_status |= SUMMARY | BUSY
    else:
        c.fp_status &= (SUMMARY | BUSY) ^ 0xFFFF
        c.ferr = 0


def pending(c):
    """Whether an unmasked exception of an earlier instruction stops this one."""
    if not c.fp_status & SUMMARY:
        return 0
    if c.cr0 & CR0_NE:
        mmu.exception_plain(c, VEC_MF)
        return 1
    c.ferr = 1
    if c.ignne:
        return 0
    if c.on_ferr:
        c.fault = FAULT_EXIT
        c.info.kind = EXIT_FERR_FREEZE
        return 1
    c.fault = FAULT_REPEAT
    c.special |= SPECIAL_STOP
    return 1


def wait(c):
    """WAIT."""
    if c.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS:
        mmu.exception_plain(c, VEC_NM)
    elif c.has_fpu:
        pending(c)


def full(c, i):
    """Whether ST(i) is not empty."""
    return (c.fp_used >> ((c.fp_top + i) & 7)) & 1


def load_register(c, v, i):
    """Unpack ST(i) as operand `v`."""
    n: u32 = (c.fp_top + i) & 7
    load80(c, v, c.fp_se[n], c.fp_sig[n])


def set_register(c, i, se, sig):
    """Set ST(i)."""
    n: u32 = (c.fp_top + i) & 7
    c.fp_se[n] = se
    c.fp_sig[n] = sig
    c.fp_used |= 1 << n


def pop(c):
    """Empty ST(0) and move TOP."""
    c.fp_used &= (1 << c.fp_top) ^ 0xFF
    c.fp_top = (c.fp_top + 1) & 7


def push(c, se, sig):
    """Move TOP and set ST(0)."""
    c.fp_top = (c.fp_top - 1) & 7
    set_register(c, 0, se, sig)


def conclude(c):
    """Put the exceptions into the status word; 0 when one of them is unmasked and forbids the result."""
    c.fp_status = (c.fp_status & (C1 ^ 0xFFFF)) | c.f_flags | (C1 if c.f_up else 0)
    summarise(c)
    return not c.f_flags & (IE | DE | ZE) & (c.f_masks ^ 0x3F)


def answer(c, i):
    """Conclude, and set ST(i) to the result if it may be."""
    if not conclude(c):
        return 0
    set_register(c, i, sign_exponent(c), c.x_hi)
    return 1


def stack_underflow(c):
    """An operand is an empty register."""
    c.f_flags |= IE | STACK_FAULT
    c.f_up = 0
    give_nan(c)


def stack_overflow(c):
    """Whether there is no room for one more; then the indefinite is what is to be pushed."""
    if not (c.fp_used >> ((c.fp_top - 1) & 7)) & 1:
        return 0
    c.f_flags |= IE | STACK_FAULT
    c.f_up = 1
    give_nan(c)
    return 1


def precision(c):
    """The precision control: bits of the significand."""
    control: u32 = (c.fp_control >> 8) & 3
    if control == 0:
        return 24
    return 53 if control == 2 else 64


# NaNs


def one_nan(c):
    """Whether operand 0 is a NaN or unsupported; the result then is what becomes of it."""
    if c.v_kind[0] < QUIET:
        return 0
    if c.v_kind[0] == UNSUPPORTED:
        give_invalid(c)
        return 1
    if c.v_kind[0] == SIGNALLING:
        c.f_flags |= IE
    give_operand(c, 0)
    c.x_hi |= QUIET_BIT
    return 1


def choose_nan(c):
    """Whether an operand is a NaN or unsupported; the result is chosen by SDM vol. 1 table 4-7."""
    a: u32 = c.v_kind[0]
    b: u32 = c.v_kind[1]
    i: u32 = 0
    if a < QUIET and b < QUIET:
        return 0
    if a == UNSUPPORTED or b == UNSUPPORTED:
        give_invalid(c)
        return 1
    if a == SIGNALLING or b == SIGNALLING:
        c.f_flags |= IE
    if a < QUIET:
        i = 1
    elif b >= QUIET:
        if a != b:
            i = 1 if b == QUIET else 0
        elif c.v_sig[1] > c.v_sig[0] or (c.v_sig[1] == c.v_sig[0] and c.v_sign[0]):
            i = 1
    give_operand(c, i)
    c.x_hi |= QUIET_BIT
    return 1


# Arithmetic


def arithmetic(c, op, dest, pops):
    """ST(dest) = operand 0 `op` operand 1."""
    if not choose_nan(c):
        operate(c, op, precision(c), MIN80, MAX80)
    if answer(c, dest) and pops:
        pop(c)


def relation(c, quiet):
    """Compare the operands; a NaN is invalid unless it is a quiet one and `quiet`."""
    a: u32 = c.v_kind[0]
    b: u32 = c.v_kind[1]
    if a >= QUIET or b >= QUIET:
        if not quiet or a >= SIGNALLING or b >= SIGNALLING:
            c.f_flags |= IE
        return UNORDERED
    return compare(c)


def compare_registers(c, quiet, pops):
    """FCOM, FUCOM, FTST: the condition code, whatever is unmasked; only the pop is then left out."""
    r: u32 = UNORDERED
    fine: u32
    if not c.f_flags:
        r = relation(c, quiet)
    fine = conclude(c)
    c.fp_status &= CONDITIONS ^ 0xFFFF
    if r == LESS:
        c.fp_status |= C0
    elif r == EQUAL:
        c.fp_status |= C3
    elif r == UNORDERED:
        c.fp_status |= C3 | C2 | C0
    if not fine:
        return
    if pops:
        pop(c)
    if pops == 2:
        pop(c)


def compare_flags(c, i, quiet, pops):
    """FCOMI and FUCOMI: EFLAGS."""
    r: u32 = UNORDERED
    fine: u32
    if full(c, 0) and full(c, i):
        load_register(c, 0, 0)
        load_register(c, 1, i)
        r = relation(c, quiet)
        c.f_up = (c.fp_status & C1) != 0  # C1 stays
    else:
        stack_underflow(c)
    fine = conclude(c)
    if r == LESS:
        flags.set_status(c, F_CF)
    elif r == EQUAL:
        flags.set_status(c, F_ZF)
    elif r == UNORDERED:
        flags.set_status(c, F_ZF | F_PF | F_CF)
    else:
        flags.set_status(c, 0)
    if fine and pops:
        pop(c)


def examine(c):
    """FXAM."""
    code: u32 = c.fp_se[c.fp_top] >> 15 << 9
    load_register(c, 0, 0)
    if not full(c, 0):
        code |= C3 | C0
    elif c.v_denormal[0]:
        code |= C3 | C2
    elif c.v_kind[0] == ZERO:
        code |= C3
    elif c.v_kind[0] == FINITE:
        code |= C2
    elif c.v_kind[0] == INFINITE:
        code |= C2 | C0
    elif c.v_kind[0] != UNSUPPORTED:
        code |= C0
    c.fp_status = (c.fp_status & (CONDITIONS ^ 0xFFFF)) | code


def load(c):
    """Push operand 0, which came from memory."""
    if not stack_overflow(c) and not one_nan(c):
        give_operand(c, 0)
        if c.v_denormal[0]:
            c.f_flags |= DE
    conclude(c)
    if not c.f_flags & IE & (c.f_masks ^ 0x3F):  # a denormal is loaded whatever the mask
        push(c, sign_exponent(c), c.x_hi)


def constant(c, which):
    """FLD1 and its like; the irrational ones obey the rounding control."""
    exp: s64 = BIAS
    sig: u64 = TOP
    below: u32 = c.f_round == DOWN or c.f_round == CHOP
    if which == 1:
        exp = BIAS + 1
        sig = L2T_SIG + (c.f_round == UP)
    elif which == 2:
        sig = L2E_SIG - below
    elif which == 3:
        exp = BIAS + 1
        sig = PI_SIG - below
    elif which == 4:
        exp = BIAS - 2
        sig = LG2_SIG - below
    elif which == 5:
        exp = BIAS - 1
        sig = LN2_SIG - below
    elif which == 6:
        exp = 0
        sig = 0
    if not stack_overflow(c):
        give(c, 0, exp, sig)
    if conclude(c):
        push(c, sign_exponent(c), c.x_hi)


def conditional_move(c, code, i):
    """FCMOVcc."""
    n: u32 = (c.fp_top + i) & 7
    if not full(c, 0) or not full(c, i):
        stack_underflow(c)
        answer(c, 0)
        return
    if flags.condition(c, code):
        set_register(c, 0, c.fp_se[n], c.fp_sig[n])


def round_to_integer(c):
    """FRNDINT."""
    if one_nan(c):
        pass
    elif c.v_kind[0] != FINITE or c.v_exp[0] >= BIAS + 63:
        give_operand(c, 0)
    else:
        if c.v_denormal[0]:
            c.f_flags |= DE
            if not c.f_masks & DE:
                conclude(c)
                return
        to_integer(c)
        if c.x_hi:
            c.x_exp = BIAS + 63
            normalise(c)
        else:
            c.x_exp = 0
    answer(c, 0)


def extract(c):
    """FXTRACT: the exponent replaces ST(0), the significand is pushed."""
    se: u32
    sig: u64
    n: s64
    if not full(c, 0):
        stack_underflow(c)
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    if stack_overflow(c):
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    if one_nan(c):
        if answer(c, 0):
            push(c, sign_exponent(c), c.x_hi)
        return
    se = c.v_sign[0] << 15
    sig = c.v_sig[0]
    if c.v_kind[0] == ZERO:
        c.f_flags |= ZE
        give(c, 1, SPECIAL_EXP, TOP)
    elif c.v_kind[0] == INFINITE:
        se |= SPECIAL_EXP
        give(c, 0, SPECIAL_EXP, TOP)
    else:
        if c.v_denormal[0]:
            c.f_flags |= DE
        se |= BIAS
        n = c.v_exp[0] - BIAS
        load_integer(c, 0, n < 0, cython.cast(u64, -n if n < 0 else n))
        give_operand(c, 0)
    if answer(c, 0):
        push(c, se, sig)


def scale(c):
    """FSCALE: ST(0) times two to the power of the integer part of ST(1)."""
    n: s64
    if not choose_nan(c):
        if c.v_kind[1] == INFINITE:
            if c.v_kind[0] == (INFINITE if c.v_sign[1] else ZERO):
                give_invalid(c)
            else:
                if c.v_denormal[0]:
                    c.f_flags |= DE
                if c.v_sign[1]:
                    give(c, c.v_sign[0], 0, 0)
                else:
                    give(c, c.v_sign[0], SPECIAL_EXP, TOP)
        else:
            give_operand(c, 0)
            if c.v_denormal[0] or c.v_denormal[1]:
                c.f_flags |= DE
                if not c.f_masks & DE:
                    conclude(c)
                    return
            if c.v_kind[0] == FINITE:
                n = 0
                if c.v_kind[1] == FINITE and c.v_exp[1] >= BIAS:
                    n = 0x10000
                    if c.v_exp[1] < BIAS + 16:
                        n = c.v_sig[1] >> (63 - (c.v_exp[1] - BIAS))
                    if c.v_sign[1]:
                        n = -n
                c.x_exp += n
                finish(c, 64, MIN80, MAX80)
    answer(c, 0)


def partial_remainder(c, nearest):
    """FPREM and FPREM1."""
    q: u32 = 16  # nothing was divided
    if not choose_nan(c):
        if c.v_kind[0] == INFINITE or c.v_kind[1] == ZERO:
            give_invalid(c)
        else:
            if c.v_denormal[0] or c.v_denormal[1]:
                c.f_flags |= DE
                if not c.f_masks & DE:
                    c.fp_status &= C2 ^ 0xFFFF
                    conclude(c)
                    return
            if c.v_kind[0] == ZERO or c.v_kind[1] == INFINITE:
                q = 0
                give_operand(c, 0)
            else:
                q = remainder(c, nearest)
            if c.x_hi:
                finish(c, 64, MIN80, MAX80)
    answer(c, 0)
    c.fp_status &= C2 ^ 0xFFFF
    if q == 16:
        return
    c.fp_status &= CONDITIONS ^ 0xFFFF
    if q & 8:
        c.fp_status |= C2
    else:
        c.fp_status |= (C0 if q & 4 else 0) | (C3 if q & 2 else 0) | (C1 if q & 1 else 0)


# Memory


def store_real(c, o, size, pops):
    """FST and FSTP to single or double precision."""
    value: u64
    if not full(c, 0):
        stack_underflow(c)
    else:
        load_register(c, 0, 0)
        if not one_nan(c):
            give_operand(c, 0)
            if c.v_kind[0] == FINITE:
                if size == 2:
                    finish(c, 24, MIN32, MAX32)
                else:
                    finish(c, 53, MIN64, MAX64)
    if not c.f_flags & (IE | OE | UE) & (c.f_masks ^ 0x3F):
        value = pack32(c) if size == 2 else pack64(c)
        mmu.write(c, o.seg, operands.address(c, o), value, size)
        if c.fault:
            return
        conclude(c)
        if pops:
            pop(c)
        return
    if c.f_flags & (OE | UE):  # not stored, so not rounded
        c.f_up = 0
        c.f_flags &= PE ^ 0x7F
    conclude(c)


def store_integer(c, o, size, pops):
    """FIST and FISTP: the integer indefinite for what is none."""
    limit: u64 = SIZE_SIGN[size]
    value: u64
    if not full(c, 0):
        stack_underflow(c)
    else:
        load_register(c, 0, 0)
        if c.v_kind[0] >= INFINITE or not to_integer(c) or c.x_hi > limit - 1 + c.x_sign:
            c.f_flags = IE
            c.f_up = 0
    value = limit
    if not c.f_flags & IE:
        value = (0 - c.x_hi) & M64 if c.x_sign else c.x_hi
    if not c.f_flags & IE & (c.f_masks ^ 0x3F):
        mmu.write(c, o.seg, operands.address(c, o), value & SIZE_MASK[size], size)
        if c.fault:
            return
        conclude(c)
        if pops:
            pop(c)
        return
    conclude(c)


def store_extended(c, o):
    """FSTP to 80 bits."""
    off: u64 = operands.address(c, o)
    se: u32 = c.fp_se[c.fp_top]
    sig: u64 = c.fp_sig[c.fp_top]
    if not full(c, 0):
        stack_underflow(c)
        se = 0xFFFF
        sig = DEFAULT_NAN
        if not c.f_masks & IE:
            conclude(c)
            return
    if not mmu.check_write(c, o.seg, off, 10):
        return
    mmu.write(c, o.seg, off, sig, 3)
    if c.fault:
        return
    mmu.write(c, o.seg, (off + 8) & SIZE_MASK[o.addr], se, 1)
    if c.fault:
        return
    conclude(c)
    pop(c)


def load_decimal(c, o):
    """FBLD."""
    off: u64 = operands.address(c, o)
    digits: u64 = mmu.read(c, o.seg, off, 3)
    top: u64
    value: u64 = 0
    i: u32
    if c.fault:
        return
    top = mmu.read(c, o.seg, (off + 8) & SIZE_MASK[o.addr], 1)
    if c.fault:
        return
    value = ((top >> 4) & 15) * 10 + (top & 15)
    for i in range(16):
        value = value * 10 + ((digits >> (60 - 4 * i)) & 15)
    load_integer(c, 0, (top >> 15) & 1, value & M64)
    load(c)


def store_decimal(c, o):
    """FBSTP."""
    off: u64 = operands.address(c, o)
    low: u64 = BCD_INDEFINITE
    high: u64 = 0xFFFF
    value: u64
    i: u32
    if not full(c, 0):
        stack_underflow(c)
    else:
        load_register(c, 0, 0)
        if c.v_kind[0] >= INFINITE or not to_integer(c) or c.x_hi > BCD_LIMIT:
            c.f_flags = IE
            c.f_up = 0
        else:
            value = c.x_hi
            low = 0
            for i in range(16):
                low |= (value % 10) << (4 * i)
                value = value // 10
            high = (value % 10) | ((value // 10) << 4) | (0x8000 if c.x_sign else 0)
    if c.f_flags & IE & (c.f_masks ^ 0x3F):
        conclude(c)
        return
    if not mmu.check_write(c, o.seg, off, 10):
        return
    mmu.write(c, o.seg, off, low, 3)
    if c.fault:
        return
    mmu.write(c, o.seg, (off + 8) & SIZE_MASK[o.addr], high, 1)
    if c.fault:
        return
    conclude(c)
    pop(c)


def read_operand(c, o, form):
    """Unpack the memory operand as operand 1: form 0 single, 1 32-bit integer, 2 double, 3 16-bit integer.

    Returns 0 when that failed.
    """
    size: u32 = 2
    value: u64
    sign: u32
    if form == 2:
        size = 3
    elif form == 3:
        size = 1
    value = mmu.read(c, o.seg, operands.address(c, o), size)
    if c.fault:
        return 0
    if form == 0:
        load32(c, 1, value)
    elif form == 2:
        load64(c, 1, value)
    else:
        sign = (value & SIZE_SIGN[size]) != 0
        load_integer(c, 1, sign, (0 - value) & SIZE_MASK[size] if sign else value)
    return 1


# Control, environment and state


def status_word(c):
    """The status word with TOP."""
    return c.fp_status | (c.fp_top << 11)


def set_status_word(c, value):
    """Set the status word; ES follows from the exceptions and their masks."""
    c.fp_top = (value >> 11) & 7
    c.fp_status = value & 0x477F
    summarise(c)


def set_control(c, value):
    """Set the control word."""
    c.fp_control = (value & 0x1F3F) | 0x40
    summarise(c)


def tag_word(c):
    """The full tag word: two bits for a register."""
    tags: u32 = 0
    i: u32
    tag: u32
    for i in range(8):
        tag = 3
        if (c.fp_used >> i) & 1:
            load80(c, 0, c.fp_se[i], c.fp_sig[i])
            tag = 1 if c.v_kind[0] == ZERO else 0 if c.v_kind[0] == FINITE and not c.v_denormal[0] else 2
        tags |= tag << (2 * i)
    return tags


def store_environment(c, seg, off, mask, size):
    """The environment in one of its four formats (SDM vol. 1 figures 8-9 to 8-12); it has been checked."""
    n: u64 = 1 << size
    fill: u32 = 0xFFFF0000 if size == 2 else 0
    real: u32 = not c.protected or (c.flags & F_VM) != 0
    ip: u64 = c.fp_ip
    dp: u64 = c.fp_dp
    third: u64
    fifth: u64
    words: u64
    if real:
        ip = (ip + (c.fp_cs << 4)) & M32
        dp = (dp + (c.fp_ds << 4)) & M32
    if size == 2:
        words = c.fp_opcode
        third = ((ip >> 16) << 12) | words if real else c.fp_cs | (words << 16)
        fifth = (dp >> 16) << 12 if real else c.fp_ds | fill
        if real:
            ip = (ip & 0xFFFF) | fill
            dp = (dp & 0xFFFF) | fill
    else:
        words = c.fp_opcode
        third = (((ip >> 16) & 15) << 12) | words if real else c.fp_cs
        fifth = ((dp >> 16) & 15) << 12 if real else c.fp_ds
    mmu.write(c, seg, off, c.fp_control | fill, size)
    mmu.write(c, seg, (off + n) & mask, status_word(c) | fill, size)
    mmu.write(c, seg, (off + 2 * n) & mask, tag_word(c) | fill, size)
    mmu.write(c, seg, (off + 3 * n) & mask, ip & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 4 * n) & mask, third & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 5 * n) & mask, dp & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 6 * n) & mask, fifth & SIZE_MASK[size], size)


def load_environment(c, seg, off, mask, size):
    """Load what `store_environment` stored; the reads have been tried."""
    n: u64 = 1 << size
    real: u32 = not c.protected or (c.flags & F_VM) != 0
    tags: u32 = mmu.read(c, seg, (off + 2 * n) & mask, 1)
    third: u64 = mmu.read(c, seg, (off + 4 * n) & mask, size)
    fifth: u64 = mmu.read(c, seg, (off + 6 * n) & mask, size)
    i: u32
    c.fp_ip = mmu.read(c, seg, (off + 3 * n) & mask, size)
    c.fp_dp = mmu.read(c, seg, (off + 5 * n) & mask, size)
    if real:
        c.fp_ip = (c.fp_ip & 0xFFFF) | (((third >> 12) & 0xFFFF) << 16)
        c.fp_dp = (c.fp_dp & 0xFFFF) | (((fifth >> 12) & 0xFFFF) << 16)
        c.fp_cs = 0
        c.fp_ds = 0
        c.fp_opcode = third & 0x7FF
    else:
        c.fp_cs = third & 0xFFFF
        c.fp_ds = fifth & 0xFFFF
        c.fp_opcode = (third >> 16) & 0x7FF if size == 2 else 0
    c.fp_used = 0
    for i in range(8):
        if (tags >> (2 * i)) & 3 != 3:
            c.fp_used |= 1 << i
    c.fp_control = (mmu.read(c, seg, off, 1) & 0x1F3F) | 0x40
    set_status_word(c, cython.cast(u32, mmu.read(c, seg, (off + n) & mask, 1)))


def environment(c, o):
    """FLDENV FNSTENV FRSTOR FNSAVE."""
    size: u32 = 1 if o.size < 2 else 2
    mask: u64 = SIZE_MASK[o.addr]
    off: u64 = operands.address(c, o)
    n: u64 = 7 << size
    total: u64 = n
    i: u32
    r: u32
    if o.sub == 5:
        total += 80
    if c.emulating:
        mmu.exception(c, VEC_GP, 0)
        return
    if o.reg == 6:
        if not mmu.check_write(c, o.seg, off, total):
            return
        store_environment(c, o.seg, off, mask, size)
        if o.sub == 5:
            for i in range(8):
                r = (c.fp_top + i) & 7
                mmu.write(c, o.seg, (off + n + 10 * i) & mask, c.fp_sig[r], 3)
                mmu.write(c, o.seg, (off + n + 10 * i + 8) & mask, c.fp_se[r], 1)
        if c.fault:
            return
        if o.sub == 5:
            initialise(c)
        else:
            c.fp_control |= 0x3F
            summarise(c)
        return
    for i in range(cython.cast(u32, total >> 1)):
        mmu.read(c, o.seg, (off + 2 * i) & mask, 1)
        if c.fault:
            return
    load_environment(c, o.seg, off, mask, size)
    if o.sub == 5:
        for i in range(8):
            r = (c.fp_top + i) & 7
            c.fp_sig[r] = mmu.read(c, o.seg, (off + n + 10 * i) & mask, 3)
            c.fp_se[r] = mmu.read(c, o.seg, (off + n + 10 * i + 8) & mask, 1)


def fxsave(c, o):
    """FXSAVE (SDM vol. 1 §10.5.1)."""
    off: u64 = operands.address(c, o)
    i: u32
    r: u32
    seg: u32 = o.seg
    xmm: u32 = c.has_sse and c.cr4 & CR4_OSFXSR
    if c.cr0 & (CR0_EM | CR0_TS):
        mmu.exception_plain(c, VEC_NM)
        return
    if (c.base[seg] + off) & 15 or c.emulating:
        mmu.exception(c, VEC_GP, 0)
        return
    if not mmu.check_write(c, seg, off, 512):
        return
    mmu.write(c, seg, off, c.fp_control, 1)
    mmu.write(c, seg, off + 2, status_word(c), 1)
    mmu.write(c, seg, off + 4, c.fp_used, 1)
    mmu.write(c, seg, off + 6, c.fp_opcode, 1)
    mmu.write(c, seg, off + 8, c.fp_ip & M32, 2)
    mmu.write(c, seg, off + 12, c.fp_cs, 2)
    mmu.write(c, seg, off + 16, c.fp_dp & M32, 2)
    mmu.write(c, seg, off + 20, c.fp_ds, 2)
    if c.has_sse:
        mmu.write(c, seg, off + 24, c.mxcsr, 2)
        mmu.write(c, seg, off + 28, 0xFFFF, 2)
    for i in range(8):
        r = (c.fp_top + i) & 7
        mmu.write(c, seg, off + 32 + 16 * i, c.fp_sig[r], 3)
        mmu.write(c, seg, off + 40 + 16 * i, c.fp_se[r], 3)
    if xmm:
        for i in range(16):
            mmu.write(c, seg, off + 160 + 8 * i, c.xmm[i], 3)


def fxrstor(c, o):
    """FXRSTOR."""
    off: u64 = operands.address(c, o)
    i: u32
    r: u32
    value: u64 = 0
    seg: u32 = o.seg
    if c.cr0 & (CR0_EM | CR0_TS):
        mmu.exception_plain(c, VEC_NM)
        return
    if (c.base[seg] + off) & 15 or c.emulating:
        mmu.exception(c, VEC_GP, 0)
        return
    for i in range(64):
        mmu.read(c, seg, off + 8 * i, 3)
        if c.fault:
            return
    if c.has_sse:
        value = mmu.read(c, seg, off + 24, 2)
        if value > 0xFFFF:
            mmu.exception(c, VEC_GP, 0)
            return
        c.mxcsr = value
    c.fp_control = (mmu.read(c, seg, off, 1) & 0x1F3F) | 0x40
    c.fp_used = mmu.read(c, seg, off + 4, 0)
    c.fp_opcode = mmu.read(c, seg, off + 6, 1) & 0x7FF
    c.fp_ip = mmu.read(c, seg, off + 8, 2)
    c.fp_cs = mmu.read(c, seg, off + 12, 1)
    c.fp_dp = mmu.read(c, seg, off + 16, 2)
    c.fp_ds = mmu.read(c, seg, off + 20, 1)
    set_status_word(c, cython.cast(u32, mmu.read(c, seg, off + 2, 1)))
    for i in range(8):
        r = (c.fp_top + i) & 7
        c.fp_sig[r] = mmu.read(c, seg, off + 32 + 16 * i, 3)
        c.fp_se[r] = mmu.read(c, seg, off + 40 + 16 * i, 1)
    if c.has_sse and c.cr4 & CR4_OSFXSR:
        for i in range(16):
            c.xmm[i] = mmu.read(c, seg, off + 160 + 8 * i, 3)


def save_or_restore(c, o):
    """FXSAVE and FXRSTOR."""
    if not c.has_fxsr:
        mmu.exception_plain(c, VEC_UD)
    elif o.sub:
        fxrstor(c, o)
    else:
        fxsave(c, o)


# Instructions


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
    se: u32
    sig: u64
    pops: u32
    if sub == 0 or sub == 4 or sub == 6:
        pops = sub == 6
        if reg == 2 or reg == 3:  # FCOM, FCOMP; DE D9 is FCOMPP
            if sub == 6:
                if reg == 3 and i != 1:
                    mmu.exception_plain(c, VEC_UD)
                    return
                pops = reg - 1
            else:
                pops = reg - 2
            if full(c, 0) and full(c, i):
                load_register(c, 0, 0)
                load_register(c, 1, i)
            else:
                stack_underflow(c)
            compare_registers(c, 0, pops)
        elif not full(c, 0) or not full(c, i):
            stack_underflow(c)
            if answer(c, i if sub else 0) and pops:
                pop(c)
        else:
            load_register(c, 0, 0)
            load_register(c, 1, i)
            arithmetic(c, reg, i if sub else 0, pops)
    elif (
        (sub == 1 and reg == 0)
        or (sub == 1 and reg == 1)
        or (sub == 5 and reg == 1)
        or (sub == 7 and reg == 1)
    ):
        se = c.fp_se[n]
        sig = c.fp_sig[n]
        if reg == 0:  # FLD
            if not full(c, i):
                stack_underflow(c)
            elif not stack_overflow(c):
                conclude(c)
                push(c, se, sig)
                return
            if conclude(c):
                push(c, sign_exponent(c), c.x_hi)
        else:  # FXCH
            if not full(c, 0) or not full(c, i):
                stack_underflow(c)
                if not conclude(c):
                    return
                if not full(c, 0):
                    set_register(c, 0, 0xFFFF, DEFAULT_NAN)
                if not full(c, i):
                    set_register(c, i, 0xFFFF, DEFAULT_NAN)
                se = c.fp_se[n]
                sig = c.fp_sig[n]
            else:
                conclude(c)
            set_register(c, i, c.fp_se[c.fp_top], c.fp_sig[c.fp_top])
            set_register(c, 0, se, sig)
    elif sub == 1 and reg >= 4:
        one_operand(c, o)
    elif sub == 1 and reg == 2:
        if i:
            mmu.exception_plain(c, VEC_UD)  # D9 D0 is FNOP
    elif (
        (sub == 5 and (reg == 2 or reg == 3))
        or (sub == 1 and reg == 3)
        or (sub == 7 and (reg == 2 or reg == 3))
    ):
        if sub == 1 and not full(c, 0):  # an alias of FSTP that only pops then
            conclude(c)
        elif not full(c, 0):  # FST, FSTP
            stack_underflow(c)
            if not answer(c, i):
                return
        else:
            conclude(c)
            set_register(c, i, c.fp_se[c.fp_top], c.fp_sig[c.fp_top])
        if reg == 3 or sub == 7:
            pop(c)
    elif sub == 2 and reg < 4:
        conditional_move(c, 2 + 2 * reg if reg < 3 else 10, i)
    elif sub == 3 and reg < 4:
        conditional_move(c, 3 + 2 * reg if reg < 3 else 11, i)
    elif (sub == 2 and reg == 5 and i == 1) or (sub == 5 and (reg == 4 or reg == 5)):
        if full(c, 0) and full(c, i):  # FUCOM, FUCOMP, FUCOMPP
            load_register(c, 0, 0)
            load_register(c, 1, i)
        else:
            stack_underflow(c)
        compare_registers(c, 1, 2 if sub == 2 else reg - 4)
    elif (sub == 3 or sub == 7) and (reg == 5 or reg == 6):
        compare_flags(c, i, reg == 5, sub == 7)
    elif sub == 3 and reg == 4 and i < 5:
        if i == 2:  # FNCLEX
            c.fp_status &= CONDITIONS
            c.ferr = 0
        elif i == 3:
            initialise(c)
    elif (sub == 5 or sub == 7) and reg == 0:  # FFREE, FFREEP
        conclude(c)
        c.fp_used &= (1 << n) ^ 0xFF
        if sub == 7:
            pop(c)
    elif sub == 7 and reg == 4 and i == 0:
        operands.put(c, RAX, 0, 1, status_word(c))
    else:
        mmu.exception_plain(c, VEC_UD)


def one_operand(c, o):
    """D9 E0 to D9 FF."""
    which: u32 = (o.reg & 3) * 8 + o.rm
    two: u32 = 0
    if which == 2 or which == 3 or which == 6 or which == 7 or which == 15:
        mmu.exception_plain(c, VEC_UD)
        return
    if which == 5:
        examine(c)
        return
    if 8 <= which <= 14:
        constant(c, which - 8)
        return
    if which == 0x16 or which == 0x17:  # FDECSTP, FINCSTP
        conclude(c)
        c.fp_top = (c.fp_top + (1 if which == 0x17 else 7)) & 7
        return
    if which == 0x11 or which == 0x13 or which == 0x15 or which == 0x18 or which == 0x19 or which == 0x1D:
        two = 1
    if which == 0x14:
        load_register(c, 0, 0)
        extract(c)
        return
    if not full(c, 0) or (two and not full(c, 1)):
        stack_underflow(c)
        if which == 0x12 or which == 0x1B or which >= 0x1E:
            c.fp_status &= C2 ^ 0xFFFF
        if which == 4:
            compare_registers(c, 0, 0)
        elif which == 0x12 or which == 0x1B:
            transcendental.underflow_pair(c)
        elif which == 0x15 or which == 0x18:
            answer(c, 0)
            c.fp_status &= C2 ^ 0xFFFF
        elif which == 0x11 or which == 0x13 or which == 0x19:
            if answer(c, 1):
                pop(c)
        else:
            answer(c, 0)
        return
    load_register(c, 0, 0)
    if two:
        load_register(c, 1, 1)
    if which == 0 or which == 1:  # FCHS, FABS
        conclude(c)
        c.fp_se[c.fp_top] = c.fp_se[c.fp_top] ^ 0x8000 if which == 0 else c.fp_se[c.fp_top] & 0x7FFF
    elif which == 4:
        load_integer(c, 1, 0, 0)
        compare_registers(c, 0, 0)
    elif which == 0x15 or which == 0x18:
        partial_remainder(c, which == 0x15)
    elif which == 0x1A:
        if not one_nan(c):
            square_root(c, precision(c), MIN80, MAX80)
        answer(c, 0)
    elif which == 0x1C:
        round_to_integer(c)
    elif which == 0x1D:
        scale(c)
    else:
        transcendental.execute(c, which)


def memory_form(c, o):
    """An instruction with an operand in memory."""
    sub: u32 = o.sub
    reg: u32 = o.reg
    value: u64
    if not sub & 1:
        if not read_operand(c, o, sub >> 1):
            return
        if not full(c, 0):
            stack_underflow(c)
            if reg == 2 or reg == 3:
                compare_registers(c, 0, reg - 2)
            else:
                answer(c, 0)
            return
        load_register(c, 0, 0)
        if reg == 2 or reg == 3:
            compare_registers(c, 0, reg - 2)
        else:
            arithmetic(c, reg, 0, 0)
    elif sub == 3 and reg == 5:  # FLD of 80 bits
        value = mmu.read(c, o.seg, operands.address(c, o), 3)
        if c.fault:
            return
        c.f_flags = mmu.read(c, o.seg, (operands.address(c, o) + 8) & SIZE_MASK[o.addr], 1)
        if c.fault:
            return
        reg = c.f_flags
        c.f_flags = 0
        if stack_overflow(c):
            if conclude(c):
                push(c, sign_exponent(c), c.x_hi)
        else:
            conclude(c)
            push(c, reg, value)
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
        load_integer(c, 0, value >> 63, (0 - value) & M64 if value >> 63 else value)
        load(c)
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
        load(c)
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
            set_control(c, cython.cast(u32, value))
    elif sub == 1 and reg == 7:
        mmu.write(c, o.seg, operands.address(c, o), c.fp_control, 1)
    elif sub == 5 and reg == 7:
        mmu.write(c, o.seg, operands.address(c, o), status_word(c), 1)
    else:
        mmu.exception_plain(c, VEC_UD)


def execute(c, o, eip):
    """One instruction; `eip` is its own address."""
    if c.cr0 & (CR0_EM | CR0_TS):
        mmu.exception_plain(c, VEC_NM)
        return
    if c.fp_status & SUMMARY and waits(o) and not reserved(o) and pending(c):
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
