"""The domain socket: ops and replies in order, descriptors, and everybody who should not get in."""

import contextlib
import errno
import fcntl
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing

from ioreq import VERSION, ControlError, DomainGone, IoreqError, ProtocolError, VersionMismatch, shared
from ioreq.control import MAX_MESSAGE, peer_pid, peer_uid
from ioreq.control_client import connect, open_control
from ioreq.control_core import Answer, Connection, ControlServer
from ioreq.evtchn import make_doorbell
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    Error,
    Event,
    GetIoreqServerInfo,
    Hello,
    IsaIrqLevel,
    MapIoRange,
    NrVcpus,
    Ok,
    Op,
    Pages,
    RamRegion,
    Reply,
    Reset,
    ResetDone,
    SetMemType,
    Shutdown,
    Vcpus,
)


class Core:
    """A handler that remembers what it was asked."""

    def __init__(self) -> None:
        self.ram = shared.create("ram", 65536)
        self.pins = shared.create("pins", 4096)
        self.bell = make_doorbell()
        self.ops: list[Op] = []
        self.left: list[str] = []
        self.connections: list[Connection] = []
        self.went = threading.Event()

    def hello(self, connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        assert hello.version == VERSION
        self.connections.append(connection)
        info = DomainInfo(version=VERSION, vcpus=1, ram=[RamRegion(0, 65536, 0)], name="test")
        return info, [self.ram, self.pins, self.bell]

    def handle(self, connection: Connection, op: Op) -> Answer:
        self.ops.append(op)
        match op:
            case CreateIoreqServer():
                return Created(3)
            case GetIoreqServerInfo(id=3):
                return Pages(3), [self.pins]
            case NrVcpus():
                return Vcpus(1)
            case MapIoRange():
                raise ControlError(errno.EEXIST, "that range is claimed")
            case ResetDone():
                connection.send(Reset())
        return Ok()

    def gone(self, connection: Connection) -> None:
        self.left.append(connection.program)
        self.went.set()

    def failed(self, error: BaseException) -> None:
        raise error


@pytest.fixture
def core():
    core = Core()
    yield core
    for fd in (core.ram, core.pins, core.bell):
        os.close(fd)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "domain")


@pytest.fixture
def server(core, path):
    server = ControlServer(path, core)
    server.start()
    yield server
    server.close()


