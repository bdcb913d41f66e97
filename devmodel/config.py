"""The device models' half of the machine description: a TOML file, and options that override it.

Every mistake is one line that names the file, the key and what is allowed. `[machine]` is the core's table:
it is known here by name only, and checked by `hvcore`.
"""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from devmodel import ConfigError
from devmodel.board.parts import ALL, OWN, PARTS, parse
from devmodel.consoles import address
from devmodel.consoles.address import Address, host_port
from devmodel.devices import acpi_tables, smbios
from devmodel.devices.diskette import DRIVES
from devmodel.devices.pit import MISSED_TICKS, MissedTicks
from ioreq.user_input import read_toml, size_in_bytes, with_options

MAX_DRIVES: Final = 4
MAX_FLOPPIES: Final = 2
MAX_SERIALS: Final = 4
MAX_SCRATCH: Final = 1 << 40
MAX_FW_CFG_NAME: Final = 56  # with its final NUL
RESERVED: Final = (
    "etc/e820",
    acpi_tables.TABLES,
    acpi_tables.RSDP,
    acpi_tables.LOADER,
    smbios.ANCHOR,
    smbios.STRUCTURES,
)
"""fw_cfg files that the board makes itself."""
_DATE: Final = re.compile(r"utc|localtime|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?")
LISTENING: Final = ("server=on", "wait=off", "server", "nowait")
"""What QEMU's -qmp may have behind the address and the same is true of here."""
_LOOPBACK: Final = re.compile(r"127(\.\d{1,3}){3}|::1", re.ASCII)
_T = TypeVar("_T")


class Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[serial]`, or `[[serial]]` for COM1 to COM4. `console` is its far end (`devmodel.consoles.address`).

    `tcp` is short for `console = "tcp:…"`. Without either the first is on the terminal of `devmodel run`. `paced` has
    it send at the baud rate that the guest sets; `flow` has CTS fall while a client is far behind.
    """

    tcp: str | None = None
    history: Annotated[int, msgspec.Meta(ge=0, le=1 << 30)] = 65536
    wait: bool = False
    """The guest starts when the first client is there (QEMU's `wait=on`)."""
    paced: bool = False
    flow: bool = False
    console: str | None = None

    def far_end(self) -> Address:
        """Return where its far end is; what is not said is the terminal."""
        if self.tcp is not None:
            return address.parse(f"tcp:{self.tcp}")
        return address.STDIO if self.console is None else address.parse(self.console)


class Disk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[disk]]`: a hard disk, hda to hdd in order. Without `path` it is a zeroed scratch disk of `size`.

    With `snapshot` what is written is gone at the end. With `base`, `path` is an overlay of that image. A `format` of
    "raw" has a file be that, however it begins.
    """

    path: str | None = None
    size: int | str | None = None
    readonly: bool = False
    snapshot: bool = False
    base: str | None = None
    format: Literal["auto", "raw"] = "auto"

    def scratch_bytes(self) -> int:
        """Return the size of a scratch disk in bytes; 0 for what is no size."""
        return self.size if isinstance(self.size, int) else size_in_bytes(self.size or "") or 0


class Cdrom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[cdrom]]`: a CD-ROM drive, hdc if that is free. `path` is the image in it; without one it is empty."""

    path: str | None = None


class Floppy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[floppy]]`: a floppy drive, A and B in order. `path` is the diskette in it; without one it is empty.

    `drive` is its model; without it the one that suits the diskette, 1.44M for none. `readonly` protects diskettes.
    """

    path: str | None = None
    drive: str | None = None
    readonly: bool = False


class Video(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[video]`: `bios` is a VGA option ROM; `adapter` is "pci" (1234:1111), "isa", or "auto".

    That is PCI, unless there is a BIOS that is for another adapter.
    """

    bios: str | None = None
    adapter: Literal["auto", "isa", "pci"] = "auto"


class Vnc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[vnc]`: where viewers find the screen: HOST:PORT or unix:PATH, with a console's options."""

    listen: str


