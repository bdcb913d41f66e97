"""The device model of the stress test, as a process of its own. Usage: stress_peer.py SOCKET SEED."""

import random
import sys

import trio

from ioreq.buffered import RingConsumer
from ioreq.control_client import open_control
from ioreq.layout import BUFFERED_SLOTS
from ioreq.messages import GetIoreqServerInfo
from ioreq.request import Request
from ioreq.server import ServerEndpoint


async def main(path: str, seed: int) -> None:
    dice = random.Random(seed)
    posted = 0
    into = Request()

    def drain(ring: RingConsumer) -> None:
        nonlocal posted
        for _ in range(BUFFERED_SLOTS):
            if not ring.take(into):
                return
            if into.data != posted & 0xFFFFFFFF:
                raise SystemExit(f"posted write {posted} came as {into.data}")
            posted += 1
        ring.finish()

    async with open_control(path, program="stress") as client:
        _, fds = await client.call_with_descriptors(GetIoreqServerInfo(0))
        endpoint = ServerEndpoint(fds, client.descriptors[2:], drain)
        channel = endpoint.channels[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.buffered.serve)
            while True:
                request = await channel.next_request()
                if request.address == 0xF4:
                    break
                if dice.random() < 0.0005:
                    await trio.sleep(dice.random() * 0.002)  # a slow device: the core falls asleep
                channel.respond(request.data ^ posted & 0xFFFF)
            channel.respond(posted)
            await client.events.receive()
            nursery.cancel_scope.cancel()


trio.run(main, sys.argv[1], int(sys.argv[2]))
