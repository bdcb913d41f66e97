"""The command line: run, serve, and what is said to machines that run."""

import argparse
import gc
import importlib.resources
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO, Final, NoReturn

import msgspec
import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.board.parts import PARTS, in_order
from devmodel.config import Config, Options, load
from devmodel.consoles.address import ALLOWED as CONSOLES
from devmodel.consoles.address import STDIO, parse
from devmodel.consoles.client import REACHABLE, console
from devmodel.consoles.terminal import LEAVING
from devmodel.control import listing, prompt
from devmodel.devices.mouse import BUTTONS
from devmodel.disks import manage
from devmodel.display.live import live
from devmodel.display.render import MOST_COLUMNS
from devmodel.service import monitor, stats, trace, upgrade
from devmodel.service.run import BAD_INPUT, FAILED, run
from devmodel.service.server import ChipFailed
from devmodel.service.session import BoardFactory, Departure, NobodyThere, join, opened, serve
from ioreq import IoreqError, VersionMismatch, patience
from ioreq.control import check_path
from ioreq.user_input import add_completion, create, ending_signals

DEMO: Final = "machine.toml"
MOST_POLLING: Final = 1_000_000
"""Microseconds."""
PAUSE: Final = 0.1
"""Seconds before the next domain after one that failed."""
CLEAR: Final = "\033[H\033[J"
"""Cursor to the upper left, and the rest of the screen erased (ECMA-48: CUP, ED)."""

CORE_OPTIONS: Final = {
    "vendor": ("vmx|svm", "virtualisation interface of the core (vmx)"),
    "cpu": ("486|pentium|pentium2|pentium3|qemu32|i686", "processor that the guest sees (i686)"),
    "memory": ("SIZE", 'guest RAM, for example "64M"'),
    "firmware": ("FILE", "firmware image, started at the reset vector"),
    "image": ("FILE", "flat binary, started in real mode"),
    "image-address": ("ADDRESS", "where the flat binary goes (0x7c00)"),
    "kernel": ("FILE", "Linux (bzImage) or multiboot kernel, started without firmware"),
    "initrd": ("FILE", "its initial RAM disk, or first module"),
    "append": ("TEXT", "its command line"),
    "poll": ("MICROSECONDS", "how long both sides poll before they sleep, at most (200; 0: not at all)"),
}
"""Options of `devmodel run` that are handed to `hvcore run` as they are."""
CORE_SWITCHES: Final = {
    "no-reboot": "end when the guest resets",
    "statistics": "have the core measure where the time goes, and log it at the end",
}
"""The same, without a value."""


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, as everywhere."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 is bad input, 1 is a failure, each with one line."""
    options = _parser().parse_args(argv)
    poll = getattr(options, "poll", None)
    log.configure(getattr(options, "log_format", "console"), getattr(options, "log_level", "warning"))
    command: Callable[[argparse.Namespace], int] = options.perform
    try:
        if poll is not None:
            patience.set_window(_microseconds(poll))
        return command(options)
    except ChipFailed as error:
        log.say(f"devmodel: {error}")
        log.show(error.__cause__)
        return FAILED
    except (ConfigError, VersionMismatch) as error:
        log.say(f"devmodel: {error}")
        return BAD_INPUT
    except (DevmodelError, IoreqError) as error:
        log.say(f"devmodel: {error}")
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001  (one line for the user; debug shows where it came from)
        log.say(f"devmodel: internal error: {log.origin(error)}")
        structlog.get_logger().debug("devmodel.traceback", exc_info=error)
        return FAILED


def _microseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_POLLING:
        raise ConfigError(f"--poll {text!r}: a number of microseconds from 0 to {MOST_POLLING}")
    return int(text)


def board_factory(config: Config) -> BoardFactory:
    """Return what builds the PC, with what the user adds to it.

    Raises:
        ConfigError: there is no such board.

    """
    from devmodel import boards  # the chips are only wanted by those who serve
    from devmodel.service.fittings import build

    if config.board is None:
        return build
    return partial(build, extend=boards.find(config.board, config.board_options, folder=config.folder))