class Web(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[web]`: where browsers find screen and consoles: HOST:PORT or unix:PATH, with a console's options."""

    listen: str


class Rtc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[rtc]`: what the clock starts at: "utc", "localtime", or an ISO date."""

    base: str = "utc"


class ParallelPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[parallel]`: the parallel port; what the guest prints is appended to the file at `path`."""

    path: str


class Timer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[pit]`: what becomes of ticks that the guest, or the server, was too late for; by Xen's names."""

    missed_ticks: str = MissedTicks.ONE_PENDING


class Hpet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[hpet]`: high precision event timers at FED00000h; without the table there are none."""

    enabled: bool = True


class Debug(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[debug]`: where ports 0x402 and 0xE9 go: "log", "stderr", or a file."""

    console: str = "log"


class Qmp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[qmp]`: where QMP clients connect: "unix:PATH", or "tcp:HOST:PORT" of this machine's own."""

    listen: str


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[server]]`: parts of the board that a process of their own serves; all others share one."""

    parts: list[str]


class Config(msgspec.Struct, frozen=True):
    """What the device models are built of; paths are as they are opened."""

    serial: Serial = Serial()
    more_serials: tuple[Serial, ...] = ()
    """COM2 to COM4, as far as there are any."""
    disks: tuple[Disk, ...] = ()
    cdroms: tuple[Cdrom, ...] = ()
    floppies: tuple[Floppy, ...] = ()
    video: Video = Video()
    fw_cfg: dict[str, str] = {}
    vnc: Vnc | None = None
    web: Web | None = None
    rtc: Rtc = Rtc()
    pit: Timer = Timer()
    parallel: ParallelPort | None = None
    hpet: Hpet = Hpet(enabled=False)
    debug: Debug = Debug()
    servers: tuple[frozenset[str], ...] = ()
    """The parts of each server apart."""
    parts: frozenset[str] = ALL
    """The parts that this process serves."""
    trace: str | None = None
    """Where its requests are recorded."""
    qmp: Qmp | None = None
    board: str | None = None
    """What adds to the PC's board: see `devmodel.boards`."""
    board_options: dict[str, Any] = {}
    folder: str = ""
    """Where the file is that describes the machine."""
    inputs: tuple[str, ...] = ()
    """What the core is to read: the description itself, and what it starts."""

    @property
    def serials(self) -> tuple[Serial, ...]:
        """The serial ports that there are, COM1 first."""
        return (self.serial, *self.more_serials)

    def checked(self, source: str) -> "Config":
        """Return this, if what the types cannot say is right as well; `source` begins the line if not."""
        if len(self.serials) > MAX_SERIALS:
            raise ConfigError(
                f"{source}: {len(self.serials)} serial ports; at most {MAX_SERIALS} are allowed"
            )
        on_terminal = 0
        for number, serial in enumerate(self.serials, 1):
            if serial.tcp is not None and serial.console is not None:
                raise ConfigError(f"{source}: tcp in [serial]: that is its console already; give one of them")
            if serial.tcp is None and serial.console is None and number > 1:
                raise ConfigError(
                    f"{source}: serial port {number} needs a console; only the first may go without"
                )
            try:
                on_terminal += serial.far_end().kind == "stdio"
            except ConfigError as error:
                key = "console" if serial.tcp is None else "tcp"
                raise ConfigError(f"{source}: {key} in [serial]: {error}") from error
        if on_terminal > 1:
            raise ConfigError(f"{source}: {on_terminal} serial ports on stdio; there is one terminal")
        for name, table in (("vnc", self.vnc), ("web", self.web)):
            if table is not None:
                try:
                    address.parse_listening(table.listen)
                except ConfigError as error:
                    raise ConfigError(f"{source}: listen in [{name}]: {error}") from error
        if len(self.disks) > MAX_DRIVES:
            raise ConfigError(f"{source}: {len(self.disks)} disks; at most {MAX_DRIVES} are allowed")
        if (drives := len(self.disks) + len(self.cdroms)) > MAX_DRIVES:
            raise ConfigError(
                f"{source}: {drives} disks and CD-ROM drives together; at most {MAX_DRIVES} are allowed"
            )
        if len(self.floppies) > MAX_FLOPPIES:
            raise ConfigError(
                f"{source}: {len(self.floppies)} floppy drives; at most {MAX_FLOPPIES} are allowed"
            )
        for floppy in self.floppies:
            if floppy.drive is not None and floppy.drive not in DRIVES:
                raise ConfigError(
                    f"{source}: drive in [[floppy]]: '{floppy.drive}'; allowed: {', '.join(DRIVES)}"
                )
        for disk in self.disks:
            if disk.path is None and not 512 <= disk.scratch_bytes() <= MAX_SCRATCH:
                raise ConfigError(f'{source}: a [[disk]] without path needs a size, for example size = "1M"')
            if disk.path is None and (
                disk.snapshot or disk.base is not None or disk.readonly or disk.format != "auto"
            ):
                raise ConfigError(
                    f"{source}: a [[disk]] without path is a scratch disk, of which only size is said"
                )
            if disk.snapshot and (disk.readonly or disk.base is not None):
                other = "readonly" if disk.readonly else "base"
                raise ConfigError(f"{source}: snapshot and {other} in [[disk]] exclude each other")
            if disk.base is not None and disk.format != "auto":
                raise ConfigError(
                    f"{source}: format and base in [[disk]] exclude each other: an overlay is one"
                )
            if disk.path is not None and disk.size is not None:
                raise ConfigError(f"{source}: size in [[disk]] goes without path; an image has its own size")
        if not _is_date(self.rtc.base):
            raise ConfigError(
                f"{source}: base in [rtc]: '{self.rtc.base}'; allowed: utc, localtime, or a date like "
                "2026-01-31T12:00:00"
            )
        if self.qmp is not None:
            qmp_address(self.qmp.listen)
        if self.pit.missed_ticks not in MISSED_TICKS:
            raise ConfigError(
                f"{source}: missed_ticks in [pit]: '{self.pit.missed_ticks}'; allowed: {', '.join(MISSED_TICKS)}"
            )
        taken: set[str] = set()
        for parts in self.servers:
            if twice := sorted(parts & taken):
                raise ConfigError(f"{source}: '{twice[0]}' in two servers; a part lives in one")
            taken |= parts
        if len(taken) == len(PARTS):
            raise ConfigError(
                f"{source}: every part is in a server apart; one part at least is left to the main one"
            )
        if self.board is None and self.board_options:
            raise ConfigError(
                f"{source}: '{next(iter(self.board_options))}' is for a board, and there is none"
            )
        if self.board is None and frozenset({OWN}) in (*self.servers, self.parts):
            raise ConfigError(
                f"{source}: '{OWN}' is for the chips of a board of one's own, and there is none"
            )
        for key in self.fw_cfg:
            if key in RESERVED:
                raise ConfigError(f"{source}: '{key}' in [fw_cfg]: this one is the board's own")
            if not key.isascii() or not 0 < len(key) < MAX_FW_CFG_NAME:
                raise ConfigError(
                    f"{source}: '{key}' in [fw_cfg]: a name has 1 to {MAX_FW_CFG_NAME - 1} letters"
                )
        return self


_Listening = TypeVar("_Listening", Vnc, Web)


class Options(msgspec.Struct, frozen=True):
    """What the command line overrides; None and empty leave the file's."""

    serials: tuple[str, ...] = ()
    serial_wait: bool = False
    disks: tuple[str, ...] = ()
    cdroms: tuple[str, ...] = ()
    floppies: tuple[str, ...] = ()
    parallel: str | None = None
    hpet: bool = False
    video_bios: str | None = None
    vnc: str | None = None
    web: str | None = None
    fw_cfg: tuple[str, ...] = ()
    debug_console: str | None = None
    only: str | None = None
    without: str | None = None
    apart: tuple[str, ...] = ()
    trace: str | None = None
    qmp: str | None = None
    board: str | None = None
    board_options: tuple[str, ...] = ()


TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "serial": Serial,
    "disk": Disk,
    "cdrom": Cdrom,
    "floppy": Floppy,
    "video": Video,
    "vnc": Vnc,
    "web": Web,
    "rtc": Rtc,
    "pit": Timer,
    "parallel": ParallelPort,
    "hpet": Hpet,
    "debug": Debug,
    "qmp": Qmp,
    "server": Server,
}
CORE_FILES: Final = ("firmware", "image", "kernel", "initrd")
"""The keys of [machine], and options, that name a file."""
ALLOWED: Final = ("machine", *TABLES, "fw_cfg", "board")


