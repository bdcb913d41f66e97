"""The core's half of the machine description: `[machine]` of MACHINE.toml.

The device models' tables are known by name, so that a misspelt one is an error on both sides; what is in them
is checked by their owner.
"""

import os
from typing import Any, Final

import attrs

from hvcore.cpumodel import DEFAULT, MODELS
from hvcore.errors import ConfigError
from ioreq.layout import MAX_IOREQ_SERVERS
from ioreq.user_input import read_toml, size_in_bytes

VENDORS: Final = ("vmx", "svm")
CPUS: Final = tuple(MODELS)
KEYS: Final = (
    *("name", "vendor", "cpu", "memory"),
    *("firmware", "image", "image-address", "kernel", "initrd", "append"),
    "servers",
)
DEVICE_KEYS: Final = ("board",)
"""Keys of `[machine]` that are the device models', which check them."""
DEVICE_TABLES: Final = (
    *(
        "serial",
        "disk",
        "cdrom",
        "floppy",
        "video",
        "vnc",
        "web",
        "fw_cfg",
        "rtc",
        "pit",
        "parallel",
        "debug",
        "server",
    ),
    *("board", "qmp", "hpet"),
)
LEAST_MEMORY: Final = 1 << 20
MOST_MEMORY: Final = 32 << 30
"""Half of what 36 physical address bits reach: room for the hole below 4 GiB."""
IMAGE_ADDRESS: Final = 0x7C00
STARTS: Final = {"firmware": (), "image": ("image-address",), "kernel": ("initrd", "append")}
"""What a machine can start in, and the keys that belong to each."""


@attrs.frozen(kw_only=True)
class MachineConfig:
    """What the core builds. Sizes and addresses in bytes.

    One of `firmware`, `image` and `kernel` is a path; with both `firmware` and `kernel` the firmware starts the kernel.
    """

    name: str = "guest"
    vendor: str = "vmx"
    cpu: str = DEFAULT
    memory: int = 64 << 20
    firmware: str | None = None
    image: str | None = None
    image_address: int = IMAGE_ADDRESS
    kernel: str | None = None
    initrd: str | None = None
    append: str = ""
    servers: int = 1
    """How many ioreq servers there must be before the guest starts."""


def load(path: str | None, options: dict[str, Any]) -> MachineConfig:
    """Read MACHINE.toml (if any) and let `options` (keys as in the file) override it.

    Raises ConfigError, one line that names the file or option, the key and what is allowed.
    """
    values = {} if path is None else _read(path)
    if path is not None:
        folder = os.path.dirname(path)
        for key in ("firmware", "image", "kernel", "initrd"):
            if key in values:
                values[key] = os.path.join(folder, values[key])
    given = {key: value for key, value in options.items() if value is not None}
    if any(start in given for start in STARTS):  # what the options start replaces what the file starts
        for start, details in STARTS.items():
            if start not in given:
                for key in (start, *details):
                    values.pop(key, None)
    values |= _check("", given)
    starts = [start for start in STARTS if start in values]
    if len(starts) > 1 and starts != ["firmware", "kernel"]:  # firmware may start a kernel
        raise ConfigError(f"both {starts[0]} and {starts[1]} are given; a machine starts in one of them")
    if not starts:
        raise ConfigError(
            "nothing to run: give --firmware, --image or --kernel FILE, or one of them in [machine]"
        )
    for start, details in STARTS.items():
        for key in details:
            if key in values and start not in values:
                raise ConfigError(f"{key} is given without {start}")
    return MachineConfig(**{key.replace("-", "_"): value for key, value in values.items()})


def _read(path: str) -> dict[str, Any]:
    """Return what a file says, checked. Each [[server]] is a server beside the one that has all other parts."""
    name = os.path.basename(path)
    try:
        document = read_toml(path, ("machine", *DEVICE_TABLES))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    machine = document.get("machine", {})
    if not isinstance(machine, dict):
        raise ConfigError(f"{name}: machine must be a table")
    values = _check(name, machine)
    apart = document.get("server")
    if isinstance(apart, list):
        values.setdefault("servers", len(apart) + 1)
    return values


def _check(file: str, table: dict[str, Any]) -> dict[str, Any]:
    """Check `[machine]`, or the options if `file` is empty."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in DEVICE_KEYS:
            continue
        if key not in KEYS:
            allowed = ", ".join((*KEYS, *DEVICE_KEYS))
            raise ConfigError(f"{file}: unknown key '{key}' in [machine]; allowed: {allowed}")
        where = f"{file}: {key} in [machine]" if file else f"--{key}"
        values[key] = _value(where, key, value)
    return values


def _value(where: str, key: str, value: object) -> object:
    match key:
        case "memory":
            return _memory(where, value)
        case "image-address":
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 0xA0000:
                raise ConfigError(f"{where} is {_shown(value)}; allowed: an address below 0xa0000")
            return value
        case "servers":
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_IOREQ_SERVERS:
                raise ConfigError(f"{where} is {_shown(value)}; allowed: 1 to {MAX_IOREQ_SERVERS}")
            return value
        case "cpu" if value not in CPUS:
            raise ConfigError(f"{where} is {_shown(value)}; allowed: {', '.join(CPUS)}")
        case "vendor" if value not in VENDORS:
            raise ConfigError(f"{where} is {_shown(value)}; allowed: {', '.join(VENDORS)}")
    if not isinstance(value, str) or (not value and key != "append"):
        raise ConfigError(f"{where} is {_shown(value)}; allowed: a string that is not empty")
    if "\0" in value:
        raise ConfigError(f"{where} is {_shown(value)}; allowed: a string without NUL bytes")
    return value


def _memory(where: str, value: object) -> int:
    size: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        size = size_in_bytes(value)
    if size is None or not LEAST_MEMORY <= size <= MOST_MEMORY or size % 4096:
        sizes = 'bytes, or a string like "64M", from 1M to 32G in steps of 4K'
        raise ConfigError(f"{where} is {_shown(value)}; allowed: {sizes}")
    return size


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