def _run(options: argparse.Namespace) -> int:
    machine = options.machine
    if machine is None and all(getattr(options, start) is None for start in ("firmware", "image", "kernel")):
        machine = str(importlib.resources.files("devmodel.demo").joinpath(DEMO))
    config = _config(machine, options)
    if options.domain is not None:
        _check_socket(options.domain, "--domain")
    arguments = [] if machine is None else [machine]
    for name in CORE_OPTIONS:
        value = getattr(options, name.replace("-", "_"))
        if value is not None:
            arguments += [f"--{name}", value]
    arguments += [f"--{name}" for name in CORE_SWITCHES if getattr(options, name.replace("-", "_"))]
    if config.servers:
        arguments += ["--servers", str(1 + len(config.servers))]
        if "serial" not in config.parts and any(port.far_end() == STDIO for port in config.serials):
            raise ConfigError("the serial port is in a server apart; give it --serial tcp:HOST:PORT")
    logging = ["--log-format", options.log_format, "--log-level", options.log_level]
    apart = [
        [*_serve_arguments(machine, options, parts), *logging, "--only", ",".join(in_order(parts))]
        for parts in config.servers
    ]
    factory = board_factory(config)
    return trio.run(lambda: run(config, [*arguments, *logging], factory, domain=options.domain, apart=apart))


