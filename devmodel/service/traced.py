"""A server whose requests are recorded: `--trace FILE`. Who does not trace runs `Server` itself, without a test."""

from devmodel.board.device import ONES
from devmodel.service.clock import TrioClock
from devmodel.service.keeper import Keeper
from devmodel.service.server import Attachment, Board, Server
from devmodel.service.trace import DESCENDING, POINTER, POSTED, READ, Recorder, ranges_of
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from ioreq.request import Request


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
        super().__init__(board, attachment, clock, keeper)
        self._record = recorder.record
        self._asked = False  # whether a write belongs to a request that waits, and not to the ring
        write_port, write_memory = self._write_port, self._write_memory

        def posted_port(address: int, size: int, value: int) -> None:
            write_port(address, size, value)
            if not self._asked:
                self._record(TYPE_PIO, address, value, size, POSTED)

        def posted_memory(address: int, size: int, value: int) -> None:
            write_memory(address, size, value)
            if not self._asked:
                self._record(TYPE_COPY, address, value, size, POSTED)

        def acknowledged(vector: int) -> None:
            board.acknowledged(vector)
            self._record(TYPE_INTACK, 0, vector, 1, POSTED)

        self._write_port, self._write_memory = posted_port, posted_memory
        self._acknowledged = acknowledged
        attachment.moved = lambda: recorder.follow(ranges_of(board.bus))

    def perform(self, request: Request) -> int:
        """Do one request, and record it with what it was answered."""
        self._asked = True
        try:
            answer = super().perform(request)
        finally:
            self._asked = False
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
