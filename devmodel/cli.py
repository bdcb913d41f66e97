"""The command line: run, serve, console, screen, key."""

import argparse
import gc
import importlib.resources
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import structlog
import trio

from devmodel import VERSION, ConfigError, DevmodelError, log
from devmodel.config import Config, Options, host_port, load
from devmodel.consoles.client import console
from devmodel.service import monitor
from devmodel.service.run import BAD_INPUT, FAILED, run
from devmodel.service.session import BoardFactory, NobodyThere, join, opened, serve
from ioreq import IoreqError, VersionMismatch

DEMO: Final = "machine.toml"
PAUSE: Final = 0.1
"""Seconds before the next domain after one that failed."""

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
    log.configure(getattr(options, "log_format", "console"), getattr(options, "log_level", "warning"))
    command: Callable[[argparse.Namespace], int] = options.perform
    try:
        return command(options)
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


def board_factory() -> BoardFactory:
    """Return what builds the PC."""
    from devmodel.service.fittings import build  # the chips are only wanted by those who serve

    return build


def _run(options: argparse.Namespace) -> int:
    machine = options.machine
    if machine is None and all(getattr(options, start) is None for start in ("firmware", "image", "kernel")):
        machine = str(importlib.resources.files("devmodel.demo").joinpath(DEMO))
    config = _config(machine, options)
    arguments = [] if machine is None else [machine]
    for name in CORE_OPTIONS:
        value = getattr(options, name.replace("-", "_"))
        if value is not None:
            arguments += [f"--{name}", value]
    arguments += [f"--{name}" for name in CORE_SWITCHES if getattr(options, name.replace("-", "_"))]
    arguments += ["--log-format", options.log_format, "--log-level", options.log_level]
    return trio.run(lambda: run(config, arguments, board_factory(), domain=options.domain))


def _serve(options: argparse.Namespace) -> int:
    config = _config(options.machine, options)
    path, wait, persist = options.domain, options.wait, options.persist
    return trio.run(_until_signal, lambda: _serve_domains(config, path, wait, persist=persist))


async def _serve_domains(config: Config, path: str, wait: float, *, persist: bool) -> int:
    """Serve one domain; or, if `persist`, one after the other, and whatever ends one only delays the next."""
    while True:
        try:
            status = await _serve_domain(config, path, wait)
        except (ConfigError, VersionMismatch, NobodyThere):
            raise
        except (DevmodelError, IoreqError) as error:
            if not persist:
                raise
            log.say(f"devmodel: {error}")
        else:
            if not persist:
                return status
        await trio.sleep(
            PAUSE
        )  # the error, with all frames in its traceback, is held until this task next waits
        gc.collect()  # pages that a domain's objects hold in cycles, and the descriptors of their mappings


async def _serve_domain(config: Config, path: str, wait: float) -> int:
    async with opened(config) as outside:
        if outside.serial_address is not None:
            log.say(f"devmodel: serial console on tcp:{outside.serial_address}")
        client = await join(path, wait)
        try:
            return (await serve(outside, client, board_factory())).code
        finally:
            client.close()


async def _until_signal(work: Callable[[], Awaitable[int]]) -> int:
    """Do the work, but end at once on SIGINT and SIGTERM, with a shell's exit status for that."""
    status = FAILED
    failure: DevmodelError | IoreqError | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                nonlocal status
                async for number in signals:
                    status = 128 + number
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            try:
                status = await work()
            except (DevmodelError, IoreqError) as error:
                failure = error  # not out of the nursery, which would wrap it
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status


def _console(options: argparse.Namespace) -> int:
    host, port = host_port(options.address.removeprefix("tcp:"))

    async def work() -> int:
        if os.isatty(0):
            log.say(f"devmodel: console on {host}:{port}; Ctrl-] leaves")
        await console(host, port)
        return 0

    return trio.run(_until_signal, work)


def _screen(options: argparse.Namespace) -> int:
    answer = monitor.ask(options.domain or monitor.find(), monitor.Screen(png=options.png is not None))
    if options.png is None:
        sys.stdout.write(answer.text)
        return 0
    try:
        with open(options.png, "wb") as file:
            file.write(monitor.png_of(answer))
    except OSError as error:
        raise ConfigError(f"cannot write {options.png}: {error.strerror}") from error
    return 0


def _key(options: argparse.Namespace) -> int:
    monitor.ask(options.domain or monitor.find(), monitor.Key(keys=options.keys))
    return 0


def _config(machine: str | None, options: argparse.Namespace) -> Config:
    return load(
        machine,
        Options(
            serial=options.serial,
            disks=tuple(options.disk),
            video_bios=options.video_bios,
            fw_cfg=tuple(options.fw_cfg),
            debug_console=options.debug_console,
        ),
    )


def _parser() -> _Parser:
    parser = _Parser(prog="devmodel", description="An asynchronous device-model server for x86 guests.")
    parser.add_argument("--version", action="version", version=f"devmodel {VERSION}")
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
    running.set_defaults(perform=_run)

    serving = commands.add_parser(
        "serve",
        help="the device models of a core started by hand",
        description="Serve the device models of a core (`hvcore run`); either may be started first.",
        allow_abbrev=False,
    )
    _machine_options(serving)
    serving.add_argument("--domain", metavar="SOCKET", required=True, help="the core's domain socket")
    serving.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=float("inf"),
        help="how long to wait for the core (for ever)",
    )
    serving.add_argument(
        "--persist",
        action="store_true",
        help="when the domain has ended, or its core has died, wait for the next one",
    )
    serving.set_defaults(perform=_serve)

    consoling = commands.add_parser("console", help="a raw terminal on a TCP serial console; Ctrl-] leaves")
    consoling.add_argument("address", metavar="HOST:PORT")
    consoling.set_defaults(perform=_console)

    looking = commands.add_parser("screen", help="print the VGA text screen, or write it as a PNG")
    looking.add_argument(
        "domain", metavar="SOCKET", nargs="?", help="domain socket (the one machine that runs)"
    )
    looking.add_argument("--png", metavar="FILE", help="write a picture instead")
    looking.set_defaults(perform=_screen)

    typing = commands.add_parser("key", help="type on the guest's keyboard")
    typing.add_argument("keys", metavar="KEY", nargs="+", help="a, ret, f1, shift-a, ctrl-alt-delete, …")
    typing.add_argument("--domain", metavar="SOCKET", help="domain socket (the one machine that runs)")
    typing.set_defaults(perform=_key)
    return parser


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "machine", nargs="?", metavar="MACHINE.toml", help="machine description; options override it"
    )
    parser.add_argument(
        "--disk", metavar="FILE", action="append", default=[], help="disk image; may be repeated"
    )
    parser.add_argument("--serial", metavar="tcp:HOST:PORT", help="serial console on TCP")
    parser.add_argument("--video-bios", metavar="FILE", help="VGA option ROM, given to the firmware")
    parser.add_argument(
        "--fw-cfg", metavar="NAME=VALUE", action="append", default=[], help="fw_cfg item; may be repeated"
    )
    parser.add_argument(
        "--debug-console", metavar="log|stderr|FILE", help="where ports 0x402 and 0xe9 go (log)"
    )
    parser.add_argument("--log-format", choices=("console", "json"), default="console")
    parser.add_argument("--log-level", choices=log.LEVELS, default="warning")