@pytest.fixture
def raw(server, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(5)
        sock.connect(path)
        yield sock


async def test_the_socket_is_ours_alone_and_goes_with_the_core(core, path):
    server = ControlServer(path, core)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    server.start()
    server.close()
    assert not os.path.exists(path)


async def test_hello_brings_the_domain_and_its_descriptors(server, path):
    async with open_control(path, program="test") as client:
        assert client.domain.name == "test"
        assert client.domain.ram == [RamRegion(0, 65536, 0)]
        ram = shared.map_shared(client.descriptors[0], 65536)
        ram[:4] = b"abcd"
        assert os.pread(client.descriptors[0], 4, 0) == b"abcd"
        assert all(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in client.descriptors)
        fds = list(client.descriptors)
        ram.close()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_ops_are_answered_in_order(server, core, path):
    async with open_control(path, program="test") as client:
        replies: dict[int, object] = {}

        async def ask(n: int, op: Op) -> None:
            replies[n] = await client.call(op)

        async with trio.open_nursery() as nursery:
            for n in range(30):
                nursery.start_soon(ask, n, CreateIoreqServer() if n % 2 else NrVcpus())
        assert replies == {n: Created(3) if n % 2 else Vcpus(1) for n in range(30)}


async def test_a_reply_may_carry_descriptors(server, path):
    async with open_control(path, program="test") as client:
        reply, fds = await client.call_with_descriptors(GetIoreqServerInfo(3))
        assert reply == Pages(3)
        assert os.fstat(fds[0]).st_size == 4096
        os.close(fds[0])


async def test_a_refused_op_raises_with_the_cores_reason(server, path):
    async with open_control(path, program="test") as client:
        with pytest.raises(ControlError, match="that range is claimed") as caught:
            await client.call(MapIoRange(3, 0, 0x60, 0x60))
        assert caught.value.errno == errno.EEXIST
        assert await client.call(NrVcpus()) == Vcpus(1)


async def test_an_invalid_op_is_refused_with_its_field(server, path):
    async with open_control(path, program="test") as client:
        with pytest.raises(ControlError, match=r"\$\.type"):
            await client.call(SetMemType(0, 0xFFF, "cheese"))  # type: ignore[arg-type]
        with pytest.raises(ControlError, match=r"\$\.first"):
            await client.call(SetMemType(-1, 0xFFF, "ram"))
        assert await client.call(NrVcpus()) == Vcpus(1)


async def test_events_arrive_beside_replies(server, core, path):
    async with open_control(path, program="test") as client:
        assert await client.call(ResetDone()) == Ok()
        assert await client.events.receive() == Reset()
        server.broadcast(Shutdown(0, 7))
        assert await client.events.receive() == Shutdown(0, 7)


async def test_both_versions_are_named_when_they_differ(server, path):
    with pytest.raises(
        VersionMismatch, match=rf"core speaks version {VERSION} .* devmodel 0.9 version {VERSION + 1}"
    ):
        await connect(path, program="devmodel 0.9", version=VERSION + 1)


async def test_another_users_device_model_is_hung_up_on(core, path):
    server = ControlServer(path, core, uid_of=lambda _: os.geteuid() + 1)
    server.start()
    try:
        with pytest.raises(DomainGone):
            await connect(path, program="test")
        assert core.connections == []
    finally:
        server.close()


def test_who_is_at_the_other_end_is_known_by_user_and_process():
    """unix(7): those of the moment of connect(2), listen(2) or socketpair(2)."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        assert (peer_uid(one), peer_pid(one)) == (os.geteuid(), os.getpid())


async def test_another_users_core_is_not_talked_to(server, core, path, monkeypatch):
    monkeypatch.setattr("ioreq.control_client.peer_uid", lambda _: os.geteuid() + 1)
    with pytest.raises(IoreqError, match="belongs to user"):
        await connect(path, program="test")


async def test_nobody_listens(path):
    with pytest.raises(DomainGone, match="no core listens on"):
        await connect(path, program="test")


async def test_the_socket_of_a_dead_core_is_taken_over(core, path):
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dead.bind(path)
    dead.close()
    server = ControlServer(path, core)
    server.start()
    async with open_control(path, program="test"):
        pass
    server.close()


async def test_the_socket_of_a_living_core_is_not(server, core, path):
    with pytest.raises(IoreqError, match="another core listens there"):
        ControlServer(path, core)
    assert os.path.exists(path)


async def test_a_file_in_the_sockets_place_is_left_alone(core, path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(IoreqError, match="something else than a socket"):
        ControlServer(path, core)
    with open(path) as file:
        assert file.read() == "precious"


async def test_a_directory_that_is_not_there(core, tmp_path):
    with pytest.raises(IoreqError, match="there is no directory"):
        ControlServer(str(tmp_path / "none" / "domain"), core)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe\x00", b"{", b'{"op":20}', b"x" * (MAX_MESSAGE + 1)],
    ids=["binary", "cut off", "no hello", "too long"],
)
def test_who_talks_nonsense_is_told_and_hung_up_on(raw, core, garbage):
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_MESSAGE)
    raw.send(garbage)
    assert raw.recv(4096).startswith(b'{"said":"error"')
    assert raw.recv(4096) == b""
    assert core.left == []


def test_an_op_without_a_number_is_refused_only(raw):
    raw.send(b'{"op":99}')
    assert b"$.op" in raw.recv(4096)
    raw.send(b'{"op":256,"version":2,"program":"x","colour":"blue"}')
    data, *_ = socket.recv_fds(raw, 65536, 0)
    assert data.startswith(b'{"said":"domain"')


async def test_descriptors_sent_with_an_op_are_closed(server, core, path):
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(path)
        socket.send_fds(sock, [b'{"op":256,"version":2}'], [write])
        os.close(write)
        _, fds, *_ = socket.recv_fds(sock, 65536, 10)
        for fd in fds:
            os.close(fd)
    assert os.read(read, 1) == b""
    os.close(read)


async def test_a_device_model_that_vanishes_in_mid_op_is_noticed(raw, core, path):
    raw.send(b'{"op":256,"version":2,"program":"first"}')
    for _ in range(20):
        raw.send(b'{"op":20}')
    raw.close()
    assert await trio.to_thread.run_sync(core.went.wait, 5)
    assert core.left == ["first"]
    async with open_control(path, program="second") as client:
        assert await client.call(NrVcpus()) == Vcpus(1)


async def test_a_core_that_vanishes_in_mid_op_ends_the_call(server, core, path):
    async with open_control(path, program="test") as client:
        core.handle = lambda connection, _: connection.close() or Ok()
        with pytest.raises(DomainGone), trio.fail_after(5):
            await client.call(NrVcpus())


async def test_a_core_that_vanishes_ends_calls_and_events(server, core, path):
    async with open_control(path, program="test") as client:
        core.connections[0].close()
        with pytest.raises(trio.EndOfChannel):
            await client.events.receive()
        with pytest.raises(DomainGone):
            await client.call(NrVcpus())


async def test_who_never_reads_is_disconnected_and_slows_nobody(server, core, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as deaf:
        deaf.connect(path)
        deaf.send(b'{"op":256,"version":2,"program":"deaf"}')
        async with open_control(path, program="test") as client:
            await client.call(NrVcpus())
            event = Shutdown(0, 1)
            with trio.fail_after(5):
                while not core.went.is_set():
                    core.connections[0].send(event)
                    await trio.lowlevel.checkpoint()
            assert core.left == ["deaf"]
            assert await client.call(NrVcpus()) == Vcpus(1)


def test_a_memory_object_that_could_shrink_is_refused():
    fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 4096)
    with pytest.raises(ProtocolError, match="not sealed"):
        shared.map_shared(fd, 4096)
    os.close(fd)
    fd = shared.create("small", 100)
    with pytest.raises(ProtocolError, match="100 bytes, not 4096"):
        shared.map_shared(fd, 4096)
    os.close(fd)
    fd = os.open("/dev/null", os.O_RDWR)
    with pytest.raises(ProtocolError, match="no memory object"):
        shared.map_shared(fd, 4096)
    os.close(fd)


# -- the client: serial numbers, and calls that are cancelled


class Script:
    """A core by hand: greets one device model, then says what it is told to."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(1)
        self.fds = [shared.create("ram", 65536), shared.create("pins", 4096), make_doorbell()]
        self.sock = self.listener

    def greet(self) -> None:
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(5)
        self.sock.recv(65536)
        said = DomainInfo(version=VERSION, vcpus=1, ram=[RamRegion(0, 65536, 0)])
        socket.send_fds(self.sock, [msgspec.json.encode(said)], self.fds)

    def hear(self) -> Op:
        return msgspec.json.decode(self.sock.recv(65536), type=Op)

    def say(self, message: Reply | Event, *fds: int) -> None:
        socket.send_fds(self.sock, [msgspec.json.encode(message)], fds)

    def close(self) -> None:
        self.sock.close()
        self.listener.close()
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def script(path):
    script = Script(path)
    yield script
    script.close()


@asynccontextmanager
async def scripted(script: Script, path: str):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, script.greet)
        async with open_control(path, program="test") as client:
            yield client


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_call_cancelled_while_it_waits_takes_nobody_elses_reply_and_leaks_no_descriptor(script, path):
    async with scripted(script, path) as client:
        before = open_descriptors()
        with trio.move_on_after(0.05) as scope:
            await client.call_with_descriptors(GetIoreqServerInfo(3))
        assert scope.cancelled_caught
        late = script.hear()
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await client.call(NrVcpus()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            asked = script.hear()
            script.say(Pages(3, serial=late.serial), script.fds[1])
            script.say(Vcpus(7, serial=asked.serial))
        assert replies == [Vcpus(7)]
        assert open_descriptors() == before


async def test_a_call_cancelled_before_its_op_is_sent_leaves_no_waiter(script, path):
    async with scripted(script, path) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.call(NrVcpus())
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call, CreateIoreqServer())
            await trio.testing.wait_all_tasks_blocked()
            script.say(Created(1, serial=script.hear().serial))


