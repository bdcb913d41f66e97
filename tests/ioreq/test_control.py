"""The domain socket: ops and replies in order, descriptors, and everybody who should not get in."""

import errno
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Sequence

import pytest
import trio
import trio.lowlevel

from ioreq import VERSION, ControlError, DomainGone, IoreqError, ProtocolError, VersionMismatch, shared
from ioreq.control import MAX_MESSAGE
from ioreq.control_client import connect, open_control
from ioreq.control_core import Answer, Connection, ControlServer
from ioreq.evtchn import make_doorbell
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    GetIoreqServerInfo,
    Hello,
    MapIoRange,
    NrVcpus,
    Ok,
    Op,
    Pages,
    RamRegion,
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
    with pytest.raises(IoreqError, match="No such file or directory"):
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
    raw.send(b'{"op":256,"version":1,"program":"x","colour":"blue"}')
    data, *_ = socket.recv_fds(raw, 65536, 0)
    assert data.startswith(b'{"said":"domain"')


async def test_descriptors_sent_with_an_op_are_closed(server, core, path):
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(path)
        socket.send_fds(sock, [b'{"op":256,"version":1}'], [write])
        os.close(write)
        _, fds, *_ = socket.recv_fds(sock, 65536, 10)
        for fd in fds:
            os.close(fd)
    assert os.read(read, 1) == b""
    os.close(read)


async def test_a_device_model_that_vanishes_in_mid_op_is_noticed(raw, core, path):
    raw.send(b'{"op":256,"version":1,"program":"first"}')
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
        deaf.send(b'{"op":256,"version":1,"program":"deaf"}')
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