def load(path: str | None, options: Options) -> Config:
    """Read a machine description, or none, and apply options.

    Raises:
        ConfigError: with the one line to show.

    """
    config = Config() if path is None else _read(path)
    return _override(config, options)


def _is_date(text: str) -> bool:
    """Whether it is utc, localtime, or a date that there is."""
    if not _DATE.fullmatch(text):
        return False
    try:
        return text in {"utc", "localtime"} or bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def qmp_address(text: str) -> str | tuple[str, int]:
    """Return where QMP clients connect: the path of a Unix socket, or host and port.

    What QEMU's option has behind a comma to say that it listens, and does not wait, is understood.

    Raises:
        ConfigError: it is something else, or not on this machine alone.

    """
    kind, _, rest = text.partition(":")
    where, *settings = rest.split(",")
    allowed = "allowed: unix:PATH, or tcp:HOST:PORT"
    if wrong := [setting for setting in settings if setting not in LISTENING]:
        raise ConfigError(f"qmp '{text}': '{wrong[0]}'; {allowed}, and behind them {', '.join(LISTENING)}")
    if kind == "unix" and where:
        return where
    if kind != "tcp":
        raise ConfigError(f"qmp '{text}'; {allowed}")
    host, port = host_port(where)
    if host != "localhost" and not _LOOPBACK.fullmatch(host):
        raise ConfigError(
            f"qmp '{text}': who connects controls the machine; allowed: unix:PATH, tcp:127.0.0.1:PORT"
        )
    return host, port