async def test_replies_may_come_in_any_order(script, path):
    async with scripted(script, path) as client:
        replies: dict[str, Reply] = {}

        async def ask(name: str, op: Op) -> None:
            replies[name] = await client.call(op)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "vcpus", NrVcpus())
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ask, "created", CreateIoreqServer())
            await trio.testing.wait_all_tasks_blocked()
            first, second = script.hear(), script.hear()
            script.say(Created(4, serial=second.serial))
            script.say(Vcpus(1, serial=first.serial))
        assert replies == {"vcpus": Vcpus(1), "created": Created(4)}


@pytest.mark.parametrize(
    ("reply", "why"),
    [(Vcpus(1), "answers with Vcpus, not Created"), (Created(1, serial=99), "answers what nobody asked")],
)
async def test_a_reply_that_was_not_due_ends_the_connection(script, path, reply, why):
    async with scripted(script, path) as client:

        async def ask() -> None:
            with pytest.raises(ProtocolError, match=why):
                await client.call(CreateIoreqServer())

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                serial = script.hear().serial
                script.say(msgspec.structs.replace(reply, serial=reply.serial or serial))
        with pytest.raises(ProtocolError, match=why):
            await client.call(NrVcpus())


async def test_a_flood_of_levels_that_nobody_reads_keeps_each_lines_last_and_delays_no_reply(script, path):
    async with scripted(script, path) as client:
        script.sock.setblocking(False)
        for n in range(2000):
            while True:
                try:
                    script.say(IsaIrqLevel(n % 3, n % 2 == 0))
                    break
                except BlockingIOError:
                    await trio.lowlevel.checkpoint()
        script.sock.settimeout(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.call, NrVcpus())
            await trio.testing.wait_all_tasks_blocked()
            script.say(Vcpus(1, serial=script.hear().serial))
        last: dict[int, bool] = {}
        for _ in range(256):
            event = await client.events.receive()
            assert isinstance(event, IsaIrqLevel)
            last[event.irq] = event.level
        assert last == {n % 3: n % 2 == 0 for n in (1997, 1998, 1999)}


