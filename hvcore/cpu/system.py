"""Ports, control registers, descriptor tables, and what else only a kernel does (SDM vol. 3 ch. 2, vol. 1 ch. 19).

An instruction that a backend wants to see stops with its raw facts in `State.info`; one that it does not is
executed here.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import mmu, operands, segments, strings
    from cython.cimports.hvcore.cpu.arith import set_zero_flag
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import mmu, operands, segments, strings
    from hvcore.cpu.arith import set_zero_flag
    from hvcore.cpu.constants import *


MSR_RANGE_1 = cython.declare(u32, (1 << 31) + (1 << 30))  # C000_0000h
MSR_RANGE_2 = cython.declare(u32, (1 << 31) + (1 << 30) + (1 << 16))  # C001_0000h

CR0_WRITABLE = cython.declare(u64, (1 << 31) | 0x6005003F)
# A change of these loads the PDPTE registers: PG, CD, NW, and PGE, PAE, PSE (SDM vol. 3 §4.4.1; there is no SMEP).
CR0_RELOADS = cython.declare(u64, (1 << 31) | 0x60000000)
CR4_RELOADS = cython.declare(u64, 0xB0)
DR6_ONES = cython.declare(u64, (1 << 32) - 0xF010)
DR7_WRITABLE = cython.declare(u64, (1 << 32) - 0xDC01)


def stop(c, kind, o):
    """Stop at this instruction for the backend."""
    c.fault = FAULT_EXIT
    c.info.kind = kind
    c.info.instruction_length = o.length
    c.info.next_rip = c.eip


def time_stamp(c):
    """The time-stamp counter: 1 GHz, from the host's monotonic clock."""
    return (mmu.host_time() + c.tsc_offset) & M64


def note_debug(c, bits):
    """Take note of a debug exception that is about to be delivered: `bits` of DR6 say what it is.

    B0 to B3 are those of this exception alone; BD, BS and BT stay until software clears them (SDM vol. 3 §18.2.3).
    """
    if not c.debug_bits:  # else one that is on its way already turns out to have another cause, too
        c.debug_before = c.debug[6]
    c.debug_bits = bits
    c.debug[6] = (c.debug[6] & (DR6_BREAKPOINTS ^ M64)) | bits


# Model-specific registers


def has_msr(c, index):
    """Whether the processor itself has this MSR; all others are the common layer's policy."""
    if index == MSR_TSC:
        return c.features & HAS_TSC
    elif MSR_SYSENTER_CS <= index <= MSR_SYSENTER_EIP:
        return c.features & HAS_SEP
    elif index == MSR_PAT:
        return c.features & HAS_PAT
    elif index == MSR_EFER:
        return c.extended & HAS_NX
    return 0


def read_msr(c, index):
    """The value of an MSR that the processor has."""
    if index == MSR_TSC:
        return time_stamp(c)
    elif index == MSR_SYSENTER_CS:
        return c.sysenter_cs
    elif index == MSR_SYSENTER_ESP:
        return c.sysenter_esp
    elif index == MSR_SYSENTER_EIP:
        return c.sysenter_eip
    elif index == MSR_PAT:
        return c.pat
    return c.efer


def pat_valid(value):
    """Whether all eight fields name a memory type: UC, WC, WT, WP, WB or UC- (SDM vol. 3 table 12-10)."""
    i: u32
    kind: u64
    for i in range(8):
        kind = (value >> (8 * i)) & 0xFF
        if kind > 7 or kind == 2 or kind == 3:
            return 0
    return 1


def write_msr(c, index, value):
    """Set an MSR that the processor has; 0 if the value is refused."""
    if index == MSR_TSC:
        c.tsc_offset = 0
        c.tsc_offset = cython.cast(s64, value - time_stamp(c)) if cython.compiled else value - time_stamp(c)
    elif index == MSR_SYSENTER_CS:
        c.sysenter_cs = value & M32
    elif index == MSR_SYSENTER_ESP:
        c.sysenter_esp = value & M32
    elif index == MSR_SYSENTER_EIP:
        c.sysenter_eip = value & M32
    elif index == MSR_PAT:
        if not pat_valid(value):
            return 0
        c.pat = value
    else:
        if value & (EFER_NXE ^ M64):
            return 0
        c.efer = value
        mmu.flush(c)
    return 1


