"""Consoles: many listeners, anyone types, nobody slows the guest."""

import os
import pty
import socket
import struct
import termios
from collections import deque

import pytest
import structlog
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from devmodel import ConfigError
from devmodel.consoles import client
from devmodel.consoles.line import GATHER, HOLD, KEPT, SerialLine
from devmodel.consoles.tcp import MAX_CLIENTS, TcpConsole, listen
from devmodel.consoles.telnet import GREETING, Telnet
from devmodel.consoles.terminal import TerminalConsole, raw
from devmodel.consoles.transcript import Transcript


class Chip:
    """A receiver of sixteen bytes that a test empties."""

    def __init__(self, line: SerialLine) -> None:
        self.line = line
        self.fifo: deque[int] = deque()
        self.takes_more: list[bool] = []

    def room(self) -> int:
        return 16 - len(self.fifo)

    def receive(self, byte: int) -> None:
        assert self.room()
        self.fifo.append(byte)

    def clear_to_send(self, level: bool) -> None:
        self.takes_more.append(level)

    def take(self) -> bytes:
        data = bytes(self.fifo)
        self.fifo.clear()
        self.line.drained()
        return data


def say(line: SerialLine, data: bytes) -> None:
    for byte in data:
        line.transmit(byte)


@given(st.integers(1, 20), st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 400))
def test_a_transcript_keeps_the_end(capacity, pieces, position):
    transcript = Transcript(capacity)
    said = b"".join(pieces)
    for byte in said:
        transcript.append(byte)
    assert transcript.end == len(said)
    data, after = transcript.read(position)
    if position < len(said):
        assert said.endswith(data)
        assert len(data) >= min(capacity, len(said) - position)
        assert after == len(said)
    else:
        assert data == b""


async def test_all_clients_see_the_output_and_late_ones_the_history(nursery):
    line = SerialLine(history=5)
    console = TcpConsole(line)
    say(line, b"0123456789")
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(console.client, theirs)
    assert await ours.receive_some() == b"56789"
    other, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(console.client, theirs)
    assert await other.receive_some() == b"56789"
    say(line, b"abc")
    assert await ours.receive_some() == b"abc"
    assert await other.receive_some() == b"abc"
    await ours.aclose()
    await other.aclose()
    nursery.cancel_scope.cancel()


async def test_anyone_types_and_no_byte_is_lost_without_room(nursery):
    line = SerialLine()
    console = TcpConsole(line)
    chip = Chip(line)
    line.connect(chip)
    a, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(console.client, theirs)
    await a.send_all(b"x" * 40)
    b, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(console.client, theirs)
    await trio.testing.wait_all_tasks_blocked()
    await b.send_all(b"yz")
    got = b""
    while len(got) < 42:
        await trio.testing.wait_all_tasks_blocked()
        assert chip.fifo
        got += chip.take()
    assert got == b"x" * 40 + b"yz"
    nursery.cancel_scope.cancel()


async def test_a_client_that_does_not_read_misses_what_it_leaves(nursery):
    line = SerialLine(history=10)
    stream, theirs = trio.testing.lockstep_stream_pair()  # its send waits for the reader
    nursery.start_soon(TcpConsole(line).client, theirs)
    await trio.testing.wait_all_tasks_blocked()
    say(line, b"first")
    await trio.testing.wait_all_tasks_blocked(2 * GATHER)  # it is being sent
    say(line, bytes(4 * KEPT))
    say(line, b"end")
    got = bytearray()
    while not got.endswith(b"end"):
        got += await stream.receive_some(1 << 20)
    assert got.startswith(b"first")
    assert len(got) <= 2 * KEPT + 8
    nursery.cancel_scope.cancel()


async def test_what_is_said_in_one_breath_is_shown_in_one_piece(nursery, autojump_clock):
    line = SerialLine()
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(TcpConsole(line).client, theirs)
    await trio.testing.wait_all_tasks_blocked()
    for byte in b"one breath":
        line.transmit(byte)
        await trio.sleep(GATHER / 20)
    assert await ours.receive_some() == b"one breath"
    nursery.cancel_scope.cancel()