async def test_a_flood_of_other_events_is_refused(script, path):
    async with scripted(script, path) as client:
        script.sock.setblocking(False)
        with trio.fail_after(5):
            while client.why is None:
                with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                    script.say(Reset())
                await trio.lowlevel.checkpoint()
        assert "256 events that nobody has read" in str(client.why)


async def test_a_core_that_does_not_answer_hello_is_none(core, path, monkeypatch):
    monkeypatch.setattr("ioreq.control_client.GREETING_PATIENCE", 0.1)
    server = ControlServer(path, core)  # listens, and is not started
    with pytest.raises(DomainGone, match="does not answer"):
        await connect(path, program="test")
    server.close()


# -- the core: one connection's fault ends that connection


def greeted(path: str, program: str = "raw") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(path)  # waits for its turn, as it does not once there is a timeout
    sock.settimeout(5)
    sock.send(b'{"op":256,"version":%d,"program":"%s"}' % (VERSION, program.encode()))
    _, fds, *_ = socket.recv_fds(sock, 65536, 10)
    for fd in fds:
        os.close(fd)
    return sock


def still_answers(path: str) -> bool:
    with greeted(path, "after") as sock:
        sock.send(b'{"op":20,"serial":5}')
        return msgspec.json.decode(sock.recv(4096), type=Reply) == Vcpus(1, serial=5)


