r"""The pytest plugin: machines and benches as fixtures, and what a machine leaves where a test failed.

    @pytest.mark.machine(kernel="vmlinuz", initrd="initramfs", memory="256M", append="console=ttyS0")
    async def test_it_boots(machine):
        await machine.console.expect("/ # ")
        assert (await machine.run("uname -s")).output == "Linux\n"

It belongs to no event loop: tests may be those of pytest-trio, pytest-asyncio or anyio, or plain functions.
docs/testing.md has all of it. Nothing is imported here that a run without machines would have to wait for.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Unpack

    from devmodel.testing import Bench, Console, Machine, MachineOptions, QtestClient

VENDORS: Final = ("vmx", "svm")
SHOWN: Final = 4000
"""Bytes of a console's end in a report; all of it is in the file beside."""


class Boot(Protocol):
    """What the fixture `boot` is."""

    async def __call__(self, *arguments: Any, **options: Unpack[MachineOptions]) -> Machine:
        """Start a machine, which is ended with the test."""
        ...


class _Used:
    """A machine that a test uses, and how much its console had said before."""

    def __init__(self, machine: Machine, begin: int = 0) -> None:
        self.machine = machine
        self.begin = begin
        self.spooled: Path | None = None
        """Where its trace has been put aside, since the machine is gone."""


_USED: Final = pytest.StashKey[list[_Used]]()
_KEPT: Final = pytest.StashKey[Path]()
_SHARED: Final = pytest.StashKey["dict[str, Machine]"]()


