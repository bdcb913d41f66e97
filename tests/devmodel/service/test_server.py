"""The server, end to end, against a core that is a thread."""

import os

import pytest
import trio

from devmodel.config import Config, Serial
from devmodel.service.outside import opened
from devmodel.service.server import ChipFailed
from devmodel.service.session import join, serve
from ioreq import DomainGone, shared
from ioreq.buffered import RingProducer
from ioreq.layout import TYPE_COPY, TYPE_PIO
from ioreq.messages import (
    IsaIrqLevel,
    ModifiedMemory,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetMemType,
    Shutdown,
)


async def test_an_out_and_an_in_reach_the_device(start, core):
    running = await start()

    def guest():
        core.out(0x104, 0x55)
        core.out(0x100, 0x12345678, 4)
        return core.inp(0x100), core.inp(0x102, 2), core.load(0xA0003), core.acknowledge()

    assert await running.guest(guest) == (0x78, 0x567A, 0x7B, 0x20)
    assert running.board.toy.log == [(4, 1, 0x55), (0, 4, 0x12345678)]


async def test_what_the_bus_maps_is_claimed(start, core):
    await start()
    assert core.claims() == [(0, 0x100, 0x10F, False), (0, 0x200, 0x200, True), (1, 0xA0000, 0xA00FF, False)]


async def test_posted_writes_come_before_the_read_that_follows(start, core):
    running = await start()
    order = []
    running.board.posted.on_write = lambda _, value: order.append(value)

    def guest():
        seen = []
        for n in range(200):
            assert core.post(0x200, n)
            core.inp(0x100)
            seen.append(len(order))
        return seen

    assert await running.guest(guest) == list(range(1, 201))
    assert order == list(range(200))


async def test_a_flood_of_posted_writes_does_not_starve_the_pacer(start, core):
    running = await start()
    timer = running.board.timer

    def guest():
        posted = 0
        while timer.ticks < 20 and posted < 3_000_000:
            posted += core.post(0x200, posted & 0xFF)
        return posted

    await running.guest(guest)
    assert timer.ticks >= 20


async def test_a_flood_of_reads_does_not_starve_the_pacer(start, core):
    running = await start()
    timer = running.board.timer

    def guest():
        while timer.ticks < 20:
            core.inp(0x100)

    await running.guest(guest)


async def test_string_instructions_move_items_between_device_and_ram(start, core):
    running = await start()

    def guest():
        core.out(0x100, 0xAABB, 2)
        core.string(type=TYPE_PIO, address=0x100, size=2, count=4, read=True, data=0x1000, data_is_ptr=True)
        core.string(
            type=TYPE_COPY,
            address=0xA0010,
            size=1,
            count=4,
            read=True,
            data=0x2003,
            data_is_ptr=True,
            descending=True,
        )
        core.ram[0x3000:0x3004] = b"\x01\x02\x03\x04"
        core.string(type=TYPE_PIO, address=0x101, size=1, count=4, read=False, data=0x3000, data_is_ptr=True)
        core.string(type=TYPE_COPY, address=0xA0010, size=4, count=3, read=False, data=0x07410741)

    await running.guest(guest)
    assert core.ram[0x1000:0x1008] == b"\xbb\xaa" * 4
    # descending: A0010 goes to 2003, A000F to 2002, …
    assert core.ram[0x2000:0x2004] == bytes(0xBB + offset & 0xFF for offset in (0x0D, 0x0E, 0x0F, 0x10))
    assert running.board.toy.log[1:] == [
        *((1, 1, n) for n in (1, 2, 3, 4)),
        *((offset, 4, 0x07410741) for offset in (16, 20, 24)),
    ]


async def test_memory_of_a_device_is_moved_within_it_and_not_to_the_ram_behind(start, core):
    """REP MOVS from video memory to video memory: the data pointer is into memory of the same device."""
    running = await start()

    def guest():
        core.string(
            type=TYPE_COPY, address=0xA0010, size=1, count=3, read=True, data=0xA0020, data_is_ptr=True
        )
        core.string(
            type=TYPE_COPY,
            address=0xA0010,
            size=1,
            count=2,
            read=True,
            data=0xA0020,
            data_is_ptr=True,
            descending=True,
        )

    await running.guest(guest)
    latch, moved = 0, []
    for offset, to in ((0x10, 0x20), (0x11, 0x21), (0x12, 0x22), (0x10, 0x20), (0x0F, 0x1F)):
        latch = latch + offset & 0xFF  # the toy echoes what was written last
        moved.append((to, 1, latch))
    assert running.board.toy.log == moved