def test_a_refusal_carries_the_serial_number_of_what_was_no_op(server, path):
    with greeted(path) as sock:
        sock.send(b'{"op":99,"serial":41}')
        refused = msgspec.json.decode(sock.recv(4096), type=Reply)
        assert isinstance(refused, Error)
        assert (refused.serial, refused.errno) == (41, errno.EINVAL)


@pytest.mark.parametrize("greet", [False, True])
def test_json_nested_two_thousand_deep_ends_its_connection_at_most(raw, path, greet):
    """It ends it where that is too deep for Python (before 3.13); elsewhere it is an op that is refused."""
    with greeted(path) if greet else raw as sock:
        sock.send(b'{"op":256,"x":' + b"[" * 2000 + b"]" * 2000 + b"}")
        refused = sock.recv(4096)
        assert not refused or isinstance(msgspec.json.decode(refused, type=Reply), Error)
    assert still_answers(path)


def test_a_bug_over_one_op_ends_its_connection_only(server, core, path):
    with greeted(path) as sock:
        answered, core.handle = core.handle, lambda *_: 1 // 0
        sock.send(b'{"op":20}')
        assert sock.recv(4096) == b""
        core.handle = answered
    assert still_answers(path)


def test_an_op_that_the_host_has_no_descriptor_for_is_refused(server, core, path):
    with greeted(path) as sock:
        answered = core.handle

        def exhausted(*_: object) -> Answer:
            raise OSError(errno.EMFILE, "Too many open files")

        core.handle = exhausted
        sock.send(b'{"op":1,"serial":1}')
        refused = msgspec.json.decode(sock.recv(4096), type=Reply)
        assert refused == Error(errno.EMFILE, "the host refuses: Too many open files", serial=1)
        core.handle = answered
        sock.send(b'{"op":20,"serial":2}')
        assert b'"serial":2' in sock.recv(4096)


def test_what_ends_the_thread_is_told_to_the_core(core, path, monkeypatch):
    server = ControlServer(path, core)
    failures: list[BaseException] = []
    told = threading.Event()
    core.failed = lambda error: (failures.append(error), told.set())
    core.gone = lambda _: 1 // 0
    server.start()
    greeted(path).close()
    assert told.wait(5)
    server.close()
    assert [type(error) for error in failures] == [ZeroDivisionError]


def test_who_says_nothing_is_dropped_in_time(core, path):
    server = ControlServer(path, core, hello_patience=0.2)
    server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent, greeted(path) as polite:
        silent.settimeout(5)
        silent.connect(path)
        assert silent.recv(10) == b""
        polite.send(b'{"op":20}')
        assert polite.recv(4096).startswith(b'{"said":"vcpus"')
    server.close()


def test_a_thousand_silent_connections_keep_nobody_out(server, path):
    silent = []
    for _ in range(1000):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(path)
        silent.append(sock)
        if len(silent) > 100:
            silent.pop(0).close()
    assert still_answers(path)
    assert len(server._connections) <= 64
    for sock in silent:
        sock.close()


