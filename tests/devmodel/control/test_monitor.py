"""The monitor's socket: many clients, silent clients, and what becomes of the event loop meanwhile."""

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from devmodel import DevmodelError
from devmodel.control import asking, messages, monitor, sockets
from devmodel.control.messages import Answer, Info
from devmodel.control.monitor import Monitor
from devmodel.devices.vga_frame import Frame
from ioreq.messages import Shutdown
from tests.devmodel.devices.vga_bench import TEXT
from tests.devmodel.test_display import Machine


class Full(Machine):
    """A machine whose screen is as large as a PC's, and never twice the same."""

    def screen(self) -> Frame:
        for at in range(0, 4000, 8):
            self.bench.poke(TEXT + at, int.from_bytes(os.urandom(8), "little"), 8)
        return super().screen()


async def serving(nursery: trio.Nursery, path: str) -> Monitor:
    served = Monitor(Full())
    nursery.start_soon(served.serve, sockets.listen(path + sockets.SUFFIX))
    return served


async def ask(path: str, command: messages.Command) -> Answer:
    return await trio.to_thread.run_sync(asking.ask, path, command, abandon_on_cancel=True)


async def test_sixty_clients_that_want_pictures_leave_the_event_loop_its_time(nursery, tmp_path):
    """Each was drawn in the event loop, and a guest's ticks fell from a hundred a second to one."""
    path = str(tmp_path / "domain")
    served = await serving(nursery, path)
    late: list[float] = []

    async def tick() -> None:
        while True:
            before = trio.current_time()
            await trio.sleep(0.01)
            late.append(trio.current_time() - before)

    async def look() -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # one too many
            async with await trio.open_unix_socket(path + sockets.SUFFIX) as stream:
                while True:
                    await stream.send_all(b'{"command":"screen","png":true}\n')
                    if not await stream.receive_some(1 << 20):
                        return

    with trio.move_on_after(2):
        async with trio.open_nursery() as inner:
            inner.start_soon(tick)
            for _ in range(60):
                inner.start_soon(look)
    assert len(late) > 60, f"{len(late)} ticks in two seconds, of 200 at most"
    assert served.clients <= 60


async def test_one_client_too_many_is_told_so(nursery, tmp_path):
    path = str(tmp_path / "domain")
    await serving(nursery, path)
    streams = [await trio.open_unix_socket(path + sockets.SUFFIX) for _ in range(monitor.MAX_CLIENTS)]
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(DevmodelError, match="16 clients already"):
        await ask(path, Info())
    for stream in streams:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert (await ask(path, Info())).machine == "test"


async def test_a_client_that_says_nothing_is_disconnected(nursery, tmp_path, autojump_clock):
    path = str(tmp_path / "domain")
    await serving(nursery, path)
    async with await trio.open_unix_socket(path + sockets.SUFFIX) as stream:
        before = trio.current_time()
        assert await stream.receive_some(10) == b""
        assert trio.current_time() - before == pytest.approx(monitor.IDLE)


@pytest.mark.parametrize(
    "line",
    [b"[" * 5000, b'{"command":"key","keys":[' + b'"a",' * 5000 + b'"a"]}', b"\xff", b"{}"],
    ids=["deep", "keys without end", "binary", "nothing"],
)
async def test_nonsense_is_answered_with_an_error(nursery, tmp_path, line):
    path = str(tmp_path / "domain")
    await serving(nursery, path)
    async with await trio.open_unix_socket(path + sockets.SUFFIX) as stream:
        await stream.send_all(line + b"\n")
        with trio.fail_after(5):
            assert msgspec.json.decode(await stream.receive_some(65536), type=Answer).error


async def test_a_socket_that_was_removed_by_hand_is_no_traceback(start, core):
    running = await start()
    os.unlink(core.path + sockets.SUFFIX)
    core.send(Shutdown(0, 3))
    with trio.fail_after(5):
        while len(running.found) < 3:
            await trio.sleep(0.001)
    assert running.found[2] == Shutdown(0, 3)


async def test_the_same_screen_is_drawn_once_and_another_one_anew():
    drawn: list[object] = []

    def draw(screen: object) -> bytes:
        drawn.append(screen)
        time.sleep(0.01)
        return repr(screen).encode()

    pictures = monitor.Pictures()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(pictures.draw, "a screen", draw)
    assert drawn == ["a screen"]
    before = trio.current_time()
    assert await pictures.draw("another", draw) == b"'another'"
    assert trio.current_time() - before >= 0.03, "it takes no more than a quarter of the time"


@pytest.fixture
def short():
    """A folder whose name leaves room for that of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def machine_of_run(short, monkeypatch):
    """What listens where `devmodel run` would, of a kind of its own: no other that runs here is seen."""
    monkeypatch.setattr(sockets, "PREFIX", f"devmodel-{os.getpid()}-test-")
    monkeypatch.setattr(tempfile, "tempdir", None)
    with contextlib.ExitStack() as stack:

        def machine(temporary: str) -> str:
            folder = short / temporary / f"{sockets.PREFIX}x"
            folder.mkdir(parents=True)
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(folder / "domain.monitor"))
            listening.listen()
            return str(folder / "domain")

        yield machine


def test_the_one_machine_is_found_whatever_tmpdir_it_was_started_with(machine_of_run, short, monkeypatch):
    domain = machine_of_run("a")
    for temporary in ("a", "b"):
        monkeypatch.setenv("TMPDIR", str(short / temporary))
        (short / temporary).mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert sockets.find() == domain


def test_the_machine_of_our_tmpdir_comes_before_others(machine_of_run, short, monkeypatch):
    domains = {name: machine_of_run(name) for name in ("a", "b")}
    for name, domain in domains.items():
        monkeypatch.setattr(tempfile, "tempdir", str(short / name))
        assert sockets.find() == domain
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    with pytest.raises(DevmodelError, match="several machines are running"):
        sockets.find()
