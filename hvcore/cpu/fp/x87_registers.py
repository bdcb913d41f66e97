"""The x87's registers: stack, tags, control and status words, exceptions; which NaN is a result (SDM vol. 1 §8.1).

An instruction loads its operands into `v_*`, lets `softfloat` or `transcendental` compute, and `conclude`s:
the exceptions go into the status word, and whether an unmasked one forbids the result is the answer.

An unmasked exception waits in the status word (ES) until the next waiting instruction. With CR0.NE that
raises #MF. Without, it pulls FERR# (`State.ferr`), stops for the backend and does not complete: a PC makes an
IRQ 13 of it, and of a write to port F0h IGNNE# (`State.ignne`, until FERR# is let go), upon which it goes on.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu
    from cython.cimports.hvcore.cpu.fp import softfloat
    from cython.cimports.hvcore.cpu.state import (
        CR0_NE, EXIT_FERR_FREEZE, FAULT_EXIT, FAULT_REPEAT, MXCSR_MASKS, SPECIAL_STOP, VEC_MF, u32,
    )
else:
    from hvcore.cpu import faults, mmu
    from hvcore.cpu.constants import (
        CR0_NE, EXIT_FERR_FREEZE, FAULT_EXIT, FAULT_REPEAT, MXCSR_MASKS, SPECIAL_STOP, VEC_MF, u32,
    )
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat

    globals().update(enums("fp/x87_registers.pxd"))
# fmt: on


# Reset, exceptions


def power_on(c):
    """After power-on registers are zero, not empty, and the x87's exceptions unmasked (SDM vol. 3 table 10-1)."""
    i: u32
    initialise(c)
    c.fp_control = CONTROL_POWER_ON
    c.fp_used = 0xFF
    c.mxcsr = MXCSR_MASKS
    for i in range(8):
        c.fp_se[i] = 0
        c.fp_sig[i] = 0
    for i in range(16):
        c.xmm[i] = 0


def initialise(c):
    """FNINIT."""
    c.fp_control = CONTROL_FNINIT
    c.fp_status = 0
    c.fp_top = 0
    c.fp_used = 0
    c.fp_opcode = 0
    c.fp_ip = 0
    c.fp_cs = 0
    c.fp_dp = 0
    c.fp_ds = 0
    c.ferr = c.ignne = 0
    mmu.update_blocks(c)


def summarise(c):
    """ES and B say whether an exception is unmasked."""
    if c.fp_status & softfloat.EXCEPTIONS & (c.fp_control ^ softfloat.EXCEPTIONS):
        c.fp_status |= SUMMARY | BUSY
    else:
        c.fp_status &= (SUMMARY | BUSY) ^ 0xFFFF
        c.ferr = c.ignne = 0


def pending(c):
    """Whether an unmasked exception of an earlier instruction stops this one."""
    if not c.fp_status & SUMMARY:
        return 0
    if c.cr0 & CR0_NE:
        faults.exception_plain(c, VEC_MF)
        return 1
    c.ferr = 1
    if c.ignne:
        return 0
    if c.intercepts.ferr:
        c.fault = FAULT_EXIT
        c.info.kind = EXIT_FERR_FREEZE
        return 1
    c.fault = FAULT_REPEAT
    c.special |= SPECIAL_STOP
    return 1


# The stack


def full(c, i):
    """Whether ST(i) is not empty."""
    return (c.fp_used >> ((c.fp_top + i) & 7)) & 1


def load_register(c, v, i):
    """Unpack ST(i) as operand `v`."""
    n: u32 = (c.fp_top + i) & 7
    softfloat.load80(c, v, c.fp_se[n], c.fp_sig[n])


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


# Operands and results


def conclude(c):
    """Put the exceptions into the status word; 0 when one of them is unmasked and forbids the result."""
    c.fp_status = (c.fp_status & (C1 ^ 0xFFFF)) | c.f_flags | (C1 if c.f_up else 0)
    summarise(c)
    return not c.f_flags & (softfloat.IE | softfloat.DE | softfloat.ZE) & (c.f_masks ^ softfloat.EXCEPTIONS)


def answer(c, i):
    """Conclude, and set ST(i) to the result if it may be; 0 if it may not."""
    if not conclude(c):
        return 0
    set_register(c, i, softfloat.sign_exponent(c), c.x_hi)
    return 1


def answer_twice(c):
    """Set ST(0) to the result and push it too: what the instructions with two results make of NaNs and stack faults."""
    if answer(c, 0):
        push(c, softfloat.sign_exponent(c), c.x_hi)