def msr_intercepted(c, index, write):
    """Whether the backend wants to see an access to this MSR; those in no range of the bitmap it always does."""
    i: u32
    if not (c.intercepts.wrmsr if write else c.intercepts.rdmsr):
        return 0
    if not c.msr_bitmap_used:
        return 1
    if index < 0x2000:
        i = index
    elif MSR_RANGE_1 <= index < MSR_RANGE_1 + 0x2000:
        i = 0x2000 + index - MSR_RANGE_1
    elif MSR_RANGE_2 <= index < MSR_RANGE_2 + 0x2000:
        i = 0x4000 + index - MSR_RANGE_2
    else:
        return 1
    return ((c.msr_write[i >> 3] if write else c.msr_read[i >> 3]) >> (i & 7)) & 1


def access_msr(c, o):
    """RDMSR and WRMSR."""
    index: u32 = c.regs[RCX] & M32
    write: u32 = o.kind == WRMSR
    value: u64
    if not privileged(c):
        return
    if msr_intercepted(c, index, write):
        stop(c, EXIT_WRMSR if write else EXIT_RDMSR, o)
        c.info.number = index
    elif not has_msr(c, index):
        mmu.exception(c, VEC_GP, 0)
    elif not write:
        value = read_msr(c, index)
        c.regs[RAX] = value & M32
        c.regs[RDX] = value >> 32
    elif not write_msr(c, index, (c.regs[RDX] & M32) << 32 | (c.regs[RAX] & M32)):
        mmu.exception(c, VEC_GP, 0)


def privileged(c):
    """Whether the guest may execute a privileged instruction; #GP(0) if not."""
    if c.cpl == 0:
        return 1
    mmu.exception(c, VEC_GP, 0)
    return 0


# Ports


def io_allowed(c, port, n):
    """IOPL, then the TSS's I/O permission bitmap (SDM vol. 1 §19.5); #GP(0) if neither allows it."""
    at: u64
    bits: u64
    if not c.cr0 & CR0_PE or (c.protected and c.cpl <= ((c.flags & F_IOPL) >> 12)):
        return 1
    if c.attr[TR] & SEG_UNUSABLE or not c.attr[TR] & SEG_TSS_32 or c.limit[TR] < 0x67:
        mmu.exception(c, VEC_GP, 0)
        return 0
    at = mmu.system_read(c, c.base[TR] + 0x66, 2)
    if c.fault:
        return 0
    at += port >> 3
    if at + 1 > c.limit[TR]:
        mmu.exception(c, VEC_GP, 0)
        return 0
    bits = mmu.system_read(c, c.base[TR] + at, 2)
    if c.fault:
        return 0
    if (bits >> (port & 7)) & ((1 << n) - 1):
        mmu.exception(c, VEC_GP, 0)
        return 0
    return 1


def intercepted(c, port, n):
    """Whether the backend wants to see an access to any of these ports."""
    i: u32
    if not c.intercepts.io:
        return 0
    if not c.io_bitmap_used:
        return 1
    for i in range(port, port + n):
        if i > 0xFFFF or (c.io_bitmap[i >> 3] >> (i & 7)) & 1:
            return 1
    return 0


def watch_port(c, port, n):
    """Note the I/O breakpoints that an access meets (SDM vol. 3 §18.2.4, R/W 10b); a trap follows."""
    i: u32
    size: u64
    if not c.special & SPECIAL_DEBUG or not c.cr4 & CR4_DE:
        return
    for i in range(4):
        size = (c.debug[7] >> (18 + 4 * i)) & 3
        if (c.debug[7] >> (2 * i)) & 3 and (c.debug[7] >> (16 + 4 * i)) & 3 == 2:
            if (c.debug[i] & (size ^ M64)) < port + n and port <= (c.debug[i] | size):
                c.watch_hit |= 1 << i


