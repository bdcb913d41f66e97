"""Builds the PC of `board` from a configuration: what the outside has, in the board's terms."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from devmodel.board import kernel_rom
from devmodel.board.clock import Clock
from devmodel.board.device import Disk
from devmodel.board.outside import Core, Fittings
from devmodel.board.pc import Board, state_types
from devmodel.devices.mmc import Tray
from devmodel.devices.parallel import NoPrinter
from devmodel.devices.vga_pci import is_for_pci
from devmodel.service.clock import TrioClock
from devmodel.service.domain import Domain
from devmodel.service.outside import Outside
from ioreq.messages import DomainInfo

E820_RAM = 1


def build(
    outside: Outside, domain: Domain, clock: TrioClock, *, extend: Callable[[Board], None] = lambda _: None
) -> Board:
    """Return the machine's board, wired to the domain and the outside; `extend` adds what is not the PC's own.

    Raises:
        ConfigError: two devices want the same addresses, or `extend` fails.
        DevmodelError: a predecessor's state is of another version.

    """
    return build_for(outside, domain, domain.info, clock, extend)


def build_for(
    outside: Outside, core: Core, info: DomainInfo, clock: Clock, extend: Callable[[Board], None]
) -> Board:
    """Return the machine's board, wired to whatever is its core, as `info` describes that.

    Raises:
        ConfigError: two devices want the same addresses, or `extend` fails.
        DevmodelError: a predecessor's state is of another version.

    """
    config = outside.config
    files = {name: value.encode() for name, value in config.fw_cfg.items()}
    files |= kernel_rom.files(info.boot, files.get(kernel_rom.BOOT_ORDER, b""))
    adapter = adapter_of(config.video.adapter, outside.video_bios or b"")
    if config.video.bios is not None and outside.video_bios is not None and adapter == "isa":
        files[f"vgaroms/{os.path.basename(config.video.bios)}"] = outside.video_bios
    memory = [(entry.start, entry.length, entry.type) for entry in info.e820]
    board = Board.build(
        clock,
        core,
        Fittings(
            memory=memory or [(region.start, region.length, E820_RAM) for region in info.ram],
            cpus=info.vcpus,
            parts=config.parts,
            disks=drives(outside.disks, [disc.tray for disc in outside.discs]),
            floppies=[diskette.bay for diskette in outside.diskettes],
            printer=NoPrinter()
            if outside.printout is None and config.parallel is not None
            else outside.printout,
            hpet=config.hpet.enabled,
            missed_ticks=config.pit.missed_ticks,
            serial=[serial.paced for serial in config.serials],
            debug=outside.debug.put,
            files=files,
            video_rom=b"" if adapter == "isa" else outside.video_bios or b"",
            isa_vga=adapter == "isa",
            bare=info.boot.get("start") == "kernel",
            time=start_time(config.rtc.base, datetime.now(UTC)),
        ),
        None if outside.saved is None else outside.saved.states(state_types()),
        extend=extend,
        left=None if outside.saved is None else outside.saved.state,
    )
    if outside.printout is not None:
        outside.printout.ready = board.parallel.ready
    return board


def adapter_of(setting: str, bios: bytes) -> str:
    """Return what the display adapter is; unless it is said, "pci", but "isa" with a BIOS for something else."""
    if setting != "auto":
        return setting
    return "isa" if bios and not is_for_pci(bios) else "pci"


def drives(disks: Sequence[Disk], trays: Sequence[Tray]) -> list[Disk | Tray | None]:
    """Return hda to hdd: the disks from the first on, and the CD-ROM drives from the third, as far as that is free."""
    places: list[Disk | Tray | None] = [*disks]
    places += [None] * (4 - len(places))
    for tray in trays:
        free = next(place for place in (2, 3, 1, 0) if places[place] is None)
        places[free] = tray
    return places


def start_time(base: str, now: datetime) -> int:
    """Return what the clock chip shows at first, in seconds since 1970 without regard to time zones.

    The chip knows no zones: with "utc" it shows Greenwich's time, with "localtime" the wall's.
    """
    match base:
        case "utc":
            shown = now.astimezone(UTC)
        case "localtime":
            shown = now.astimezone()
        case _:
            shown = datetime.fromisoformat(base)
    return int(shown.replace(tzinfo=UTC).timestamp())
