"""Boards of one's own by their names: found, called, and refused in one line with status 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from devmodel import ConfigError, boards
from devmodel.board.pc import Board
from devmodel.testing import Bench

GOOD = """
class Chip:
    def read(self, offset, size):
        return 0x5A

    def write(self, offset, size, value):
        pass

def build(board, *, port="0x500"):
    board.add(Chip(), name="chip", ports=int(port, 0))

number = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes modules, which are forgotten with the test."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_board_is_found_by_its_module_and_gets_the_options(module) -> None:
    module("good_board", GOOD)
    assert Bench("good_board:build").inp(0x500) == 0x5A
    assert Bench("good_board:build", port="0x520").inp(0x520) == 0x5A


def test_a_board_is_found_by_its_file_relative_to_the_machines(module, tmp_path) -> None:
    module("filed_board", GOOD)
    builder = boards.find("filed_board.py:build", folder=str(tmp_path))
    assert Bench(builder).inp(0x500) == 0x5A


def test_a_short_name_is_an_entry_point(tmp_path, monkeypatch, module) -> None:
    module("named_board", GOOD)
    info = tmp_path / "named-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: named\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[devmodel.boards]\nmine = named_board:build\n")
    assert Bench("mine").inp(0x500) == 0x5A
    with pytest.raises(
        ConfigError, match=r"^board 'other' is not known; allowed: MODULE:FUNCTION, .*, mine$"
    ):
        boards.find("other")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "no_such_one:build",
            "",
            "board 'no_such_one:build': there is no module 'no_such_one'",
        ),
        ("broken:nothing", GOOD, "board 'broken:nothing': broken has no 'nothing'"),
        ("broken:number", GOOD, "board 'broken:number': int is not callable; give a function of a board"),
        (
            "broken:build",
            "import no_such_one",
            "board 'broken:build': ModuleNotFoundError: No module named 'no_such_one' (broken.py:1)",
        ),
        (
            "broken:build",
            "x = 1\nx / 0",
            "board 'broken:build': ZeroDivisionError: division by zero (broken.py:2)",
        ),
        (
            "broken:build",
            "x = (",
            "board 'broken:build': SyntaxError: '(' was never closed (broken.py:1)",
        ),
        (":build", "", "board ':build'; allowed: MODULE:FUNCTION, FILE.py:FUNCTION"),
        ("broken:build.x", GOOD, "board 'broken:build.x': broken has no 'build.x'"),
        ("broken:", GOOD, "board 'broken:'; allowed: MODULE:FUNCTION, FILE.py:FUNCTION"),
        ("./no_such.py:build", "", "board './no_such.py:build': there is no file "),
    ],
)
def test_what_is_no_board_is_one_line(module, name, text, line) -> None:
    module("broken", text)
    with pytest.raises(ConfigError) as error:
        boards.find(name)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_options_that_it_does_not_take_are_refused_before_anything_starts(module) -> None:
    module("strict", GOOD)
    with pytest.raises(
        ConfigError, match=r"^board 'strict:build': got an unexpected keyword argument 'colour'$"
    ):
        boards.find("strict:build", {"colour": "red"})


def test_what_a_board_raises_names_its_file_and_line(module) -> None:
    module("raising", "def build(board):\n    return inner()\n\ndef inner():\n    return [][1]\n")
    with pytest.raises(
        ConfigError, match=r"^board raising:build: IndexError: list index out of range \(raising.py:5\)$"
    ):
        Bench("raising:build")


def at_the_top(board: Board) -> None:
    """Add nothing."""


class Holder:
    @staticmethod
    def build(board: Board) -> None:
        """Add nothing."""


def test_a_function_has_a_name_by_which_another_process_finds_it() -> None:
    for function in (at_the_top, Holder.build):
        name = boards.name_of(function)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from devmodel import boards; print(boards.find({name!r}).function.__name__)",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{function.__name__}\n"
    with pytest.raises(ConfigError, match="give a function at the top of a module"):
        boards.name_of(lambda _: None)


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "devmodel", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("way", "name", "line"),
    [
        ("run", "nobody.here:build", "devmodel: board 'nobody.here:build': there is no module 'nobody'"),
        ("run", "wrong:gone", "devmodel: board 'wrong:gone': wrong has no 'gone'"),
        (
            "serve",
            "wrong.py:text",
            "devmodel: board 'wrong.py:text': str is not callable; give a function of a board",
        ),
        ("run", "nick", "devmodel: board 'nick' is not known; allowed: MODULE:FUNCTION, FILE.py:FUNCTION"),
    ],
)
def test_the_commands_say_so_in_one_line_with_status_2(tmp_path, way, name, line) -> None:
    (tmp_path / "wrong.py").write_text("text = 'no board'\n")
    domain = [] if way == "run" else ["--domain", str(tmp_path / "domain")]
    done = command(way, "--board", name, *domain, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_board_that_fails_when_it_is_built_ends_the_machine_in_one_line(tmp_path) -> None:
    (tmp_path / "failing.py").write_text(
        "def build(board, **options):\n    board.add(object(), name='x', ports=0x500)\n"
    )
    done = command("run", "--board", "failing:build", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "devmodel: board failing:build: x: object has no 'read'; needed here: read, write (failing.py:2)\n"
    )


def test_the_machines_file_names_a_board_and_its_options(tmp_path) -> None:
    (tmp_path / "filed.py").write_text("def build(board, *, colour):\n    raise ValueError(colour)\n")
    machine = tmp_path / "sub" / "machine.toml"
    machine.parent.mkdir()
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    text = '[machine]\nimage = "../guest.bin"\nboard = "../filed.py:build"\n[board]\ncolour = "red"\n'
    machine.write_text(text)
    done = command("run", str(machine), folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "devmodel: board ../filed.py:build: ValueError: red (filed.py:2)\n",
    )
    done = command("run", str(machine), "--board-option", "colour=blue", folder=tmp_path)
    assert done.stderr.endswith("ValueError: blue (filed.py:2)\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[machine]\nboard = 5", 'machine.toml: board in [machine]: give a name, "MODULE:FUNCTION"'),
        ("[board]\nx = 5", "machine.toml: 'x' is for a board, and there is none"),
        ("board = 5", 'machine.toml: [board] is a table, of options; write board = "…" in [machine]'),
        (
            '[[server]]\nparts = ["own"]',
            "machine.toml: 'own' is for the chips of a board of one's own, and there is none",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, text, line) -> None:
    (tmp_path / "machine.toml").write_text(text)
    done = command("run", "machine.toml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"devmodel: {line}\n")
