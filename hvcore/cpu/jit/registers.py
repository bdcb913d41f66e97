"""Host code's registers: where the guest's are, and how one of our functions is called (docs/translator.md).

Compiled only: uncompiled, the processor translates nothing.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.state import NO_REG, RSP, SHR, u32
else:
    from hvcore.cpu.constants import NO_REG, RSP, SHR, u32


CH = cython.declare(u32, 5)  # as instructions without REX number it


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
    """Every general register from its home to the record."""
    i: u32
    for i in range(8):
        asm.emit_store64(c, home(i), cython.address(c.regs[i]))


def emit_get(c, number, reg):
    """`mov reg, home`."""
    asm.emit_move(c, reg, home(number))


def emit_put(c, number, reg):
    """`mov home, reg`, 32 bits."""
    asm.emit_move(c, home(number), reg)


def emit_put_word(c, number, reg):
    """`mov home, reg`, 16 bits; the other half stays."""
    asm.emit_u8(c, asm.OPERAND_SIZE)
    asm.emit_move(c, home(number), reg)


def emit_get_byte(c, t, number, shift_, reg):
    """Copy an 8-bit register to a host register, zero-extended; with AH, CH, DH and BH the host's flags are lost."""
    if shift_:
        asm.emit_move(c, reg, home(number))  # mov reg, home
        asm.emit_shift(c, SHR, reg, 8)  # shr reg, 8
        asm.emit_reg(c, asm.MOVZX8, reg, reg)  # movzx reg, reg8
        t.host_flags = 0
    else:
        asm.emit_reg(c, asm.MOVZX8, reg, home(number))  # movzx reg, home8


def emit_put_byte(c, number, shift_):
    """Set an 8-bit register to AL; the other bits stay. ECX is lost with AH, CH, DH and BH."""
    if shift_:
        emit_get(c, number, asm.CX)
        asm.emit_reg(c, asm.STORE8, asm.AX, CH)  # mov ch, al
        emit_put(c, number, asm.CX)
    else:
        asm.emit_reg(c, asm.STORE8, asm.AX, home(number))  # mov home8, al


def emit_get_sized(c, t, o, number, shift_, reg):
    """Copy a general register of the size of `o` to a host register, zero-extended."""
    if o.size == 0:
        emit_get_byte(c, t, number, shift_, reg)
    elif o.size == 1:
        asm.emit_reg(c, asm.MOVZX16, reg, home(number))  # movzx reg, home16
    else:
        emit_get(c, number, reg)


def emit_put_sized(c, o, number, shift_):
    """Set a general register of the size of `o` to AL, AX or EAX."""
    if o.size == 0:
        emit_put_byte(c, number, shift_)
    elif o.size == 1:
        emit_put_word(c, number, asm.AX)
    else:
        emit_put(c, number, asm.AX)


def emit_store_registers(c):
    """Before a call of one of our functions: the general registers to the record. The arguments come after it."""
    asm.emit_call_near(c, c.arena.store)


def emit_load_registers(c):
    """After such a call: the general registers from the record to their homes."""
    asm.emit_call_near(c, c.arena.load)


def emit_get_vector(c, t, number):
    """Have an XMM register in the host's of the same number, as long as no function is called (`forget_vectors`)."""
    if not (t.vectors >> number) & 1:
        asm.emit_load_vector(c, number, cython.address(c.xmm[2 * number]))
        t.vectors |= 1 << number


def emit_put_vector(c, t, number):
    """An XMM register was set in the host's: it stands in the record too, at all times."""
    asm.emit_store_vector(c, number, cython.address(c.xmm[2 * number]))
    t.vectors |= 1 << number


def emit_load_vectors(c, which):
    """After a call of one of our functions: these XMM registers from the record to the host's."""
    i: u32
    for i in range(8):
        if (which >> i) & 1:
            asm.emit_load_vector(c, i, cython.address(c.xmm[2 * i]))


def forget_vectors(t):
    """A function is called, to which all of the host's XMM registers belong."""
    t.vectors = 0


def emit_call_out(c, function):
    """Call a function of ours, whose first argument is the record; it may change the registers there."""
    asm.emit_mem64(c, asm.LEA, asm.DI, asm.BX, NO_REG, 0, -asm.RECORD_BIAS)  # lea rdi, [rbx - bias]
    asm.emit_call(c, function)
