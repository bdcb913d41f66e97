"""Commands to machines that run, and about what they leave: monitor, screen, key, stats, trace, disk, matrix."""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, TypeVar

import msgspec
import trio

from devmodel import ConfigError, DevmodelError, log
from devmodel.consoles.address import parse
from devmodel.consoles.client import REACHABLE, console
from devmodel.consoles.terminal import LEAVING
from devmodel.control import asking, listing, messages, prompt, sockets
from devmodel.devices.mouse import BUTTONS
from devmodel.disks import manage
from devmodel.display.live import live
from devmodel.display.render import MOST_COLUMNS
from devmodel.service import stats, trace, upgrade
from devmodel.service.run import FAILED, until_signal
from ioreq.user_input import create, seconds_from

_Parser = TypeVar("_Parser", bound=argparse.ArgumentParser)

CLEAR: Final = "\033[H\033[J"
"""Cursor to the upper left, and the rest of the screen erased (ECMA-48: CUP, ED)."""


def _console(options: argparse.Namespace) -> int:
    text = options.address
    address = parse(text if text.partition(":")[0] in REACHABLE else f"tcp:{text}")

    async def work() -> int:
        if os.isatty(0):
            log.say(f"devmodel: console on {address}; {LEAVING} leaves")
        await console(address)
        return 0

    return trio.run(until_signal, work)


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
        live(lambda columns: asking.ask(domain, messages.Screen(ansi=min(columns, MOST_COLUMNS))).text)
        return 0
    columns = min(shutil.get_terminal_size().columns, MOST_COLUMNS) if options.ansi else 0
    answer = asking.ask(_domain(options), messages.Screen(png=options.png is not None, ansi=columns))
    if options.png is None:
        sys.stdout.write(answer.text)
        return 0
    try:
        with _created(options.png) as file:
            file.write(asking.png_of(answer))
    except OSError as error:
        raise ConfigError(f"cannot write {options.png}: {error.strerror}") from error
    return 0


def _key(options: argparse.Namespace) -> int:
    if options.hold is not None and not 0 <= options.hold <= messages.MAX_HOLD:
        raise ConfigError(f"--hold {options.hold}: milliseconds from 0 to {messages.MAX_HOLD}")
    asking.type_keys(_domain(options), options.keys, options.hold or 0)
    return 0


def _break(options: argparse.Namespace) -> int:
    asking.ask(_domain(options), messages.Break(port=options.port))
    return 0


def _mouse(options: argparse.Namespace) -> int:
    asking.use_mouse(_domain(options), mouse_actions(options.actions))
    return 0


def mouse_actions(words: Sequence[str]) -> list[messages.MouseAction]:
    """Return what `move 10 -5 click left wheel -1 press right release right` asks for.

    Raises:
        ConfigError: it is something else.

    """
    actions: list[messages.MouseAction] = []
    left = list(reversed(words))

    def number(of: str) -> int:
        text = left.pop() if left else ""
        try:
            value = int(text)
        except ValueError:
            value = messages.MAX_MOVE + 1
        if abs(value) > messages.MAX_MOVE:
            raise ConfigError(
                f"mouse {of}: '{text}'; allowed: a number from -{messages.MAX_MOVE} to {messages.MAX_MOVE}"
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
                actions.append(messages.MouseAction(right=number(word), down=number(word)))
            case "wheel":
                actions.append(messages.MouseAction(wheel=number(word)))
            case "press":
                actions.append(messages.MouseAction(press=button(word)))
            case "release":
                actions.append(messages.MouseAction(release=button(word)))
            case "click":
                name = button(word)
                actions.append(messages.MouseAction(press=name, release=name))
            case _:
                raise ConfigError(f"mouse: '{word}'; allowed: move, wheel, press, release, click")
    if len(actions) > messages.MAX_KEYS:
        raise ConfigError(f"mouse: {len(actions)} actions; at most {messages.MAX_KEYS} are allowed")
    return actions


def _eject(options: argparse.Namespace) -> int:
    command = messages.Eject(drive=options.drive, force=options.force, floppy=options.floppy)
    asking.ask(_domain(options), command)
    return 0


def _insert(options: argparse.Namespace) -> int:
    command = messages.Insert(path=os.path.abspath(options.image), drive=options.drive, floppy=options.floppy)
    asking.ask(_domain(options), command)
    return 0


def _power_button(options: argparse.Namespace) -> int:
    answer = asking.ask(_domain(options), messages.PowerButton())
    if answer.text:
        raise DevmodelError(answer.text)
    return 0


def _domain(options: argparse.Namespace) -> str:
    """Return the domain socket that the user means, by either way of saying it."""
    return getattr(options, "socket", None) or options.domain or sockets.find()


def _upgrade(options: argparse.Namespace) -> int:
    for answer in asking.upgrade(_domain(options), upgrade.PATIENCE):
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
    answers = asking.ask_all(domain, messages.Stats())
    return stats.report([answer.stats for answer in answers if answer.stats is not None])


def _trace(options: argparse.Namespace) -> int:
    if options.until < options.since:
        raise ConfigError(f"--to {options.until:g}: that is before --from {options.since:g}")
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
        sys.stdout.writelines(text + "\n" for text in texts)
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


def add_to(commands: "argparse._SubParsersAction[_Parser]") -> None:
    """Add the parsers of these commands."""
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
        "--interval", metavar="SECONDS", type=seconds_from(0.1, 3600), default=1.0, help="between updates (1)"
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
        "--from",
        dest="since",
        metavar="SECONDS",
        type=seconds_from(),
        default=0.0,
        help="since the trace began",
    )
    tracing.add_argument(
        "--to", dest="until", metavar="SECONDS", type=seconds_from(), default=float("inf"), help="likewise"
    )
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


def _domain_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "socket", metavar="SOCKET", nargs="?", help="domain socket (the one machine that runs)"
    )
    parser.add_argument("--domain", metavar="SOCKET", help="the same, as every command takes it")
