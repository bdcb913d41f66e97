"""`hvcore run`: build a domain, wait for its device models, run the guest."""

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn, TextIO, cast

import structlog

from hvcore import VERSION, config
from hvcore.cpumodel import DEFAULT, MODELS
from hvcore.domain import Domain
from hvcore.errors import ConfigError
from ioreq import patience
from ioreq.lines import Limiter, clean, printable
from ioreq.messages import SHUTDOWN_POWEROFF
from ioreq.program import denied
from ioreq.streams import StandardError, with_output
from ioreq.user_input import add_completion, ending_signals, lifeline

FAILED: Final = 1
BAD_INPUT: Final = 2
MOST_POLLING: Final = 1_000_000
LEVELS: Final = ("debug", "info", "warning", "error")

log = structlog.get_logger("hvcore")


class _Parser(argparse.ArgumentParser):
    """One line for a mistake, as everywhere."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status (2: bad input, said in one line on standard error)."""
    return with_output("hvcore", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    level = options.log_level
    if options.statistics and LEVELS.index(level) > LEVELS.index("info"):
        level = "info"
    configure_logging(options.log_format, level)
    if options.poll is not None:
        patience.set_window(options.poll)
    try:
        machine = config.load(
            options.machine,
            {
                "name": options.name,
                "vendor": options.vendor,
                "cpu": options.cpu,
                "memory": options.memory,
                "firmware": options.firmware,
                "image": options.image,
                "image-address": options.image_address,
                "kernel": options.kernel,
                "initrd": options.initrd,
                "append": options.append,
                "servers": options.servers,
            },
        )
        domain = Domain(machine, options.domain, reboot=not options.no_reboot, statistics=options.statistics)
    except ConfigError as error:
        StandardError().write(printable(f"hvcore: {error}") + "\n")
        return BAD_INPUT
    except Exception as error:  # noqa: BLE001  (one line for the user; debug shows where it came from)
        return _failed(error)

    def stop(number: int, _: FrameType | None) -> None:
        log.info("hvcore.signal", signal=signal.Signals(number).name)
        domain.end(SHUTDOWN_POWEROFF, 0)

    def watch_lifeline() -> None:
        while os.read(options.lifeline, 64):
            pass
        log.info("hvcore.lifeline_closed")
        domain.end(SHUTDOWN_POWEROFF, 0)

    if options.lifeline is not None:
        threading.Thread(target=watch_lifeline, name="lifeline", daemon=True).start()
    before = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        return domain.run()
    except Exception as error:  # noqa: BLE001  (as above)
        return _failed(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failed(error: Exception) -> int:
    """Say what nobody foresaw, or which of the host's limits is reached, in a line; return the exit status."""
    log.debug("hvcore.traceback", exc_info=error)
    why = denied(error)
    if why is None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        line = f"internal error: {type(error).__name__}: {error} ({where})"
    else:
        line = f"the host refuses: {why}"
    StandardError().write(printable(f"hvcore: {line}") + "\n")
    return FAILED


def configure_logging(log_format: str, level: str) -> None:
    """Structured logs on standard error, as text or one JSON object a line. Called once, here."""
    renderer: structlog.types.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            Limiter(),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            clean,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, StandardError())),
        cache_logger_on_first_use=True,
    )


def _parser() -> _Parser:
    parser = _Parser(prog="hvcore", description="The core of a virtual machine: its processor and memory.")
    parser.add_argument("--version", action="version", version=f"hvcore {VERSION}")
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="build a domain, wait for its device models, run the guest",
        description="Build a domain, wait for its device models (`devmodel serve`), run the guest.",
        allow_abbrev=False,
    )
    run.add_argument(
        "machine", nargs="?", metavar="MACHINE.toml", help="machine description; options override it"
    )
    run.add_argument("--domain", required=True, metavar="SOCKET", help="Unix socket for the device models")
    run.add_argument("--name", help="the machine's name")
    run.add_argument("--vendor", metavar="vmx|svm", help="virtualisation interface (vmx)")
    run.add_argument("--cpu", metavar="|".join(MODELS), help=f"processor that the guest sees ({DEFAULT})")
    run.add_argument("--memory", metavar="SIZE", help='guest RAM, for example "64M"')
    run.add_argument("--firmware", metavar="FILE", help="firmware image, started at the reset vector")
    run.add_argument("--image", metavar="FILE", help="flat binary, started in real mode")
    run.add_argument(
        "--image-address", type=_address, metavar="ADDRESS", help="where the flat binary goes (0x7c00)"
    )
    run.add_argument(
        "--kernel",
        metavar="FILE",
        help="Linux (bzImage) or multiboot kernel, started without firmware; with --firmware by that",
    )
    run.add_argument("--initrd", metavar="FILE", help="its initial RAM disk, or first module")
    run.add_argument("--append", metavar="TEXT", help="its command line")
    run.add_argument(
        "--servers",
        type=int,
        metavar="N",
        help="start the guest when so many ioreq servers are there (1, and one more for each [[server]])",
    )
    run.add_argument("--no-reboot", action="store_true", help="end when the guest resets")
    run.add_argument(
        "--statistics",
        action="store_true",
        help="measure where the time goes, and log it at the end (vcpu.statistics; --log-level info at least)",
    )
    run.add_argument(
        "--poll",
        type=_microseconds,
        metavar="MICROSECONDS",
        help=f"how long to poll for an answer before sleeping, at most ({patience.WINDOW}; 0: not at all)",
    )
    run.add_argument(
        "--lifeline",
        type=lifeline,
        metavar="FD",
        help="end when this inherited pipe is closed at its other end, as it is when its owner dies",
    )
    run.add_argument("--log-format", choices=("console", "json"), default="console")
    run.add_argument("--log-level", choices=LEVELS, default="warning")
    return parser


def _microseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > MOST_POLLING:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of microseconds from 0 to {MOST_POLLING}")
    return int(text)


def _address(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
