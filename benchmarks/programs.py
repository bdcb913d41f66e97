"""`python -m benchmarks.programs`: real programs in a guest, by turns here and in QEMU's translator.

Debian's i386 programs (`programs.sh` fetches them) run one by one in Debian's i386 kernel, from one ext4 image. The
guest's own clock says how long each took, and its output must be the same in both. What is printed is our time over
QEMU's, of each program and as geometric means of groups: below 1 is faster than QEMU.
"""

import argparse
import gzip
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from benchmarks import linux, machines
from devmodel.testing import Machine
from tests.guests.initramfs import DRIVERS, GUESTS, make_initramfs

PROGRAMS: Final = GUESTS / "programs"
MEGABYTES: Final = 512
SECONDS: Final = 1800.0
LIBRARIES: Final = (*DRIVERS, "crc32c_generic", "ext4")


@attrs.frozen
class Program:
    """A command line for the guest's shell; what it prints must not depend on time."""

    group: str
    name: str
    command: str


def _stress(group: str, name: str, stressor: str, operations: int, more: str = "") -> Program:
    command = f"stress-ng -q --{stressor} 1 --{stressor}-ops {operations} {more}"
    return Program(group, name, command.strip())


_TIMES_6: Final = "for i in 1 2 3 4 5 6; do"
_LUA_TABLES: Final = "t = {} for i = 1, 600000 do t[#t + 1] = tostring(i) end print(#table.concat(t))"
_SQL: Final = (
    "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 60000) "
    "insert into t select x, x * x % 977 from c; create index i on t(b); "
    "select sum(a), count(distinct b) from t where b < 500;"
)
SUITE: Final = [
    Program("integer", "gzip", "gzip -c /data | sha256sum"),
    Program("integer", "gunzip", "for i in 1 2 3 4 5; do gzip -dc /data.gz; done | wc -c"),
    Program("integer", "zstd", "zstd -q -5 -c /data | wc -c"),
    Program("integer", "7zr", "/usr/lib/p7zip/7zr b 1 -mmt1 -md18 > /dev/null"),
    Program("integer", "sort", "sort /text | sha256sum"),
    Program("integer", "awk", "mawk '{ n[$1 % 997] += $2 } END { for (i in n) t += n[i]; print t }' /text"),
    Program("integer", "sha256", "sha256sum /data /data /data /data"),
    Program("integer", "aes", "openssl enc -aes-128-cbc -K 00 -iv 00 -in /data 2> /dev/null | md5sum"),
    Program("integer", "rsa", f"{_TIMES_6} openssl rsautl -sign -inkey /key -in /small 2> /dev/null | sha1sum; done"),
    _stress("integer", "cpu int32", "cpu", 60, "--cpu-method int32"),
    _stress("integer", "cpu queens", "cpu", 30, "--cpu-method queens"),
    _stress("integer", "cpu crc16", "cpu", 30, "--cpu-method crc16"),
    _stress("integer", "cpu sieve", "cpu", 60, "--cpu-method sieve"),
    _stress("float", "cpu double", "cpu", 60, "--cpu-method double"),
    _stress("float", "cpu float", "cpu", 60, "--cpu-method float"),
    _stress("float", "cpu long double", "cpu", 60, "--cpu-method longdouble"),
    _stress("float", "cpu fft", "cpu", 60, "--cpu-method fft"),
    _stress("float", "cpu matrixprod", "cpu", 100, "--cpu-method matrixprod"),
    _stress("float", "cpu correlate", "cpu", 30, "--cpu-method correlate"),
    _stress("float", "matrix", "matrix", 300, "--matrix-size 64"),
    _stress("float", "vecmath", "vecmath", 30),
    _stress("float", "fp", "fp", 5),
    Program("float", "awk reals", "mawk 'BEGIN { for (i = 1; i < 400000; i++) s += 1 / i; print s }'"),
    Program("interpreter", "python", "python3 -S -c 'print(sum(i * i % 7 for i in range(1000000)))'"),
    Program("interpreter", "lua", "lua5.4 -e 's = 0 for i = 1, 6000000 do s = s + i % 7 end print(s)'"),
    Program("interpreter", "lua tables", f"lua5.4 -e '{_LUA_TABLES}'"),
    Program("interpreter", "sqlite", f"sqlite3 :memory: '{_SQL}'"),
    Program("interpreter", "bash", "bash -c 'i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done; echo $i'"),
    _stress("system", "switch", "switch", 20000),
    _stress("system", "fork", "fork", 300),
    _stress("system", "syscall", "get", 400),
    _stress("system", "page fault", "fault", 20000),
    _stress("system", "signal", "sigrt", 10000),
    _stress("system", "pipe", "pipe", 20000),
    Program("system", "processes", f"{_TIMES_6} {_TIMES_6.replace('i', 'j', 1)} /bin/true; done; done"),
    _stress("memory", "memcpy", "memcpy", 60),
    _stress("memory", "str", "str", 60),
    _stress("memory", "stream", "stream", 2),
    _stress("memory", "vm", "vm", 2000, "--vm-bytes 4M"),
    _stress("memory", "bsearch", "bsearch", 10),
    _stress("memory", "qsort", "qsort", 2),
    _stress("atomic", "atomic", "atomic", 60),
    _stress("atomic", "mutex", "mutex", 10000),
]  # fmt: skip