async def test_all_who_listen_are_waited_for_until_they_are_gone(nursery, autojump_clock):
    line = SerialLine()
    ours, theirs = trio.testing.lockstep_stream_pair()  # its send waits for the reader
    nursery.start_soon(TcpConsole(line).client, theirs)
    await trio.testing.wait_all_tasks_blocked()
    say(line, b"bye")
    with trio.move_on_after(1) as scope:
        await line.caught_up()
    assert scope.cancelled_caught
    assert await ours.receive_some() == b"bye"
    with trio.fail_after(1):
        await line.caught_up()
    say(line, b"and more")
    await ours.aclose()
    with trio.fail_after(1):
        await line.caught_up()


async def test_who_types_no_more_may_still_read(nursery):
    line = SerialLine()
    stream, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(TcpConsole(line).client, theirs)
    await stream.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    say(line, b"still here")
    assert await stream.receive_some() == b"still here"
    nursery.cancel_scope.cancel()


async def test_there_is_an_end_to_clients(nursery):
    console = TcpConsole(SerialLine())
    streams = []
    for _ in range(MAX_CLIENTS + 1):
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(ours)
        nursery.start_soon(console.client, theirs)
        await trio.testing.wait_all_tasks_blocked()
    assert await streams[-1].receive_some() == b""
    assert console.clients == MAX_CLIENTS
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_clients_that_are_gone_lock_nobody_out_of_a_silent_guests_console(nursery, how):
    """A guest that says nothing shows nobody that a client has closed, and one that was reset is gone at once."""
    line = SerialLine()
    for byte in b"history":
        line.transmit(byte)
    console = TcpConsole(line)
    listeners = await listen("127.0.0.1", 0)
    nursery.start_soon(console.serve, listeners)
    port = listeners[0].socket.getsockname()[1]
    for _ in range(2 * MAX_CLIENTS):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        assert await stream.receive_some(100) == b"history"
        if how == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
    async with await trio.open_tcp_stream("127.0.0.1", port) as late:
        with trio.fail_after(5):
            assert await late.receive_some(100) == b"history"
    if how == "reset":
        with trio.fail_after(5):
            while console.clients > 1:
                await trio.sleep(0.01)


