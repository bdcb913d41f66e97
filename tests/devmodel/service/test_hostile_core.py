"""A core that breaks the rules: the server says so in a line and ends; nothing raises past it, hangs or spins."""

import os
import struct
import threading
from collections.abc import Callable, Sequence

import msgspec
import pytest
import trio

from devmodel import DevmodelError
from devmodel.cli import main
from devmodel.config import Config
from devmodel.service.outside import opened
from devmodel.service.session import join, serve
from ioreq import IoreqError, shared
from ioreq.control_core import Answer, Connection
from ioreq.messages import (
    Created,
    CreateIoreqServer,
    DomainInfo,
    E820Entry,
    Error,
    GetIoreqServerInfo,
    Hello,
    IsaIrqLevel,
    MapIoRange,
    Op,
    Pages,
    PciIntxLevel,
    RamRegion,
    Reset,
    ResetDone,
    Shutdown,
    Vcpus,
)
from tests.devmodel.conftest import FakeCore

LAST = (1 << 63) - 1


def loose(size: int = 4096) -> int:
    fd = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd


def read_only() -> int:
    fd = shared.create("page", 4096)
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    finally:
        os.close(fd)


def served(core: FakeCore, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Serve it as the command does; return the exit status and what was said."""
    status = main(["serve", "--domain", core.path])
    return status, capsys.readouterr().err.splitlines()


PAGES: list[tuple[str, int, Callable[[], int], str]] = [
    ("ioreq page", 0, lambda: os.open("/dev/null", os.O_RDWR), "no memory object"),
    ("buffered page", 1, loose, "not sealed against shrinking"),
    ("event page", 2, lambda: shared.create("big", 8192), "8192 bytes, not 4096"),
    ("mirror page", 3, lambda: shared.create("small", 100), "100 bytes, not 4096"),
    ("ioreq page", 0, read_only, "cannot be mapped"),
    ("doorbell", 4, lambda: os.pipe()[1], "no eventfd"),
    ("ring's doorbell", 5, lambda: shared.create("page", 4096), "no eventfd"),
]


@pytest.mark.parametrize(("name", "number", "make", "why"), PAGES, ids=[f"{p[0]}, {p[3]}" for p in PAGES])
def test_a_page_or_doorbell_of_the_wrong_kind_is_one_line(core, capsys, name, number, make, why):
    fds = list(core.endpoint.descriptors)
    fds[number] = make()
    answered = core.handle
    core.handle = lambda connection, op: (
        (Pages(0), fds) if isinstance(op, GetIoreqServerInfo) else answered(connection, op)
    )
    status, lines = served(core, capsys)
    assert status == 1
    assert len(lines) == 1, lines
    assert why in lines[0]
    os.close(fds[number])


def spoiled_hello(
    core: FakeCore, spoil: Callable[[DomainInfo, list[int]], tuple[DomainInfo, list[int]]]
) -> None:
    answered = core.hello

    def hello(connection: Connection, hello: Hello) -> tuple[DomainInfo, Sequence[int]]:
        info, fds = answered(connection, hello)
        return spoil(info, list(fds))

    core.hello = hello  # type: ignore[method-assign]


DOMAINS = {
    "no RAM at all": {"ram": []},
    "RAM beyond its object": {"ram": [RamRegion(0, 1 << 40, 0)]},
    "RAM at an offset that no file has": {"ram": [RamRegion(0, LAST, LAST)]},
    "RAM that overlaps itself": {"ram": [RamRegion(0, 1 << 20, 0), RamRegion(4096, 1 << 19, 0)]},
    "RAM beyond all addresses": {"ram": [RamRegion(LAST, 1 << 20, 0)]},
    "an E820 that overflows": {"e820": [E820Entry(LAST, LAST, 1)] * 128},
    "a hundred vCPUs": {"vcpus": 100},
    "a name of escapes": {"name": "\x1b[2J" * 60},
    "strange news": {"boot": {"vcpus": "\x1b", "memory": LAST}},
}


@pytest.mark.parametrize("said", DOMAINS.values(), ids=DOMAINS)
def test_a_domain_that_cannot_be_is_a_line_or_is_served(core, capsys, said):
    spoiled_hello(core, lambda info, fds: (msgspec.structs.replace(info, **said), fds))
    threading.Thread(target=lambda: core.enabled.wait(5) and core.send(Shutdown(0, 9)), daemon=True).start()
    status, lines = served(core, capsys)
    assert status in {1, 9}
    assert len(lines) == (status == 1), lines
    assert not any("\x1b" in line for line in lines)


HELLO_DESCRIPTORS = {
    "RAM that is none": (0, lambda: os.open("/dev/null", os.O_RDWR)),
    "pins of two pages": (1, lambda: shared.create("pins", 8192)),
    "a doorbell that is a pipe": (2, lambda: os.pipe()[1]),
}


@pytest.mark.parametrize(("number", "make"), HELLO_DESCRIPTORS.values(), ids=HELLO_DESCRIPTORS)
def test_descriptors_of_a_domain_that_are_of_the_wrong_kind_are_one_line(core, capsys, number, make):
    wrong = make()
    spoiled_hello(core, lambda info, fds: (info, [*fds[:number], wrong, *fds[number + 1 :]]))
    status, lines = served(core, capsys)
    assert (status, len(lines)) == (1, 1), lines
    os.close(wrong)


@pytest.mark.parametrize("kind", [CreateIoreqServer, GetIoreqServerInfo, MapIoRange])
@pytest.mark.parametrize("reply", [Error(5, "no \x1b[2J"), Vcpus(3)], ids=["refusal", "another reply"])
def test_an_odd_reply_is_one_line(core, capsys, kind, reply):
    answered = core.handle

    def handle(connection: Connection, op: Op) -> Answer:
        return reply if isinstance(op, kind) else answered(connection, op)

    core.handle = handle
    status, lines = served(core, capsys)
    assert status == 1
    assert [line for line in lines if "control.core_breaks_rules" not in line] == lines[-1:]
    assert lines[-1].startswith("devmodel: ")
    assert "\x1b" not in lines[-1]


async def test_every_event_is_survived(start, core):
    """A log call whose keyword was structlog's own raised once, over a message of an honest core."""
    running = await start()
    for event in (
        PciIntxLevel(0, 3, 1, True),
        PciIntxLevel(9, 0xFFFF, 0xFFFF, False),
        IsaIrqLevel(0xFFFF, True),
    ):
        core.send(event)
    assert await running.guest(lambda: core.inp(0x100)) == 0
    core.send(Shutdown(0, 3))
    while len(running.found) < 3:
        await trio.sleep(0.001)
    assert running.found[2] == Shutdown(0, 3)


@pytest.mark.parametrize("how", ["dies", "refuses", "answers oddly"])
async def test_a_core_that_dies_or_errs_in_a_reset_is_no_exception_group(core, toy_board, how):
    answered = core.handle

    def handle(connection: Connection, op: Op) -> Answer:
        if isinstance(op, ResetDone):
            if how == "dies":
                connection.close()
            elif how == "refuses":
                core.send(Shutdown(0, 4))
                return Error(5, "no")
            else:
                return Created(1)
        return answered(connection, op)

    core.handle = handle
    async with opened(Config()) as outside:
        client = await join(core.path)
        threading.Thread(target=lambda: core.enabled.wait(5) and core.send(Reset()), daemon=True).start()
        try:
            with trio.fail_after(10):
                if how == "refuses":
                    assert await serve(outside, client, toy_board) == Shutdown(0, 4)
                else:
                    with pytest.raises(IoreqError):
                        await serve(outside, client, toy_board)
        finally:
            client.close()


async def test_a_machine_that_cannot_be_built_is_foreseen(core):
    def build(*_):
        raise struct.error("int too large to convert")

    async with opened(Config()) as outside:
        client = await join(core.path)
        try:
            with pytest.raises(DevmodelError, match="no machine can be built of what the core"):
                await serve(outside, client, build)
        finally:
            client.close()


def test_serve_persist_goes_on_to_the_next_domain(tmp_path, capsys):
    """One that ends well, one that dies in mid-handshake, one that is nonsense, and a last that we are stopped at."""
    path = str(tmp_path / "domain")
    served_domains: list[str] = []
    stopped = threading.Event()

    def domains() -> None:
        for how in ("ends", "dies", "is nonsense", "ends"):
            core = FakeCore(path)
            answered = core.handle

            def handle(connection: Connection, op: Op, how: str = how, answered=answered) -> Answer:
                if isinstance(op, MapIoRange) and how == "dies":
                    connection.close()
                if isinstance(op, MapIoRange) and how == "is nonsense":
                    return Vcpus(3)
                return answered(connection, op)

            core.handle = handle
            if how == "ends":
                core.enabled.wait(10)
                core.send(Shutdown(0, 5))
            assert core.gone_event.wait(10)
            served_domains.append(how)
            core.close()
        os.kill(os.getpid(), 15)
        stopped.set()

    thread = threading.Thread(target=domains)
    thread.start()
    assert main(["serve", "--domain", path, "--persist"]) == 128 + 15
    thread.join(10)
    assert served_domains == ["ends", "dies", "is nonsense", "ends"]
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count(f"the core on {path} is gone") == 1
