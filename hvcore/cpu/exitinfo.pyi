# What exitinfo.py declares, for readers that do not know Cython's types.
from typing import Final

NO_REGISTER: Final = 16

class ExitKind:
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
    SIDT: Final = 0
    SGDT: Final = 1
    SLDT: Final = 2
    STR: Final = 3
    LIDT: Final = 4
    LGDT: Final = 5
    LLDT: Final = 6
    LTR: Final = 7

class VmInstruction:
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
    CALL: Final = 0
    IRET: Final = 1
    JMP: Final = 2
    GATE: Final = 3

class Emulate:
    DONE: Final = 0
    READ: Final = 1
    FAULT: Final = 2
    OTHER: Final = 3

class ExitInfo:
    kind: int
    instruction_length: int
    next_rip: int
    port: int
    size: int
    read: bool
    string: bool
    rep: bool
    immediate: bool
    address_size: int
    segment: int
    guest_physical: int
    linear_address: int
    linear_valid: bool
    write: bool
    fetch: bool
    table: bool
    data: int
    instruction_bytes: bytes
    vector: int
    error_code: int
    has_error_code: bool
    fault_address: int
    event_kind: int  # 3 hardware, 5 ICEBP, 6 INT3 and INTO
    debug_status: int  # of #DB: the bits that it has in DR6
    nmi_unblocking: bool
    number: int
    gpr: int
    second_gpr: int
    mov: bool
    source: int
    memory: bool
    base: int
    index: int
    scale: int
    displacement: int
    vectoring: bool
    vectoring_kind: int
    vectoring_vector: int
    vectoring_has_error_code: bool
    vectoring_error_code: int
