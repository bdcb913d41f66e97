"""What this implementation of SVM offers, as CPUID leaf 8000_000Ah would say (APM vol. 2 section 15.3, vol. 3 app. E).

Every bit that may be set here does what the APM says; VMRUN refuses the others. Not offered, since the processor has
nothing for them to control: long mode, CR8, SMM, INIT, MONITOR and MWAIT, RDTSCP, XSETBV, RDPRU, last-branch records,
encryption, AVIC. Not offered although they could be: nested SVM and with it a GIF for the guest, write traps, the
PAUSE filter's threshold, VMCB clean bits (which are allowed and ignored).
"""

from typing import Final

from hvcore.svm.vmcb import Intercept3, Intercept4, Vintr

REVISION: Final = 1
ASIDS: Final = 16
NESTED_PAGING: Final = 1 << 0
NEXT_RIP: Final = 1 << 3
FLUSH_BY_ASID: Final = 1 << 6
DECODE_ASSISTS: Final = 1 << 7
PAUSE_FILTER: Final = 1 << 10
CPUID: Final = (REVISION, ASIDS, 0, NESTED_PAGING | NEXT_RIP | FLUSH_BY_ASID | DECODE_ASSISTS | PAUSE_FILTER)
"""EAX, EBX, ECX, EDX of leaf 8000_000Ah."""

INTERCEPT_CR: Final = 0x001D_001D
"""Reads and writes of CR0, CR2, CR3 and CR4."""
INTERCEPT_DR: Final = 0x00FF_00FF
"""Reads and writes of DR0 to DR7, as the instruction encodes them."""
INTERCEPT_3: Final = (
    Intercept3.INTR
    | Intercept3.NMI
    | Intercept3.VINTR
    | Intercept3.CR0_SEL_WRITE
    | Intercept3.IDTR_READ
    | Intercept3.GDTR_READ
    | Intercept3.LDTR_READ
    | Intercept3.TR_READ
    | Intercept3.IDTR_WRITE
    | Intercept3.GDTR_WRITE
    | Intercept3.LDTR_WRITE
    | Intercept3.TR_WRITE
    | Intercept3.RDTSC
    | Intercept3.RDPMC
    | Intercept3.PUSHF
    | Intercept3.POPF
    | Intercept3.CPUID
    | Intercept3.IRET
    | Intercept3.INTN
    | Intercept3.INVD
    | Intercept3.PAUSE
    | Intercept3.HLT
    | Intercept3.INVLPG
    | Intercept3.INVLPGA
    | Intercept3.IOIO_PROT
    | Intercept3.MSR_PROT
    | Intercept3.TASK_SWITCH
    | Intercept3.FERR_FREEZE
    | Intercept3.SHUTDOWN
)
INTERCEPT_4: Final = (
    Intercept4.VMRUN
    | Intercept4.VMMCALL
    | Intercept4.VMLOAD
    | Intercept4.VMSAVE
    | Intercept4.STGI
    | Intercept4.CLGI
    | Intercept4.SKINIT
    | Intercept4.ICEBP
    | Intercept4.WBINVD
)
VINTR: Final = (
    Vintr.V_TPR
    | Vintr.V_IRQ
    | 0xF << Vintr.V_INTR_PRIO_SHIFT
    | Vintr.V_IGN_TPR
    | Vintr.V_INTR_MASKING
    | 0xFF << Vintr.V_INTR_VECTOR_SHIFT
)
TLB_CONTROLS: Final = (0, 1, 3, 7)
"""Nothing; the whole TLB; this guest's; this guest's that is not global (table 15-9)."""