def describe_port_access(c, o, port, read):
    """The facts of IN, OUT, INS and OUTS."""
    c.info.port = port
    c.info.size = 1 << o.size
    c.info.read = read
    c.info.string = 0
    c.info.rep = 0
    c.info.immediate = 0
    c.info.address_size = 1 << o.addr
    c.info.segment = o.seg


def port_access(c, o, port, read):
    """IN and OUT."""
    n: u32 = 1 << o.size
    if not io_allowed(c, port, n):
        return
    watch_port(c, port, n)
    if intercepted(c, port, n):
        stop(c, EXIT_IO, o)
        describe_port_access(c, o, port, read)
        c.info.immediate = o.kind == IN_I or o.kind == OUT_I
    elif read:
        operands.put(c, RAX, 0, o.size, SIZE_MASK[o.size])


def string_port_access(c, o):
    """INS and OUTS. The common layer repeats them; with a count of zero nothing happens."""
    port: u32 = c.regs[RDX] & 0xFFFF
    n: u32 = 1 << o.size
    read: u32 = o.kind == INS
    seg: u32 = ES if read else o.seg
    if o.rep and not c.regs[RCX] & SIZE_MASK[o.addr]:
        return
    if not io_allowed(c, port, n):
        return
    watch_port(c, port, n)
    if not intercepted(c, port, n):
        strings.string(c, o)
        return
    stop(c, EXIT_IO, o)
    describe_port_access(c, o, port, read)
    c.info.segment = seg
    c.info.string = 1
    c.info.rep = o.rep != 0
    c.info.linear_address = (c.base[seg] + (c.regs[RDI if read else RSI] & SIZE_MASK[o.addr])) & M32


# Control registers and descriptor tables


def load_pdptes(c, cr0, cr3, cr4):
    """Load the PDPTE registers for a MOV to a control register, if PAE paging is on after it; 0 with a fault."""
    if not mmu.pae_paging(c, cr0, cr4):
        return 1
    if not mmu.read_pdptes(c, cr3):
        return 0
    mmu.latch_pdptes(c)
    return 1


def write_cr0(c, value):
    """MOV to CR0 and LMSW; #GP(0) for combinations that do not exist (SDM vol. 3 §2.5)."""
    if (value & CR0_PG and not value & CR0_PE) or (value & CR0_NW and not value & CR0_CD):
        mmu.exception(c, VEC_GP, 0)
        return
    if (value ^ c.cr0) & CR0_RELOADS and not load_pdptes(c, value, c.cr3, c.cr4):
        return
    c.cr0 = (value & CR0_WRITABLE) | CR0_ET
    if not c.cr0 & CR0_PE:
        mmu.set_cpl(c, 0)
    mmu.update_mode(c)
    mmu.flush(c)


def cr4_of(features):
    """The writable bits of CR4 on a processor with these features (CPUID leaf 1, EDX)."""
    mask: u64 = 0
    if features & HAS_VME:
        mask |= CR4_VME | CR4_PVI
    if features & HAS_TSC:
        mask |= CR4_TSD
    if features & HAS_DE:
        mask |= CR4_DE
    if features & HAS_PSE:
        mask |= CR4_PSE
    if features & HAS_PAE:
        mask |= CR4_PAE
    if features & HAS_MCE:
        mask |= CR4_MCE
    if features & HAS_PGE:
        mask |= CR4_PGE
    if features & HAS_FXSR:
        mask |= CR4_OSFXSR
    if features & HAS_SSE:
        mask |= CR4_OSXMMEXCPT
    return mask