def _read(path: str) -> Config:
    name = os.path.basename(path)
    try:
        document = read_toml(path, ALLOWED)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _no_nul(name, document)
    folder = os.path.dirname(path)

    def absolute(relative: str | None) -> str | None:
        return None if relative is None else os.path.join(folder, relative)

    disks = document.get("disk", [])
    if not isinstance(disks, list):
        raise ConfigError(f"{name}: write [[disk]], a table for each disk")
    cdroms = document.get("cdrom", [])
    if not isinstance(cdroms, list):
        raise ConfigError(f"{name}: write [[cdrom]], a table for each CD-ROM drive")
    floppies = document.get("floppy", [])
    if not isinstance(floppies, list):
        raise ConfigError(f"{name}: write [[floppy]], a table for each floppy drive")
    serials = document.get("serial", {})
    if not isinstance(serials, list):
        serials = [serials]
    ports = [
        _beside_file(_table(name, "[serial]", entry, Serial), f"{name}: console in [serial]", folder)
        for entry in serials
    ] or [Serial()]
    parallel = None
    if "parallel" in document:
        port = _table(name, "[parallel]", document["parallel"], ParallelPort)
        parallel = ParallelPort(os.path.join(folder, port.path))
    video = _table(name, "[video]", document.get("video", {}), Video)
    debug = _table(name, "[debug]", document.get("debug", {}), Debug)
    if debug.console not in {"log", "stderr"}:
        debug = Debug(os.path.join(folder, debug.console))
    servers = document.get("server", [])
    if not isinstance(servers, list):
        raise ConfigError(f"{name}: write [[server]], a table for each server")
    fw_cfg = document.get("fw_cfg", {})
    for key, value in fw_cfg.items() if isinstance(fw_cfg, dict) else [("fw_cfg", fw_cfg)]:
        if not isinstance(value, str):
            raise ConfigError(f'{name}: {key} in [fw_cfg]: give a string, "…"')
    board = document.get("board", {})
    if not isinstance(board, dict):
        raise ConfigError(f'{name}: [board] is a table, of options; write board = "…" in [machine]')
    machine = document.get("machine", {})
    builder = machine.get("board") if isinstance(machine, dict) else None  # the rest of it is the core's
    if builder is not None and (not isinstance(builder, str) or not builder):
        raise ConfigError(f'{name}: board in [machine]: give a name, "MODULE:FUNCTION"')
    started = [machine.get(key) for key in CORE_FILES] if isinstance(machine, dict) else []
    return Config(
        board=builder,
        board_options=board,
        folder=folder,
        inputs=(name, *(os.path.join(folder, file) for file in started if isinstance(file, str))),
        serial=ports[0],
        more_serials=tuple(ports[1:]),
        disks=tuple(
            msgspec.structs.replace(disk, path=absolute(disk.path), base=absolute(disk.base))
            for disk in (_table(name, "[[disk]]", entry, Disk) for entry in disks)
        ),
        cdroms=tuple(Cdrom(absolute(_table(name, "[[cdrom]]", entry, Cdrom).path)) for entry in cdroms),
        floppies=tuple(
            msgspec.structs.replace(floppy, path=absolute(floppy.path))
            for floppy in (_table(name, "[[floppy]]", entry, Floppy) for entry in floppies)
        ),
        video=msgspec.structs.replace(video, bios=absolute(video.bios)),
        fw_cfg=fw_cfg,
        vnc=_listening(name, folder, "vnc", document, Vnc),
        web=_listening(name, folder, "web", document, Web),
        rtc=_table(name, "[rtc]", document.get("rtc", {}), Rtc),
        parallel=parallel,
        hpet=_table(name, "[hpet]", document.get("hpet", {"enabled": False}), Hpet),
        pit=_table(name, "[pit]", document.get("pit", {}), Timer),
        qmp=_qmp(name, folder, document["qmp"]) if "qmp" in document else None,
        debug=debug,
        servers=tuple(
            parse(f"{name}: parts in [[server]]", _table(name, "[[server]]", entry, Server).parts)
            for entry in servers
        ),
    ).checked(name)


