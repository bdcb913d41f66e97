"""What the documents show runs as it stands: files are written and tested, commands are run, excerpts are there."""

import os
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import devmodel
import hvcore
from devmodel import boards, config
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.cli import _parser
from devmodel.config import Options, load
from devmodel.control import messages
from devmodel.control.qmp_commands import COMMANDS
from devmodel.qtest.machine import QtestCore
from devmodel.qtest.server import Qtest
from hvcore import config as core

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"# ([\w./-]+)\n")


def blocks(document: str) -> Iterator[tuple[str, str, str]]:
    """Yield language, name of the file if there is one, and text of each block."""
    for language, text in BLOCK.findall((ROOT / document).read_text()):
        name = NAME.match(text)
        yield (language, name[1], text[name.end() :]) if name else (language, "", text)


def write_files(document: str, folder: Path) -> list[str]:
    """Write the files of a document, and return the names of those that are tests."""
    names = []
    for language, name, text in blocks(document):
        if name and "/" not in name and language in {"python", "ini", "toml"}:
            (folder / name).write_text(text)
            names.append(name)
    return [name for name in names if name.startswith("test_")]


def environment() -> dict[str, str]:
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    return {name: value for name, value in os.environ.items() if name != "DEVMODEL_NO_SKIP"} | {"PATH": path}


def matches(shown: str, printed: str) -> bool:
    """Whether output is what a document shows, where … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


@pytest.mark.parametrize("document", ["docs/your-own-device.md", "docs/testing.md", "docs/qtest.md"])
def test_every_block_of_python_is_a_file_or_stands_in_one(document):
    for language, name, text in blocks(document):
        if language == "python":
            assert name, text
            if "/" in name:
                assert text in (ROOT / name).read_text(), text


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/consoles.md",
        "docs/disks.md",
        "docs/screens.md",
        "docs/your-own-device.md",
        "docs/testing.md",
    ],
)
def test_what_is_typed_is_what_the_command_takes(document):
    """Blocks of sh, which are not run here, since they go on for ever."""
    for language, _, text in blocks(document):
        for line in text.splitlines() if language == "sh" else ():
            program, *arguments = line.split()
            if program == "devmodel":
                _parser().parse_args(arguments)
            else:
                assert line.startswith("pip install devmodel")


def test_the_tables_in_the_afternoon_are_understood(tmp_path):
    write_files("docs/your-own-device.md", tmp_path)
    assert load(str(tmp_path / "machine.toml"), Options()).board == "dice:build"
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][boards.GROUP] == {"dice": "dice:build"}


def test_the_afternoon_with_a_device_of_ones_own(tmp_path):
    tests = write_files("docs/your-own-device.md", tmp_path)
    assert tests == ["test_dice.py", "test_guest.py"]
    ran = 0
    for language, _, text in blocks("docs/your-own-device.md"):
        if language != "console":
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            words = [sys.executable if word == "python" else word for word in command.split()]
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=environment(),
                timeout=100,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            assert matches(shown, done.stdout + done.stderr), (command, done)
            ran += 1
    assert ran == 6


def test_the_package_of_the_afternoon_is_installed_with_its_module_and_found_by_its_short_name(tmp_path):
    """The folder has everything that the afternoon has written by then, which setuptools does not choose among."""
    folder, site = tmp_path / "afternoon", tmp_path / "site"
    folder.mkdir()
    write_files("docs/your-own-device.md", folder)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*pip, "--target", str(site), str(folder)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (site / "dice.py").exists()
    done = subprocess.run(
        [sys.executable, "-m", "devmodel", "run", "--board", "dice", "--fw-cfg", "opt/devmodel/self-test=1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(site)},
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "self-test passed" in done.stdout


def test_the_tests_of_the_page_on_testing_pass(tmp_path):
    tests = write_files("docs/testing.md", tmp_path)
    guests = ROOT / ".guests"
    if (guests / "complete").exists():
        from tests.guests.initramfs import make_initramfs

        (tmp_path / ".guests").mkdir()
        (tmp_path / ".guests" / "vmlinuz").symlink_to(guests / "vmlinuz")
        make_initramfs(tmp_path / ".guests" / "initramfs")
    else:
        tests.remove("test_linux.py")
    run_pytest(tmp_path, tests)


def test_the_tests_of_the_page_on_qtest_pass(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    run_pytest(tmp_path, write_files("docs/qtest.md", tmp_path))


def test_the_session_of_the_page_on_qtest_is_what_the_server_answers():
    text = (ROOT / "docs/qtest.md").read_text()
    commands, answers = re.search(r"printf '(.*)' \|.*\n((?:OK.*\n)+)", text).groups()
    core, clock = QtestCore(), ManualClock()
    server = Qtest(Board.build(clock, core, Fittings(memory=core.e820)), core, clock)
    for command in commands.replace("\\n", "\n").splitlines():
        for _ in server.perform(command.encode()):
            pass
    assert server.take().decode() == answers


def test_the_readmes_example_passes(tmp_path):
    (example,) = [text for language, _, text in blocks("README.md") if language == "python"]
    if not (ROOT / ".guests" / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    (tmp_path / "test_readme.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    from tests.guests.initramfs import make_initramfs

    (tmp_path / ".guests").mkdir()
    (tmp_path / ".guests" / "vmlinuz").symlink_to(ROOT / ".guests" / "vmlinuz")
    make_initramfs(tmp_path / ".guests" / "initramfs")
    run_pytest(tmp_path, ["test_readme.py"])


def run_pytest(folder: Path, tests: list[str]) -> None:
    """Run tests in a process of their own, in a folder that knows nothing of us."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *tests],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed in ", done.stdout.splitlines()[-1]), done.stdout


def test_the_options_that_the_page_on_testing_names_are_those_there_are():
    from devmodel.testing import MachineOptions

    text = (ROOT / "docs/testing.md").read_text()
    named = re.search(r"Options are keywords.*?: (.*?)\. Without", text, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == set(MachineOptions.__annotations__)


def test_every_command_of_the_monitor_and_of_qmp_is_documented():
    text = (ROOT / "docs/monitor.md").read_text()
    cells = {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\S+?)`", row)
    }
    known = {kind.__struct_config__.tag for kind in typing.get_args(messages.Command)}
    assert cells == known | {"command", "qmp_capabilities", *COMMANDS}


def test_every_table_and_key_of_a_machine_is_in_the_reference():
    text = (ROOT / "docs/machine.md").read_text()
    sections = dict(re.findall(r"^## \[+(\w+)\]+\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    documented = {
        name: set(re.findall(r"^\| `([\w-]+)` \|", body, re.MULTILINE)) for name, body in sections.items()
    }
    known = {
        name: {field.name for field in msgspec.structs.fields(kind)} for name, kind in config.TABLES.items()
    }
    known |= {"machine": {*core.KEYS, *core.DEVICE_KEYS}, "fw_cfg": set(), "board": set()}
    assert documented == known
    assert {"machine", *core.DEVICE_TABLES} == set(known)


def test_the_programs_say_the_version_of_the_distribution():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (version, version) == (devmodel.VERSION, hvcore.VERSION)