def write_cr(c, number, value):
    """MOV to a control register."""
    if number == 0:
        write_cr0(c, value)
    elif number == 2:
        c.cr2 = value
    elif number == 3:
        if not load_pdptes(c, c.cr0, value, c.cr4):
            return
        c.cr3 = value
        mmu.flush_local(c)
    elif number == 4:
        if value & (c.cr4_writable ^ M64):
            mmu.exception(c, VEC_GP, 0)
            return
        if (value ^ c.cr4) & CR4_RELOADS and not load_pdptes(c, c.cr0, c.cr3, value):
            return
        c.cr4 = value
        mmu.update_blocks(c)
        mmu.flush(c)
    else:
        mmu.exception_plain(c, VEC_UD)


def write_owned(c, o, number, value):
    """MOV to a control register, where the backend may own bits: those it keeps, or is told of."""
    mask: u64 = 0
    shadow: u64 = 0
    kept: u64 = 0
    if number == 0:
        mask = c.intercepts.cr0_mask
        shadow = c.intercepts.cr0_shadow
        kept = c.cr0
    elif number == 4:
        mask = c.intercepts.cr4_mask
        shadow = c.intercepts.cr4_shadow
        kept = c.cr4
    if (value ^ shadow) & mask:
        stop(c, EXIT_CR_WRITE, o)
        c.info.number = number
        c.info.gpr = o.rm
    else:
        write_cr(c, number, (value & (mask ^ M64)) | (kept & mask))


def control_register(c, number):
    """The value of a control register; #UD if there is none."""
    if number == 0:
        return (c.cr0 & (c.intercepts.cr0_mask ^ M64)) | (c.intercepts.cr0_shadow & c.intercepts.cr0_mask)
    elif number == 2:
        return c.cr2
    elif number == 3:
        return c.cr3
    elif number == 4:
        return (c.cr4 & (c.intercepts.cr4_mask ^ M64)) | (c.intercepts.cr4_shadow & c.intercepts.cr4_mask)
    mmu.exception_plain(c, VEC_UD)
    return 0


def access_register(c, o, kind, number, mask):
    """Stop at a MOV to or from a control or debug register, if the backend wants that."""
    if (mask >> number) & 1:
        stop(c, kind, o)
        c.info.number = number
        c.info.gpr = o.rm
        c.info.mov = 1


def describe_operand(c, o):
    """The facts of a memory operand, or that there is none, as VMX's instruction information has them."""
    c.info.address_size = 1 << o.addr
    c.info.segment = o.seg
    c.info.memory = not o.isreg
    c.info.base = o.base
    c.info.index = o.index
    c.info.scale = o.scale
    c.info.displacement = o.disp


def vm_instruction(c, o):
    """The instructions of VMX and SVM: those that the backend wants to see exist, and stop.

    SVM's check the privilege level first (APM vol. 2 section 15.9), VMX's exit whatever it is (SDM vol. 3 ch. 31). Both
    want protected mode, save VMCALL and VMMCALL. EFER.SVME and CR4.VMXE need no look: in a guest they are set.
    """
    which: u32 = o.sub
    if o.kind == VM_CALL:
        which = o.modrm & 7
    elif o.kind == VM_INSTRUCTION:
        which = 8 + (o.modrm & 7)
    if not (c.intercepts.vm_instructions >> which) & 1:
        mmu.exception_plain(c, VEC_UD)
        return
    if which != 1 and which != 9:  # VMCALL and VMMCALL
        if not c.protected:
            mmu.exception_plain(c, VEC_UD)
            return
        if 8 <= which < 16 and not privileged(c):
            return
    stop(c, EXIT_VM_INSTRUCTION, o)
    c.info.number = which
    c.info.linear_address = c.regs[RAX]
    if which >= VMREAD:
        describe_operand(c, o)
        c.info.gpr = o.rm
        c.info.second_gpr = o.reg


