"""The command line: `run` and `serve`, and what both may be told. The other commands are in `commands.py`."""

import argparse
import contextlib
import gc
import importlib.resources
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn

import msgspec
import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel import commands as commands_
from devmodel.board.parts import PARTS, in_order
from devmodel.config import CORE_FILES, Config, Options, load
from devmodel.consoles.address import ALLOWED as CONSOLES
from devmodel.consoles.address import STDIO
from devmodel.control import sockets
from devmodel.service import upgrade
from devmodel.service.departure import Departure
from devmodel.service.outside import opened
from devmodel.service.run import BAD_INPUT, FAILED, run, until_signal
from devmodel.service.server import ChipFailed
from devmodel.service.session import BoardFactory, NobodyThere, join, serve
from ioreq import IoreqError, VersionMismatch, patience
from ioreq.control import check_path
from ioreq.program import denied
from ioreq.streams import OutputError, with_output
from ioreq.user_input import add_completion, lifeline, seconds_from

DEMO: Final = "machine.toml"
MOST_POLLING: Final = 1_000_000
"""Microseconds."""
PAUSE: Final = 0.1
"""Seconds before the next domain after one that failed."""


CORE_OPTIONS: Final = {
    "vendor": ("vmx|svm", "virtualisation interface of the core (vmx)"),
    "cpu": ("486|pentium|pentium2|pentium3|qemu32|i686", "processor that the guest sees (i686)"),
    "memory": ("SIZE", 'guest RAM, for example "64M"'),
    "firmware": ("FILE", "firmware image, started at the reset vector"),
    "image": ("FILE", "flat binary, started in real mode"),
    "image-address": ("ADDRESS", "where the flat binary goes (0x7c00)"),
    "kernel": (
        "FILE",
        "Linux (bzImage) or multiboot kernel, started without firmware; with --firmware by that",
    ),
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
    return with_output("devmodel", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    poll = getattr(options, "poll", None)
    log.configure(getattr(options, "log_format", "console"), getattr(options, "log_level", "warning"))
    command: Callable[[argparse.Namespace], int] = options.perform
    try:
        if getattr(options, "lifeline", None) is not None:
            threading.Thread(target=_watch, args=(options.lifeline,), name="lifeline", daemon=True).start()
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
    except OutputError:
        raise
    except Exception as error:  # noqa: BLE001  (one line for the user; debug shows where it came from)
        why = denied(error)
        log.say(
            f"devmodel: internal error: {log.origin(error)}"
            if why is None
            else f"devmodel: the host refuses: {why}"
        )
        structlog.get_logger().debug("devmodel.traceback", exc_info=error)
        return FAILED


def _watch(lifeline: int) -> None:
    """End as by a signal when a pipe is closed at its other end, as it is when its owner dies."""
    with contextlib.suppress(OSError):
        while os.read(lifeline, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)


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
    started = [path for name in CORE_FILES if (path := getattr(options, name)) is not None]
    config = msgspec.structs.replace(config, inputs=(*config.inputs, *started))
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
    given = {
        name: getattr(options, name) for name in ("parallel", "video_bios", "vnc", "web", "debug_console")
    }
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

    status = trio.run(lambda: until_signal(work, departure.leave))
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

    return trio.run(lambda: until_signal(work))


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
        await trio.sleep(PAUSE)
        # Only here: until this task has waited, trio holds the error, and with it every frame of its traceback.
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


def _check_socket(path: str, option: str) -> None:
    try:
        check_path(path, room=sockets.ROOM)
    except IoreqError as error:
        raise ConfigError(f"{option} '{path}': {error}") from error


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
            web=options.web,
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
        type=seconds_from(),
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
    commands_.add_to(commands)
    return parser


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
    parser.add_argument("--hpet", action="store_true", help="high precision event timers at 0xfed00000")
    parser.add_argument(
        "--vnc",
        metavar="HOST:PORT|unix:PATH",
        help="the screen, keyboard and mouse for viewers (docs/screens.md)",
    )
    parser.add_argument(
        "--web",
        metavar="HOST:PORT|unix:PATH",
        help="the screen, keyboard, mouse and serial consoles in a browser (docs/screens.md)",
    )
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
    parser.add_argument(
        "--lifeline",
        type=lifeline,
        metavar="FD",
        help="end when this inherited pipe is closed at its other end, as it is when its owner dies",
    )
    parser.add_argument("--log-format", choices=("console", "json"), default="console")
    parser.add_argument("--log-level", choices=log.LEVELS, default="warning")
