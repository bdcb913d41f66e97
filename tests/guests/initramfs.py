"""A small Linux system as an initial RAM disk: busybox, the drivers of the IDE disk, and a shell on ttyS0.

The format is cpio's "newc" (kernel Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed, so
that a boot measures the kernel and not gunzip. `python -m tests.guests.initramfs FILE` writes it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

GUESTS: Final = Path(__file__).parents[2] / ".guests"
"""Where packages.sh puts what it fetches."""
MARKER: Final = "userspace is up"
DRIVERS: Final = ("ata_piix", "sd_mod", "sr_mod")
APPLETS: Final = (
    *("sh", "cat", "dd", "dmesg", "echo", "grep", "halt", "insmod", "ls", "mkdir", "mount", "poweroff", "ps"),
    *("reboot", "seq", "sha256sum", "sleep", "stty", "sync", "true", "uname", "wc", "setsid", "cttyhack"),
    *("cmp", "umount", "od"),
)
INIT: Final = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read module options; do insmod /modules/$module.ko $options; done < /drivers
echo {MARKER}
exec sh -c 'exec setsid cttyhack sh'
"""


def dependencies(modules: Path, wanted: tuple[str, ...]) -> list[Path]:
    """Return the files of `wanted` modules and those they need, in the order in which they load."""
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or path in order:  # built in, or there already
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        assert needs is not None
        for needed in filter(None, needs[1].decode().split(",")):
            add(needed.replace("-", "_"))
        order.append(path)

    for name in wanted:
        add(name)
    return order


def entries(
    guests: Path, wanted: tuple[str, ...], options: Mapping[str, str]
) -> Iterator[tuple[str, int, bytes, tuple[int, int]]]:
    """Yield path, mode, contents and device number of everything in the RAM disk."""
    drivers = dependencies(guests / "modules", wanted)
    lines = [f"{path.stem} {options.get(path.stem, '')}".rstrip() for path in drivers]
    for folder in ("bin", "dev", "modules", "proc", "sys", "tmp"):
        yield folder, 0o040755, b"", (0, 0)
    yield "dev/console", 0o020600, b"", (5, 1)
    yield "bin/busybox", 0o100755, (guests / "busybox").read_bytes(), (0, 0)
    for applet in APPLETS:
        yield f"bin/{applet}", 0o120777, b"busybox", (0, 0)
    for path in drivers:
        yield f"modules/{path.name}", 0o100644, path.read_bytes(), (0, 0)
    yield "drivers", 0o100644, "".join(line + "\n" for line in lines).encode(), (0, 0)
    yield "init", 0o100755, INIT.encode(), (0, 0)


def archive(files: Iterator[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """Pack them as cpio does."""
    data = bytearray()

    def append(number: int, name: str, mode: int, contents: bytes, device: tuple[int, int]) -> None:
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(contents), 0, 0, *device, len(raw), 0)
        data.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        data.extend(bytes(-len(data) % 4))
        data.extend(contents)
        data.extend(bytes(-len(data) % 4))

    number = 0
    for number, (name, mode, contents, device) in enumerate(files, 1):
        append(number, name, mode, contents, device)
    append(number + 1, "TRAILER!!!", 0, b"", (0, 0))
    return bytes(data)


def make_initramfs(
    path: Path,
    guests: Path = GUESTS,
    *,
    drivers: tuple[str, ...] = DRIVERS,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write the RAM disk, with these drivers, and options for some of them."""
    path.write_bytes(archive(entries(guests, drivers, options or {})))
    return path


if __name__ == "__main__":
    make_initramfs(Path(sys.argv[1]))