def test_beyond_the_limit_a_newcomer_is_refused_with_a_reason(server, path):
    friends = [greeted(path) for _ in range(64)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as late:
        late.settimeout(5)
        late.connect(path)
        refused = msgspec.json.decode(late.recv(4096), type=Reply)
        assert isinstance(refused, Error)
        assert refused.errno == errno.EUSERS
    friends.pop().close()
    friends.append(greeted(path))
    for sock in friends:
        sock.close()


def test_who_has_left_before_a_newcomer_comes_has_left_room_for_it(server, core, path, monkeypatch):
    """Both are seen in one look, and the newcomer first, as epoll may have it."""
    friends = [greeted(path) for _ in range(64)]
    select, answered, held, goes_on = (
        server._selector.select,
        core.handle,
        threading.Event(),
        threading.Event(),
    )

    def newcomers_first(patience: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        return sorted(select(patience), key=lambda seen: seen[0].fileobj is not server._listener)

    def hold(*arguments: object) -> Answer:
        held.set()
        assert goes_on.wait(30)
        return answered(*arguments)

    monkeypatch.setattr(server._selector, "select", newcomers_first)
    monkeypatch.setattr(core, "handle", hold)
    friends[0].send(b'{"op":20}')
    assert held.wait(30)
    friends.pop().close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as newcomer:
        newcomer.settimeout(30)
        newcomer.connect(path)
        goes_on.set()
        newcomer.send(b'{"op":256,"version":%d,"program":"new"}' % VERSION)
        assert not isinstance(msgspec.json.decode(newcomer.recv(65536), type=Reply), Error)
    for sock in friends:
        sock.close()


def test_without_a_descriptor_left_accept_waits_and_does_not_spin(core, path, monkeypatch):
    server = ControlServer(path, core)
    accept, left = server._listener.accept, [errno.EMFILE] * 2
    tried: list[float] = []

    class Listener:
        """The listener on a host that has run out."""

        fileno = server._listener.fileno
        close = server._listener.close

        def accept(self) -> tuple[socket.socket, object]:
            tried.append(time.monotonic())
            if left:
                raise OSError(left.pop(), "Too many open files")
            return accept()

    server._selector.unregister(server._listener)
    server._listener = Listener()  # type: ignore[assignment]
    server._selector.register(server._listener, selectors.EVENT_READ)
    server.start()
    assert still_answers(path)
    server.close()
    assert len(tried) == 3
    assert tried[2] - tried[0] >= 0.9


def test_a_core_that_can_never_accept_anybody_ends(core, path, monkeypatch):
    """Whoever connects would wait for ever, and nobody is there who could leave a descriptor."""
    server = ControlServer(path, core, hello_patience=0.7)
    listener = server._listener

    class Listener:
        """The listener of a process that has no descriptor left."""

        fileno = listener.fileno
        close = listener.close

        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.EMFILE, "Too many open files")

    failures: list[BaseException] = []
    failed = threading.Event()

    def fail(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    monkeypatch.setattr(core, "failed", fail)
    server._selector.unregister(listener)
    server._listener = Listener()  # type: ignore[assignment]
    server._selector.register(server._listener, selectors.EVENT_READ)
    server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as newcomer:
        newcomer.connect(path)
        assert failed.wait(30)
    assert [error.errno for error in failures if isinstance(error, OSError)] == [errno.EMFILE]
    server.close()


def test_descriptors_that_wait_in_the_queue_are_those_that_were_sent(path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    connection = Connection(ours, lambda: None)
    before = open_descriptors()
    page = shared.create("page", 4096)
    inode = os.fstat(page).st_ino
    sent = 0
    while not connection._queue:
        connection.send(Pages(1), [page])
        sent += 1
    os.close(page)
    other = shared.create("somebody else's", 4096)
    assert other == page
    for _ in range(sent):
        connection.flush()
        _, fds, *_ = socket.recv_fds(theirs, 4096, 4)
        assert os.fstat(fds[0]).st_ino == inode
        os.close(fds[0])
    os.close(other)
    assert open_descriptors() == before
    connection.close()
    ours.close()
    theirs.close()


def test_who_does_not_read_is_not_listened_to(server, core, path):
    with greeted(path) as deaf:
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                deaf.send(b'{"op":20}')
        done = len(core.ops)
        assert still_answers(path)
        assert len(core.ops) <= done + 300
        assert not core.left or core.left == ["after"]
