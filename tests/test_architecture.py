"""Who may import whom (ARCHITECTURE.md); read from the source, so that nothing need run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_FOR_CHIPS = {"trio", "os", "socket", "threading", "time", "asyncio", "select", "signal", "subprocess"}


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add((node.module or "").partition(".")[0])
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", files("ioreq"), ids=names(files("ioreq")))
def test_the_wire_knows_neither_end(path):
    assert not imported(path) & {"devmodel", "hvcore"}


@pytest.mark.parametrize("path", files("hvcore"), ids=names(files("hvcore")))
def test_the_core_does_not_know_the_device_models(path):
    assert "devmodel" not in imported(path)


@pytest.mark.parametrize("path", files("devmodel"), ids=names(files("devmodel")))
def test_the_device_models_do_not_know_the_core(path):
    assert "hvcore" not in imported(path)


@pytest.mark.parametrize("path", files("devmodel/devices"), ids=names(files("devmodel/devices")))
def test_a_chip_does_no_io_and_keeps_no_time(path):
    assert not imported(path) & NOT_FOR_CHIPS


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param("hvcore.cli", id="the core and its end of the wire"),
        pytest.param("devmodel.board.pc", id="the board and its chips"),
        *(
            pytest.param(".".join(path.with_suffix("").relative_to(ROOT).parts), id=path.stem)
            for path in files("devmodel/devices")
            if path.stem != "__init__"
        ),
    ],
)
def test_trio_is_not_imported_even_indirectly(modules):
    program = f"import sys, {modules}; print('trio' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_the_files_that_a_document_names_are_there(document):
    text = (ROOT / document).read_text()
    named = set(re.findall(r"`([\w/.-]*\w\.(?:py|pxd|asm|sh))`", text))
    there = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.*") if ".venv" not in path.parts}
    assert [
        name for name in sorted(named) if not any(f"/{path}".endswith(f"/{name}") for path in there)
    ] == []
