"""The domain socket's messages: device-model ops (xen/include/public/hvm/dm_op.h), replies, and events.

A message is one JSON object. A device model sends ops: the field `op` is Xen's number where Xen has the operation, and
one of ours, from 0x100 on, where it has not. Every op gets exactly one reply, with the same `serial`. Replies come in
the order of the ops, but for those to `KeepState`, `HandOver`, `PauseDomain` and `GetVcpuContext`, which come when the
vCPUs stand still. What is refused is answered with `Error`, whose errno says why.

Addresses are in bytes, and a range includes its last one. What is longer or larger than the limits here is no message.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from ioreq.layout import MIRROR_CELLS

MORE_RANGES: Final = 255
"""Ranges of a `ModifiedMemory`, beside its first."""

Address: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Small: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Serial: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
Status: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=256)]
MemoryType: TypeAlias = Literal["ram", "ram_ro", "rom", "rom_wo", "mmio"]

MAX_TEXT: Final = 1024
"""Characters of a refusal's text."""

SPACE_PORT: Final = 0
SPACE_MEMORY: Final = 1
SPACE_PCI: Final = 2
Space: TypeAlias = Literal[0, 1, 2]

SHUTDOWN_POWEROFF: Final = 0
SHUTDOWN_REBOOT: Final = 1
SHUTDOWN_CRASH: Final = 3
ShutdownReason: TypeAlias = Literal[0, 1, 3]


class _Op(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="op", forbid_unknown_fields=True
):
    """A request of a device model; `serial` is its own choice, and comes back in the reply."""

    serial: Serial = 0


class Hello(msgspec.Struct, frozen=True, tag_field="op", tag=0x100):
    """The first op. Other versions may say more than we know, so unknown fields are let pass."""

    version: Status
    program: Name = ""
    serial: Serial = 0


class CreateIoreqServer(_Op, frozen=True, tag=1):
    """Make an ioreq server; reply `Created`. It is disabled until its state is set.

    With `mirror` it has a page of mirrored registers, which is ours and not Xen's (`ioreq.mirror`).
    """

    mirror: bool = False


class GetIoreqServerInfo(_Op, frozen=True, tag=2):
    """Ask for a server's pages and doorbells; reply `Pages` with descriptors."""

    id: Small


class MapIoRange(_Op, frozen=True, tag=3):
    """Claim a range; its writes are posted through the buffered ring, or synchronous.

    `mirror` is the cell of its first port in the mirror page; 0: it has none.
    """

    id: Small
    space: Space
    first: Address
    last: Address
    posted: bool = False
    mirror: Annotated[int, msgspec.Meta(ge=0, lt=MIRROR_CELLS)] = 0


class UnmapIoRange(_Op, frozen=True, tag=4):
    """Give a range up again, exactly as it was mapped."""

    id: Small
    space: Space
    first: Address
    last: Address


class SetIoreqServerState(_Op, frozen=True, tag=5):
    """Enable or disable a server; a disabled one is not chosen."""

    id: Small
    enabled: bool


class DestroyIoreqServer(_Op, frozen=True, tag=6):
    """Free a server and its ranges."""

    id: Small


class SetPciIntxLevel(_Op, frozen=True, tag=8):
    """Drive INTA (0) to INTD (3) of a PCI device, at the server that owns interrupt acknowledge."""

    bus: Annotated[int, msgspec.Meta(ge=0, le=255)]
    device: Annotated[int, msgspec.Meta(ge=0, le=31)]
    intx: Annotated[int, msgspec.Meta(ge=0, le=3)]
    level: bool


class SetIsaIrqLevel(_Op, frozen=True, tag=9):
    """Drive an ISA interrupt line, at the server that owns interrupt acknowledge."""

    irq: Annotated[int, msgspec.Meta(ge=0, le=15)]
    level: bool


class ModifiedMemory(_Op, frozen=True, tag=11):
    """Say that guest RAM was written, so that no stale code runs; `more` are further ranges, as Xen has a list."""

    first: Address
    last: Address
    more: Annotated[tuple[tuple[Address, Address], ...], msgspec.Meta(max_length=MORE_RANGES)] = ()


class SetMemType(_Op, frozen=True, tag=12):
    """Change what is at a range of whole pages."""

    first: Address
    last: Address
    type: MemoryType


class InjectEvent(_Op, frozen=True, tag=13):
    """Put an event into a vCPU; `vector` and `type` are those of VMX's and SVM's event fields.

    Only NMI, 2 and 2, is taken: it waits where the guest blocks NMIs, and one that comes meanwhile is lost.
    """

    vector: Annotated[int, msgspec.Meta(ge=0, le=255)]
    type: Annotated[int, msgspec.Meta(ge=0, le=7)]
    vcpu: Small = 0


class RemoteShutdown(_Op, frozen=True, tag=16):
    """End or reset the domain; `code` goes with a power-off (the debug-exit device)."""

    reason: ShutdownReason
    code: Status = 0


class NrVcpus(_Op, frozen=True, tag=20):
    """Ask how many vCPUs there are; reply `Vcpus`."""


