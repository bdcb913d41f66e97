"""A system that gives less memory for host code than is asked for: the guest runs nevertheless (docs/translator.md).

A seccomp filter (Linux, seccomp(2)) takes it away, as SELinux's execmem and PaX's MPROTECT would.
"""

import ctypes
import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hvcore.cpu.processor import COMPILED

pytestmark = pytest.mark.skipif(
    not COMPILED or platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="host code is for x86-64, and the filter for Linux",
)

MMAP = 9  # its number on x86-64
# Offsets in struct seccomp_data: the call, its third and its fourth argument.
NUMBER, PROTECTION, FLAGS = 0, 32, 40
WRITE, EXECUTE, SHARED = 2, 4, 1
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # of BPF: LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # with EPERM
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # of prctl(2)

FILTERS = {
    "one": [  # no mapping of a file that may be executed is shared: no second one of the same memory
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 0, 5, MMAP),
        (LOAD, 0, 0, PROTECTION),
        (ANY_BIT, 0, 3, EXECUTE),
        (LOAD, 0, 0, FLAGS),
        (ANY_BIT, 0, 1, SHARED),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ],
    "none": [  # and none may be written and executed
        (LOAD, 0, 0, NUMBER),
        (EQUAL, 0, 6, MMAP),
        (LOAD, 0, 0, PROTECTION),
        (ANY_BIT, 0, 4, EXECUTE),
        (ANY_BIT, 2, 0, WRITE),
        (LOAD, 0, 0, FLAGS),
        (ANY_BIT, 0, 1, SHARED),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ],
}
"""By how many mappings for host code they leave: what to do, how far to go on if so and if not, its operand."""


def restrict(rules: list[tuple[int, int, int, int]]) -> None:
    """Have this process, and what it starts, live with a filter from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("<HBBI", *rule) for rule in rules)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("<HxxxxxxQ", len(rules), ctypes.addressof(kept))
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")


def under(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python with a filter; this very file brings it about, and is replaced by what it runs."""
    return subprocess.run(
        [sys.executable, "-m", "tests.guests.test_host_code", name, sys.executable, *arguments],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(("name", "translates"), [("one", True), ("none", False)])
def test_the_demo_guest_runs_with_one_mapping_for_host_code_and_with_none(name, translates):
    demo = (
        "-m",
        "devmodel",
        "run",
        "--fw-cfg=opt/devmodel/self-test=1",
        "--statistics",
        "--log-format",
        "json",
    )
    done = under(name, *demo)
    assert done.returncode == 0, done
    assert b"self-test passed" in done.stdout
    events = [json.loads(line) for line in done.stderr.splitlines()]
    (said,) = [event for event in events if event["event"] == "vcpu.statistics"]
    assert (said["translated"] > 0) == translates
    assert said["instructions"] > 1000


@pytest.mark.parametrize(("name", "both"), [("one", 1), ("none", 0)])
def test_a_filter_leaves_the_processor_what_it_says(name, both):
    """One mapping that is written and executed, or none: else the guest above would show nothing."""
    look = (
        "from tests.hvcore.cpu.bench import Bench\n"
        "rows = lambda: sum(' rwxp ' in row for row in open('/proc/self/maps'))\n"
        "before = rows(); bench = Bench(32, 1 << 20)\n"
        "print(rows() - before, int(bench.processor.translate_after > 0))"
    )
    done = under(name, "-c", look)
    assert done.stdout.split() == [b"%d" % both, b"%d" % both], done


if __name__ == "__main__":
    restrict(FILTERS[sys.argv[1]])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the filter stays
