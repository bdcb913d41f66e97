"""Matrices of guests: what a file says, cells on this machine, and on a Dask cluster whose workers come and die."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest

from devmodel import ConfigError
from devmodel.cli import main
from devmodel.matrix.plan import load
from tests.hvcore.cpu.bench import assemble

GUEST = """
        bits 16
        mov si, text
        mov dx, 0x3f8
next:   lodsb
        out dx, al
        test al, al
        jnz next
        mov dx, 0x70                    ; does nothing, some times
{wait}  mov al, {code}
        out 0xf4, al
        hlt
text:   db "{text}", 13, 10, 0
"""
"""Says something on the serial port, and ends the machine."""


def guest(folder: Path, name: str, text: str, *, code: int = 0, forever: bool = False) -> None:
    wait = "again:  jmp again\n" if forever else ""
    (folder / name).write_bytes(assemble(GUEST.format(text=text, code=code, wait=wait)))


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "matrix.toml"
        path.write_text(text)
        return str(path)

    return write


BOOT = '[boot]\nexpect = "hello"\nseconds = 20\n'


def test_every_combination_is_a_cell_but_those_left_out(write, tmp_path):
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"\xf4")
    cells = load(
        write(
            '[machine]\nmemory = "16M"\n[axes]\nimage = ["*.bin"]\nvendor = ["vmx", "svm"]\n'
            '[[exclude]]\nimage = "b.bin"\nvendor = "svm"\n' + BOOT
        )
    )
    assert [cell.name for cell in cells] == ["a.bin vmx", "a.bin svm", "b.bin vmx"]
    assert cells[2].options == {"memory": "16M", "image": str(tmp_path / "b.bin"), "vendor": "vmx"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1", "matrix.toml: unknown table [x]; allowed: machine, axes, exclude, boot, test"),
        ("[axes", "matrix.toml: Expected ']'"),
        (BOOT, "matrix.toml: [axes] is a table of options, each a list of values"),
        (
            '[axes]\nmodem = ["x"]\n' + BOOT,
            "matrix.toml: unknown key 'modem' in [axes]; allowed: machine, vendor, ",
        ),
        (
            '[machine]\nmodem = "x"\n[axes]\nvendor = ["vmx"]\n' + BOOT,
            "matrix.toml: unknown key 'modem' in [machine]",
        ),
        ("[axes]\nvendor = []\n" + BOOT, "matrix.toml: vendor in [axes] is a list of values"),
        ('[axes]\nvendor = ["vmx"]\n', "matrix.toml: give [boot], what makes a boot good, or [test]"),
        ('[axes]\nvendor = ["vmx"]\n' + BOOT + '[test]\nfile = "x"', "matrix.toml: give [boot], what makes"),
        ('[axes]\nvendor = ["vmx"]\n[boot]\nexpect = 1', "matrix.toml: [boot]: Expected `str`, got `int`"),
        (
            '[axes]\nvendor = ["vmx"]\n[boot]\nexpect = "x"\nseconds = -1',
            "matrix.toml: [boot]: Expected `float` > 0",
        ),
        (
            '[axes]\nkernel = ["nothing-*"]\n' + BOOT,
            "matrix.toml: kernel in [axes]: nothing matches 'nothing-*'",
        ),
        ('[axes]\nkernel = ["nothing"]\n' + BOOT, "matrix.toml: nothing: no file "),
        ("[axes]\ndisks = [3]\n" + BOOT, "matrix.toml: disks in [axes]: a path, or a list of paths"),
        (
            '[axes]\nvendor = ["vmx"]\n[[exclude]]\ncpu = "486"\n' + BOOT,
            "matrix.toml: 'cpu' in [[exclude]] is no axis",
        ),
        (
            '[axes]\nvendor = ["vmx"]\n[[exclude]]\nvendor = "vmx"\n' + BOOT,
            "matrix.toml: 0 cells; allowed: 1 to",
        ),
    ],
)
def test_a_mistake_is_one_line(write, text, line):
    with pytest.raises(ConfigError) as raised:
        load(write(text))
    assert str(raised.value).startswith(line)


def test_a_machine_that_is_refused_is_an_error_and_no_verdict(write, tmp_path, capsys):
    guest(tmp_path, "good.bin", "hello")
    text = '[machine]\nimage = "good.bin"\n[axes]\nmemory = ["16M", "16 pounds"]\n' + BOOT
    assert main(["matrix", write(text)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"16M +passed", lines[1])
    assert re.match(r"16 pounds +failed .*status 2", lines[2])


def test_cells_pass_and_fail_and_both_are_reported(write, tmp_path, capsys):
    guest(tmp_path, "good.bin", "hello")
    guest(tmp_path, "bad.bin", "goodbye")
    text = '[axes]\nimage = ["good.bin", "bad.bin"]\nvendor = ["vmx", "svm"]\n' + BOOT
    junit = tmp_path / "junit.xml"
    assert main(["matrix", write(text), "--junit", str(junit), "--jobs", "2"]) == 1
    shown = capsys.readouterr()
    assert [line.split()[2] for line in shown.out.splitlines()[1:-1]] == [
        "passed",
        "passed",
        "failed",
        "failed",
    ]
    assert shown.out.splitlines()[-1] in ("4 cells: 2 passed, 2 failed", "4 cells: 2 failed, 2 passed")
    assert len(re.findall(r"^\[\d/4\] (passed|failed) ", shown.err, re.MULTILINE)) == 4
    suite = ET.fromstring(junit.read_text())  # noqa: S314  (it is our own)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    assert [case.get("name") for case in suite.findall("testcase[failure]")] == ["bad.bin vmx", "bad.bin svm"]
    assert "goodbye" in (suite.findtext("testcase[@name='bad.bin vmx']/system-out") or "")


def test_a_test_has_the_machine_of_each_cell(write, tmp_path, capsys):
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    (tmp_path / "test_it.py").write_text(
        "async def test_it(machine):\n"
        "    await machine.console.expect('hello')\n"
        "    assert machine.options['vendor'] == 'svm'\n"
    )
    guest(tmp_path, "good.bin", "hello", forever=True)
    text = '[machine]\nimage = "good.bin"\n[axes]\nvendor = ["vmx", "svm"]\n[test]\nfile = "test_it.py"\n'
    assert main(["matrix", write(text)]) == 1
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:3]] == [
        ["vmx", "failed"],
        ["svm", "passed"],
    ]


def test_only_the_names_are_listed_if_that_is_asked_for(write, capsys):
    assert main(["matrix", write('[axes]\nvendor = ["vmx", "svm"]\n' + BOOT), "--list"]) == 0
    assert capsys.readouterr().out == "vmx\nsvm\n"


def guests_of(image: str) -> list[bytes]:
    """Return the command lines of the machines that run an image of this test."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return [line for line in found if b"devmodel\0run" in line and f"/{image}\0".encode() in line]