class ClaimInterruptAcknowledge(_Op, frozen=True, tag=0x101):
    """Become the server that owns the INTR pins and answers interrupt-acknowledge cycles."""

    id: Small


class ReleaseInterruptAcknowledge(_Op, frozen=True, tag=0x102):
    """Give interrupt acknowledge up again: the server neither owns the INTR pins nor answers any longer."""

    id: Small


class ResetDone(_Op, frozen=True, tag=0x103):
    """Say that the chips have been reset, in answer to the event `Reset`."""


class GetStatistics(_Op, frozen=True, tag=0x104):
    """Ask what the vCPUs have counted; reply `Statistics`."""


class KeepState(_Op, frozen=True, tag=0x105):
    """Have the core keep what this server remembers, in an area that outlives it (`ioreq.state_area`).

    Reply `KeptState`. If a server that kept its state under the same `key` has handed it over or died, its area comes
    with the reply, no vCPU runs then, and none does until this server is enabled, or gone.
    """

    id: Small
    key: Annotated[Name, msgspec.Meta(min_length=1)]


class HandOver(_Op, frozen=True, tag=0x106):
    """Leave the guest to a successor, which will say `KeepState` with the same key.

    The reply, `Ok`, comes when no vCPU runs: what the guest has posted is in the ring, and the state in the area can
    be made whole. The vCPUs go on when the successor is enabled, or when none has come in time.
    """

    id: Small


class PauseDomain(_Op, frozen=True, tag=0x107):
    """Hold the vCPUs between two instructions, until `UnpauseDomain`, or until the connection ends.

    The reply, `Ok`, comes when no vCPU runs: what the guest has posted is in the ring. Time goes on meanwhile, as for a
    machine whose processor is held in system management mode. Asking twice has no further effect.
    """


class UnpauseDomain(_Op, frozen=True, tag=0x108):
    """Let the vCPUs run on, unless another connection holds them too."""


class GetVcpuContext(_Op, frozen=True, tag=0x109):
    """Ask for a vCPU's registers between two instructions, or in the midst of the one that waits for a server.

    Reply `VcpuContext`.
    """

    vcpu: Small = 0


class GetVideoMemory(_Op, frozen=True, tag=0x10A):
    """Ask for memory that a display adapter can share with the guest; reply `VideoMemory`."""


class MapVideoMemory(_Op, frozen=True, tag=0x10B):
    """Let the guest find video memory at whole pages, in place of the server: `offset` is that of the first page in it.

    The guest runs on when what it has posted to the server is performed. It is memory only where there is no other,
    and until its server unmaps it, or is gone without a successor.
    """

    id: Small
    first: Address
    last: Address
    offset: Address


class UnmapVideoMemory(_Op, frozen=True, tag=0x10C):
    """Take video memory away again, exactly as it was mapped: the server answers there."""

    id: Small
    first: Address
    last: Address


Op: TypeAlias = (
    CreateIoreqServer
    | GetIoreqServerInfo
    | MapIoRange
    | UnmapIoRange
    | SetIoreqServerState
    | DestroyIoreqServer
    | SetPciIntxLevel
    | SetIsaIrqLevel
    | ModifiedMemory
    | SetMemType
    | InjectEvent
    | RemoteShutdown
    | NrVcpus
    | ClaimInterruptAcknowledge
    | ReleaseInterruptAcknowledge
    | ResetDone
    | GetStatistics
    | KeepState
    | HandOver
    | PauseDomain
    | UnpauseDomain
    | GetVcpuContext
    | GetVideoMemory
    | MapVideoMemory
    | UnmapVideoMemory
)


class _Said(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="said", forbid_unknown_fields=True):
    """What the core says."""


class _Reply(_Said, frozen=True, kw_only=True):
    """What the core says in answer to an op, whose `serial` it repeats."""

    serial: Serial = 0


class Ok(_Reply, frozen=True, tag="ok"):
    """Done."""


class Error(_Reply, frozen=True, tag="error", forbid_unknown_fields=False):
    """Refused. `errno` says why, as Xen's do, and is what programs go by; `text` is for people.

    EPROTONOSUPPORT refuses a `Hello` of another version, EPROTO ends the connection.
    """

    errno: Small
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class RamRegion(msgspec.Struct, frozen=True):
    """Guest RAM from guest-physical `start`, at `offset` of the RAM object."""

    start: Address
    length: Address
    offset: Address


class E820Entry(msgspec.Struct, frozen=True):
    """A line of the BIOS memory map: type 1 is RAM, 2 reserved."""

    start: Address
    length: Address
    type: Small


class DomainInfo(_Reply, frozen=True, tag="domain"):
    """Reply to `Hello`. Descriptors: RAM, pins page, the doorbell of each vCPU.

    `vcpus` is how many there are; `boot` is what the builder wants the firmware to be told, by name.
    """

    version: Status
    vcpus: Annotated[int, msgspec.Meta(ge=1, le=128)]
    ram: Annotated[list[RamRegion], msgspec.Meta(max_length=64)]
    e820: Annotated[list[E820Entry], msgspec.Meta(max_length=128)] = []
    name: Name = ""
    boot: Annotated[dict[Name, Address | Name], msgspec.Meta(max_length=64)] = {}


