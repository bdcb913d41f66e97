"""Several people at one serial console."""

import socket

import trio

from devmodel.testing import Machine

PROMPT = b"demo> "


async def test_all_see_the_output_anyone_types_and_who_comes_late_gets_the_history(vendor):
    async with Machine("--vendor", vendor) as machine:
        first, second = machine.console, await machine.connect()
        await first.expect(PROMPT)
        await second.expect(PROMPT)
        await first.type("mem")
        await second.expect("mem")
        await second.type("ory\r")
        await first.expect("640 KiB")
        await second.expect("640 KiB")
        late = await machine.connect()
        assert b"self-test passed" in await late.expect("640 KiB")
        await first.aclose()
        await late.type("off\r")
        assert await machine.wait() == 0
        await second.expect("bye")


async def test_who_never_reads_slows_nobody(vendor):
    async with Machine("--vendor", vendor) as machine:
        await machine.console.expect(PROMPT)
        deaf = socket.socket()  # its buffer takes a few kilobytes, ours in the server's kernel some more
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        host, port = machine.address.split(":")
        with deaf:
            deaf.connect((host, int(port)))
            for _ in range(20):
                await machine.console.type("disk 0\r")
                await machine.console.expect(PROMPT)
            await machine.console.type("off\r")
            with trio.fail_after(30):
                assert await machine.wait() == 0