def _serve_arguments(machine: str | None, options: argparse.Namespace, parts: frozenset[str]) -> list[str]:
    """Return what `devmodel serve` must be told to see the machine that `devmodel run` was told."""
    arguments = [] if machine is None else [machine]
    given = {name: getattr(options, name) for name in ("parallel", "video_bios", "vnc", "debug_console")}
    arguments += [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    if options.trace is not None:
        arguments.append(f"--trace={options.trace}.{in_order(parts)[0]}")
    arguments += ["--serial-wait"] * options.serial_wait + ["--hpet"] * options.hpet
    arguments += [f"--serial={port}" for port in options.serial]
    arguments += [f"--disk={path}" for path in options.disk]
    arguments += [f"--cdrom={path}" for path in options.cdrom]
    arguments += [f"--floppy={path}" for path in options.floppy]
    arguments += [f"--fw-cfg={item}" for item in options.fw_cfg]
    if options.board is not None:
        arguments.append(f"--board={options.board}")
    arguments += [f"--board-option={item}" for item in options.board_option]
    if options.poll is not None:
        arguments.append(f"--poll={options.poll}")
    return arguments


def _serve(options: argparse.Namespace) -> int:
    if options.qtest is not None:
        return _serve_qtest(options)
    if options.domain is None:
        raise ConfigError("serve: --domain SOCKET, or --qtest unix:PATH")
    if options.memory is not None:
        raise ConfigError("--memory is for --qtest: a guest's memory is its core's")
    config = _config(options.machine, options)
    path, wait, persist = options.domain, options.wait, options.persist
    _check_socket(path, "--domain")
    factory = board_factory(config)
    departure = Departure(upgrades=True)
    inheritance = upgrade.inherited()

    async def work() -> int:
        return await _serve_domains(config, factory, path, wait, departure, inheritance, persist=persist)

    status = trio.run(lambda: _until_signal(work, departure.leave))
    if departure.inheritance is not None:
        upgrade.execute(departure.inheritance)
    return status


def _serve_qtest(options: argparse.Namespace) -> int:
    from devmodel import boards  # what is here is only wanted by those who serve
    from devmodel.service import qtest

    given = {
        "--domain": options.domain, "--trace": options.trace, "--qmp": options.qmp, "--poll": options.poll,
        "--persist": options.persist or None, "--wait": None if options.wait == float("inf") else options.wait,
    }  # fmt: skip
    if wrong := [name for name, value in given.items() if value is not None]:
        raise ConfigError(f"{wrong[0]} goes with a core, and --qtest without one")
    config = _config(options.machine, options)
    address, memory = qtest.Address.parse(options.qtest), qtest.memory_of(options.memory)
    own = config.board and boards.find(config.board, config.board_options, folder=config.folder)

    async def work() -> int:
        async with opened(config) as outside:
            return await qtest.serve(outside, address, qtest.make(outside, memory, own or None))

    return trio.run(lambda: _until_signal(work))


async def _serve_domains(
    config: Config,
    factory: BoardFactory,
    path: str,
    wait: float,
    departure: Departure,
    inheritance: upgrade.Inheritance | None,
    *,
    persist: bool,
) -> int:
    """Serve one domain; or, if `persist`, one after the other, and whatever ends one only delays the next."""
    while True:
        try:
            status = await _serve_domain(config, factory, path, wait, departure, inheritance)
        except (ConfigError, VersionMismatch, NobodyThere):
            raise
        except (DevmodelError, IoreqError) as error:
            if not persist:
                raise
            log.say(f"devmodel: {error}")
            if isinstance(error, ChipFailed):
                log.show(error.__cause__)
        else:
            if not persist or departure.done:
                return status
        inheritance = None
        await trio.sleep(
            PAUSE
        )  # the error, with all frames in its traceback, is held until this task next waits
        gc.collect()  # pages that a domain's objects hold in cycles, and the descriptors of their mappings


async def _serve_domain(
    config: Config,
    factory: BoardFactory,
    path: str,
    wait: float,
    departure: Departure,
    inheritance: upgrade.Inheritance | None,
) -> int:
    async with opened(config, inheritance) as outside:
        if not outside.inheritance.upgrades:
            for line in outside.addresses():
                log.say(line)
        client = await join(path, wait)
        try:
            shutdown = await serve(outside, client, factory, departure=departure)
            return 0 if shutdown is None else shutdown.code
        finally:
            client.close()


async def _nothing() -> None:
    """Leave nothing behind."""


async def _until_signal(
    work: Callable[[], Awaitable[int]], leave: Callable[[], Awaitable[None]] = _nothing
) -> int:
    """Do the work; on SIGINT and SIGTERM `leave` and end, on a second one at once, with a shell's status for that."""
    status = FAILED
    killed: int | None = None
    failure: DevmodelError | IoreqError | None = None
    with trio.open_signal_receiver(*ending_signals()) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal killed
                async for number in signals:
                    if killed is not None:
                        nursery.cancel_scope.cancel()
                    killed = 128 + number
                    nursery.start_soon(go)

            async def go() -> None:
                await leave()
                nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            try:
                status = await work()
            except (DevmodelError, IoreqError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status if killed is None else killed


def _console(options: argparse.Namespace) -> int:
    text = options.address
    address = parse(text if text.partition(":")[0] in REACHABLE else f"tcp:{text}")

    async def work() -> int:
        if os.isatty(0):
            log.say(f"devmodel: console on {address}; {LEAVING} leaves")
        await console(address)
        return 0

    return trio.run(_until_signal, work)


def _list(options: argparse.Namespace) -> int:
    running = listing.machines()
    if options.json:
        sys.stdout.writelines(msgspec.json.encode(machine).decode() + "\n" for machine in running)
    else:
        sys.stdout.write(listing.table(running))
    return 0


def _monitor(options: argparse.Namespace) -> int:
    domain = _domain(options)
    return prompt.once(domain, options.words) if options.words else prompt.converse(domain)


def _matrix(options: argparse.Namespace) -> int:
    from devmodel.matrix import cluster, local, plan, report  # machines as tests have them

    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs}: a number from 1 on")
    cells = plan.load(options.file)
    if options.list:
        sys.stdout.writelines(f"{cell.name}\n" for cell in cells)
        return 0
    junit = _created(options.junit) if options.junit is not None else None
    progress = report.Progress(cells)
    try:
        if options.scheduler is not None:
            outcomes = cluster.run_all(cells, progress, options.scheduler)
        else:
            outcomes = local.run_all(cells, progress, options.jobs or local.jobs())
    finally:
        progress.close()
    sys.stdout.write(report.table(outcomes, cells))
    if junit is not None:
        name = os.path.splitext(os.path.basename(options.file))[0]
        with junit:
            junit.write(report.junit(outcomes, cells, name))
    return FAILED if any(outcome.status != "passed" for outcome in outcomes.values()) else 0


def _created(path: str) -> BinaryIO:
    try:
        return create(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _screen(options: argparse.Namespace) -> int:
    if options.live:
        domain = _domain(options)
        live(lambda columns: monitor.ask(domain, monitor.Screen(ansi=min(columns, MOST_COLUMNS))).text)
        return 0
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS) if options.ansi else 0
    answer = monitor.ask(_domain(options), monitor.Screen(png=options.png is not None, ansi=columns))
    if options.png is None:
        sys.stdout.write(answer.text)
        return 0
    try:
        with _created(options.png) as file:
            file.write(monitor.png_of(answer))
    except OSError as error:
        raise ConfigError(f"cannot write {options.png}: {error.strerror}") from error
    return 0


def _key(options: argparse.Namespace) -> int:
    if options.hold is not None and not 0 <= options.hold <= monitor.MAX_HOLD:
        raise ConfigError(f"--hold {options.hold}: milliseconds from 0 to {monitor.MAX_HOLD}")
    monitor.type_keys(_domain(options), options.keys, options.hold or 0)
    return 0


def _break(options: argparse.Namespace) -> int:
    monitor.ask(_domain(options), monitor.Break(port=options.port))
    return 0


def _mouse(options: argparse.Namespace) -> int:
    monitor.use_mouse(_domain(options), mouse_actions(options.actions))
    return 0


def mouse_actions(words: Sequence[str]) -> list[monitor.MouseAction]:
    """Return what `move 10 -5 click left wheel -1 press right release right` asks for.

    Raises:
        ConfigError: it is something else.

    """
    actions: list[monitor.MouseAction] = []
    left = list(reversed(words))

    def number(of: str) -> int:
        text = left.pop() if left else ""
        try:
            value = int(text)
        except ValueError:
            value = monitor.MAX_MOVE + 1
        if abs(value) > monitor.MAX_MOVE:
            raise ConfigError(
                f"mouse {of}: '{text}'; allowed: a number from -{monitor.MAX_MOVE} to {monitor.MAX_MOVE}"
            )
        return value

    def button(of: str) -> str:
        name = left.pop() if left else ""
        if name not in BUTTONS:
            raise ConfigError(f"mouse {of}: '{name}'; allowed: {', '.join(BUTTONS)}")
        return name

    while left:
        match word := left.pop():
            case "move":
                actions.append(monitor.MouseAction(right=number(word), down=number(word)))
            case "wheel":
                actions.append(monitor.MouseAction(wheel=number(word)))
            case "press":
                actions.append(monitor.MouseAction(press=button(word)))
            case "release":
                actions.append(monitor.MouseAction(release=button(word)))
            case "click":
                name = button(word)
                actions.append(monitor.MouseAction(press=name, release=name))
            case _:
                raise ConfigError(f"mouse: '{word}'; allowed: move, wheel, press, release, click")
    if len(actions) > monitor.MAX_KEYS:
        raise ConfigError(f"mouse: {len(actions)} actions; at most {monitor.MAX_KEYS} are allowed")
    return actions


def _eject(options: argparse.Namespace) -> int:
    command = monitor.Eject(drive=options.drive, force=options.force, floppy=options.floppy)
    monitor.ask(_domain(options), command)
    return 0


def _insert(options: argparse.Namespace) -> int:
    command = monitor.Insert(path=os.path.abspath(options.image), drive=options.drive, floppy=options.floppy)
    monitor.ask(_domain(options), command)
    return 0


def _power_button(options: argparse.Namespace) -> int:
    answer = monitor.ask(_domain(options), monitor.PowerButton())
    if answer.text:
        raise DevmodelError(answer.text)
    return 0


def _domain(options: argparse.Namespace) -> str:
    """Return the domain socket that the user means, by either way of saying it."""
    return getattr(options, "socket", None) or options.domain or monitor.find()


def _check_socket(path: str, option: str) -> None:
    try:
        check_path(path, room=monitor.ROOM)
    except IoreqError as error:
        raise ConfigError(f"{option} '{path}': {error}") from error


def _upgrade(options: argparse.Namespace) -> int:
    for answer in monitor.upgrade(_domain(options), upgrade.PATIENCE):
        log.say(f"devmodel: upgraded to {answer.program}: {', '.join(answer.parts)}")
    return 0


def _stats(options: argparse.Namespace) -> int:
    domain = _domain(options)
    if options.json:
        sys.stdout.write(msgspec.json.encode(_report(domain)).decode() + "\n")
        return 0
    before, at = _report(domain), time.monotonic()
    sys.stdout.write(stats.table(before))
    sys.stdout.flush()
    while sys.stdout.isatty():
        time.sleep(options.interval)
        now = _report(domain)
        seconds, at = time.monotonic() - at, time.monotonic()
        sys.stdout.write(CLEAR + stats.table(now, before, seconds))
        sys.stdout.flush()
        before = now
    return 0


def _report(domain: str) -> stats.Report:
    answers = monitor.ask_all(domain, monitor.Stats())
    return stats.report([answer.stats for answer in answers if answer.stats is not None])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # nor what is no number
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: seconds from 0 on")
    return seconds


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"'{text}'; allowed: 0.1 to 3600 seconds")
    return seconds