# -- options and marks ------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ours."""
    group = parser.getgroup("devmodel", "virtual machines (devmodel)")
    group.addoption(
        "--devmodel-vendor",
        choices=(*VENDORS, "both"),
        default="vmx",
        help="virtualisation interface of machines whose test does not say (vmx); both: each test twice",
    )
    group.addoption(
        "--devmodel-keep",
        choices=("failed", "all", "none"),
        default="failed",
        help="which tests' transcripts, screens and traces are kept (failed)",
    )
    group.addoption(
        "--devmodel-artifacts",
        metavar="DIR",
        help="where they are kept (pytest's cache directory)",
    )
    group.addoption(
        "--devmodel-option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="what every machine is, whatever its test says: kernel=vmlinuz, memory=256M; VALUE may be JSON",
    )
    group.addoption(
        "--devmodel-trace", action="store_true", help="record each request of each machine; guests are slower"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marks."""
    config.addinivalue_line(
        "markers",
        "machine(shared=False, **options): what the fixtures `machine` and `boot` start; a shared machine goes on from "
        "test to test",
    )
    config.addinivalue_line(
        "markers", "board(build=…, **options): what the fixture `bench` adds to the PC, and `machine` as well"
    )
    config.addinivalue_line(
        "markers", "qtest(memory=…, disks=…): what the PC has that the fixture `qtest` drives"
    )
    config.stash[_SHARED] = {}
    _overridden(config)  # a mistake there is told before anything runs


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the machines that were shared; no test wants to hear of it."""
    for machine in config.stash.get(_SHARED, {}).values():
        type(machine).watch = staticmethod(lambda _machine, _begins: None)
        machine.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with a machine once a vendor, if that is wanted."""
    if "devmodel_vendor" in metafunc.fixturenames and metafunc.config.getoption("devmodel_vendor") == "both":
        metafunc.parametrize("devmodel_vendor", VENDORS, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests that share a machine together, for `pytest -n … --dist loadgroup`."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        mark = item.get_closest_marker("machine")
        if mark is not None and mark.kwargs.get("shared"):
            item.add_marker(pytest.mark.xdist_group(f"devmodel {_key(mark.kwargs)}"))


# -- fixtures ---------------------------------------------------------------------------------------------


@pytest.fixture
def devmodel_vendor(request: pytest.FixtureRequest) -> str:
    """Return the virtualisation interface that is wanted: `--devmodel-vendor`."""
    return str(getattr(request, "param", None) or request.config.getoption("devmodel_vendor"))


@pytest.fixture
def machine_options() -> Mapping[str, Any]:
    """Say what every machine is to be; override this in a module or a conftest.py."""
    return {}


@pytest.fixture
def boot(
    request: pytest.FixtureRequest, machine_options: Mapping[str, Any], devmodel_vendor: str
) -> Iterator[Boot]:
    """Start machines from within a test; `machine_options` and the mark say what is not said there."""
    from devmodel.testing import Machine

    _watch(request.node)
    started: list[Machine] = []

    async def start(*arguments: Any, **options: Unpack[MachineOptions]) -> Machine:
        merged = _options(request, machine_options, devmodel_vendor) | dict(options)
        machine = Machine(*arguments, **merged)
        started.append(machine)
        await machine.start()
        return machine

    yield start
    for machine in started:
        machine.close()


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, machine_options: Mapping[str, Any], devmodel_vendor: str
) -> Iterator[Machine]:
    """Run a machine, as the mark `machine` and `machine_options` want it."""
    from devmodel.testing import Machine

    options = _options(request, machine_options, devmodel_vendor)
    mark = request.node.get_closest_marker("machine")
    _watch(request.node)
    if mark is not None and mark.kwargs.get("shared"):
        yield _shared(request, options)
        return
    found = Machine(**options)
    _start(found)
    yield found
    found.close()


@pytest.fixture
def console(machine: Machine) -> Console:
    """Give the serial console of `machine`."""
    return machine.console


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    """Put a board on a bench, without a core: the PC, and what the mark `board` adds."""
    from devmodel.testing import Bench

    build, options = _board(request)
    return Bench(build, **options)


@pytest.fixture
def qtest(request: pytest.FixtureRequest) -> QtestClient:
    """Give a qtest client of a board in this process: the PC, what the mark `board` adds, the options of `qtest`."""
    from devmodel.testing import QtestClient

    build, options = _board(request)
    mark = request.node.get_closest_marker("qtest")
    return QtestClient.local(build, **{**options, **({} if mark is None else mark.kwargs)})


def _board(request: pytest.FixtureRequest) -> tuple[Any, Mapping[str, Any]]:
    """Return what the mark `board` says: what builds, and what it takes beside the board."""
    mark = request.node.get_closest_marker("board")
    if mark is None:
        return None, {}
    options = dict(mark.kwargs)
    return mark.args[0] if mark.args else options.pop("build"), options


def _options(request: pytest.FixtureRequest, defaults: Mapping[str, Any], vendor: str) -> dict[str, Any]:
    """Return what a machine of this test is to be."""
    options: dict[str, Any] = {"vendor": vendor} | dict(defaults)
    build, board_options = _board(request)
    if build is not None:
        options |= {"board": build, "board_options": board_options}
    mark = request.node.get_closest_marker("machine")
    if mark is not None:
        options |= {name: value for name, value in mark.kwargs.items() if name != "shared"}
    if request.config.getoption("devmodel_trace"):
        options.setdefault("trace", True)
    return options | _overridden(request.config)


def _overridden(config: pytest.Config) -> dict[str, Any]:
    """Return what `--devmodel-option` says."""
    options: dict[str, Any] = {}
    for item in config.getoption("devmodel_option"):
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise pytest.UsageError(f"--devmodel-option '{item}'; allowed: NAME=VALUE")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def _shared(request: pytest.FixtureRequest, options: Mapping[str, Any]) -> Machine:
    """Return the machine that goes on from test to test; another one if that has ended."""
    from devmodel.testing import Machine

    machines = request.config.stash[_SHARED]
    key = _key(options)
    machine = machines.get(key)
    if machine is not None and not (machine.running and machine.console.alive):
        machine.close()
        machine = None
    if machine is None:
        machine = machines[key] = Machine(**options)
        _start(machine)
    else:
        _used(request.node).append(_Used(machine, machine.console.skip()))
    return machine


def _start(machine: Machine) -> None:
    """Start a machine from where no event loop runs."""
    import anyio

    anyio.run(machine.start, backend="trio")


def _key(options: Mapping[str, Any]) -> str:
    """Return a text that is the same for the same options."""
    return " ".join(f"{name}={options[name]!r}" for name in sorted(options) if name != "shared")


# -- what is left where a test failed ---------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hear of the machines that the test starts by itself."""
    if "devmodel.testing.machine" in sys.modules:
        _watch(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the machines of a test leave, and show it in its report."""
    report = yield
    keep = item.config.getoption("devmodel_keep")
    wanted = report.failed if keep == "failed" else keep == "all" and call.when == "call"
    if wanted and call.when != "teardown":
        for number, used in enumerate(_used(item), 1):
            _keep(item, report, used, number)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Forget what was put aside, and by now kept if it is wanted: the fixtures are gone."""
    for used in _used(item):
        if used.spooled is not None:
            shutil.rmtree(used.spooled.parent, ignore_errors=True)
            used.spooled = None


def _used(item: pytest.Item) -> list[_Used]:
    """Return the machines of a test, to which it may be added."""
    nothing: list[_Used] = []
    return item.stash.setdefault(_USED, nothing)


def _watch(item: pytest.Item) -> None:
    """Have machines tell of themselves: those that begin from now on are this test's."""
    from devmodel.testing.machine import Machine

    machines = _used(item)

    def watch(machine: Machine, begins: bool) -> None:
        if begins:
            machines.append(_Used(machine))
        elif machine.trace is not None:
            for used in machines:
                if used.machine is machine:
                    with suppress(OSError):
                        used.spooled = Path(tempfile.mkdtemp(prefix="devmodel-trace-")) / "requests.trace"
                        shutil.copyfile(machine.trace, used.spooled)

    Machine.watch = staticmethod(watch)


def _keep(item: pytest.Item, report: pytest.TestReport, used: _Used, number: int) -> None:
    """Write what one machine leaves into files, and show the text in the report."""
    machine = used.machine
    folder = _folder(item, number)
    transcript = machine.transcript()[used.begin :]
    screen, picture = _screen(machine)
    files: dict[str, bytes | None] = {
        "console.txt": transcript,
        "screen.txt": None if screen is None else screen.encode(),
        "screen.png": picture,
        "said.txt": machine.said().encode(),
    }
    for name, data in files.items():
        if data:
            (folder / name).write_bytes(data)
    trace = used.spooled if machine.ended else machine.trace
    if trace is not None:
        with suppress(OSError):
            shutil.copyfile(trace, folder / "requests.trace")
    title = "devmodel" if number == 1 else f"devmodel, machine {number}"
    report.sections.append((f"{title}: console", transcript[-SHOWN:].decode(errors="replace")))
    if screen:
        report.sections.append((f"{title}: screen", screen))
    kept = sorted(path.name for path in folder.iterdir())
    report.sections.append((f"{title}: kept", f"{folder}: {', '.join(kept)}"))
    item.user_properties += [("devmodel", str(folder / name)) for name in kept]  # for the report of its end


def _screen(machine: Machine) -> tuple[str | None, bytes | None]:
    """Return what stands on the screen as text and picture, as far as that can be had."""
    from devmodel import DevmodelError
    from devmodel.control import asking, messages

    if machine.running:
        with suppress(DevmodelError):
            answer = asking.ask(machine.domain, messages.Screen(png=True))
            return answer.text or None, asking.png_of(answer)
    return machine.last_screen, None


def _folder(item: pytest.Item, number: int) -> Path:
    """Return an empty folder for what one machine of a test leaves."""
    where = item.config.getoption("devmodel_artifacts")
    top: Path | None
    if where is not None:
        top = Path(where)
    elif (cache := getattr(item.config, "cache", None)) is not None:
        top = cache.mkdir("devmodel")
    elif (top := item.config.stash.get(_KEPT, None)) is None:
        top = item.config.stash[_KEPT] = Path(tempfile.mkdtemp(prefix="devmodel-kept-"))
    name = re.sub(r"[^\w.\[\]-]+", "-", item.nodeid).strip("-")[-150:]
    folder = top / (name if number == 1 else f"{name}-{number}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder.resolve()
