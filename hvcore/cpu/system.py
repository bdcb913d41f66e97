"""What only a kernel does, or a backend wants to see (SDM vol. 3 ch. 2), and who does it; HLT, CPUID and the like."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import (
        control_registers,
        debug,
        descriptors,
        faults,
        msrs,
        operands,
        ports,
        segments,
        stops,
        tlb,
    )
    from cython.cimports.hvcore.cpu.kinds import (
        CLTS, CPUID, HLT, INS, INVD, INVLPG, IN_DX, IN_I, LGDT, LIDT, LMSW_M, LMSW_R, MOV_CR_R, MOV_DR_R,
        MOV_R_CR, MOV_R_DR, OUTS, OUT_DX, OUT_I, PAUSE, RDMSR, RDPMC, RDTSC, SGDT, SIDT, SMSW_M, SMSW_R,
        VMX_M, VMX_R, VM_CALL, VM_INSTRUCTION, WBINVD, WRMSR,
    )
    from cython.cimports.hvcore.cpu.state import (
        CR4_TSD, EXIT_CPUID, EXIT_HLT, EXIT_INVD, EXIT_INVLPG, EXIT_PAUSE, EXIT_RDPMC, EXIT_RDTSC,
        EXIT_VM_INSTRUCTION, EXIT_WBINVD, HALTED, M32, RAX, RBX, RCX, RDX, SPECIAL_STOP, VEC_GP, VEC_UD,
        VMCALL, VMMCALL, VMREAD, VMRUN, u32, u64,
    )
else:
    from hvcore.cpu import (
        control_registers,
        debug,
        descriptors,
        faults,
        msrs,
        operands,
        ports,
        segments,
        stops,
        tlb,
    )
    from hvcore.cpu.constants import (
        CLTS, CPUID, CR4_TSD, EXIT_CPUID, EXIT_HLT, EXIT_INVD, EXIT_INVLPG, EXIT_PAUSE, EXIT_RDPMC,
        EXIT_RDTSC, EXIT_VM_INSTRUCTION, EXIT_WBINVD, HALTED, HLT, INS, INVD, INVLPG, IN_DX, IN_I, LGDT, LIDT,
        LMSW_M, LMSW_R, M32, MOV_CR_R, MOV_DR_R, MOV_R_CR, MOV_R_DR, OUTS, OUT_DX, OUT_I, PAUSE, RAX, RBX,
        RCX, RDMSR, RDPMC, RDTSC, RDX, SGDT, SIDT, SMSW_M, SMSW_R, SPECIAL_STOP, VEC_GP, VEC_UD, VMCALL,
        VMMCALL, VMREAD, VMRUN, VMX_M, VMX_R, VM_CALL, VM_INSTRUCTION, WBINVD, WRMSR, u32, u64,
    )
# fmt: on


def vm_instruction(c, o):
    """The instructions of VMX and SVM: those that the backend wants to see exist, and stop.

    SVM's check the privilege level first (APM vol. 2 section 15.9), VMX's exit whatever it is (SDM vol. 3 ch. 31). Both
    want protected mode, save VMCALL and VMMCALL. EFER.SVME and CR4.VMXE need no look: in a guest they are set.
    """
    which: u32 = o.sub
    if o.kind == VM_CALL:
        which = o.modrm & 7
    elif o.kind == VM_INSTRUCTION:
        which = VMRUN + (o.modrm & 7)
    if not (c.intercepts.vm_instructions >> which) & 1:
        faults.exception_plain(c, VEC_UD)
        return
    if which != VMCALL and which != VMMCALL:
        if not c.protected:
            faults.exception_plain(c, VEC_UD)
            return
        if VMRUN <= which < VMREAD and not segments.privileged(c):
            return
    stops.stop(c, EXIT_VM_INSTRUCTION, o)
    c.info.number = which
    c.info.linear_address = c.regs[RAX]
    if which >= VMREAD:
        stops.describe_operand(c, o)
        c.info.gpr = o.rm
        c.info.second_gpr = o.reg


def execute(c, o):
    """One instruction of this family; `c.eip` is already that of the next one."""
    kind: u32 = o.kind
    value: u64
    if kind == IN_I:
        ports.port_access(c, o, cython.cast(u32, o.imm), 1)
    elif kind == IN_DX:
        ports.port_access(c, o, c.regs[RDX] & 0xFFFF, 1)
    elif kind == OUT_I:
        ports.port_access(c, o, cython.cast(u32, o.imm), 0)
    elif kind == OUT_DX:
        ports.port_access(c, o, c.regs[RDX] & 0xFFFF, 0)
    elif kind == INS or kind == OUTS:
        ports.string_port_access(c, o)
    elif kind == HLT:
        if segments.privileged(c):
            if c.intercepts.hlt:
                stops.stop(c, EXIT_HLT, o)
            else:
                c.activity_now = HALTED
                c.special |= SPECIAL_STOP
    elif kind == PAUSE:
        if c.intercepts.pause:
            if c.pause_left > 1:
                c.pause_left -= 1
            else:
                stops.stop(c, EXIT_PAUSE, o)
    elif kind == CPUID:
        if c.intercepts.cpuid:
            stops.stop(c, EXIT_CPUID, o)
        else:
            c.regs[RAX] = c.regs[RBX] = c.regs[RCX] = c.regs[RDX] = 0
    elif kind == RDTSC:
        if c.cr4 & CR4_TSD and not segments.privileged(c):
            return
        if c.intercepts.rdtsc:
            stops.stop(c, EXIT_RDTSC, o)
            return
        value = msrs.time_stamp(c)
        c.regs[RAX] = value & M32
        c.regs[RDX] = value >> 32
    elif kind == RDPMC:
        if c.cpl:  # and there is no CR4.PCE
            faults.exception(c, VEC_GP, 0)
        elif c.intercepts.rdpmc:
            stops.stop(c, EXIT_RDPMC, o)
        else:
            faults.exception(c, VEC_GP, 0)  # there are no counters
    elif kind == RDMSR or kind == WRMSR:
        msrs.access_msr(c, o)
    elif kind == INVD or kind == WBINVD:
        if segments.privileged(c) and (c.intercepts.invd if kind == INVD else c.intercepts.wbinvd):
            stops.stop(c, EXIT_INVD if kind == INVD else EXIT_WBINVD, o)
    elif kind == INVLPG:
        if not segments.privileged(c):
            return
        value = (c.base[o.seg] + operands.address(c, o)) & M32
        if c.intercepts.invlpg:
            stops.stop(c, EXIT_INVLPG, o)
            c.info.linear_address = value
        else:
            tlb.flush_page(c, value)
    elif kind == VM_CALL or kind == VM_INSTRUCTION or kind == VMX_R or kind == VMX_M:
        vm_instruction(c, o)
    elif kind == CLTS:
        if segments.privileged(c):
            control_registers.clear_task_switched(c, o)
    elif kind == SGDT or kind == SIDT or kind == LGDT or kind == LIDT:
        descriptors.descriptor_table(c, o)
    elif kind == SMSW_R or kind == SMSW_M:
        control_registers.store_status(c, o)
    elif kind == LMSW_R or kind == LMSW_M:
        if segments.privileged(c):
            control_registers.load_status(c, o)
    elif kind == MOV_R_CR:
        if segments.privileged(c):
            control_registers.move_from(c, o)
    elif kind == MOV_CR_R:
        if segments.privileged(c):
            control_registers.move_to(c, o)
    elif kind == MOV_R_DR or kind == MOV_DR_R:
        debug.move(c, o)
    else:
        descriptors.access(c, o)