# -- a cluster --------------------------------------------------------------------------------------------


@attrs.define
class Cluster:
    """A Dask scheduler and its workers, each with a cache of its own."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            cwd=self.folder,
        )
        self.processes.append(process)
        return process

    def work(self, name: str) -> subprocess.Popen[str]:
        """Start a worker, and wait until it is there."""
        cache = self.folder / name
        worker = self.start(
            *("dask_worker", self.address, "--name", name, "--nthreads", "1", "--no-dashboard", "--no-nanny"),
            XDG_CACHE_HOME=str(cache),
        )
        self.hear(worker, r"Registered to: +(\S+)")
        return worker

    @staticmethod
    def hear(process: subprocess.Popen[str], wanted: str) -> str:
        """Return what a program says that matches; what it says later is thrown away."""
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(wanted, line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return match[1]
        raise AssertionError(f"exit status {process.wait()}")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler, and two workers "one" and "two"."""
    found = Cluster(tmp_path)
    try:
        scheduler = found.start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        found.address = found.hear(scheduler, r"Scheduler at: +(\S+)")
        found.work("one")
        found.work("two")
        yield found
    finally:
        for process in reversed(found.processes):
            process.terminate()
        for process in found.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def test_cells_run_on_the_workers_of_a_cluster(cluster, write, tmp_path, capsys):
    guest(tmp_path, "good.bin", "hello")
    guest(tmp_path, "bad.bin", "goodbye")
    text = '[axes]\nimage = ["good.bin", "bad.bin"]\nvendor = ["vmx", "svm"]\n' + BOOT
    assert main(["matrix", write(text), "--scheduler", cluster.address]) == 1
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:-1]] == [
        "passed", "passed", "failed", "failed",
    ]  # fmt: skip
    for worker in ("one", "two"):  # each has both files, by what is in them
        kept = sorted((tmp_path / worker / "devmodel/images").iterdir())
        assert sorted(path.read_bytes() for path in kept) == sorted(
            (tmp_path / name).read_bytes() for name in ("good.bin", "bad.bin")
        )


def test_a_worker_that_dies_costs_a_retry_and_not_the_run(cluster, write, tmp_path, capsys):
    guest(tmp_path, "endless.bin", "hello", forever=True)
    text = (
        '[machine]\nimage = "endless.bin"\n[axes]\nvendor = ["vmx", "svm"]\ncpu = ["i686", "pentium3"]\n'
        '[boot]\nexpect = "hello"\nseconds = 30\n'
    )
    victim = cluster.processes[1]

    def kill() -> None:
        while not (tmp_path / "one/devmodel/images").is_dir():
            time.sleep(0.05)
        time.sleep(0.5)  # in the midst of a cell
        victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main(["matrix", write(text), "--scheduler", cluster.address]) == 0
    killer.join()
    assert victim.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while guests_of("endless.bin") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert guests_of("endless.bin") == [], "the dead worker's machine has died with it"
    assert capsys.readouterr().out.splitlines()[-1] == "4 cells: 4 passed"


def test_a_worker_that_comes_late_is_sent_what_it_lacks(cluster, write, tmp_path, capsys):
    guest(tmp_path, "good.bin", "hello")
    text = '[axes]\nimage = ["good.bin"]\nvendor = ["vmx", "svm"]\n' + BOOT
    assert main(["matrix", write(text), "--scheduler", cluster.address]) == 0
    for process in cluster.processes[1:]:
        process.terminate()
        process.wait(20)
    cluster.work("three")
    assert main(["matrix", write(text), "--scheduler", cluster.address]) == 0
    assert len(list((tmp_path / "three/devmodel/images").iterdir())) == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("address", "why"), [("tcp://127.0.0.1:9", "no scheduler answers"), ("x://y", "no scheduler")]
)
def test_no_scheduler_is_one_line(write, capsys, monkeypatch, address, why):
    from devmodel.matrix import cluster as module

    monkeypatch.setattr(module, "PATIENCE", 0.5)
    assert main(["matrix", write('[axes]\nvendor = ["vmx"]\n' + BOOT), "--scheduler", address]) == 2
    assert capsys.readouterr().err.startswith(f"devmodel: {why}")
