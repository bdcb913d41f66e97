"""Flags that wait until somebody may look at them (docs/translator.md).

Between an operation that sets the flags and the next that sets them all again there are often only accesses to memory.
Nobody looks at the flags unless one of these faults, or leaves the block, so that they are left to its stub
(`translate.find_live_flags`, `flags.WAITING`): the operation stores only its operands, and every stub up to the
other computes the flags before it calls anybody.

In between, what the record says of the flags is of no use: `cc_op` is that of an operation before, and its operands are
overwritten. That is right because a block is entered at its beginning and left by stubs or at its end, and because only
operations with LETS_WAIT stand in between. A stub that comes back leaves the operands as they were, for the next one.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.jit import assembler as asm
    from cython.cimports.hvcore.cpu.jit import flags, shifts
    from cython.cimports.hvcore.cpu.state import ALU_ADD, ALU_SUB, CC_ADD, CC_FLAGS, CC_LOGIC, CC_SUB
else:
    from hvcore.cpu.constants import ALU_ADD, ALU_SUB, CC_ADD, CC_FLAGS, CC_LOGIC, CC_SUB


def emit(c, t, w):
    """Compute the flags of `w`, if any wait. RAX and R14 are kept: the access that the stub is of needs them."""
    if w.op == CC_FLAGS:
        return
    if w.op == CC_LOGIC:  # whose result is stored
        asm.emit_set_field(c, cython.address(c.cc_op), CC_LOGIC | (w.size << 16))  # cc_size lies behind it
        return
    asm.emit_store64(c, asm.AX, cython.address(c.native_kept[0]))
    if w.op == CC_ADD or w.op == CC_SUB:
        asm.emit_load64(c, asm.AX, cython.address(c.cc_a))
        asm.emit_load64(c, asm.CX, cython.address(c.cc_b))
        flags.emit_arithmetic(c, t, ALU_ADD if w.op == CC_ADD else ALU_SUB, flags.ALL, w.size)
    elif w.shift:
        asm.emit_load64(c, asm.AX, cython.address(c.cc_b))
        shifts.emit_by_constant(c, t, flags.ALL, w.shift, w.count, asm.AX)
    else:
        asm.emit_load64(c, asm.AX, cython.address(c.waiting_operand))
        asm.emit_load64(c, asm.CX, cython.address(c.cc_b))
        flags.emit_multiplied(c, t, flags.ALL, asm.AX, asm.CX)
    asm.emit_load64(c, asm.AX, cython.address(c.native_kept[0]))