async def test_a_bad_data_pointer_reads_ones_and_drops_what_is_stored(start, core):
    running = await start()

    def guest():
        core.string(type=TYPE_PIO, address=0x100, size=2, count=2, read=True, data=1 << 40, data_is_ptr=True)
        core.string(type=TYPE_PIO, address=0x100, size=2, count=2, read=False, data=1 << 40, data_is_ptr=True)

    await running.guest(guest)
    assert running.board.toy.log == [(0, 2, 0xFFFF), (0, 2, 0xFFFF)]


async def test_what_a_chip_asks_of_the_core_is_done_before_the_guest_runs_on(start, core):
    running = await start()
    board = running.board
    board.toy.on_write = lambda _offset, _value: (
        board.domain.memory_type(0xF0000, 0xFFFFF, "ram"),
        board.domain.write(0x5000, b"code"),
    )

    def guest():
        core.out(0x100, 1)
        return [op for op in core.ops if isinstance(op, SetMemType | ModifiedMemory)]

    assert await running.guest(guest) == [SetMemType(0xF0000, 0xFFFFF, "ram"), ModifiedMemory(0x5000, 0x5003)]
    assert core.ram[0x5000:0x5004] == b"code"


async def test_an_interrupt_waits_for_the_memory_it_announces(start, core):
    running = await start()
    seen = []
    core.on_op = lambda op: seen.append((type(op).__name__, core.intr()))
    running.board.domain.write(0x5000, b"block")
    running.board.domain.intr(True)
    assert core.intr() == 0
    with trio.fail_after(5):
        while not core.intr():
            await trio.sleep(0.001)
    assert seen == [("ModifiedMemory", 0)]
    running.board.domain.intr(False)
    assert core.intr() == 0


