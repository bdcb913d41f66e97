"""The benchmarks run; how fast is not for a test to say."""

import json
import subprocess
import sys

import pytest


@pytest.mark.guest
def test_the_quick_benchmarks_run_and_write_json(tmp_path):
    output = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", output],
        capture_output=True,
        timeout=240,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(output.read_text())
    names = [figure["name"] for figure in document["figures"]]
    assert "compute loop, uncompiled" in names
    assert "port read by a guest, across processes" in names
    assert all(figure["value"] > 0 for figure in document["figures"])
    assert all(name in done.stdout for name in names)
