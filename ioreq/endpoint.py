"""Both ends of one ioreq server, put together: its three pages, its doorbells, its channels.

The core makes a `CoreEndpoint` for create_ioreq_server, and its `descriptors` travel in the reply to
get_ioreq_server_info; the device model makes a `ServerEndpoint` of them. In one process a test may do both.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence

from ioreq import ProtocolError, shared
from ioreq.buffered import RingConsumer, RingProducer
from ioreq.channel import BufferedChannel, CoreChannel, VcpuChannel, VcpuDoorbell
from ioreq.evtchn import EventPage, ReceivePort, SendPort, make_doorbell
from ioreq.layout import PAGE_SIZE, buffered_port, core_port, server_port
from ioreq.page import Slot

_PAGES = ("ioreq", "buffered-ioreq", "events")


class CoreEndpoint:
    """The core's end of an ioreq server, for the vCPUs whose doorbells are given.

    `descriptors`: ioreq page, buffered page, event page, the server-end doorbell of each vCPU, the ring's
    doorbell.
    """

    def __init__(self, doorbells: Sequence[VcpuDoorbell]) -> None:
        vcpus = len(doorbells)
        self.descriptors: list[int] = [shared.create(name, PAGE_SIZE) for name in _PAGES]
        self.descriptors += [make_doorbell() for _ in range(vcpus + 1)]
        ioreq_page, buffered_page, event_page = (
            shared.map_shared(fd, PAGE_SIZE) for fd in self.descriptors[: len(_PAGES)]
        )
        events = EventPage(event_page)
        bells = self.descriptors[len(_PAGES) :]
        self.channels: list[CoreChannel] = []
        for vcpu, doorbell in enumerate(doorbells):
            send = SendPort(events, server_port(vcpu), bells[vcpu])
            receive = ReceivePort(events, core_port(vcpu), doorbell.fd)
            self.channels.append(CoreChannel(Slot(ioreq_page, vcpu), send, receive, doorbell))
            send.bind()
        self._ring = RingProducer(buffered_page)
        self._ring_port = SendPort(events, buffered_port(vcpus), bells[vcpus])
        self._ring_port.bind()
        self._ring_lock = threading.Lock()
        self.dead = False

    def post(self, address: int, size: int, data: int, type_: int) -> bool:
        """Post one write; False if it must go as a synchronous request. A dead server swallows it.

        Raises:
            ProtocolError: the server broke the ring. The endpoint is dead from then on.

        """
        if self.dead:
            return True
        with self._ring_lock:
            try:
                posted = self._ring.post(type_, address, size, data)
            except ProtocolError:
                self.kill()
                raise
            if posted:
                self._ring_port.send()
            return posted

    def kill(self) -> None:
        """Read ones for requests in flight and later ones, and drop writes. From any thread."""
        self.dead = True
        for channel in self.channels:
            channel.kill()

    def close(self) -> None:
        """Kill, and close the descriptors. The pages live until nobody refers to them."""
        self.kill()
        while self.descriptors:
            with contextlib.suppress(OSError):
                os.close(self.descriptors.pop())


class ServerEndpoint:
    """The device model's end, made of the descriptors of get_ioreq_server_info, which it takes over.

    `drain` empties the ring: see `BufferedChannel`. `doorbells` are the vCPUs' own, of the domain.
    """

    def __init__(
        self, descriptors: Sequence[int], doorbells: Sequence[int], drain: Callable[[RingConsumer], None]
    ) -> None:
        vcpus = len(doorbells)
        self.descriptors = list(descriptors)
        if len(descriptors) != len(_PAGES) + vcpus + 1:
            raise ProtocolError(f"{len(descriptors)} descriptors for an ioreq server of {vcpus} vCPUs")
        ioreq_page, buffered_page, event_page = (
            shared.map_shared(fd, PAGE_SIZE) for fd in self.descriptors[: len(_PAGES)]
        )
        events = EventPage(event_page)
        bells = self.descriptors[len(_PAGES) :]
        self.ring = RingConsumer(buffered_page)
        self.buffered = BufferedChannel(
            self.ring, ReceivePort(events, buffered_port(vcpus), bells[vcpus]), lambda: drain(self.ring)
        )
        self.channels = [
            VcpuChannel(
                Slot(ioreq_page, vcpu),
                ReceivePort(events, server_port(vcpu), bells[vcpu]),
                SendPort(events, core_port(vcpu), doorbells[vcpu]),
                self.buffered,
            )
            for vcpu in range(vcpus)
        ]

    def close(self) -> None:
        """Close the descriptors."""
        while self.descriptors:
            with contextlib.suppress(OSError):
                os.close(self.descriptors.pop())
