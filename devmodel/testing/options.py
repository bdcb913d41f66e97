"""What a machine is to be, in a test's words, and as the arguments of the two commands."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict

from devmodel import boards
from devmodel.cli import CORE_OPTIONS
from devmodel.testing.console import Wanted

Path: TypeAlias = str | os.PathLike[str]


class MachineOptions(TypedDict, total=False):
    """Keyword arguments of `Machine`, `boot` and the mark `machine`; what is left out is as `devmodel run` has it."""

    machine: Path
    """A machine description, MACHINE.toml; the others override it."""
    vendor: Literal["vmx", "svm"]
    cpu: str
    memory: int | str
    """Guest RAM in bytes, or as "64M"."""
    firmware: Path
    image: Path
    """A flat binary, started in real mode at 0x7C00."""
    kernel: Path
    initrd: Path
    append: str
    disks: Sequence[Path]
    """Images of hda to hdd, in order."""
    cdroms: Sequence[Path]
    video_bios: Path
    fw_cfg: Mapping[str, str]
    debug_console: Path
    board: Callable[..., object] | str
    """What adds devices of one's own, or its name: see `devmodel.boards`."""
    board_options: Mapping[str, object]
    """What that function takes beside the board, passed as text."""
    reboot: bool
    """Whether a reset resets (True) or ends the machine."""
    trace: bool
    """Whether each request is recorded; `Machine.trace` is the file. The guest is slower."""
    log_level: Literal["debug", "info", "warning", "error"]
    fatal: Sequence[Wanted]
    """What on the console means the end of the guest, instead of a kernel's panic."""


REPEATED: Final = {"disks": "disk", "cdroms": "cdrom"}
PLAIN: Final = frozenset(
    {"vendor", "cpu", "memory", "firmware", "image", "kernel", "initrd", "append"}
    | {"video_bios", "debug_console", "log_level"}
)
CORE_ALONE: Final = frozenset({*CORE_OPTIONS, "servers"} - {"poll"})


def arguments_of(options: Mapping[str, Any]) -> list[str]:
    """Return the options as arguments of `devmodel run`, but for those that are not a command's.

    Raises:
        TypeError: there is no such option.
        ConfigError: a board cannot be found by another process.

    """
    arguments: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        option = "--" + REPEATED.get(name, name).replace("_", "-")
        if name == "machine":
            arguments.insert(0, os.fspath(value))
        elif name in PLAIN:
            arguments.append(f"{option}={value if isinstance(value, int) else os.fspath(value)}")
        elif name in REPEATED:
            if isinstance(value, (str, os.PathLike)):
                raise TypeError(f"{name}: give a list of paths")
            arguments += [f"{option}={os.fspath(path)}" for path in value]
        elif name == "fw_cfg":
            arguments += [f"{option}={key}={text}" for key, text in value.items()]
        elif name == "board":
            arguments.append(f"{option}={value if isinstance(value, str) else boards.name_of(value)}")
        elif name == "board_options":
            arguments += [f"--board-option={key}={text}" for key, text in value.items()]
        elif name == "reboot":
            arguments += [] if value else ["--no-reboot"]
        elif name not in ("trace", "fatal"):
            known = ", ".join(MachineOptions.__annotations__)
            raise TypeError(f"a machine has no option '{name}'; it has {known}")
    return arguments
