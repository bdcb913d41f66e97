"""A server whose requests are recorded: `--trace FILE`. Who does not trace runs `Performer` itself, without a test."""

from devmodel.board.device import ONES
from devmodel.service.clock import TrioClock
from devmodel.service.keeper import Keeper
from devmodel.service.performer import Performer, Ram, Target
from devmodel.service.server import Attachment, Board, Server
from devmodel.service.trace import DESCENDING, POINTER, POSTED, READ, Recorder, ranges_of
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.request import Request


class TracedPerformer(Performer):
    """Records what it performs."""

    def __init__(self, board: Target, ram: Ram, recorder: Recorder) -> None:
        super().__init__(board, ram)
        self._record = recorder.record

    def perform(self, request: Request) -> int:
        """Do one request, and record it with what it was answered."""
        answer = super().perform(request)
        flags = READ if request.read else 0
        if request.data_is_ptr:
            flags |= POINTER
        if request.descending:
            flags |= DESCENDING
        value = answer if request.read and not request.data_is_ptr else request.data
        size = request.size
        if not request.data_is_ptr:
            value &= ONES[size]
        self._record(request.type, request.address, value, size, flags, request.count)
        return answer

    def perform_posted(self, request: Request) -> None:
        """Do one posted write, or an acknowledge cycle that the processor has made by itself, and record it."""
        super().perform_posted(request)
        if request.type in (TYPE_PIO, TYPE_COPY):
            self._record(request.type, request.address, request.data, request.size, POSTED)
        else:
            self._record(TYPE_INTACK, 0, request.data & 0xFF, 1, POSTED)


class TracedServer(Server):
    """Records what it answers. Its attachment must have no mirror page, or it would not see every read."""

    def __init__(
        self,
        board: Board,
        attachment: Attachment,
        clock: TrioClock,
        recorder: Recorder,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(
            board, attachment, clock, keeper, lambda board, ram: TracedPerformer(board, ram, recorder)
        )
        attachment.moved = lambda: recorder.follow(ranges_of(board.bus))
