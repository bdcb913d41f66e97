"""The benchmarks run; how fast is not for a test to say."""

import json
import shutil
import subprocess
import sys

import pytest


@pytest.mark.guest
def test_the_quick_benchmarks_run_and_write_json(tmp_path):
    output = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", output],
        capture_output=True,
        timeout=400,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(output.read_text())
    names = [figure["name"] for figure in document["figures"]]
    assert "compute loop, uncompiled" in names
    assert "port read by a guest, across processes" in names
    assert ("real-mode program, a turn" in names) == (shutil.which("nasm") is not None)
    assert all(figure["value"] > 0 for figure in document["figures"])
    assert ("no boot of Linux" in done.stdout) != ("Linux to userspace, vmx" in names)
    assert ("idle Linux, vmx: processor time" in names) == ("Linux to userspace, vmx" in names)
    profiles = document["profiles"]
    assert {"compute", "memory", "port"} <= set(profiles)
    for profile in profiles.values():
        assert profile["mips"] > 0
        parts = sum(profile["shares"][name] for name in ("guest", "exits", "waiting", "asleep"))
        assert abs(parts - 100) < 0.1
    assert profiles["port"]["kinds"]["exit_kinds"]["io"] == pytest.approx(333_333, rel=0.01)
    assert all(name in done.stdout for name in names)