def _beside_file(serial: Serial, where: str, folder: str) -> Serial:
    """Return a serial port whose files are found from the folder of the machine's description."""
    if serial.console is None or not folder:
        return serial
    try:
        far_end = address.parse(serial.console)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return msgspec.structs.replace(serial, console=address.spelled(far_end, folder))


def _listening(
    name: str, folder: str, key: str, document: dict[str, Any], kind: type[_Listening]
) -> _Listening | None:
    """Return the table of something that listens, if it is there, with its files found from the folder."""
    if key not in document:
        return None
    table = _table(name, f"[{key}]", document[key], kind)
    try:
        listen = address.spelled(address.parse_listening(table.listen), folder)
    except ConfigError as error:
        raise ConfigError(f"{name}: listen in [{key}]: {error}") from error
    return kind(listen.removeprefix("tcp:"))


def _qmp(name: str, folder: str, table: object) -> Qmp:
    listen = _table(name, "[qmp]", table, Qmp).listen
    kind, colon, path = listen.partition(":")
    return Qmp(f"unix:{os.path.join(folder, path)}" if kind == "unix" and colon and path else listen)


def _no_nul(where: str, value: object) -> None:
    """Refuse strings with a NUL byte, which no path, host or name may have."""
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where} is {value!r}; allowed: a string without NUL bytes")
    if isinstance(value, dict):
        for key, inner in value.items():
            _no_nul(f"{where}: {key}", key)
            _no_nul(f"{where}: {key}", inner)
    elif isinstance(value, list):
        for inner in value:
            _no_nul(where, inner)