def push_answer(c):
    """Conclude, and push the result if it may be."""
    if conclude(c):
        push(c, softfloat.sign_exponent(c), c.x_hi)


def stack_underflow(c):
    """An operand is an empty register: the indefinite is the result."""
    c.f_flags |= softfloat.IE | softfloat.STACK_FAULT
    c.f_up = 0
    softfloat.give_nan(c)


def stack_overflow(c):
    """Whether there is no room for one more; then the indefinite is what is to be pushed."""
    if not (c.fp_used >> ((c.fp_top - 1) & 7)) & 1:
        return 0
    c.f_flags |= softfloat.IE | softfloat.STACK_FAULT
    c.f_up = 1
    softfloat.give_nan(c)
    return 1


def push_operand(c):
    """Push operand 0, which came from memory."""
    if not stack_overflow(c) and not one_nan(c):
        softfloat.give_operand(c, 0)
        if c.v_denormal[0]:
            c.f_flags |= softfloat.DE
    conclude(c)
    if (
        not c.f_flags & softfloat.IE & (c.f_masks ^ softfloat.EXCEPTIONS)
    ):  # a denormal is loaded whatever the mask
        push(c, softfloat.sign_exponent(c), c.x_hi)


def load_top(c):
    """Unpack ST(0) as operand 0; if it is empty, that is an exception, its NaN the result, and 0 the answer."""
    if not full(c, 0):
        stack_underflow(c)
        return 0
    load_register(c, 0, 0)
    return 1


def load_pair(c, i):
    """Unpack ST(0) and ST(`i`) as operands 0 and 1; as `load_top` if one is empty."""
    if not full(c, i):
        stack_underflow(c)
        return 0
    load_register(c, 1, i)
    return load_top(c)


# The words


def precision(c):
    """The precision control (SDM vol. 1 table 8-2): bits of the significand."""
    control: u32 = (c.fp_control >> 8) & 3
    if control == 0:
        return softfloat.PREC32
    return softfloat.PREC64 if control == 2 else softfloat.PREC80  # 1 is reserved


def status_word(c):
    """The status word with TOP."""
    return c.fp_status | (c.fp_top << 11)


def set_status_word(c, value):
    """Set the status word; ES follows from the exceptions and their masks."""
    c.fp_top = (value >> 11) & 7
    c.fp_status = value & STATUS_BITS
    summarise(c)


def put_control(c, value):
    """Set the control word and nothing that follows from it."""
    c.fp_control = (value & CONTROL_BITS) | CONTROL_FIXED


def set_control(c, value):
    """Set the control word; ES follows, and which blocks may be host code."""
    put_control(c, value)
    mmu.update_blocks(c)
    summarise(c)


def put_tags(c, tags):
    """Note which registers a full tag word calls empty; what else it says follows from their contents."""
    i: u32
    c.fp_used = 0
    for i in range(8):
        if (tags >> (2 * i)) & 3 != TAG_EMPTY:
            c.fp_used |= 1 << i


# NaNs


def one_nan(c):
    """Whether operand 0 is a NaN or unsupported; the result then is that NaN made quiet, or the indefinite."""
    if c.v_kind[0] < softfloat.QUIET:
        return 0
    if c.v_kind[0] == softfloat.UNSUPPORTED:
        softfloat.give_invalid(c)
        return 1
    if c.v_kind[0] == softfloat.SIGNALLING:
        c.f_flags |= softfloat.IE
    softfloat.give_operand(c, 0)
    c.x_hi |= softfloat.QUIET_BIT
    return 1


def choose_nan(c):
    """Whether an operand is a NaN or unsupported; the result is chosen by SDM vol. 1 table 4-7."""
    a: u32 = c.v_kind[0]
    b: u32 = c.v_kind[1]
    i: u32 = 0
    if a < softfloat.QUIET and b < softfloat.QUIET:
        return 0
    if a == softfloat.UNSUPPORTED or b == softfloat.UNSUPPORTED:
        softfloat.give_invalid(c)
        return 1
    if a == softfloat.SIGNALLING or b == softfloat.SIGNALLING:
        c.f_flags |= softfloat.IE
    if a < softfloat.QUIET:
        i = 1
    elif b >= softfloat.QUIET:
        if a != b:
            i = 1 if b == softfloat.QUIET else 0
        elif c.v_sig[1] > c.v_sig[0] or (c.v_sig[1] == c.v_sig[0] and c.v_sign[0]):
            i = 1
    softfloat.give_operand(c, i)
    c.x_hi |= softfloat.QUIET_BIT
    return 1
