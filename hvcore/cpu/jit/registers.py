"""Host code's registers: where the guest's are, and how one of our functions is called (see translate.py).

Compiled only: uncompiled, the processor translates nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.jit.registers import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *


def field(c, where):
    """The offset of a field in the record from RBX."""
    return cython.cast(u64, where) - cython.cast(u64, cython.cast(cython.p_void, c)) - RECORD_BIAS


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
