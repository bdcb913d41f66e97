"""What an 82077AA and its drives remember: where a command is, and what comes next."""

from typing import Final

import attrs

from devmodel.devices.diskette import Rate
from devmodel.devices.fdc_registers import CONFIG_NO_FIFO


class Phase:
    """Where a command is."""

    IDLE: Final = 0
    COMMAND: Final = 1
    EXECUTION: Final = 2
    RESULT: Final = 3


class Order:
    """What a scan has found so far."""

    EQUAL: Final = 0
    LESS: Final = 1  # the diskette's
    GREATER: Final = 2


class Then:
    """What happens when `due` has come."""

    NOTHING: Final = 0
    READY: Final = 1  # after a reset
    POLL: Final = 2  # the drives
    BEGIN: Final = 3
    OFFER: Final = 4  # what the medium has read
    PASSED: Final = 5  # what passed between host and buffer, unless terminal count was there first
    RESULT: Final = 6
    OVERRUN: Final = 7


@attrs.define
class DriveState:
    """What a drive, and the diskette in it, remember."""

    cylinder: int = 0  # where the heads are
    changed: bool = True  # since a step with a diskette in
    seek_at: int | None = None  # guest time in ns at which a seek ends
    seek_status: int = 0  # ST0 then
    unflushed: bool = False
    deleted: set[int] = attrs.field(factory=set[int])  # sectors with a deleted data mark


@attrs.define
class FdcState:
    """Everything the controller and its drives remember."""

    dor: int = 0
    tdr: int = 0
    rate: int = Rate.R250
    specified: bytearray = attrs.field(factory=lambda: bytearray(2))
    config: int = CONFIG_NO_FIFO
    precompensation_track: int = 0
    lock: bool = False
    perpendicular: int = 0
    last_eot: int = 0  # for DUMPREG
    cylinders: bytearray = attrs.field(factory=lambda: bytearray(4))  # PCN of each drive
    phase: int = Phase.IDLE
    command: bytearray = attrs.field(factory=bytearray)
    result: bytearray = attrs.field(factory=bytearray)
    interrupt: bool = False
    pending: bytearray = attrs.field(factory=bytearray)  # ST0s for SENSE INTERRUPT STATUS
    due: int | None = None  # guest time in ns
    then: int = Then.NOTHING
    # The command that is executed.
    op: int = 0
    unit: int = 0
    head: int = 0
    c: int = 0
    h: int = 0
    r: int = 0
    n: int = 0
    st1: int = 0
    st2: int = 0
    run: int = 0  # sectors that `buffer` is of, or will be
    buffer: bytearray = attrs.field(factory=bytearray)
    position: int = 0
    moving: bool = False  # bytes pass between host and buffer
    dreq: bool = False
    order: int = 0  # of diskette and host, in a scan
    last: bool = False  # a sector with the other address mark ends the command
    left: int = 0  # sectors, for VERIFY with EC and for READ TRACK
    terminal: bool = False  # terminal count has come
    sought: bool = False  # by an implied seek
    abnormal: bool = False
    waiting: bool = False  # for the medium
    single: bool = False  # the medium has failed: a sector at a time
    drives: list[DriveState] = attrs.field(factory=lambda: [DriveState(), DriveState()])