RUN: Final = """#!/bin/bash
export PATH=/usr/bin:/bin LC_ALL=C
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm
cat /data /text > /dev/null
while IFS='|' read -r name command; do
    before=$(date +%s%N)
    out=$(bash -o pipefail -c "$command" < /dev/null 2> /run/error | cksum; exit "${PIPESTATUS[0]}"); status=$?
    after=$(date +%s%N)
    echo "RESULT|$name|$((after - before))|$status|$out|$(head -c 200 /run/error | tr '\\n|' '  ')"
done < /commands
echo RESULTS END
"""
"""In the guest, in the image as its root."""


def missing() -> str:
    """Return what the programs lack, or nothing."""
    if lacking := linux.missing():
        return lacking
    if not (PROGRAMS / "complete").exists():
        return "Debian's i386 programs, which benchmarks/programs.sh fetches"
    return "" if shutil.which("mke2fs") else "mke2fs, from e2fsprogs"


def make_image(folder: Path, programs: Sequence[Program]) -> Path:
    """Write the disk that both boot from, with what the programs read."""
    root = folder / "root"
    shutil.copytree(PROGRAMS / "root", root, symlinks=True)
    for name in ("proc", "sys", "dev", "run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    words = b" ".join(b"%d" % (i * i % 9973) for i in range(400_000))
    (root / "data").write_bytes(words)
    (root / "text").write_bytes(b"".join(b"%d %d\n" % (i * 7919 % 100_003, i % 1009) for i in range(60_000)))
    (root / "data.gz").write_bytes(gzip.compress(words, mtime=0))
    (root / "small").write_bytes(b"what is signed")
    subprocess.run(["openssl", "genrsa", "-out", str(root / "key"), "2048"], check=True, capture_output=True)
    (root / "commands").write_text("".join(f"{p.group}/{p.name}|{p.command}\n" for p in programs))
    (root / "bench").write_text(RUN)
    (root / "bench").chmod(0o755)
    image = folder / "programs.img"
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(root), str(image), "1G"], check=True)
    return image


@attrs.frozen
class Result:
    """Seconds, the exit status, a checksum of what came out, and the beginning of what it complained of."""

    seconds: float
    status: int
    output: str
    error: str


class Results(dict[str, Result]):
    """What the guest's script printed so far, by name; tells it as it comes."""

    def __init__(self, who: str) -> None:
        super().__init__()
        self.who = who
        self._said = b""
        self.complete = False

    def feed(self, said: bytes) -> None:
        """Take more of the console."""
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            if line.startswith(b"RESULT|"):
                _, name, taken, status, output, error = (
                    line.decode(errors="replace").rstrip("\r").split("|", 5)
                )
                self[name] = Result(int(taken) / 1e9, int(status), output, error)
                print(f"{self.who}: {name} {self[name].seconds:.2f} s", file=sys.stderr)
            self.complete |= line.startswith(b"RESULTS END")


