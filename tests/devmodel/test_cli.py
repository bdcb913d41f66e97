"""The commands, as a user meets them: what is said, the exit status, and what is left behind."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from devmodel.cli import main
from devmodel.control import asking, messages, sockets
from ioreq import VERSION

FAKE = Path(__file__).with_name("fake_core.py")
START = f"""
import fcntl, os, sys, termios
if os.isatty(0):  # the terminal becomes its own, as in a shell, so that Ctrl-C is a signal
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from devmodel.service import run
run.COMMAND = [sys.executable, "-P", {str(FAKE)!r}]
from devmodel.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A private temporary folder for sockets, and our packages for children."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def start(environment):
    """Start `devmodel run` with a fake core; whatever still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def starter(how: str, *arguments: str, **options) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-c", START, "run", *arguments],
                env=os.environ | {"FAKE_CORE": how},
                **(
                    {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
                    | options
                ),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield starter


def children(process: subprocess.Popen) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for path in tasks for pid in path.read_text().split()]


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return "State:\tZ" in status.read_text()
    return True


# -- run


def test_without_a_terminal_output_is_piped_and_the_status_is_the_guests(environment, start):
    process = start("")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0x21, b"ready\r\nbye", b"")
    assert list(environment.iterdir()) == []


def test_what_is_piped_in_is_typed(environment, start):
    process = start("echo", stdin=subprocess.PIPE)
    out, _ = process.communicate(b"hello\n", timeout=20)
    assert out == b"ready\r\nHELLO\nbye"


def test_output_that_nobody_reads_ends_nothing(environment, start):
    process = start("")
    process.stdout.close()  # `devmodel run | head -0`
    assert process.wait(20) == 0x21


def test_a_core_that_refuses_has_the_word(environment, start):
    process = start(
        "refuse",
        "--firmware",
        "none.bin",
        "--vendor",
        "svm",
        "--memory",
        "32M",
        "--no-reboot",
        "--statistics",
    )
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert out == b""
    passed_on = (
        "--vendor svm --memory 32M --firmware none.bin --no-reboot --statistics "
        "--log-format console --log-level warning"
    )
    assert err.decode().splitlines() == [f"hvcore: no such firmware ({passed_on})"]


def test_a_core_that_crashes_is_one_line(environment, start):
    process = start("crash")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 7
    assert err == b""


def test_a_core_of_another_version_is_one_line_and_status_2(environment, start):
    process = start("newer")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    versions = f"version {VERSION + 1} of the device-model protocol, devmodel 0.1.0 version {VERSION}"
    line = f"devmodel: the core speaks {versions}"
    assert err.decode().splitlines() == [line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["deaf", "stubborn"])
def test_signals_end_both_processes_and_leave_nothing(environment, start, number, how):
    process = start(how)
    assert process.stdout.read(7) == b"ready\r\n"
    (core,) = children(process)
    before = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert time.monotonic() - before < 10
    assert gone(core)
    assert list(environment.iterdir()) == []


def test_a_core_whose_owner_is_killed_ends(environment, tmp_path):
    (tmp_path / "image").write_bytes(b"\xeb\xfe")  # jmp $
    command = [sys.executable, "-m", "devmodel", "run", "--image", str(tmp_path / "image")]
    domain = str(tmp_path / "domain")
    with subprocess.Popen(
        [*command, "--domain", domain, "--log-level", "info"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert b"domain.started" in b"".join(iter_until(process.stderr, b"domain.started"))
        (core,) = children(process)
        process.kill()
        deadline = time.monotonic() + 5
        while not gone(core):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not Path(domain).exists()


def iter_until(stream, wanted):
    for line in stream:
        yield line
        if wanted in line:
            return


def read_until(fd: int, wanted: bytes) -> bytes:
    data = b""
    deadline = time.monotonic() + 20
    while wanted not in data:
        assert select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0], data
        data += os.read(fd, 4096)
    return data


@pytest.mark.parametrize("leave", ["Ctrl-]", "Ctrl-C", "the guest"])
def test_the_terminal_is_raw_meanwhile_and_restored(environment, start, leave):
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    how = "echo" if leave == "the guest" else "deaf"
    process = start(how, stdin=slave, stdout=slave, stderr=slave)
    try:
        said = read_until(master, b"ready\r\n")
        assert b"Ctrl-] leaves" in said
        assert not termios.tcgetattr(slave)[3] & termios.ICANON
        match leave:
            case "Ctrl-]":
                os.write(master, b"x\x1d")
                status = 0
            case "Ctrl-C":
                os.write(master, b"\x03")
                status = 130
            case _:
                os.write(master, b"x\r")
                read_until(master, b"X\rbye")
                status = 0x21
        assert process.wait(20) == status
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)
    assert list(environment.iterdir()) == []


def test_the_serial_console_on_tcp_and_the_monitor(environment, start):
    process = start("echo", "--serial", "tcp:127.0.0.1:0")
    line = process.stderr.readline().decode()
    assert line.startswith("devmodel: serial console on tcp:127.0.0.1:")
    with socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2]))) as client:
        client.settimeout(20)
        got = b""
        while b"ready" not in got:
            got += client.recv(100)
        domain = sockets.find()
        assert asking.ask(domain, messages.Info()).machine == "fake"
        assert os.stat(domain + sockets.SUFFIX).st_mode & 0o777 == 0o600
        assert main(["key", "a", "shift-b"]) == 0
        status = main(["screen", "--png", str(environment / "screen.png")])
        assert status in (0, 1)  # without a BIOS no mode is set, and there may be no picture
        client.sendall(b"\n")
        while b"bye" not in got:
            piece = client.recv(100)
            assert piece
            got += piece
    assert process.wait(20) == 0x21


@pytest.mark.parametrize("program", ["devmodel", "hvcore"])
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_every_command_and_option(program, shell):
    command = [sys.executable, "-m", program, "--print-completion", shell]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    for word in ("run", "--kernel") + (("monitor", "--qmp") if program == "devmodel" else ()):
        assert word in printed


# -- bad input


def line_of(capsys, *arguments: str) -> tuple[int, str]:
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return status, captured.err.strip()


def test_an_unknown_key(environment, tmp_path, capsys):
    path = tmp_path / "machine.toml"
    path.write_text("[serial]\ncolour = 1")
    line = "devmodel: machine.toml: unknown key 'colour' in [serial]; allowed: tcp, history, wait, paced, flow, console"
    assert line_of(capsys, "run", str(path)) == (2, line)
    assert line_of(capsys, "serve", str(path), "--domain", "x") == (2, line)


def test_a_missing_image(environment, capsys):
    line = "devmodel: disk none.img: No such file or directory"
    assert line_of(capsys, "run", "--disk", "none.img") == (2, line)


def test_a_missing_disc(environment, capsys):
    line = "devmodel: cdrom none.iso: No such file or directory"
    assert line_of(capsys, "run", "--cdrom", "none.iso") == (2, line)


def test_diskettes_that_cannot_be(environment, tmp_path, capsys):
    line = "devmodel: floppy none.img: No such file or directory"
    assert line_of(capsys, "run", "--floppy", "none.img") == (2, line)
    big = tmp_path / "big.img"
    big.write_bytes(bytes(3 << 20))
    line = f"devmodel: floppy {big}: 3145728 bytes are more than a diskette has"
    assert line_of(capsys, "run", "--floppy", str(big)) == (2, line)
    (tmp_path / "machine.toml").write_text('[[floppy]]\npath = "small.img"\ndrive = "360K"\n')
    small = tmp_path / "small.img"
    small.write_bytes(bytes(720 << 10))
    line = (
        f"devmodel: floppy {small}: a 360K drive does not take this diskette; "
        "drives that do: 720K, 1.44M, 2.88M"
    )
    assert line_of(capsys, "run", str(tmp_path / "machine.toml")) == (2, line)
    line = "devmodel: options: 3 floppy drives; at most 2 are allowed"
    assert line_of(capsys, "run", *["--floppy", str(small)] * 3) == (2, line)


def test_an_image_in_use(environment, tmp_path, capsys):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    code = (
        "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.read(1)
        line = f"devmodel: disk {path}: another process has it open"
        assert line_of(capsys, "run", "--disk", str(path)) == (2, line)
        other.communicate()


def test_a_port_in_use(environment, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp:127.0.0.1:{server.getsockname()[1]}"
        line = f"devmodel: serial {address}: address already in use"
        assert line_of(capsys, "run", "--serial", address) == (2, line)


def test_a_video_bios_that_is_none(environment, tmp_path, capsys):
    path = tmp_path / "vga.bin"
    path.write_bytes(bytes(512))
    line = f"devmodel: video bios {path}: not an option ROM (55 AA, whole blocks of 512 bytes)"
    assert line_of(capsys, "run", "--video-bios", str(path)) == (2, line)


def test_mistakes_on_the_command_line(environment, capsys):
    assert line_of(capsys, "run", "--colour")[0] == 2
    assert line_of(capsys, "serve") == (2, "devmodel: serve: --domain SOCKET, or --qtest unix:PATH")
    assert line_of(capsys, "console", "nowhere") == (2, "devmodel: 'nowhere' is not HOST:PORT")
    assert line_of(capsys, "screen")[0] == 1
    assert line_of(capsys, "screen", "nowhere")[0] == 1


# -- serve


def test_serve_waits_for_a_core_and_ends_with_it(environment, tmp_path):
    domain = str(tmp_path / "domain")
    server = subprocess.Popen(
        [sys.executable, "-m", "devmodel", "serve", "--domain", domain, "--serial", "tcp:127.0.0.1:0"],
        stderr=subprocess.PIPE,
    )
    assert b"serial console on" in server.stderr.readline()
    assert server.stderr.readline().decode() == f"devmodel: waiting for a core on {domain}\n"
    core = subprocess.Popen(
        [sys.executable, "-P", FAKE, "--domain", domain], env=os.environ | {"FAKE_CORE": ""}
    )
    assert core.wait(20) == 0x21
    assert server.wait(20) == 0x21
    assert server.stderr.read() == b""
    server.stderr.close()
    assert list(tmp_path.glob("domain*")) == []


def test_serve_gives_up_after_its_wait(environment, tmp_path, capsys):
    domain = str(tmp_path / "domain")
    assert main(["serve", "--domain", domain, "--wait", "0.1"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"devmodel: waiting for a core on {domain}",
        f"devmodel: no core listens on {domain}: No such file or directory",
    ]


def test_serve_says_that_the_core_vanished(environment, tmp_path):
    domain = str(tmp_path / "domain")
    core = subprocess.Popen(
        [sys.executable, "-P", FAKE, "--domain", domain], env=os.environ | {"FAKE_CORE": "crash"}
    )
    server = subprocess.run(
        [sys.executable, "-m", "devmodel", "serve", "--domain", domain],
        stderr=subprocess.PIPE,
        timeout=20,
        check=False,
    )
    core.wait(20)
    assert server.returncode == 1
    assert server.stderr.decode().splitlines()[-1] == f"devmodel: the core on {domain} is gone"


@pytest.mark.parametrize("value", ["q", "-1", "1000001", "", "1.5"])
def test_a_polling_window_that_is_none_is_one_line(capfd, value):
    assert main(["serve", "--domain", "nowhere", f"--poll={value}"]) == 2
    expected = f"devmodel: --poll {value!r}: a number of microseconds from 0 to 1000000\n"
    assert capfd.readouterr().err == expected
