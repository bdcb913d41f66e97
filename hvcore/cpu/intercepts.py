"""What a backend wants the processor to stop on; `Processor.update_intercepts` follows a change.

The types stand in `intercepts.pxd`, as those of `ExitInfo` do.
"""

import cython


@cython.cclass
class Intercepts:
    """What to stop on. Masks have a bit for a register or vector; all else is on or off."""

    def __init__(self) -> None:
        self.clear()
        self.hlt = self.io = self.cpuid = self.rdmsr = self.wrmsr = True

    def clear(self) -> None:
        """Stop on nothing."""
        self.external_interrupt = False
        self.interrupt_if = False  # INTR stops only where the guest could take it: IF, and no shadow
        self.nmi = False
        self.nmi_virtual = False  # the pin is not blocked while the guest's NMIs are
        self.interrupt_window = False
        self.nmi_window = False  # neither blocked nor in a shadow: an NMI can be injected
        self.iret_keeps_nmi_blocked = False  # VMX: NMI exiting without virtual NMIs
        self.hlt = False
        self.io = False
        self.io_bitmap: bytes | None = None  # 8 KiB, a bit for a port; None: every port
        self.cpuid = False
        self.rdtsc = False
        self.rdpmc = False
        self.rdmsr = False
        self.wrmsr = False
        # 3 KiB, a bit for each of MSRs 0, C000_0000h and C001_0000h to +1FFFh, all others stop; both or neither, and
        # None: every MSR.
        self.msr_read: bytes | None = None
        self.msr_write: bytes | None = None
        self.exceptions = 0
        self.page_fault_mask = 0  # a page fault counts as vector 14 if its error code & mask == match,
        self.page_fault_match = 0  # and the other way round if not (SDM vol. 3 section 26.2)
        self.cr0_mask = 0  # bits of CR0 and CR4 that the guest does not own: it reads the shadow's,
        self.cr0_shadow = 0  # and a write that differs from the shadow there stops
        self.cr4_mask = 0
        self.cr4_shadow = 0
        self.cr3_targets: tuple[int, ...] = ()  # at most 4 values that MOV to CR3 may load without a stop
        self.cr0_selective = False  # LMSW, and a MOV to CR0 that changes more than TS and MP
        self.cr_read = 0
        self.cr_write = 0
        self.dr_read = 0
        self.dr_write = 0
        self.dr_first = False  # MOV DR stops before its own faults are looked for (SDM vol. 3 section 26.1.3)
        self.invd = False
        self.wbinvd = False
        self.invlpg = False
        self.pause = False
        self.task_switch = False
        self.iret = False
        self.pushf = False
        self.popf = False
        self.icebp = False
        self.vm_instructions = 0  # a bit for each `VmInstruction`: it exists, and stops
        self.ferr = False  # an x87 instruction waits for somebody to take notice of FERR#
        self.software_interrupt = False
        self.descriptor_table = 0  # a bit for each `DescriptorTable`