class Created(_Reply, frozen=True, tag="created"):
    """Reply to `CreateIoreqServer`."""

    id: Small


class Pages(_Reply, frozen=True, tag="pages"):
    """Reply to `GetIoreqServerInfo`. Descriptors: see `core.CoreEndpoint`; ports: see `layout`."""

    id: Small


class Vcpus(_Reply, frozen=True, tag="vcpus"):
    """Reply to `NrVcpus`."""

    count: Small


Buckets: TypeAlias = list[tuple[int, int]]
"""A histogram of durations, as pairs of bucket and count: see `ioreq.histogram`."""


class Exits(msgspec.Struct, frozen=True):
    """How often a vCPU stopped for a reason, and how long a sample of these stops took to be handled."""

    reason: str
    count: int
    handled: Buckets = []


class Accesses(msgspec.Struct, frozen=True):
    """How often a port, or a range of memory, was accessed, and how long a sample of what waited took.

    `reads` and `writes` waited for the server, `mirrored` reads and `posted` writes did not. Space "interrupt" has the
    interrupt-acknowledge cycles.
    """

    space: Literal["port", "memory", "interrupt"]
    address: int
    reads: int = 0
    mirrored: int = 0
    posted: int = 0
    writes: int = 0
    waits: Buckets = []


class VcpuStatistics(msgspec.Struct, frozen=True):
    """What a vCPU has counted since it started: of accesses the busiest, the busiest first."""

    vcpu: int
    instructions: int
    asleep_ns: int
    exits: list[Exits]
    accesses: list[Accesses]


class Statistics(_Reply, frozen=True, tag="statistics"):
    """Reply to `GetStatistics`."""

    vcpus: list[VcpuStatistics]


class SegmentRegister(msgspec.Struct, frozen=True):
    """A segment register with what the processor has cached; `attributes` as SDM vol. 3 table 25-2 has them."""

    selector: int
    base: int
    limit: int
    attributes: int


class VcpuContext(_Reply, frozen=True, tag="vcpu_context"):
    """Reply to `GetVcpuContext`. `gpr` are RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, in the order of their numbers.

    `segments` are ES, CS, SS, DS, FS, GS, LDTR, TR; `gdtr` and `idtr` base and limit.
    """

    gpr: list[int]
    rip: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    efer: int
    segments: Annotated[list[SegmentRegister], msgspec.Meta(min_length=8, max_length=8)]
    gdtr: tuple[int, int]
    idtr: tuple[int, int]
    halted: bool = False


class KeptState(_Reply, frozen=True, tag="kept_state"):
    """Reply to `KeepState`. Descriptors: the area, and if there was a predecessor, number `server`, its ring.

    Of that ring's slots the core has filled `posted` ever; all but the last `in_flight` of these were performed.
    `exact` says that the predecessor has handed over, and no vCPU has run since.
    """

    exact: bool = False
    server: Small = 0
    posted: Annotated[int, msgspec.Meta(ge=0)] = 0
    in_flight: Small = 0


class VideoMemory(_Reply, frozen=True, tag="video_memory"):
    """Reply to `GetVideoMemory`: where it lies in the RAM object, in whole pages. It lives as long as the domain."""

    offset: Address
    length: Address


class Reset(_Said, frozen=True, tag="reset"):
    """Event: the domain resets; reset the chips and say `ResetDone`."""


class IsaIrqLevel(_Said, frozen=True, tag="isa_irq_level"):
    """Event for the owner of interrupt acknowledge: another server drives an ISA line."""

    irq: Small
    level: bool


class PciIntxLevel(_Said, frozen=True, tag="pci_intx_level"):
    """Event for the owner of interrupt acknowledge: another server drives a PCI line."""

    bus: Small
    device: Small
    intx: Small
    level: bool


class Shutdown(_Said, frozen=True, tag="shutdown"):
    """Event: the domain is gone, with the exit status `code` of the core."""

    reason: ShutdownReason
    code: Status = 0


LineEvent: TypeAlias = IsaIrqLevel | PciIntxLevel
Reply: TypeAlias = (
    Ok | Error | DomainInfo | Created | Pages | Vcpus | Statistics | KeptState | VcpuContext | VideoMemory
)
Event: TypeAlias = Reset | IsaIrqLevel | PciIntxLevel | Shutdown

REPLIES: Final[dict[type, type]] = {
    Hello: DomainInfo,
    CreateIoreqServer: Created,
    GetIoreqServerInfo: Pages,
    NrVcpus: Vcpus,
    GetStatistics: Statistics,
    KeepState: KeptState,
    GetVcpuContext: VcpuContext,
    GetVideoMemory: VideoMemory,
}
"""What an op is answered with if it is not refused. Ops that are not here are answered with `Ok`."""