PROMPT: Final = "/ # \x1b[6n"
START: Final = "mount -t ext4 /dev/sda /tmp && /bin/busybox chroot /tmp /bench"


async def devmodel(initramfs: Path, image: Path, vendor: str) -> Results:
    """Run them here."""
    arguments = [
        *("--vendor", vendor, "--memory", f"{MEGABYTES}M", "--disk", os.fspath(image)),
        *("--kernel", os.fspath(GUESTS / "vmlinuz"), "--initrd", os.fspath(initramfs)),
        *("--append", linux.ARGUMENTS),
    ]
    async with Machine(*arguments) as machine:
        console = machine.console
        await console.expect(PROMPT, SECONDS)
        await console.type(START + "\r")
        results = Results("devmodel")
        while not results.complete:
            results.feed(await console.expect("\n", SECONDS))
        return results


def qemu(initramfs: Path, image: Path) -> Results:
    """Run them in QEMU's translator, on one thread."""
    command = [
        *(machines.QEMU, "-accel", "tcg,thread=single", "-m", str(MEGABYTES), "-nographic", "-no-reboot"),
        *(
            "-kernel",
            os.fspath(GUESTS / "vmlinuz"),
            "-initrd",
            os.fspath(initramfs),
            "-append",
            linux.ARGUMENTS,
        ),
        *("-drive", f"file={image},format=raw,if=ide"),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            results = Results("QEMU")
            said = b""
            while not results.complete:
                new = os.read(process.stdout.fileno(), 65536)
                if not new:
                    raise RuntimeError(f"{machines.QEMU} ended: {said[-2000:]!r}")
                results.feed(new)
                if PROMPT.encode() not in said and PROMPT.encode() in (said := said + new):
                    process.stdin.write(START.encode() + b"\r")
                    process.stdin.flush()
            return results
        finally:
            process.kill()


def mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def show(programs: Sequence[Program], ours: dict[str, Result], theirs: dict[str, Result]) -> None:
    """Print the table."""
    groups: dict[str, list[float]] = {}
    for program in programs:
        name = f"{program.group}/{program.name}"
        mine, other = ours.get(name), theirs.get(name)
        if mine is None or other is None:
            print(f"  {name:<28} did not run")
            continue
        ratio = mine.seconds / other.seconds
        groups.setdefault(program.group, []).append(ratio)
        note = "" if mine.output == other.output else "  THE OUTPUTS DIFFER"
        if mine.status or other.status:
            note += f"  FAILED: {mine.status} {mine.error!r}, QEMU {other.status} {other.error!r}"
        print(f"  {name:<28}{mine.seconds:8.2f} s  QEMU {other.seconds:8.2f} s  {ratio:6.2f}{note}")
    for group, ratios in groups.items():
        print(f"{group:<30}{mean(ratios):6.2f}")
    print(f"{'all':<30}{mean([r for ratios in groups.values() for r in ratios]):6.2f}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.programs", description="Real programs, beside QEMU."
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="those whose group or name has this in it")
    parser.add_argument("--vendor", choices=("vmx", "svm"), default="vmx")
    options = parser.parse_args(argv)
    if lacking := missing():
        print(f"no programs are run: they need {lacking}")
        return 0
    programs = [p for p in SUITE if options.only in f"{p.group}/{p.name}"]
    if not programs:
        names = ", ".join(f"{p.group}/{p.name}" for p in SUITE)
        parser.error(f"--only '{options.only}': none is called so; there are {names}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        initramfs = make_initramfs(folder / "initramfs", drivers=LIBRARIES)
        image = make_image(folder, programs)
        copy = folder / "copy.img"
        shutil.copyfile(image, copy)
        ours = trio.run(devmodel, initramfs, image, options.vendor)
        theirs = qemu(initramfs, copy)
        show(programs, ours, theirs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
