"""`hvcore run` as a user meets it: one line and status 2 for a mistake, a clean end for a signal."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import hvcore.cli
from hvcore.cli import main

LEVELS = "'debug', 'info', 'warning', 'error'"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(b"\xeb\xfe")
    return str(path)


@pytest.fixture(autouse=True)
def no_logging(monkeypatch):
    """A logger of this process would keep the standard error of the test that made it."""
    monkeypatch.setattr(hvcore.cli, "configure_logging", lambda *_: None)


def refused(capsys, *arguments):
    """The one line that a mistake gets."""
    try:
        status = main(["run", *arguments])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error.strip()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "hvcore run: the following arguments are required: --domain"),
        (("--domain", "d", "--colour", "red"), "hvcore: unrecognized arguments: --colour"),
        (
            ("--domain", "d"),
            "hvcore: nothing to run: give --firmware, --image or --kernel FILE, or one of them in [machine]",
        ),
        (
            ("--domain", "d", "--image", "x", "--vendor", "via"),
            "hvcore: --vendor is 'via'; allowed: vmx, svm",
        ),
        (
            ("--domain", "d", "--image", "x", "--cpu", "8086"),
            "hvcore: --cpu is '8086'; allowed: 486, pentium, pentium2, pentium3, qemu32, i686",
        ),
        (
            ("--domain", "d", "--image", "/nowhere"),
            "hvcore: cannot read image /nowhere: No such file or directory",
        ),
        (("--domain", "d", "/nowhere.toml"), "hvcore: cannot read /nowhere.toml: No such file or directory"),
        (
            ("--domain", "d", "--image", "x", "--image-address", "here"),
            "hvcore run: argument --image-address: 'here' is not a number",
        ),
        (
            ("--domain", "d", "--log-level", "loud"),
            "hvcore run: argument --log-level: invalid choice: 'loud' (choose from " + LEVELS + ")",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(capsys, arguments, line):
    assert refused(capsys, *arguments) == line


def test_a_truncated_firmware_is_one_line(capsys, tmp_path):
    (tmp_path / "bios").write_bytes(bytes(1000))
    line = refused(capsys, "--domain", str(tmp_path / "d"), "--firmware", str(tmp_path / "bios"))
    assert line.endswith("has 1000 bytes; allowed: a multiple of 64 KiB, at most 16 MiB (is it truncated?)")
    assert not (tmp_path / "d").exists()


def test_a_socket_in_a_folder_that_is_not_there_is_one_line(capsys, image):
    assert refused(capsys, "--domain", "/nowhere/d", "--image", image).startswith(
        "hvcore: cannot listen on /nowhere/d: "
    )


def test_something_else_at_the_sockets_place_is_one_line(capsys, image):
    assert "there is something else than a socket" in refused(capsys, "--domain", image, "--image", image)


class Core:
    def __init__(self, path, image, *options):
        self.path = path
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hvcore", "run", "--domain", path, "--image", image, *options],
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_socket(self):
        deadline = time.monotonic() + 20
        while not os.path.exists(self.path):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_core_within_a_second_and_takes_the_socket_with_it(tmp_path, image, number):
    core = Core(str(tmp_path / "domain"), image, "--log-level", "info", "--log-format", "json")
    core.wait_for_socket()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.connect(core.path)
        before = time.monotonic()
        core.process.send_signal(number)
        _, errors = core.process.communicate(timeout=5)
        assert time.monotonic() - before < 1
    assert core.process.returncode == 0
    assert not os.path.exists(core.path)
    assert '"event": "domain.waiting"' in errors
    assert f'"signal": "{number.name}"' in errors


def test_a_core_ends_when_its_lifeline_is_closed(tmp_path, image):
    theirs, ours = os.pipe()
    options = ["--domain", str(tmp_path / "d"), "--lifeline", str(theirs), "--log-level", "info"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hvcore", "run", "--image", image, *options],
        stderr=subprocess.PIPE,
        pass_fds=[theirs],
        text=True,
    )
    os.close(theirs)
    os.write(ours, b"what is said on it does not matter")
    time.sleep(1)
    assert process.poll() is None
    os.close(ours)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "hvcore.lifeline_closed" in errors
    assert not (tmp_path / "d").exists()


def test_a_lifeline_that_is_no_descriptor_is_one_line(capsys, image):
    closed = os.dup(0)
    os.close(closed)
    for fd in (str(closed), "x", "-1"):
        line = refused(capsys, "--domain", "d", "--image", image, f"--lifeline={fd}")
        assert line == f"hvcore run: argument --lifeline: '{fd}' is not an open descriptor"


def test_a_second_core_on_one_socket_is_one_line(tmp_path, image, capsys):
    core = Core(str(tmp_path / "domain"), image)
    core.wait_for_socket()
    try:
        assert "another core listens there" in refused(capsys, "--domain", core.path, "--image", image)
    finally:
        core.process.terminate()
        core.process.communicate(timeout=5)


def test_a_core_that_was_killed_leaves_a_socket_that_the_next_one_takes(tmp_path, image):
    core = Core(str(tmp_path / "domain"), image)
    core.wait_for_socket()
    core.process.kill()
    core.process.communicate(timeout=5)
    assert os.path.exists(core.path)
    again = Core(core.path, image)
    deadline = time.monotonic() + 20
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        while peer.connect_ex(core.path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    time.sleep(0.2)
    again.process.terminate()
    _, errors = again.process.communicate(timeout=5)
    assert (again.process.returncode, errors) == (0, "")
    assert not os.path.exists(core.path)