async def test_a_port_in_use_is_one_line():
    listeners = await listen("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"serial tcp:127.0.0.1:{port}: address already in use"):
        await listen("127.0.0.1", port)
    for listener in listeners:
        await listener.aclose()


# -- telnet


def test_a_raw_client_is_left_alone():
    telnet = Telnet()
    assert telnet.receive(b"ls\r\n") == (b"ls\r\n", b"")
    assert telnet.receive(b"\xff\xfb\x01") == (b"\xff\xfb\x01", b"")
    assert telnet.escape(b"\xff") == b"\xff"


def test_a_telnet_client_is_greeted_once_and_types_characters():
    telnet = Telnet()
    assert telnet.receive(b"\xff\xfd\x03") == (b"", GREETING)  # DO SGA, which the greeting offers already
    assert telnet.receive(b"\xff\xfd\x01\xff\xfb\x03") == (b"", b"")
    assert telnet.receive(b"\xff\xfb\x18") == (b"", b"\xff\xfe\x18")  # WILL terminal type: DONT
    assert telnet.receive(b"\xff\xfd\x05") == (b"", b"\xff\xfc\x05")  # DO status: WONT
    assert telnet.receive(b"l\xff\xffs\r\0x\r\n\xff\xf1y") == (b"l\xffs\rx\ry", b"")
    assert telnet.receive(b"\xff\xfa\x18\x00vt\xff\xff100\xff\xf0z") == (b"z", b"")
    assert telnet.escape(b"a\xffb") == b"a\xff\xffb"


@given(st.binary(max_size=60), st.lists(st.integers(1, 10), max_size=20))
def test_telnet_does_not_care_how_the_bytes_are_cut(data, cuts):
    whole, cut = Telnet(), Telnet()
    data = b"\xff" + data
    expected = whole.receive(data)
    got = [b"", b""]
    for n in [*cuts, len(data)]:
        piece, data = data[:n], data[n:]
        typed, reply = cut.receive(piece)
        got[0] += typed
        got[1] += reply
    assert tuple(got) == expected


async def test_telnets_greeting_does_not_reach_the_guest(nursery):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    stream, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(TcpConsole(line).client, theirs)
    await stream.send_all(b"\xff\xfb\x1fhi")
    got = b""
    while len(got) < len(GREETING) + 3:
        got += await stream.receive_some()
    await trio.testing.wait_all_tasks_blocked()
    assert got == GREETING + b"\xff\xfe\x1f"
    assert chip.take() == b"hi"
    nursery.cancel_scope.cancel()


# -- the terminal


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_a_terminal_is_raw_and_then_as_it_was(terminal):
    _, slave = terminal
    before = termios.tcgetattr(slave)
    with pytest.raises(ZeroDivisionError), raw(slave, signals=True):
        during = termios.tcgetattr(slave)
        assert not during[3] & (termios.ICANON | termios.ECHO)
        assert during[3] & termios.ISIG
        1 / 0  # noqa: B018
    assert termios.tcgetattr(slave) == before
    with raw(slave, signals=False):
        assert not termios.tcgetattr(slave)[3] & termios.ISIG
    assert termios.tcgetattr(slave) == before


async def test_the_terminal_shows_types_and_is_left(terminal):
    master, slave = terminal
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    with raw(slave, signals=True), trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            console = TerminalConsole(line, slave, slave)
            nursery.start_soon(console.run)
            await trio.testing.wait_all_tasks_blocked()
            say(line, b"login: ")
            await line.caught_up()
            assert os.read(master, 100) == b"login: "
            os.write(master, b"root\r\x1dignored")
    assert chip.take() == b"root\r"


async def test_a_pipe_is_typed_to_its_end_and_output_goes_on():
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    stdin, to_stdin = os.pipe()
    from_stdout, stdout = os.pipe()
    os.write(to_stdin, b"ls\x1d\n")
    os.close(to_stdin)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            console = TerminalConsole(line, stdin, stdout)
            nursery.start_soon(console.run)
            while not chip.fifo:
                await trio.sleep(0.001)
            await trio.sleep(0.01)
            assert chip.take() == b"ls\x1d\n"
            say(line, b"a b c")
            await line.caught_up()
            assert os.read(from_stdout, 100) == b"a b c"
            os.close(from_stdout)
            say(line, b"nobody reads this")
            await line.caught_up()
            nursery.cancel_scope.cancel()
    os.close(stdin)
    os.close(stdout)


async def test_the_console_client_joins_a_terminal_to_a_port(terminal, nursery):
    master, slave = terminal
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    listeners = await listen("127.0.0.1", 0)
    nursery.start_soon(TcpConsole(line).serve, listeners)
    say(line, b"welcome")
    done = trio.Event()

    async def run():
        await client.console("127.0.0.1", listeners[0].socket.getsockname()[1], slave, slave)
        done.set()

    with trio.fail_after(5):
        nursery.start_soon(run)
        await trio.lowlevel.wait_readable(master)
        assert os.read(master, 100) == b"welcome"
        os.write(master, b"\x03hi\x1d")
        await done.wait()
    with trio.fail_after(5):
        while len(chip.fifo) < 3:
            await trio.sleep(0.001)
    assert chip.take() == b"\x03hi"
    nursery.cancel_scope.cancel()


async def test_no_console_there():
    listeners = await listen("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(ConfigError, match=f"no console on 127.0.0.1:{port}"):
        await client.console("127.0.0.1", port)


async def test_with_flow_control_the_guest_hears_that_a_listener_is_behind(nursery, autojump_clock):
    line = SerialLine(flow=True)
    chip = Chip(line)
    line.connect(chip)
    say(line, bytes(2 * HOLD))
    assert chip.takes_more == [True], "nobody listens, so nobody is behind"
    with line.listening() as slow, line.listening() as gone:
        await gone.output()
        await slow.output()
        say(line, bytes(HOLD - 1))
        assert chip.takes_more == [True]
        say(line, b"x")
        assert chip.takes_more == [True, False]
        await slow.output()
        assert chip.takes_more == [True, False], "the other is still behind"
    assert chip.takes_more == [True, False, True]


async def test_what_a_listener_has_missed_is_counted_and_told(autojump_clock):
    line = SerialLine(history=0)
    with structlog.testing.capture_logs() as logs, line.listening() as listener:
        say(line, b"first")
        await listener.output()
        say(line, bytes(3 * KEPT))
        while (await listener.output()) and listener.behind:
            pass
        assert 0 < listener.lost <= 2 * KEPT
        lost = listener.lost
    assert logs == [{"event": "console.lost", "log_level": "warning", "bytes": lost}]
