"""An instruction stops for the backend, with the facts of what it would have done in `State.info`."""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import FAULT_EXIT
else:
    from hvcore.cpu.constants import FAULT_EXIT


def stop(c, kind, o):
    """Stop at this instruction for the backend."""
    c.fault = FAULT_EXIT
    c.info.kind = kind
    c.info.instruction_length = o.length
    c.info.next_rip = c.eip


def describe_operand(c, o):
    """The facts of a memory operand, or that there is none, as VMX's instruction information has them."""
    c.info.address_size = 1 << o.addr
    c.info.segment = o.seg
    c.info.memory = not o.isreg
    c.info.base = o.base
    c.info.index = o.index
    c.info.scale = o.scale
    c.info.displacement = o.disp


def access_register(c, o, kind, number, mask):
    """Stop at a MOV to or from a control or debug register, if the backend wants that."""
    if (mask >> number) & 1:
        stop(c, kind, o)
        c.info.number = number
        c.info.gpr = o.rm
        c.info.mov = 1
