"""Consoles: many listeners, anyone types, nobody slows the guest."""

import os
import pty
import random
import socket
import stat
import struct
import termios
import time
from collections import deque

import pytest
import structlog
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from devmodel import ConfigError
from devmodel.consoles import client
from devmodel.consoles import recording as recording_module
from devmodel.consoles.address import parse
from devmodel.consoles.clients import (
    ADMISSION,
    LINGER,
    MAX_CLIENTS,
    SEND_BUFFER,
    Clients,
    listen,
    password_of,
)
from devmodel.consoles.line import BREAK, GATHER, HOLD, KEPT, SerialLine
from devmodel.consoles.pseudo import PseudoTerminal
from devmodel.consoles.recording import Recording
from devmodel.consoles.telnet import GREETING, Telnet
from devmodel.consoles.terminal import Keys, TerminalConsole, raw
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

    def receive_break(self) -> None:
        assert self.room()
        self.fifo.append(BREAK)

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
    console = Clients(line)
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
    console = Clients(line)
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
    nursery.start_soon(Clients(line).client, theirs)
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
    nursery.start_soon(Clients(line).client, theirs)
    await trio.testing.wait_all_tasks_blocked()
    for byte in b"one breath":
        line.transmit(byte)
        await trio.sleep(GATHER / 20)
    assert await ours.receive_some() == b"one breath"
    nursery.cancel_scope.cancel()


async def test_all_who_listen_are_waited_for_until_they_are_gone(nursery, autojump_clock):
    line = SerialLine()
    ours, theirs = trio.testing.lockstep_stream_pair()  # its send waits for the reader
    nursery.start_soon(Clients(line).client, theirs)
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
    nursery.start_soon(Clients(line).client, theirs)
    await stream.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    say(line, b"still here")
    assert await stream.receive_some() == b"still here"
    nursery.cancel_scope.cancel()


async def test_there_is_an_end_to_clients(nursery):
    console = Clients(SerialLine())
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
    console = Clients(line)
    listeners = await listen(parse("tcp:127.0.0.1:0"))
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
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"serial tcp:127.0.0.1:{port}: address already in use"):
        await listen(parse(f"tcp:127.0.0.1:{port}"))
    for listener in listeners:
        await listener.aclose()


# -- telnet


def test_a_server_offers_what_qemus_does_and_answers_no_answer():
    telnet = Telnet()
    assert telnet.greeting() == GREETING
    # What QEMU offers in tcp_chr_telnet_init.
    for offer in (b"\xff\xfb\x01", b"\xff\xfb\x03", b"\xff\xfb\x00", b"\xff\xfd\x00"):
        assert offer in GREETING
    assert telnet.receive(b"\xff\xfd\x01\xff\xfd\x03\xff\xfd\x00\xff\xfb\x03\xff\xfb\x00") == ([], b"")
    assert telnet.receive(b"\xff\xfd\x01") == ([], b""), "said twice, it is so already"


def test_options_that_telnet_does_not_know_are_refused():
    telnet = Telnet()
    telnet.greeting()
    assert telnet.receive(b"\xff\xfb\x18") == ([], b"\xff\xfe\x18")  # WILL terminal type: DONT
    assert telnet.receive(b"\xff\xfd\x05") == ([], b"\xff\xfc\x05")  # DO status: WONT
    assert telnet.receive(b"\xff\xfe\x05\xff\xfc\x18") == ([], b"")


def test_an_option_can_be_ended_and_begun_again():
    telnet = Telnet()
    telnet.greeting()
    assert telnet.receive(b"\xff\xfe\x01") == ([], b""), "our offer is refused"
    assert telnet.receive(b"\xff\xfd\x01") == ([], b"\xff\xfb\x01")
    assert telnet.receive(b"\xff\xfe\x01") == ([], b"\xff\xfc\x01")
    assert telnet.receive(b"\xff\xfe\x01") == ([], b"")


def test_what_is_typed_by_telnet():
    telnet = Telnet()
    assert telnet.receive(b"l\xff\xffs\r\0x\r\n\xff\xf1y") == ([*b"l\xffs\rx\ry"], b"")
    assert telnet.receive(b"\xff\xfa\x18\x00vt\xff\xff100\xff\xf0z") == ([*b"z"], b"")
    assert telnet.receive(b"a\xff\xf3b") == ([ord("a"), BREAK, ord("b")], b"")


