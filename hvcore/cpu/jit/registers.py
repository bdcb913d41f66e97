"""Host code's registers: where the guest's are, and how one of our functions is called (see translate.py).

Compiled only: uncompiled, the processor translates nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def home(number):
    """The host register that holds a general register."""
    if number < 4:
        return number + 8
    return asm.R15 if number == RSP else number


def emit_load_homes(c):
    """Every general register from the record to its home."""
    i: u32
    for i in range(8):
        asm.emit_load(c, home(i), cython.address(c.regs[i]))


def emit_store_homes(c):
    """And back."""
    i: u32
    for i in range(8):
        asm.emit_store64(c, home(i), cython.address(c.regs[i]))


def emit_get(c, number, reg):
    """A host register = a general register."""
    asm.emit_move(c, reg, home(number))


def emit_put(c, number, reg):
    """A general register = a host register's 32 bits."""
    asm.emit_move(c, home(number), reg)


def emit_put_word(c, number, reg):
    """A general register's low half = a host register's 16 bits."""
    asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_move(c, home(number), reg)


def emit_get_byte(c, t, number, shift_, reg):
    """A host register = an 8-bit register; AH, CH, DH and BH cost the host's flags."""
    if shift_:
        asm.emit_move(c, reg, home(number))
        asm.emit_shift(c, SHR, reg, 8)
        asm.emit_reg(c, asm.MOVZX8, reg, reg)
        t.host_flags = 0
    else:
        asm.emit_reg(c, asm.MOVZX8, reg, home(number))


def emit_put_byte(c, number, shift_):
    """An 8-bit register = AL; the other bits stay."""
    if shift_:
        emit_get(c, number, asm.CX)
        asm.emit_reg(c, asm.STORE8, asm.AX, 5)  # MOV CH, AL
        emit_put(c, number, asm.CX)
    else:
        asm.emit_reg(c, asm.STORE8, asm.AX, home(number))


def emit_get_sized(c, t, o, number, shift_, reg):
    """A host register = a general register of the size of `o`, zero-extended."""
    if o.size == 0:
        emit_get_byte(c, t, number, shift_, reg)
    elif o.size == 1:
        asm.emit_reg(c, asm.MOVZX16, reg, home(number))
    else:
        emit_get(c, number, reg)


def emit_put_sized(c, o, number, shift_):
    """A general register of the size of `o` = AL, AX or EAX."""
    if o.size == 0:
        emit_put_byte(c, number, shift_)
    elif o.size == 1:
        emit_put_word(c, number, asm.AX)
    else:
        emit_put(c, number, asm.AX)


def emit_store_registers(c):
    """The general registers to the record, before a call; the arguments come after, since they use homes."""
    asm.emit_call_near(c, c.arena.store)


def emit_load_registers(c):
    """And home again after it."""
    asm.emit_call_near(c, c.arena.load)


def emit_call_out(c, function):
    """Call a function of ours with the record in RDI, which it may change; the general registers stay there."""
    asm.emit_mem64(c, asm.LEA, asm.DI, asm.BX, NO_REG, 0, -asm.RECORD_BIAS)
    asm.emit_call(c, function)
