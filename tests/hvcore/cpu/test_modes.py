"""The processor compiled and uncompiled is the same processor."""

import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from hvcore.cpu import constants, uncompiled
from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED

ROOT = Path(__file__).parents[3]


def test_every_field_of_the_record_exists_uncompiled() -> None:
    text = (resources.files("hvcore.cpu") / "state.pxd").read_text()
    body = text[text.index("cdef class State") :].splitlines()[1:]
    lines = [line for line in body if line.strip().startswith("cdef")]

    class Blank:
        pass

    blank = Blank()
    uncompiled.allocate(blank)
    # Fields of the processor, which its State does not have.
    elsewhere = {"pins", "*pin", "*wanted_pin", "*host", "host_view", "memory", "intercepts"}
    assert len(constants.STATE_FIELDS) == len(lines)
    assert set(constants.STATE_FIELDS) - elsewhere == {
        f"*{name}" if name in {"ops", "blocks", "buckets", "page_blocks", "page_code"} else name
        for name in vars(blank)
    }


def test_operations_are_numbered_as_c_numbers_them() -> None:
    kinds = list(constants.KINDS.values())
    assert kinds == list(range(len(kinds)))
    assert constants.KINDS["UNDEFINED"] == 0
    assert constants.STATE["F_STATUS"] == 0x8D5
    assert constants.STATE["EVENT_SOFTWARE_EXCEPTION"] == 6


def test_exit_kinds_are_numbered_alike_in_c_and_in_python() -> None:
    python = {f"EXIT_{name}": number for name, number in vars(ExitKind).items() if name.isupper()}
    assert python == {name: n for name, n in constants.STATE.items() if name.startswith("EXIT_")}


def test_every_intercept_has_a_type() -> None:
    declared = (ROOT / "hvcore" / "cpu" / "intercepts.pxd").read_text()
    names = set(re.findall(r"^    cdef public [a-z ]+ (\w+)$", declared, re.MULTILINE))
    source = (ROOT / "hvcore" / "cpu" / "intercepts.py").read_text()
    assert names == set(re.findall(r"self\.(\w+)(?:: [^=]+)? = ", source.partition("def clear")[2]))


@pytest.mark.skipif(not COMPILED, reason="this run is the uncompiled processor's already")
def test_the_uncompiled_processor_passes_a_sample_of_the_same_tests(tmp_path: Path) -> None:
    for package in ("hvcore", "ioreq", "tests"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    vectors = os.environ.get("DEVMODEL_VECTORS", str(ROOT.parent / "shared" / "vectors"))
    environment = {**os.environ, "DEVMODEL_VECTORS": vectors, "PYTHONPATH": str(tmp_path)}
    names = (
        "test_vectors",
        "test_against_unicorn",
        "test_execute",
        "test_decode",
        "test_x87",
        "test_sse",
        "test_nmi",
        "test_vme",
        "test_sysenter",
        "test_debug",
        "test_faults",
        "test_paging",
        "test_tasks",
        "test_sequences",
        "test_changing_code",
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        + [f"tests/hvcore/cpu/{name}.py" for name in names]
        + [f"tests/hvcore/{vendor}/test_controls.py" for vendor in ("vmx", "svm")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,  # of about 30 seconds on an idle machine
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout
