"""Virtual-8086 mode and its extensions: who owns the interrupt flag (SDM vol. 3 ch. 21, tables 21-2 and 21-3).

Below IOPL 3 the flag is the monitor's. Without CR4.VME everything that touches it faults; with it the program has
VIF instead, and INT n whose bit in the TSS's redirection map is clear goes through the program's own vector table.
CR4.PVI gives VIF to CLI and STI of ring 3 in protected mode (§21.4).
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, flags, mmu, segments
    from cython.cimports.hvcore.cpu.state import (
        CR4_PVI, CR4_VME, CS, DS, ES, FAULT_NONE, FS, F_DF, F_EVERY, F_IF, F_IOPL, F_NT, F_STATUS, F_TF,
        F_VIF, F_VIP, F_VM, GS, M64, RSP, SS, TR, VEC_GP, u32, u64,
    )
else:
    from hvcore.cpu import faults, flags, mmu, segments
    from hvcore.cpu.constants import (
        CR4_PVI, CR4_VME, CS, DS, ES, FAULT_NONE, FS, F_DF, F_EVERY, F_IF, F_IOPL, F_NT, F_STATUS, F_TF,
        F_VIF, F_VIP, F_VM, GS, M64, RSP, SS, TR, VEC_GP, u32, u64,
    )
# fmt: on


def trapped(c):
    """Whether what touches the interrupt flag is not simply executed: virtual-8086 mode below IOPL 3."""
    return c.flags & F_VM and c.flags & F_IOPL != F_IOPL


def set_virtual_flag(c, on):
    """CLI (`on` 0) or STI where IOPL forbids it; #GP(0) if the extensions are off or an interrupt is pending."""
    allowed: u32 = c.cr4 & CR4_VME if c.flags & F_VM else c.cpl == 3 and c.cr4 & CR4_PVI
    if not allowed or (on and c.flags & F_VIP):
        faults.exception(c, VEC_GP, 0)
    elif on:
        c.flags |= F_VIF
    else:
        c.flags &= F_VIF ^ M64


def virtual_flags(c):
    """FLAGS as the program sees them: VIF in the place of IF, and IOPL 3."""
    value: u64 = flags.get_eflags(c) & ((F_IF | F_IOPL) ^ M64)
    if c.flags & F_VIF:
        value |= F_IF
    return value | F_IOPL


def push_flags(c, size):
    """PUSHF below IOPL 3."""
    if size != 1 or not c.cr4 & CR4_VME:
        faults.exception(c, VEC_GP, 0)
    else:
        mmu.push(c, virtual_flags(c) & 0xFFFF, 1)


def may_load(c, value, size):
    """Whether POPF and IRET below IOPL 3 may load these flags; #GP(0) if not: the monitor is to see it."""
    if size == 1 and c.cr4 & CR4_VME and not value & F_TF and not (value & F_IF and c.flags & F_VIP):
        return 1
    faults.exception(c, VEC_GP, 0)
    return 0


def load_flags(c, value):
    """Take 16 flags, IF into VIF; IF and IOPL stay."""
    mask: u64 = F_STATUS | F_TF | F_DF | F_NT | F_VIF
    if value & F_IF:
        value |= F_VIF
    flags.set_eflags(c, (flags.get_eflags(c) & (mask ^ M64)) | (value & mask))


def pop_flags(c, size):
    """POPF below IOPL 3."""
    sp: u64 = c.regs[RSP]
    value: u64 = mmu.pop(c, size)
    if c.fault:
        return
    if may_load(c, value, size):
        load_flags(c, value)
    else:
        c.regs[RSP] = sp


def interrupt_return(c, size):
    """IRET below IOPL 3."""
    target: u64
    selector: u32 = 0
    value: u64 = 0
    if size != 1 or not c.cr4 & CR4_VME:
        faults.exception(c, VEC_GP, 0)
        return
    target = mmu.peek(c, 0, 1)
    if not c.fault:
        selector = mmu.peek(c, 2, 1) & 0xFFFF
    if not c.fault:
        value = mmu.peek(c, 4, 1)
    if c.fault or not may_load(c, value, 1):
        return
    mmu.set_sp(c, c.regs[RSP] + 6)
    segments.assign_real(c, CS, selector)
    c.eip = target
    load_flags(c, value)


def redirected(c, vector):
    """Whether INT n goes through the program's own vector table: its bit in the TSS is clear. May raise #GP(0)."""
    at: u64
    bits: u64
    at = segments.port_map(c)
    if c.fault:
        return 0
    at += vector >> 3
    if at < 32 or at - 32 > c.limit[TR]:  # the map of 32 bytes ends where the one of the ports begins
        faults.exception(c, VEC_GP, 0)
        return 0
    bits = mmu.system_read(c, c.base[TR] + at - 32, 1)
    return c.fault == FAULT_NONE and not (bits >> (vector & 7)) & 1


def interrupt(c, vector):
    """INT n in virtual-8086 mode; 1 when that is all, 0 when it is for the IDT. `c.eip` is behind the instruction."""
    sp: u64 = c.regs[RSP]
    value: u64 = flags.get_eflags(c)
    entry: u64
    if not c.cr4 & CR4_VME or not redirected(c, vector):
        if not c.fault and trapped(c):
            faults.exception(c, VEC_GP, 0)
        return c.fault != FAULT_NONE
    entry = mmu.read_linear(c, vector * 4, 4)
    if c.fault:
        return 1
    if trapped(c):
        value = virtual_flags(c)
    mmu.push(c, value & 0xFFFF, 1)
    if not c.fault:
        mmu.push(c, c.sel[CS], 1)
    if not c.fault:
        mmu.push(c, c.eip & 0xFFFF, 1)
    if c.fault:
        c.regs[RSP] = sp
        return 1
    value = flags.get_eflags(c) & (F_TF ^ M64)
    flags.set_eflags(c, value & ((F_VIF if trapped(c) else F_IF) ^ M64))
    segments.assign_real(c, CS, (entry >> 16) & 0xFFFF)
    c.eip = entry & 0xFFFF
    c.no_trap = 1
    return 1


def assign(c, seg, selector):
    """A segment register in the mode: 64 KiB from 16 times the selector, ring 3."""
    c.sel[seg] = selector
    c.base[seg] = selector << 4
    c.limit[seg] = 0xFFFF
    c.attr[seg] = 0xF3


def enter(c, target, selector, value):
    """IRET at ring 0 with VM in the flags: ESP, SS and the data segments follow them (§21.2.6)."""
    sp: u64
    segs: u64
    i: u32
    if target > 0xFFFF:
        faults.exception(c, VEC_GP, 0)
        return
    for i in range(6):  # all must be readable before anything changes
        mmu.peek(c, 12 + 4 * i, 2)
        if c.fault:
            return
    sp = mmu.peek(c, 12, 2)
    segs = (mmu.peek(c, 20, 2) & 0xFFFF) | (mmu.peek(c, 24, 2) & 0xFFFF) << 16
    segs |= (mmu.peek(c, 28, 2) & 0xFFFF) << 32 | (mmu.peek(c, 32, 2) & 0xFFFF) << 48
    i = mmu.peek(c, 16, 2) & 0xFFFF
    flags.set_eflags(c, value & (F_EVERY | F_VM))
    mmu.set_cpl(c, 3)
    assign(c, CS, selector)
    assign(c, SS, i)
    assign(c, ES, segs & 0xFFFF)
    assign(c, DS, (segs >> 16) & 0xFFFF)
    assign(c, FS, (segs >> 32) & 0xFFFF)
    assign(c, GS, segs >> 48)
    mmu.update_mode(c)
    c.regs[RSP] = sp
    c.eip = target
