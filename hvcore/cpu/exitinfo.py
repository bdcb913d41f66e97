"""What the processor says when it stops: raw facts, in no vendor's format.

One `ExitInfo` belongs to a processor and is overwritten by every stop; only the fields that belong to its
`kind` mean anything. The vendors turn it into their own records (SDM vol. 3 ch. 28; APM vol. 2 ch. 15).
"""

from typing import Final

import cython

NO_REGISTER: Final = 16
"""An operand without base or index."""


class ExitKind:
    """Why `Processor.run` returned."""

    BUDGET: Final = 0
    EXTERNAL_INTERRUPT: Final = 1
    INTERRUPT_WINDOW: Final = 2
    NMI_WINDOW: Final = 3
    HLT: Final = 4
    IO: Final = 5
    CPUID: Final = 6
    RDTSC: Final = 7
    RDMSR: Final = 8
    WRMSR: Final = 9
    EXCEPTION: Final = 10
    TRIPLE_FAULT: Final = 11
    GUEST_PHYSICAL: Final = 12
    CR_READ: Final = 13
    CR_WRITE: Final = 14
    DR_ACCESS: Final = 15
    INVD: Final = 16
    WBINVD: Final = 17
    INVLPG: Final = 18
    PAUSE: Final = 19
    TASK_SWITCH: Final = 20
    RDPMC: Final = 21
    IRET: Final = 22
    SOFTWARE_INTERRUPT: Final = 23
    DESCRIPTOR_TABLE: Final = 24
    LMSW: Final = 25
    CLTS: Final = 26
    NMI: Final = 27
    CR0_SELECTIVE: Final = 28
    PUSHF: Final = 29
    POPF: Final = 30
    ICEBP: Final = 31
    FERR_FREEZE: Final = 32
    VM_INSTRUCTION: Final = 33


class DescriptorTable:
    """Instructions that read and write descriptor-table registers: `number`, and bits of the intercept."""

    SIDT: Final = 0
    SGDT: Final = 1
    SLDT: Final = 2
    STR: Final = 3
    LIDT: Final = 4
    LGDT: Final = 5
    LLDT: Final = 6
    LTR: Final = 7


class VmInstruction:
    """Instructions of VMX and SVM: `number`, and bits of the intercept; 0F 01 C0 to C7 and D8 to DF are 0 to 15."""

    VMCALL: Final = 1
    VMLAUNCH: Final = 2
    VMRESUME: Final = 3
    VMXOFF: Final = 4
    VMRUN: Final = 8
    VMMCALL: Final = 9
    VMLOAD: Final = 10
    VMSAVE: Final = 11
    STGI: Final = 12
    CLGI: Final = 13
    SKINIT: Final = 14
    INVLPGA: Final = 15
    VMREAD: Final = 16
    VMWRITE: Final = 17
    VMPTRLD: Final = 18
    VMCLEAR: Final = 19
    VMXON: Final = 20
    VMPTRST: Final = 21
    INVEPT: Final = 22
    INVVPID: Final = 23


class TaskSource:
    """What started a task switch; a task gate of the IDT is GATE, one that is called or jumped to is not."""

    CALL: Final = 0
    IRET: Final = 1
    JMP: Final = 2
    GATE: Final = 3


class Emulate:
    """What `Processor.emulate` came to."""

    DONE: Final = 0
    READ: Final = 1
    FAULT: Final = 2
    OTHER: Final = 3


@cython.cclass
class ExitInfo:
    """The raw facts of the last stop."""

    def __init__(self) -> None:
        self.kind = ExitKind.BUDGET
        self.instruction_length = 0
        self.next_rip = 0
        self.port = 0
        self.size = 0
        self.read = False
        self.string = False
        self.rep = False
        self.immediate = False
        self.address_size = 0
        self.segment = 0
        self.guest_physical = 0
        self.linear_address = 0
        self.linear_valid = False
        self.write = False
        self.fetch = False
        self.table = False  # the access was to a paging structure, on the way to `linear_address`
        self.data = 0
        self.instruction_bytes = b""
        self.vector = 0
        self.error_code = 0
        self.has_error_code = False
        self.fault_address = 0
        self.event_kind = 0  # 3 hardware, 5 ICEBP, 6 INT3 and INTO
        self.debug_status = 0  # of #DB: the bits that it has in DR6
        self.nmi_unblocking = False  # an IRET that had ended the blocking of NMIs did not complete
        self.number = 0
        self.gpr = 0
        self.second_gpr = 0  # the register operand beside one that is a register or memory
        self.mov = False  # by MOV, and not by LMSW or SMSW
        self.source = 0  # a TaskSource
        self.memory = False
        self.base = 0  # of the memory operand, as `index` a register number, or NO_REGISTER
        self.index = 0
        self.scale = 0
        self.displacement = 0
        self.vectoring = False
        self.vectoring_kind = 0
        self.vectoring_vector = 0
        self.vectoring_has_error_code = False
        self.vectoring_error_code = 0