def descriptor_access(c, o, which):
    """Stop at a `DescriptorTable` instruction, if the backend wants that."""
    if not (c.intercepts.descriptor_table >> which) & 1:
        return 0
    stop(c, EXIT_DESCRIPTOR_TABLE, o)
    describe_operand(c, o)
    c.info.number = which
    c.info.size = 1 << o.size
    c.info.gpr = o.reg
    return 1


def descriptor_table(c, o):
    """SGDT SIDT LGDT LIDT."""
    off: u64 = operands.address(c, o)
    which: u32 = 0 if o.kind == SIDT or o.kind == LIDT else 1
    limit: u64
    base: u64
    if (o.kind == LGDT or o.kind == LIDT) and not privileged(c):
        return
    if o.kind == LGDT or o.kind == LIDT:
        which += 4
    if descriptor_access(c, o, which):
        return
    if o.kind == SGDT or o.kind == SIDT:
        limit = c.gdt_limit if o.kind == SGDT else c.idt_limit
        base = c.gdt_base if o.kind == SGDT else c.idt_base
        if not mmu.check_write(c, o.seg, off, 6):
            return
        mmu.write(c, o.seg, off, limit, 1)
        if c.fault:
            return
        mmu.write(c, o.seg, (off + 2) & SIZE_MASK[o.addr], base, 2)
        return
    limit = mmu.read(c, o.seg, off, 1)
    if c.fault:
        return
    base = mmu.read(c, o.seg, (off + 2) & SIZE_MASK[o.addr], 2)
    if c.fault:
        return
    if o.size == 1:
        base &= 0xFFFFFF
    if o.kind == LGDT:
        c.gdt_base = base
        c.gdt_limit = limit
    else:
        c.idt_base = base
        c.idt_limit = limit


def selector_operand(c, o):
    """The 16-bit operand of LLDT, LTR, VERR, VERW, LMSW, ARPL, LAR and LSL."""
    if o.isreg:
        # a destination in r/m was swapped into `reg`; LAR and LSL have their source in `rm`
        if o.kind == LAR_R or o.kind == LSL_R:
            return c.regs[o.rm] & 0xFFFF
        return c.regs[o.reg] & 0xFFFF
    return mmu.read(c, o.seg, operands.address(c, o), 1)


def store_word(c, o, value):
    """The operand of SLDT, STR and SMSW: a whole register, or 16 bits of memory."""
    if o.isreg:
        operands.put(c, o.reg, 0, o.size, value)
    else:
        mmu.write(c, o.seg, operands.address(c, o), value & 0xFFFF, 1)