def test_in_binary_a_carriage_return_is_itself_in_both_directions():
    telnet = Telnet()
    telnet.greeting()
    telnet.receive(b"\xff\xfb\x00\xff\xfd\x00")
    assert telnet.receive(b"\r\n\r\0") == ([*b"\r\n\r\0"], b"")
    assert telnet.escape(b"a\rb\xff") == b"a\rb\xff\xff"


def test_who_refuses_binary_gets_a_nul_behind_a_lone_carriage_return():
    telnet = Telnet()
    telnet.greeting()
    telnet.receive(b"\xff\xfe\x00")
    assert telnet.escape(b"a\rb\r\nc\r") == b"a\r\0b\r\nc\r"
    assert telnet.escape(b"\nd\r") == b"\nd\r"
    assert telnet.escape(b"e") == b"\0e"


def test_a_client_and_a_server_agree_and_are_silent_then():
    server, client_ = Telnet(), Telnet.client()
    to_client = server.greeting()
    for _ in range(3):
        _, to_server = client_.receive(to_client)
        _, to_client = server.receive(to_server)
    assert (to_server, to_client) == (b"", b"")
    assert {state for *_, state in server.spoken()} == {"on"}
    assert client_.receive(server.escape(b"\r\n\r\0\xff")) == ([*b"\r\n\r\0\xff"], b"")


@given(st.binary(max_size=60), st.lists(st.integers(1, 10), max_size=20))
def test_telnet_does_not_care_how_the_bytes_are_cut(data, cuts):
    whole, cut = Telnet(), Telnet()
    expected = whole.receive(data)
    got: list = [[], b""]
    for n in [*cuts, len(data)]:
        piece, data = data[:n], data[n:]
        typed, reply = cut.receive(piece)
        got[0] += typed
        got[1] += reply
    assert tuple(got) == expected


async def test_telnets_words_do_not_reach_the_guest_but_a_break_does(nursery):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    stream, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(Clients(line, telnet=True).client, theirs)
    assert await stream.receive_some() == GREETING, "from the first byte, whatever the client does"
    await stream.send_all(b"\xff\xfb\x1fh\xff\xf3i")
    assert await stream.receive_some() == b"\xff\xfe\x1f"
    await trio.testing.wait_all_tasks_blocked()
    assert list(chip.fifo) == [ord("h"), BREAK, ord("i")]
    nursery.cancel_scope.cancel()


async def test_a_raw_client_gets_and_sends_every_byte_as_it_is(nursery):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    stream, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(Clients(line).client, theirs)
    await stream.send_all(b"\xff\xfb\x01\r\0")
    await trio.testing.wait_all_tasks_blocked()
    assert chip.take() == b"\xff\xfb\x01\r\0"
    say(line, b"\xff\r")
    assert await stream.receive_some() == b"\xff\r"
    nursery.cancel_scope.cancel()


# -- who may come, and who is gone


@pytest.mark.parametrize("how", ["closed", "closed while typing", "reset", "reset while typing"])
async def test_a_client_of_a_silent_guest_that_is_gone_is_gone_in_a_second(nursery, how):
    """The guest says nothing and takes nothing: neither showing nor typing would find it."""
    line = SerialLine()
    line.connect(Chip(line))
    console = Clients(line)
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    nursery.start_soon(console.serve, listeners)
    for _ in range(MAX_CLIENTS):
        stream = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
        if "typing" in how:
            await stream.send_all(bytes(100))
        if "reset" in how:
            await trio.sleep(0.005)  # it has been accepted
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
    with trio.fail_after(2 * LINGER + 1):
        while console.clients:
            await trio.sleep(0.01)
    nursery.cancel_scope.cancel()


async def test_who_has_ended_typing_is_shown_what_comes_until_the_guest_is_silent(nursery, autojump_clock):
    line = SerialLine()
    line.connect(Chip(line))
    stream, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(Clients(line).client, theirs)
    await stream.send_all(b"ls\n")
    await stream.send_eof()
    for _ in range(5):
        await trio.sleep(0.9 * LINGER)
        say(line, b"x")
        assert await stream.receive_some() == b"x"
    before = trio.current_time()
    assert await stream.receive_some() == b""
    assert LINGER <= trio.current_time() - before <= 2 * LINGER