def _table(name: str, label: str, table: Any, kind: type[_T]) -> _T:
    """Return a table as `kind`; refuse what it does not know."""
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: {label} is a table")
    allowed = [field.name for field in msgspec.structs.fields(kind)]  # type: ignore[arg-type]
    for key in table:
        if key not in allowed:
            raise ConfigError(f"{name}: unknown key '{key}' in {label}; allowed: {', '.join(allowed)}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise ConfigError(f"{name}: {where.rstrip('`')} in {label}: {what}") from error


def disk_of(text: str) -> Disk:
    """Return the disk that `--disk FILE[,readonly][,snapshot=on][,base=FILE][,format=raw]` says.

    Raises:
        ConfigError: it says something else.

    """
    path, options = with_options(text)
    if not path:
        raise ConfigError(f"--disk '{text}' names no file")
    for name, value in options.items():
        if name not in {"readonly", "snapshot", "base", "format"}:
            raise ConfigError(
                f"--disk '{text}': unknown option '{name}'; allowed: readonly, snapshot, base=FILE, format "
                "(a comma in a file's name is written twice)"
            )
        if name in {"readonly", "snapshot"} and value not in {"on", "off"}:
            raise ConfigError(f"--disk '{text}': {name} is on or off")
        if name == "base" and value in {"", "on"}:
            raise ConfigError(f"--disk '{text}': base needs a file")
        if name == "format" and value not in {"auto", "raw"}:
            raise ConfigError(f"--disk '{text}': a format is raw or auto")
    switches = {name: options.get(name) == "on" for name in ("readonly", "snapshot")}
    return msgspec.convert(
        {"path": path, "base": options.get("base"), "format": options.get("format", "auto"), **switches}, Disk
    )


def _override(config: Config, options: Options) -> Config:
    changes: dict[str, Any] = {}
    if options.serials:
        ports = [*config.serials, *[Serial()] * len(options.serials)][
            : max(len(options.serials), len(config.serials))
        ]
        for number, text in enumerate(options.serials):
            try:
                address.parse(text)
            except ConfigError as error:
                raise ConfigError(f"--serial {error}") from error
            ports[number] = msgspec.structs.replace(ports[number], tcp=None, console=text)
        changes["serial"], *more = ports
        changes["more_serials"] = tuple(more)
    if options.serial_wait:
        changes["serial"] = msgspec.structs.replace(changes.get("serial", config.serial), wait=True)
    if options.disks:
        changes["disks"] = tuple(map(disk_of, options.disks))
    if options.cdroms:
        changes["cdroms"] = tuple(Cdrom(path) for path in options.cdroms)
    if options.floppies:
        changes["floppies"] = tuple(Floppy(path) for path in options.floppies)
    if options.hpet:
        changes["hpet"] = Hpet()
    if options.parallel is not None:
        changes["parallel"] = ParallelPort(options.parallel)
    if options.video_bios is not None:
        changes["video"] = msgspec.structs.replace(config.video, bios=options.video_bios)
    for name, listen in (("vnc", options.vnc), ("web", options.web)):
        if listen is not None:
            try:
                address.parse_listening(listen)
            except ConfigError as error:
                raise ConfigError(f"--{name} {error}") from error
    if options.vnc is not None:
        changes["vnc"] = Vnc(options.vnc)
    if options.web is not None:
        changes["web"] = Web(options.web)
    if options.fw_cfg:
        items = dict(config.fw_cfg)
        for item in options.fw_cfg:
            key, equals, value = item.partition("=")
            if not equals:
                raise ConfigError(f"--fw-cfg '{item}'; allowed: NAME=VALUE")
            items[key] = value
        changes["fw_cfg"] = items
    if options.debug_console is not None:
        changes["debug"] = Debug(options.debug_console)
    if options.trace is not None:
        changes["trace"] = options.trace
    if options.qmp is not None:
        changes["qmp"] = Qmp(options.qmp)
    if options.board is not None:
        changes |= {"board": options.board, "board_options": {}, "folder": ""}
    if options.board_options:
        given = dict(changes.get("board_options", config.board_options))
        for item in options.board_options:
            key, equals, value = item.partition("=")
            if not equals:
                raise ConfigError(f"--board-option '{item}'; allowed: NAME=VALUE")
            given[key.replace("-", "_")] = value
        changes["board_options"] = given
    if options.apart:
        changes["servers"] = (
            *config.servers,
            *(parse("--apart", names.split(",")) for names in options.apart),
        )
    if options.only is not None and options.without is not None:
        raise ConfigError("--only and --without exclude each other")
    if options.only is not None:
        changes["parts"] = parse("--only", options.only.split(","))
    elif options.without is not None:
        changes["parts"] = ALL - parse("--without", options.without.split(","))
        if not changes["parts"]:
            raise ConfigError("--without names every part; nothing is left to serve")
    else:
        changes["parts"] = ALL.difference(*changes.get("servers", config.servers))
    return msgspec.structs.replace(config, **changes).checked("options")