def execute(c, o):
    """One instruction of this family; `c.eip` is already that of the next one."""
    kind: u32 = o.kind
    value: u64
    raw: u64
    n: u32
    if kind == IN_I:
        port_access(c, o, cython.cast(u32, o.imm), 1)
    elif kind == IN_DX:
        port_access(c, o, c.regs[RDX] & 0xFFFF, 1)
    elif kind == OUT_I:
        port_access(c, o, cython.cast(u32, o.imm), 0)
    elif kind == OUT_DX:
        port_access(c, o, c.regs[RDX] & 0xFFFF, 0)
    elif kind == INS or kind == OUTS:
        string_port_access(c, o)
    elif kind == HLT:
        if privileged(c):
            if c.intercepts.hlt:
                stop(c, EXIT_HLT, o)
            else:
                c.activity_now = HALTED
                c.special |= SPECIAL_STOP
    elif kind == PAUSE:
        if c.intercepts.pause:
            if c.pause_left > 1:
                c.pause_left -= 1
            else:
                stop(c, EXIT_PAUSE, o)
    elif kind == CPUID:
        if c.intercepts.cpuid:
            stop(c, EXIT_CPUID, o)
        else:
            c.regs[RAX] = c.regs[RBX] = c.regs[RCX] = c.regs[RDX] = 0
    elif kind == RDTSC:
        if c.cr4 & 4 and not privileged(c):
            return
        if c.intercepts.rdtsc:
            stop(c, EXIT_RDTSC, o)
            return
        value = time_stamp(c)
        c.regs[RAX] = value & M32
        c.regs[RDX] = value >> 32
    elif kind == RDPMC:
        if c.cpl:  # and there is no CR4.PCE
            mmu.exception(c, VEC_GP, 0)
        elif c.intercepts.rdpmc:
            stop(c, EXIT_RDPMC, o)
        else:
            mmu.exception(c, VEC_GP, 0)  # there are no counters
    elif kind == RDMSR or kind == WRMSR:
        access_msr(c, o)
    elif kind == INVD or kind == WBINVD:
        if privileged(c) and (c.intercepts.invd if kind == INVD else c.intercepts.wbinvd):
            stop(c, EXIT_INVD if kind == INVD else EXIT_WBINVD, o)
    elif kind == INVLPG:
        if not privileged(c):
            return
        value = (c.base[o.seg] + operands.address(c, o)) & M32
        if c.intercepts.invlpg:
            stop(c, EXIT_INVLPG, o)
            c.info.linear_address = value
        else:
            mmu.flush_page(c, value)
    elif kind == VM_CALL or kind == VM_INSTRUCTION or kind == VMX_R or kind == VMX_M:
        vm_instruction(c, o)
    elif kind == CLTS:
        if privileged(c):
            if c.intercepts.cr_write & 1 or c.intercepts.cr0_mask & c.intercepts.cr0_shadow & CR0_TS:
                stop(c, EXIT_CLTS, o)
            elif not c.intercepts.cr0_mask & CR0_TS:
                c.cr0 &= CR0_TS ^ M64
                mmu.update_blocks(c)
    elif kind == SGDT or kind == SIDT or kind == LGDT or kind == LIDT:
        descriptor_table(c, o)
    elif (kind == SMSW_R or kind == SMSW_M) and c.intercepts.cr_read & 1:
        stop(c, EXIT_CR_READ, o)
        c.info.number = 0
        c.info.gpr = 0
        c.info.mov = 0
    elif kind == SMSW_R or kind == SMSW_M:
        store_word(c, o, control_register(c, 0))
    elif kind == LMSW_R or kind == LMSW_M:
        if not privileged(c):
            return
        value = selector_operand(c, o)
        if c.fault:
            return
        raw = value
        value = (control_register(c, 0) & (14 ^ M64)) | (value & 15)  # LMSW can set PE but not clear it
        if c.intercepts.cr_write & 1 or (value ^ c.intercepts.cr0_shadow) & c.intercepts.cr0_mask & 15:
            stop(c, EXIT_LMSW, o)
            c.info.data = raw
            c.info.linear_valid = not o.isreg
            if not o.isreg:
                c.info.linear_address = (c.base[o.seg] + operands.address(c, o)) & M32
        elif c.intercepts.cr0_selective:  # LMSW counts whatever it writes
            stop(c, EXIT_CR0_SELECTIVE, o)
            c.info.gpr = 0
            c.info.mov = 0
        else:
            write_cr0(c, (value & (c.intercepts.cr0_mask ^ M64)) | (c.cr0 & c.intercepts.cr0_mask))
    elif kind == MOV_R_CR:
        if privileged(c):
            access_register(c, o, EXIT_CR_READ, o.reg, c.intercepts.cr_read)
            if not c.fault:
                value = control_register(c, o.reg)
                if not c.fault:
                    c.regs[o.rm] = value
    elif kind == MOV_CR_R:
        if privileged(c):
            value = c.regs[o.rm] & M32
            n = 0
            if o.reg == 3:
                for n in range(c.cr3_target_count):
                    if c.cr3_targets[n] == value:
                        write_cr(c, 3, value)
                        return
            access_register(c, o, EXIT_CR_WRITE, o.reg, c.intercepts.cr_write)
            if (
                not c.fault
                and o.reg == 0
                and c.intercepts.cr0_selective
                and (value ^ c.cr0) & ((CR0_TS | CR0_MP) ^ M64)
            ):
                stop(c, EXIT_CR0_SELECTIVE, o)
                c.info.gpr = o.rm
                c.info.mov = 1
            if not c.fault:
                write_owned(c, o, o.reg, value)
    elif kind == MOV_R_DR or kind == MOV_DR_R:
        raw = c.intercepts.dr_read if kind == MOV_R_DR else c.intercepts.dr_write
        n = o.reg
        if c.intercepts.dr_first:
            access_register(c, o, EXIT_DR_ACCESS, n, cython.cast(u32, raw))
            c.info.read = kind == MOV_R_DR
        if c.fault or not privileged(c):
            return
        if n == 4 or n == 5:
            if c.cr4 & CR4_DE:
                mmu.exception_plain(c, VEC_UD)
                return
            n += 2
        access_register(c, o, EXIT_DR_ACCESS, o.reg, cython.cast(u32, raw))
        if c.fault:
            c.info.read = kind == MOV_R_DR
            return
        if c.debug[7] & DR7_GD:  # general detect: the debug registers are somebody else's
            note_debug(c, DR6_BD)
            mmu.exception_plain(c, VEC_DB)
            return
        if kind == MOV_R_DR:
            c.regs[o.rm] = c.debug[n]
        else:
            if n == 6:
                c.debug[6] = (c.regs[o.rm] & 0xE00F) | DR6_ONES
            elif n == 7:
                c.debug[7] = (c.regs[o.rm] & DR7_WRITABLE) | 0x400
            else:
                c.debug[n] = c.regs[o.rm] & M32
            mmu.arm_breakpoints(c)
    elif not c.protected:  # the rest exists in protected mode only
        mmu.exception_plain(c, VEC_UD)
    elif kind == SLDT_R or kind == SLDT_M:
        if not descriptor_access(c, o, 2):
            store_word(c, o, c.sel[LDTR])
    elif kind == STR_R or kind == STR_M:
        if not descriptor_access(c, o, 3):
            store_word(c, o, c.sel[TR])
    elif kind == LAR_R or kind == LAR_M or kind == LSL_R or kind == LSL_M:
        value = selector_operand(c, o)
        if c.fault:
            return
        n = kind == LSL_R or kind == LSL_M
        raw = segments.visible_descriptor(c, cython.cast(u32, value), n)
        if c.fault:
            return
        if raw and n:
            operands.put(c, o.reg, 0, o.size, segments.descriptor_limit(raw))
        elif raw:
            operands.put(c, o.reg, 0, o.size, (raw >> 32) & 0x00FFFF00)
        set_zero_flag(c, raw != 0)
    elif kind == VERR_R or kind == VERR_M or kind == VERW_R or kind == VERW_M:
        value = selector_operand(c, o)
        if c.fault:
            return
        n = segments.verify(c, cython.cast(u32, value), kind == VERW_R or kind == VERW_M)
        if not c.fault:
            set_zero_flag(c, n)
    elif kind == LLDT_R or kind == LLDT_M:
        if privileged(c) and not descriptor_access(c, o, 6):
            value = selector_operand(c, o)
            if not c.fault:
                segments.load_ldt(c, cython.cast(u32, value))
    elif kind == LTR_R or kind == LTR_M:
        if privileged(c) and not descriptor_access(c, o, 7):
            value = selector_operand(c, o)
            if not c.fault:
                segments.load_tr(c, cython.cast(u32, value))
    else:  # ARPL
        value = selector_operand(c, o)
        if c.fault:
            return
        raw = c.regs[o.rm if o.isreg else o.reg] & 3
        if (value & 3) >= raw:  # nothing is written, so a read-only operand is no fault
            set_zero_flag(c, 0)
            return
        value = (value & 0xFFFC) | raw
        if o.isreg:
            operands.put(c, o.reg, 0, 1, value)
        else:
            mmu.write(c, o.seg, operands.address(c, o), value, 1)
            if c.fault:
                return
        set_zero_flag(c, 1)