async def test_a_halted_vcpu_wakes_for_an_interrupt(start, core):
    running = await start()

    async def later():
        await trio.sleep(0.02)
        running.board.domain.intr(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        assert await running.guest(
            lambda: core.bell.sleep(core.endpoint.channels, lambda: core.intr() == 1, 5000)
        )


async def test_the_a20_pin(start, core):
    running = await start()
    running.board.domain.a20(True)
    assert core.pins[0x200] == 1
    running.board.domain.a20(False)
    assert core.pins[0x200] == 0


async def test_a_reset_resets_the_board_and_says_so(start, core):
    running = await start()
    running.board.domain.reset()
    core.send(Reset())
    core.send(IsaIrqLevel(5, True))
    with trio.fail_after(5):
        while ResetDone() not in core.ops or not running.board.irqs:
            await trio.sleep(0.001)
    assert RemoteShutdown(1) in core.ops
    assert running.board.resets == 1
    assert running.board.irqs == [(5, True)]


@pytest.mark.parametrize(
    "event", [IsaIrqLevel(5, True), Reset(), Shutdown(0, 0)], ids=["line", "reset", "shutdown"]
)
async def test_what_was_posted_before_an_event_is_performed_before_it(start, core, event):
    running = await start()
    await trio.sleep(0.1)  # the server sleeps
    board, done = running.board, []
    board.posted.on_write = lambda _, value: done.append((value, board.resets, len(board.irqs)))
    ring = RingProducer(shared.map_shared(core.endpoint.descriptors[1], 4096))
    ring.post(TYPE_PIO, 0x200, 1, 0x41)  # and no doorbell is rung
    core.send(event)
    with trio.fail_after(5):
        while not done:
            await trio.sleep(0.001)
    assert done == [(0x41, 0, 0)]


async def test_the_server_ends_with_the_domains_status(start, core):
    running = await start()
    running.board.domain.shutdown(33)
    core.on_op = lambda op: core.send(Shutdown(0, 33)) if isinstance(op, RemoteShutdown) else None
    with trio.fail_after(5):
        while len(running.found) < 3:
            await trio.sleep(0.001)
    assert running.found[2] == Shutdown(0, 33)
    assert not os.path.exists(core.path + ".monitor")


@pytest.mark.parametrize("asking", [False, True])
async def test_a_core_that_vanishes_is_one_exception(core, toy_board, asking):
    def on_ready(board):
        core.connection.close()
        if asking:
            board.domain.memory_type(0xF0000, 0xFFFFF, "ram")

    async with opened(Config()) as outside:
        client = await join(core.path)
        with pytest.raises(DomainGone, match="is gone"), trio.fail_after(5):
            await serve(outside, client, toy_board, on_ready=on_ready)
        client.close()
    assert not os.path.exists(core.path + ".monitor")


async def test_garbage_in_shared_memory_does_not_stop_the_server(start, core):
    running = await start()

    def guest():
        pages = [os.dup(fd) for fd in core.endpoint.descriptors[:2]]
        for n, fd in enumerate(pages):
            os.pwrite(fd, bytes(range(3, 251)) * 8, 64 if n == 0 else 8)
        os.pwrite(pages[1], b"\xff" * 4, 4)  # the ring's write pointer
        core.endpoint.channels[0].notify()
        os.pwrite(pages[0], b"\x01\x00\x00\x00\x00\x00\x11\x33", 24)  # READY, of an unknown type
        core.endpoint.channels[0].notify()
        deadline = 1000
        while os.pread(pages[0], 1, 30) != b"\x13" and deadline:
            deadline -= 1
            core.bell.wait(5)
        os.pwrite(pages[0], b"\x01\x00\x00\x00\x00\x00\x00\x00", 24)
        for fd in pages:
            os.close(fd)
        return core.inp(0x101)

    assert await running.guest(guest) == 1


async def test_a_server_that_ends_is_noticed_by_the_core(core, toy_board, nursery):
    async with opened(Config()) as outside:
        client = await join(core.path)
        ready = trio.Event()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:

                async def run():
                    await serve(outside, client, toy_board, on_ready=lambda _: ready.set())

                inner.start_soon(run)
                await ready.wait()
                scope.cancel()
        client.close()
    assert await trio.to_thread.run_sync(core.gone_event.wait, 5)
    assert core.endpoint.channels[0].dead


async def test_a_bug_in_a_chip_is_an_exception_and_no_hang(core, toy_board):
    def on_ready(board):
        board.toy.on_write = lambda *_: 1 / 0

    async def guest():
        await trio.to_thread.run_sync(lambda: core.out(0x100, 1), abandon_on_cancel=True)

    async with opened(Config()) as outside:
        client = await join(core.path)
        failed = pytest.RaisesExc(
            ChipFailed,
            match=r"^chip 'toy' failed in a write of 0x1 \(1 byte\) at port 0x100, by the instruction at"
            r" f000:0000fff0 \(linear 0xffff0\): ZeroDivisionError: .* \(test_server.py:\d+\)$",
        )
        with trio.fail_after(5), pytest.RaisesGroup(failed) as caught:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(guest)
                await serve(outside, client, toy_board, on_ready=on_ready)
        assert isinstance(caught.value.exceptions[0].__cause__, ZeroDivisionError)
        client.close()
    core.endpoint.kill()


async def test_the_serial_console_reaches_the_guest_and_back(start, core):
    running = await start(Config(serial=Serial(tcp="127.0.0.1:0")))
    host, port = running.outside.consoles[0].listeners[0].socket.getsockname()
    stream = await trio.open_tcp_stream(host, port)
    await stream.send_all(b"hi")

    def guest():
        typed = b""
        while len(typed) < 2:
            if core.inp(0x109):
                typed += bytes([core.inp(0x108)])
        for byte in typed.upper():
            core.out(0x108, byte)
        return typed

    assert await running.guest(guest) == b"hi"
    with trio.fail_after(5):
        assert await stream.receive_some(10) in (b"HI", b"H")
    await stream.aclose()


async def test_clients_that_do_not_read_do_not_slow_the_guest(start, core):
    running = await start(Config(serial=Serial(tcp="127.0.0.1:0", history=100)))
    host, port = running.outside.consoles[0].listeners[0].socket.getsockname()
    deaf = await trio.open_tcp_stream(host, port)
    reader = await trio.open_tcp_stream(host, port)
    await trio.sleep(0.01)
    total = 200_000
    got = bytearray()

    async def read():
        while b"\n" not in got:
            got.extend(await reader.receive_some(65536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with trio.fail_after(10):
            guest_done = trio.Event()

            async def run():
                await running.guest(lambda: core.out(0x100, 0))
                for n in range(total):
                    running.board.toy.transmit(65 + n % 26)
                    if n % 1000 == 0:
                        await trio.lowlevel.checkpoint()
                await running.guest(lambda: core.out(0x108, 10))
                guest_done.set()

            nursery.start_soon(run)
            await guest_done.wait()
    assert len(got) == total + 1
    await deaf.aclose()
    await reader.aclose()