def _trace(options: argparse.Namespace) -> int:
    wanted = trace.Filter(
        device=options.device,
        ports=None if options.port is None else _ports(options.port),
        read={"reads": True, "writes": False, None: None}[options.only],
        since=options.since,
        until=options.until,
    )
    with trace.open_trace(options.file) as recorded:
        events = recorded.select(wanted)
        texts = _counted(events) if options.count else (_shown(event, json=options.json) for event in events)
        try:
            for text in texts:
                sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _shown(event: trace.Event, *, json: bool) -> str:
    return msgspec.json.encode(event).decode() if json else trace.line(event)


def _counted(events: Iterator[trace.Event]) -> Iterator[str]:
    """Yield how often which register was read and written, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    for event in events:
        way = "read" if event.read else "posted" if event.posted else "write"
        where = f"{event.device} {event.register}".strip() or event.space
        counts[where, way] += event.lost or 1
    for (where, way), count in counts.most_common():
        yield f"{count:10}  {where:28} {way}"


def _ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        ports = int(first, 0), int(last or first, 0)
    except ValueError:
        ports = (-1, -1)
    if not 0 <= ports[0] <= ports[1] <= 0xFFFF:
        raise ConfigError(f"--port '{text}'; allowed: a port like 0x3f8, or two like 0x3f8-0x3ff")
    return ports


def _config(machine: str | None, options: argparse.Namespace) -> Config:
    return load(
        machine,
        Options(
            serials=tuple(options.serial),
            serial_wait=options.serial_wait,
            disks=tuple(options.disk),
            cdroms=tuple(options.cdrom),
            floppies=tuple(options.floppy),
            parallel=options.parallel,
            hpet=options.hpet,
            video_bios=options.video_bios,
            vnc=options.vnc,
            fw_cfg=tuple(options.fw_cfg),
            debug_console=options.debug_console,
            only=getattr(options, "only", None),
            without=getattr(options, "without", None),
            apart=tuple(getattr(options, "apart", ())),
            trace=options.trace,
            qmp=options.qmp,
            board=options.board,
            board_options=tuple(options.board_option),
        ),
    )


def _parser() -> _Parser:
    parser = _Parser(prog="devmodel", description="An asynchronous device-model server for x86 guests.")
    parser.add_argument("--version", action="version", version=f"devmodel {VERSION}")
    add_completion(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    running = commands.add_parser(
        "run",
        help="one guest, both processes, its serial console on this terminal",
        description="Run one guest, with its serial console on this terminal (Ctrl-] leaves) or on TCP. "
        "Without a file, the built-in demo guest.",
        allow_abbrev=False,
    )
    _machine_options(running)
    for name, (metavar, text) in CORE_OPTIONS.items():
        running.add_argument(f"--{name}", metavar=metavar, help=text)
    for name, text in CORE_SWITCHES.items():
        running.add_argument(f"--{name}", action="store_true", help=text)
    running.add_argument(
        "--domain", metavar="SOCKET", help="where to put the domain socket (a private directory)"
    )
    running.add_argument(
        "--apart",
        metavar="PARTS",
        action="append",
        default=[],
        help=f"serve these parts of the machine in a process of their own; may be repeated ({', '.join(PARTS)})",
    )
    running.set_defaults(perform=_run)

    serving = commands.add_parser(
        "serve",
        help="the device models of a core started by hand",
        description="Serve the device models of a core (`hvcore run`); either may be started first.",
        allow_abbrev=False,
    )
    _machine_options(serving)
    serving.add_argument("--domain", metavar="SOCKET", help="the core's domain socket")
    serving.add_argument(
        "--qtest",
        metavar="unix:PATH",
        help="serve clients of QEMU's qtest protocol, without a core (docs/qtest.md)",
    )
    serving.add_argument("--memory", metavar="SIZE", help="guest RAM with --qtest (128M)")
    serving.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=float("inf"),
        help="how long to wait for the core (for ever)",
    )
    serving.add_argument(
        "--persist",
        action="store_true",
        help="when the domain has ended, or its core has died, wait for the next one",
    )
    serving.add_argument("--poll", metavar=CORE_OPTIONS["poll"][0], help=CORE_OPTIONS["poll"][1])
    serving.add_argument(
        "--only",
        metavar="PARTS",
        help=f"serve these parts of the machine, parted by commas ({', '.join(PARTS)})",
    )
    serving.add_argument("--without", metavar="PARTS", help="serve all parts but these")
    serving.set_defaults(perform=_serve)

    consoling = commands.add_parser("console", help="a raw terminal on a serial console; Ctrl-] leaves")
    consoling.add_argument("address", metavar="HOST:PORT|telnet:HOST:PORT|unix:PATH")
    consoling.set_defaults(perform=_console)

    listing_ = commands.add_parser("list", help="which machines run here")
    listing_.add_argument("--json", action="store_true", help="an object a line")
    listing_.set_defaults(perform=_list)

    prompting = commands.add_parser(
        "monitor",
        help="a prompt: look at a machine and control it",
        description="A prompt with QEMU's words (`info registers`, `xp /4xw 0x7c00`, `sendkey ret`, `stop`, …): "
        "'help' lists them. With a COMMAND, do that one alone; from a pipe, a line each.",
    )
    prompting.add_argument("--domain", metavar="SOCKET", help="domain socket (the one machine that runs)")
    prompting.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to do")
    prompting.set_defaults(perform=_monitor)

    running_all = commands.add_parser(
        "matrix",
        help="boot or test guests in every combination of kernels, vendors, CPU models and images",
        description="Run every cell of a matrix file (docs/matrix.md) on this machine or a Dask cluster, and print a "
        "table. The exit status is 1 if one has not passed.",
    )
    running_all.add_argument("file", metavar="FILE", help="the matrix, a TOML file")
    running_all.add_argument("--jobs", metavar="N", type=int, help="how many at once (half the processors)")
    running_all.add_argument(
        "--junit", metavar="FILE", help="write the outcome as JUnit's XML, for CI systems"
    )
    running_all.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT", help="run on the workers of this Dask scheduler"
    )
    running_all.add_argument("--list", action="store_true", help="only name the cells")
    running_all.set_defaults(perform=_matrix)

    looking = commands.add_parser("screen", help="print the VGA's screen, or write it as a PNG")
    _domain_options(looking)
    looking.add_argument("--png", metavar="FILE", help="write a picture instead")
    looking.add_argument("--ansi", action="store_true", help="print it in colour, graphics modes as well")
    looking.add_argument(
        "--live", action="store_true", help="show it in this terminal as it changes; q leaves"
    )
    looking.set_defaults(perform=_screen)

    upgrading = commands.add_parser(
        "upgrade",
        help="restart a server under its running guest",
        description="Have each `devmodel serve` of a machine become the program that is installed now. The guest "
        "stands still for a moment; chips, disks and the clients of the console go on.",
    )
    _domain_options(upgrading)
    upgrading.set_defaults(perform=_upgrade)

    counting = commands.add_parser(
        "stats",
        help="what devices and vCPUs do, and how long it takes",
        description="Show how often devices are accessed and how long that takes, by device, exit reason and vCPU: "
        "a table that updates on a terminal, once elsewhere. Counts are exact, durations are a sample.",
    )
    _domain_options(counting)
    counting.add_argument("--json", action="store_true", help="once, as one object, with the histograms")
    counting.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=1.0, help="between updates (1)"
    )
    counting.set_defaults(perform=_stats)

    tracing = commands.add_parser("trace", help="read what `--trace FILE` recorded")
    tracing.add_argument("file", metavar="FILE")
    tracing.add_argument("--device", metavar="NAME", help="only this device: uart, ide0, …")
    tracing.add_argument("--port", metavar="PORT[-PORT]", help="only these ports")
    way = tracing.add_mutually_exclusive_group()
    way.add_argument("--reads", dest="only", action="store_const", const="reads", help="only reads")
    way.add_argument("--writes", dest="only", action="store_const", const="writes", help="only writes")
    tracing.add_argument(
        "--from", dest="since", metavar="SECONDS", type=float, default=0.0, help="since the trace began"
    )
    tracing.add_argument("--to", dest="until", metavar="SECONDS", type=float, default=float("inf"))
    how = tracing.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="an object a line")
    how.add_argument("--count", action="store_true", help="how often which register, the most frequent first")
    tracing.set_defaults(perform=_trace)

    disking = commands.add_parser(
        "disk",
        help="make, look at, commit and convert disk images",
        description="Disk images; docs/disks.md.",
    ).add_subparsers(required=True, metavar="COMMAND")
    making = disking.add_parser("create", help="make an empty raw image of SIZE, or an overlay of a base")
    making.add_argument("file", metavar="FILE")
    what = making.add_mutually_exclusive_group(required=True)
    what.add_argument("size", metavar="SIZE", nargs="?", help='for example "10G"')
    what.add_argument("--base", metavar="FILE", help="what it is an overlay of")
    making.set_defaults(perform=lambda options: manage.create(options.file, options.size, options.base))
    describing = disking.add_parser("info", help="say what an image is")
    describing.add_argument("file", metavar="FILE")
    describing.add_argument("--json", action="store_true", help="as an object")
    describing.set_defaults(perform=lambda options: manage.info(options.file, json=options.json))
    committing = disking.add_parser("commit", help="write an overlay into its base, and empty it")
    committing.add_argument("file", metavar="FILE")
    committing.set_defaults(perform=lambda options: manage.commit(options.file))
    rebasing = disking.add_parser(
        "rebase", help="take a base that has been moved or copied for the one it was"
    )
    rebasing.add_argument("file", metavar="FILE")
    rebasing.add_argument("base", metavar="BASE", nargs="?", help="where it is now (where it was)")
    rebasing.set_defaults(perform=lambda options: manage.rebase(options.file, options.base))
    converting = disking.add_parser("convert", help="write an image of any kind into a new raw one")
    converting.add_argument("source", metavar="SOURCE")
    converting.add_argument("target", metavar="TARGET")
    converting.set_defaults(perform=lambda options: manage.convert(options.source, options.target))

    ejecting = commands.add_parser("eject", help="take the disc out of a CD-ROM or floppy drive")
    inserting = commands.add_parser("insert", help="put an image into a CD-ROM or floppy drive")
    inserting.add_argument("image", metavar="FILE")
    for changing in (ejecting, inserting):
        changing.add_argument(
            "--drive", metavar="N", type=int, default=0, help="which, if there are several (0)"
        )
        changing.add_argument("--floppy", action="store_true", help="a floppy drive: 0 is A, 1 is B")
    _domain_options(ejecting)
    inserting.add_argument("--domain", metavar="SOCKET", help="domain socket (the one machine that runs)")
    ejecting.add_argument("--force", action="store_true", help="even if the guest has locked the tray")
    ejecting.set_defaults(perform=_eject)
    inserting.set_defaults(perform=_insert)

    pressing = commands.add_parser(
        "power-button",
        help="press the power button: a guest with ACPI shuts down",
        description="Press the power button. A guest that does not listen to it is not told, and the status is 1.",
    )
    _domain_options(pressing)
    pressing.set_defaults(perform=_power_button)

    typing = commands.add_parser("key", help="type on the guest's keyboard")
    typing.add_argument(
        "--hold", metavar="MS", type=int, help="hold each for so many milliseconds: it repeats"
    )
    typing.add_argument("keys", metavar="KEY", nargs="+", help="a, ret, f1, shift-a, ctrl-alt-delete, …")
    typing.add_argument("--domain", metavar="SOCKET", help="domain socket (the one machine that runs)")
    typing.set_defaults(perform=_key)

    breaking = commands.add_parser(
        "break", help="send a break on a serial port (Linux: SysRq, with the next key)"
    )
    breaking.add_argument("--port", metavar="N", type=int, default=1, help="which, if there are several (1)")
    _domain_options(breaking)
    breaking.set_defaults(perform=_break)

    pointing = commands.add_parser(
        "mouse",
        help="move and click the guest's mouse",
        description="Move by counts, right and down; turn the wheel by clicks, towards the user; press, release "
        f"or click a button ({', '.join(BUTTONS)}). `devmodel mouse move 10 -5 click left wheel -1`",
    )
    pointing.add_argument("--domain", metavar="SOCKET", help="domain socket (the one machine that runs)")
    pointing.add_argument(
        "actions",
        metavar="ACTION",
        nargs="+",
        help="move DX DY, wheel N, press BUTTON, release BUTTON, click BUTTON",
    )
    pointing.set_defaults(perform=_mouse)
    return parser


def _domain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "socket", metavar="SOCKET", nargs="?", help="domain socket (the one machine that runs)"
    )
    parser.add_argument("--domain", metavar="SOCKET", help="the same, as every command takes it")


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "machine", nargs="?", metavar="MACHINE.toml", help="machine description; options override it"
    )
    parser.add_argument(
        "--disk",
        metavar="FILE[,readonly][,snapshot=on][,base=FILE]",
        action="append",
        default=[],
        help="disk image; may be repeated (docs/disks.md)",
    )
    parser.add_argument(
        "--cdrom",
        metavar="FILE",
        action="append",
        default=[],
        help="image in a CD-ROM drive; may be repeated",
    )
    parser.add_argument(
        "--floppy",
        metavar="FILE",
        action="append",
        default=[],
        help="diskette in a floppy drive; may be given twice",
    )
    parser.add_argument(
        "--serial",
        metavar="FAR-END",
        action="append",
        default=[],
        help=f"far end of a serial port: {CONSOLES}; up to four times, for COM1 to COM4 (docs/consoles.md)",
    )
    parser.add_argument(
        "--serial-wait",
        action="store_true",
        help="start the guest when the first client is on its first serial console",
    )
    parser.add_argument(
        "--parallel", metavar="FILE", help="a parallel port; what the guest prints is appended to this file"
    )
    parser.add_argument(
        "--vnc",
        metavar="HOST:PORT|unix:PATH",
        help="the screen, keyboard and mouse for viewers (docs/screens.md)",
    )
    parser.add_argument("--hpet", action="store_true", help="high precision event timers at 0xfed00000")
    parser.add_argument("--video-bios", metavar="FILE", help="VGA option ROM, for ISA or for PCI 1234:1111")
    parser.add_argument(
        "--fw-cfg", metavar="NAME=VALUE", action="append", default=[], help="fw_cfg item; may be repeated"
    )
    parser.add_argument(
        "--board",
        metavar="MODULE:FUNCTION|FILE.py:FUNCTION|NAME",
        help="what adds devices of your own to the machine (docs/your-own-device.md)",
    )
    parser.add_argument(
        "--board-option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an argument for that function; may be repeated",
    )
    parser.add_argument(
        "--debug-console", metavar="log|stderr|FILE", help="where ports 0x402 and 0xe9 go (log)"
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="record every request; read it with `devmodel trace FILE`"
    )
    parser.add_argument(
        "--qmp",
        metavar="unix:PATH",
        help="listen for clients of QEMU's machine protocol (or tcp:127.0.0.1:PORT)",
    )
    parser.add_argument("--log-format", choices=("console", "json"), default="console")
    parser.add_argument("--log-level", choices=log.LEVELS, default="warning")