async def test_what_a_client_that_never_reads_costs_is_bounded(nursery):
    line = SerialLine(history=0)
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    console = Clients(line)
    nursery.start_soon(console.serve, listeners)
    async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()):
        with trio.fail_after(30):
            while not console._followers:
                await trio.sleep(0.001)
        (ours,) = console._followers
        buffer = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert buffer <= 2 * SEND_BUFFER  # the kernel doubles what it is told
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        for _ in range(20):
            say(line, bytes(KEPT // 2))
            await trio.sleep(2 * GATHER)
        assert len(line.transcript.read(0, 1 << 30)[0]) <= 2 * KEPT
    nursery.cancel_scope.cancel()


async def test_a_console_is_for_this_host_alone_unless_it_is_asked_to_be_open():
    for host in ("0.0.0.0", "[::]", "192.0.2.1"):  # noqa: S104  (refused)
        with pytest.raises(
            ConfigError, match=r"^serial tcp:.*: other hosts can reach that; allow them by ,remote=on"
        ):
            await listen(parse(f"tcp:{host}:0"))
    for listener in await listen(parse("telnet:0.0.0.0:0,remote=on")):
        await listener.aclose()
    for listener in await listen(parse("tcp:localhost:0")):
        await listener.aclose()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("open sesame\nnot this\n")
    path.chmod(0o600)
    return path


async def test_a_password_lets_in_and_nothing_else_does(nursery, autojump_clock, secret):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    say(line, b"history")
    console = Clients(line, password=password_of(parse(f"tcp:127.0.0.1:0,password-file={secret}")))

    async def attempt(typed: bytes) -> bytes:
        stream, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(console.client, theirs)
        await stream.send_all(typed)
        with trio.move_on_after(5):
            got = b""
            while data := await stream.receive_some():
                got += data
        await stream.aclose()
        return got

    assert await attempt(b"open sesame\nls") == b"password: \r\nhistory"
    assert chip.take() == b"ls"
    assert await attempt(b"open sezz\x7f\x08same\r\nls") == b"password: \r\nhistory"
    assert chip.take() == b"ls"
    for wrong in (b"open sesam\nls", b"\nls", b"not this\nls", b"x" * 5000 + b"\nls"):
        assert await attempt(wrong) == b"password: \r\nwrong password\r\n"
    assert await attempt(b"open") == b"password: "
    assert chip.take() == b""
    nursery.cancel_scope.cancel()


async def test_who_says_no_password_makes_room_and_does_not_stay(nursery, autojump_clock, secret):
    console = Clients(SerialLine(), password=b"x")
    streams = []
    for _ in range(MAX_CLIENTS + 1):
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(ours)
        nursery.start_soon(console.client, theirs)
        await trio.testing.wait_all_tasks_blocked()
    assert console.clients == MAX_CLIENTS
    assert await streams[-1].receive_some() == b"password: "
    await trio.sleep(ADMISSION + 1)
    assert console.clients == 0


@pytest.mark.parametrize(
    ("mode", "text", "line"),
    [
        (0o640, "x", "others may read"),
        (0o600, "", "its first line is the password"),
        (0o600, "\nx", "its first line"),
    ],
)
def test_a_password_file_that_will_not_do_is_one_line(tmp_path, mode, text, line):
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"^password file {path}: {line}"):
        password_of(parse(f"tcp:a:1,password-file={path}"))
    path.unlink()
    with pytest.raises(ConfigError, match=f"^password file {path}: No such file"):
        password_of(parse(f"tcp:a:1,password-file={path}"))


# -- Unix sockets, pseudo-terminals, files


async def test_a_unix_socket_has_the_mode_it_is_given_and_takes_a_dead_ones_place(nursery, tmp_path):
    path = tmp_path / "console"
    dead = await listen(parse(f"unix:{path}"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match=f"^serial unix:{path}: address already in use$"):
        await listen(parse(f"unix:{path}"))
    await dead[0].aclose()  # as a kill would, it leaves the path
    line = SerialLine()
    say(line, b"hello")
    listeners = await listen(parse(f"unix:{path},mode=0666"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666, "whatever the umask says"
    nursery.start_soon(Clients(line).serve, listeners)
    async with await trio.open_unix_socket(path) as stream:
        assert await stream.receive_some() == b"hello"
    nursery.cancel_scope.cancel()


async def test_a_unix_socket_does_not_take_a_files_place(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match="address already in use"):
        await listen(parse(f"unix:{tmp_path / 'file'}"))
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(ConfigError, match="no such file or directory"):
        await listen(parse(f"unix:{tmp_path / 'none' / 'file'}"))
    with pytest.raises(ConfigError, match=r"^serial unix:.*: af_unix path too long$"):
        await listen(parse(f"unix:{tmp_path / ('x' * 120)}"))


async def heard(fd: int, count: int) -> bytes:
    data = b""
    with trio.fail_after(5):
        while len(data) < count:
            await trio.lowlevel.wait_readable(fd)
            data += os.read(fd, 100)
    return data


async def test_a_pseudo_terminal_is_opened_closed_and_opened_again(nursery):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    pseudo = PseudoTerminal.open()
    clients = Clients(line)
    nursery.start_soon(pseudo.serve, clients)
    say(line, b"before\r\n\x04")
    for _ in range(3):
        fd = os.open(pseudo.path, os.O_RDWR | os.O_NOCTTY)
        attributes = termios.tcgetattr(fd)
        assert not attributes[3] & (termios.ECHO | termios.ICANON | termios.ISIG), (
            "raw, whatever the last one left"
        )
        assert not attributes[1] & termios.OPOST
        assert await heard(fd, 9) == b"before\r\n\x04"
        os.write(fd, b"\x03\x04\r\xff")
        with trio.fail_after(5):
            while len(chip.fifo) < 4:
                await trio.sleep(0.01)
        assert chip.take() == b"\x03\x04\r\xff"
        attributes[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
        os.close(fd)
        with trio.fail_after(5):
            while pseudo.used() or clients.clients:
                await trio.sleep(0.01)
    nursery.cancel_scope.cancel()
    pseudo.close()


async def test_a_pseudo_terminal_that_nobody_opens_costs_nothing(nursery):
    line = SerialLine()
    pseudo = PseudoTerminal.open()
    nursery.start_soon(pseudo.serve, Clients(line))
    await trio.sleep(0.1)
    before = time.process_time()
    await trio.sleep(1)
    assert time.process_time() - before < 0.02
    nursery.cancel_scope.cancel()
    pseudo.close()


async def test_who_opens_a_pseudo_terminal_and_reads_nothing_stops_nobody(nursery):
    line = SerialLine()
    pseudo = PseudoTerminal.open()
    nursery.start_soon(pseudo.serve, Clients(line))
    deaf = os.open(pseudo.path, os.O_RDWR | os.O_NOCTTY)
    with line.listening() as listener:
        for _ in range(100):
            say(line, bytes(1000))
            assert await listener.output() == bytes(1000)
    os.close(deaf)
    nursery.cancel_scope.cancel()
    pseudo.close()


async def test_a_file_has_what_the_guest_says_behind_what_it_had(nursery, tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    line = SerialLine()
    say(line, b"said before the file was there\n")
    recording = Recording.open(str(path))
    nursery.start_soon(recording.serve, line, 0)
    await trio.testing.wait_all_tasks_blocked()
    say(line, b"and \xff after\r\n")
    with trio.fail_after(5):
        await line.caught_up()
    assert path.read_bytes() == b"old\nsaid before the file was there\nand \xff after\r\n"
    nursery.cancel_scope.cancel()
    recording.close()


async def test_a_file_that_cannot_be_written_is_said_once_and_tried_again(nursery, monkeypatch):
    monkeypatch.setattr(recording_module, "AGAIN", 0.01)
    line = SerialLine()
    recording = Recording.open("/dev/full")
    with structlog.testing.capture_logs() as logs:
        nursery.start_soon(recording.serve, line, 0)
        say(line, b"lost")
        await trio.sleep(0.3)
    assert [(entry["event"], entry["error"]) for entry in logs] == [
        ("serial.failed", "No space left on device")
    ]
    nursery.cancel_scope.cancel()
    recording.close()
    with pytest.raises(ConfigError, match=r"^serial file:/no/such: No such file or directory$"):
        Recording.open("/no/such")


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


def test_ctrl_a_is_an_escape_as_qemus_and_else_itself():
    keys = Keys()
    assert keys.take(b"a\x01b") == ([ord("a"), BREAK], False)
    assert keys.take(b"\x01") == ([], False)
    assert keys.take(b"\x01e") == ([1, ord("e")], False), "twice is Ctrl-A"
    assert keys.take(b"\x01e") == ([1, ord("e")], False), "another key behind it: both are typed"
    assert keys.take(b"bye\x01xignored") == ([*b"bye"], True)


async def test_who_leaves_is_not_kept_by_a_guest_that_takes_nothing(terminal):
    master, slave = terminal
    line = SerialLine()  # no chip has room
    os.write(master, b"typed\x01x")
    with raw(slave, signals=True), trio.fail_after(5):
        assert await TerminalConsole(line, slave, slave).run()


async def test_the_console_client_speaks_telnet_and_sends_breaks(terminal, nursery):
    master, slave = terminal
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    listeners = await listen(parse("telnet:127.0.0.1:0"))
    nursery.start_soon(Clients(line, telnet=True).serve, listeners)
    say(line, b"\xffwelcome\r\n")
    port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(client.console, parse(f"telnet:127.0.0.1:{port}"), slave, slave)
    assert await heard(master, 10) == b"\xffwelcome\r\n"
    os.write(master, b"\r\x03\x01b\xff")
    with trio.fail_after(5):
        while len(chip.fifo) < 4:
            await trio.sleep(0.001)
    assert list(chip.fifo) == [ord("\r"), 3, BREAK, 0xFF]
    nursery.cancel_scope.cancel()


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
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    nursery.start_soon(Clients(line).serve, listeners)
    say(line, b"welcome")
    done = trio.Event()

    async def run():
        port = listeners[0].socket.getsockname()[1]
        await client.console(parse(f"tcp:127.0.0.1:{port}"), slave, slave)
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
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    with pytest.raises(ConfigError, match=f"^no console on tcp:127.0.0.1:{port}: "):
        await client.console(parse(f"tcp:127.0.0.1:{port}"))


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


@pytest.mark.parametrize("telnet", [False, True])
async def test_a_client_that_is_left_in_the_middle_of_its_output_sees_every_byte_once(nursery, telnet):
    """What the kernel has not taken goes with the client: its successor sends that first, and nothing again."""
    said = random.Random(telnet).randbytes(250_000)
    line = SerialLine(history=0)
    listeners = await listen(parse("tcp:127.0.0.1:0"))
    before = Clients(line, telnet=telnet)
    got = b""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as reader:
            async with trio.open_nursery() as first:
                first.start_soon(before.serve, listeners)
                while not before._followers:
                    await trio.sleep(0.001)
                (ours,) = before._followers
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                say(line, said[:240_000])
                while len(got) < 20_000:
                    got += await reader.receive_some(1000)
                (left,) = before.leave()
                kept = socket.socket(fileno=os.dup(ours.socket.fileno()))
                for _ in range(10):  # who is left could still be sent something, if it were not frozen
                    got += await reader.receive_some(1000)
                first.cancel_scope.cancel()
            successor = SerialLine()
            successor.transcript.restore(*line.transcript.read(0, 1 << 20))
            say(successor, said[240_000:])
            after = Clients(successor, telnet=telnet)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(kept))
            nursery.start_soon(after.client, stream, left.telnet, left.position, left.unsent)
            decoder = Telnet.client()
            shown = bytes(decoder.receive(got)[0]) if telnet else got
            while len(shown) < len(said):
                data = bytes(await reader.receive_some())
                shown += bytes(decoder.receive(data)[0]) if telnet else data
    assert left.unsent, "or this tests nothing"
    assert shown == said
    nursery.cancel_scope.cancel()


async def test_what_is_typed_at_a_line_without_its_chip_waits_for_the_next(nursery):
    line = SerialLine()
    chip = Chip(line)
    line.connect(chip)
    line.disconnect()
    nursery.start_soon(line.type, b"ab")
    await trio.testing.wait_all_tasks_blocked()
    assert (chip.take(), line.untyped()) == (b"", [*b"ab"])
    nursery.cancel_scope.cancel()
