"""What is said to a monitor and what it answers: one JSON object a line in each direction (`docs/monitor.md`).

`command` says what is wanted. Those commands that look or reach into the machine are `devmodel.control.probe`'s.
"""

from typing import Annotated, Final, TypeAlias

import msgspec

from devmodel.control import probe
from devmodel.display.render import MOST_COLUMNS
from devmodel.service.stats import ServerStatistics

MAX_LINE: Final = 65536
MAX_KEYS: Final = 256
"""Combinations of keys in one command."""
MAX_HOLD: Final = 5_000
"""Milliseconds that keys may be held in one command."""
MAX_MOVE: Final = 10_000
KEY_PATIENCE: Final = 5.0
"""Seconds that the guest may take to read a key."""


class MouseAction(msgspec.Struct, forbid_unknown_fields=True):
    """Move by counts and turn the wheel by clicks (towards the user if positive); then press, then release a button."""

    right: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    down: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    wheel: Annotated[int, msgspec.Meta(ge=-MAX_MOVE, le=MAX_MOVE)] = 0
    press: str = ""
    release: str = ""


class Screen(msgspec.Struct, tag_field="command", tag="screen", forbid_unknown_fields=True):
    """Ask for the screen: as text, with a picture beside it, or as text for a terminal of so many columns (`ansi`)."""

    png: bool = False
    ppm: bool = False
    """The picture is a portable pixmap (`ppm`, binary) instead."""
    ansi: Annotated[int, msgspec.Meta(ge=0, le=MOST_COLUMNS)] = 0


class Key(msgspec.Struct, tag_field="command", tag="key", forbid_unknown_fields=True):
    """Type keys, one after the other; keys joined by - are held down together, `hold` milliseconds long."""

    keys: Annotated[list[str], msgspec.Meta(max_length=MAX_KEYS)]
    hold: Annotated[int, msgspec.Meta(ge=0, le=MAX_HOLD)] = 0


class Break(msgspec.Struct, tag_field="command", tag="break", forbid_unknown_fields=True):
    """Send a break on a serial port, the first being 1."""

    port: int = 1


class Press(msgspec.Struct, tag_field="command", tag="press", forbid_unknown_fields=True):
    """Press a key and hold it; or let go of it, if it is not `pressed`."""

    key: str
    pressed: bool = True


class Mouse(msgspec.Struct, tag_field="command", tag="mouse", forbid_unknown_fields=True):
    """Do things with the mouse, one after the other."""

    actions: Annotated[list[MouseAction], msgspec.Meta(max_length=MAX_KEYS)]


class Eject(msgspec.Struct, tag_field="command", tag="eject", forbid_unknown_fields=True):
    """Take the disc out of a CD-ROM drive, the first being 0; with `force` even if the guest has locked it.

    With `floppy`, the diskette out of a floppy drive, which no guest can lock.
    """

    drive: int = 0
    force: bool = False
    floppy: bool = False


class Insert(msgspec.Struct, tag_field="command", tag="insert", forbid_unknown_fields=True):
    """Put an image into a CD-ROM drive; with `floppy`, into a floppy drive. The path is the server's."""

    path: str
    drive: int = 0
    floppy: bool = False


class Stats(msgspec.Struct, tag_field="command", tag="stats", forbid_unknown_fields=True):
    """Ask for what the server and the core have counted."""


class Info(msgspec.Struct, tag_field="command", tag="info", forbid_unknown_fields=True):
    """Ask what runs here."""


class PowerButton(msgspec.Struct, tag_field="command", tag="power_button", forbid_unknown_fields=True):
    """Press the power button, of which a system with ACPI hears; `text` says so if it does not listen."""


class Upgrade(msgspec.Struct, tag_field="command", tag="upgrade", forbid_unknown_fields=True):
    """Have the server start itself anew, of the program as it is installed now."""


class Answer(msgspec.Struct, omit_defaults=True):
    """What the monitor answers; with `error`, nothing else."""

    error: str = ""
    elsewhere: bool = False
    """Another server of the machine has what was asked for."""
    text: str = ""
    png: str = ""
    """The picture in base64, whatever its format."""
    program: str = ""
    upgrades: int = 0
    """How often this server has been upgraded."""
    machine: str = ""
    parts: list[str] = []
    pid: int = 0
    paused: bool = False
    """The vCPUs are held by `pause`."""
    memory: int = 0
    """Bytes of guest RAM."""
    consoles: list[str] = []
    """Where the serial ports' clients connect, COM1's first; empty where they do not."""
    stats: ServerStatistics | None = None
    found: probe.Found | None = None


Command: TypeAlias = (
    Screen
    | Key
    | Press
    | Mouse
    | Break
    | Eject
    | Insert
    | Stats
    | Info
    | PowerButton
    | Upgrade
    | probe.Command
)
decode = msgspec.json.Decoder(Command).decode
decode_answer = msgspec.json.Decoder(Answer).decode
encode = msgspec.json.Encoder().encode
