"""The packages that people install: an sdist that builds, a wheel of it, and what works in a clean environment.

It takes a minute or two and the package index, so it is done where skipping is not allowed, as in CI.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOWNSTREAM = '''
from devmodel.board.pc import Board
from devmodel.testing import Bench, Machine


class Random:
    """A number at a port."""

    def read(self, offset: int, size: int) -> int:
        return 4

    def write(self, offset: int, size: int, value: int) -> None:
        pass


def build(board: Board) -> None:
    board.add(Random(), name="random", ports=0x500)


async def boot() -> bytes:
    async with Machine(vendor="svm", board=build) as machine:
        return await machine.console.expect("self-test passed", 60)


def test_the_number(bench: Bench) -> None:
    build(bench.board)
    assert bench.inp(0x500) == 4
'''

pytestmark = pytest.mark.skipif(
    not os.environ.get("DEVMODEL_NO_SKIP"), reason="takes a minute; DEVMODEL_NO_SKIP=1 does it"
)


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("dist")
    clone = folder / "clone"
    run("git", "clone", "-q", ROOT, clone, cwd=folder)  # what is compiled here is no part of it
    run(
        sys.executable,
        "-m",
        "build",
        "-q",
        "--outdir",
        folder,
        clone,
        cwd=folder,
        DEVMODEL_REQUIRE_COMPILED="1",
    )
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a clean environment with the wheel, pytest and mypy."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    (wheel,) = built.glob("*.whl")
    constraints = ROOT / "constraints.txt"
    pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    run(*pip, "-c", constraints, wheel, "pytest", "mypy", cwd=folder)
    return folder / "venv/bin"


def test_no_package_has_generated_c_and_the_wheel_has_the_compiled_processor(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith(".c")]
    assert [name for name in names if name.startswith("hvcore/cpu/execute.") and name.endswith(".so")]
    assert {"devmodel/py.typed", "hvcore/py.typed", "ioreq/py.typed", "devmodel/demo/demo.bin"} <= set(names)
    with tarfile.open(sdist) as archive:
        sources = archive.getnames()
    packages = ("hvcore", "ioreq", "devmodel")
    assert not [name for name in sources if name.endswith(".so")]
    assert not [name for name in sources if name.endswith(".c") and name.split("/")[1] in packages]


def test_the_demo_runs_from_a_clean_environment(installed, tmp_path):
    said = run(installed / "devmodel", "run", "--fw-cfg", "opt/devmodel/self-test=1", cwd=tmp_path)
    assert "self-test passed" in said
    for command in ("devmodel", "hvcore"):
        assert run(installed / command, "--version", cwd=tmp_path) == f"{command} 0.1.0\n"


def test_a_users_board_and_test_work_there_and_are_typed(installed, tmp_path):
    (tmp_path / "test_mine.py").write_text(DOWNSTREAM)
    assert "1 passed" in run(installed / "pytest", "-q", "test_mine.py", cwd=tmp_path)
    assert "no issues found" in run(installed / "mypy", "--strict", "test_mine.py", cwd=tmp_path)


def test_a_compile_that_fails_is_an_error_if_that_is_asked_for(tmp_path):
    (tmp_path / "x.c").write_text("int x;")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import setup; from setuptools import Distribution, Extension; "
        "command = setup.BuildAllOrNothing(Distribution({'name': 'x', 'ext_modules': [Extension('x', ['x.c'])]})); "
        "command.inplace = 1; command.ensure_finalized(); command.run()"
    )
    for required, status in (("1", 1), ("", 0)):
        environment = os.environ | {"CC": "/bin/false", "DEVMODEL_REQUIRE_COMPILED": required}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert ("the processor cannot be compiled" if required else "will run uncompiled") in done.stderr
