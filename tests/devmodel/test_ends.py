"""Mistakes of users: one line that says what is allowed, exit status 2, nothing hangs, no traceback."""

import argparse
import contextlib
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devmodel import DevmodelError, cli, log
from devmodel.config import Disk
from devmodel.control import sockets
from devmodel.disks.image import Image, open_disk
from devmodel.service import run
from devmodel.service.outside import DebugConsole
from devmodel.service.run import domain_socket, reap
from hvcore import cli as core_cli
from hvcore import config as core_config
from ioreq.streams import StandardError
from ioreq.user_input import create, ending_signals

LONG = "./" + 120 * "a"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 512)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    return tmp_path


def ended(main, capsys, *arguments: str) -> tuple[int, list[str]]:
    try:
        status = main(list(arguments))
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    return status, capsys.readouterr().err.splitlines()


FILES = {
    "rtc": '[rtc]\nbase = "2026-13-45"',
    "rtc hour": '[rtc]\nbase = "2026-01-31T25:00"',
    "disk": '[[disk]]\npath = "a\\u0000b"',
    "disk size": "[[disk]]\nsize = 99999999999999999999999999",
    "bios": '[video]\nbios = "a\\u0000b"',
    "debug": '[debug]\nconsole = "a\\u0000b"',
    "fw_cfg": '[fw_cfg]\n"a\\u0000b" = "x"',
    "e820": '[fw_cfg]\n"etc/e820" = "x"',
    "serial": '[serial]\ntcp = "a\\u0000b:1"',
    "port": '[serial]\ntcp = "localhost:٣"',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_machine_that_cannot_be_is_refused(folder, capsys, text):
    (folder / "machine.toml").write_text(text)
    status, lines = ended(cli.main, capsys, "run", "machine.toml")
    assert (status, len(lines)) == (2, 1), lines


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run", "--serial", "tcp:a..b:1"], "labels have 1 to 63 letters"),
        (["run", "--serial", f"tcp:{64 * 'a'}.example:1"], "labels have 1 to 63 letters"),
        (["console", "a..b:1"], "labels have 1 to 63 letters"),
        (["run", "--fw-cfg", "etc/e820=x"], "this one is the board's own"),
        (["run", "--video-bios", "fifo"], "not a regular file"),
        (["run", "fifo"], "not a regular file"),
        (["run", "--disk", "fifo"], "not a regular file"),
        (["run", "--domain", ""], "no path of a socket"),
        (["run", "--domain", LONG], "at most"),
        (["serve", "--domain", ""], "no path of a socket"),
        (["serve", "--domain", "folder"], "there is something else than a socket"),
        (["serve", "--domain", "file"], "there is something else than a socket"),
        (["serve", "--domain", LONG], "at most"),
        (["serve", "--domain", "nowhere/domain"], "there is no directory nowhere"),
        (["serve", "--domain", "d", "--wait", "nan"], "seconds from 0 on"),
        (["serve", "--domain", "d", "--wait", "-1"], "seconds from 0 on"),
        (["serve", "--domain", "d", "--wait", "soon"], "seconds from 0 on"),
        (["stats", "--interval", "0"], "'0'; allowed: 0.1 to 3600 seconds"),
        (["trace", "fifo"], "not a regular file"),
        (["trace", "file", "--from", "nan"], "seconds from 0 on"),
        (["trace", "file", "--to", "-1"], "seconds from 0 on"),
        (["trace", "file", "--from", "2", "--to", "1.5"], "--to 1.5: that is before --from 2"),
        (["key", "a", "nonsense", "--domain", "d"], "no key 'nonsense'"),
        (
            ["run", "--board", "./folder:build"],
            "'./folder' is no module's name; allowed: MODULE:FUNCTION, FILE.py:",
        ),
        (["run", "--lifeline", "999999"], "'999999' is not an open descriptor"),
        (["run", "--lifeline", "1"], "'1' is not a pipe's end to read from"),
        (["run", "--cdrom", "fifo"], "cdrom fifo: not a regular file"),
        (["run", "--serial", "file:fifo"], "a FIFO that nobody reads"),
        (["run", "--qmp", "unix:file"], "qmp unix:file: there is something else than a socket"),
        (["serve", "--domain", "d", "--qmp", "unix:folder"], "there is something else than a socket"),
    ],
)
def test_what_can_never_be_right_is_refused_at_once(folder, capsys, arguments, what):
    status, lines = ended(cli.main, capsys, *arguments)
    assert (status, len(lines)) == (2, 1), lines
    assert what in lines[0]


@pytest.mark.parametrize("image", ["disk", "cdrom", "floppy"])
@pytest.mark.parametrize(
    "output", ["--trace=image", "--parallel=image", "--debug-console=image", "--serial=file:image"]
)
def test_nothing_is_written_over_an_image_of_the_same_machine(folder, capsys, output, image):
    """A disk was emptied by --trace, and grew by what --serial appended."""
    (folder / "image").write_bytes(b"x" * 512)
    status, lines = ended(cli.main, capsys, "run", f"--{image}=image", output)
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].endswith("in use: as another file of this machine, or by another process")
    assert (folder / "image").read_bytes() == b"x" * 512


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("--trace=image", "trace image"),
        ("--parallel=image", "parallel image"),
        ("--debug-console=./image", "debug console ./image"),
        ("--serial=file:image", "serial port 1 image"),
    ],
)
@pytest.mark.parametrize(
    "read", ["--kernel=image", "--initrd=image", "--firmware=image", "--image=image", "machine"]
)
def test_nothing_is_written_over_what_the_guest_is_started_from(folder, capsys, output, what, read):
    """The core has not opened it yet when outputs are made."""
    (folder / "image").write_bytes(b"x" * 512)
    (folder / "machine").write_text('[machine]\nkernel = "image"\n')
    started = ["--kernel=file"] if read == "--initrd=image" else []
    status, lines = ended(cli.main, capsys, "run", *started, read, output)
    assert (status, lines) == (2, [f"devmodel: {what}: the guest is started from that file"])
    assert (folder / "image").read_bytes() == b"x" * 512


@pytest.mark.parametrize("image", [Image.open, open_disk])
def test_nothing_is_written_over_an_image_of_another_machine(folder, image):
    with contextlib.closing(image("file")), pytest.raises(OSError, match="in use"):
        create("file")
    assert (folder / "file").read_bytes() == b"x" * 512


def test_two_outputs_do_not_go_to_one_file(folder, capsys):
    status, lines = ended(cli.main, capsys, "run", "--serial=file:out", "--serial=file:out")
    assert (status, len(lines)) == (2, 1), lines
    status, lines = ended(cli.main, capsys, "run", "--trace=out", "--parallel=out")
    assert (status, len(lines)) == (2, 1), lines


def test_a_socket_that_is_taken_is_called_what_it_is(folder, capsys):
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind("taken")
        taken.listen()
        status, lines = ended(cli.main, capsys, "run", "--qmp", "unix:taken")
    assert (status, lines) == (2, ["devmodel: qmp unix:taken: somebody listens there already"])


def test_a_snapshot_without_room_says_where_there_is_none(folder, capsys, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder / "nowhere"))
    status, lines = ended(cli.main, capsys, "run", "--disk", "file,snapshot=on")
    assert (status, len(lines)) == (2, 1), lines
    assert f"no room for a snapshot in {folder}/nowhere: No such file or directory" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--image", "file", "--domain", ""], "no path of a socket"),
        (["--image", "file", "--domain", "folder"], "there is something else than a socket"),
        (["--image", "file", "--domain", LONG], "at most 107 bytes"),
        (["--firmware", "fifo", "--domain", "d"], "not a regular file"),
        (["--kernel", "fifo", "--domain", "d"], "not a regular file"),
        (["fifo", "--domain", "d"], "not a regular file"),
        (["--image", "file", "--domain", "d", "--memory", "64MiBs"], "--memory is '64MiBs'"),
    ],
)
def test_a_core_refuses_what_can_never_be_right(folder, capsys, arguments, what):
    status, lines = ended(core_cli.main, capsys, "run", *arguments)
    assert (status, len(lines)) == (2, 1), lines
    assert what in lines[0]


@pytest.mark.parametrize("size", ["64M", "64m", "64MB", "64MiB", "64mib", "65536K", str(64 << 20)])
def test_sizes_are_written_in_many_ways(size):
    assert core_config.load(None, {"image": "x", "memory": size}).memory == 64 << 20
    assert Disk(size=size).scratch_bytes() == 64 << 20


COMMON = ["file", "fifo", "folder", "machine.toml", "nowhere/x", "nan", "-1", "1e999", "", "1", LONG]
WORDS = st.sampled_from(COMMON) | st.text(
    alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=20
)
VALUES = {
    "serial": [
        "tcp:127.0.0.1:0",
        "tcp:1",
        "tcp::1",
        "tcp:127.0.0.1:99999",
        "tcp:a..b:1",
        "tcp:[::1:x",
        "pty",
    ],
    "only": ["pic", "ide,serial", "pic,,", "PIC", "uart"],
    "without": ["pic", "vga,kbc", "nothing"],
    "apart": ["pic", "ide,serial", "ide", "pic,,"],
    "fw-cfg": ["etc/e820=x", "a=b", "=", "name", 60 * "n" + "=x"],
    "debug-console": ["log", "stderr", "folder/x", "nowhere/x", "folder"],
    "log-level": ["debug", "loud"],
    "interval": ["1", "0"],
    "port": ["0x3f8", "0x3f8-0x3ff", "9-1", "-"],
    "drive": ["0", "x"],
    "hold": ["1", "-1", "99999"],
    "poll": ["0", "99999999", "٣"],
    "vnc": ["127.0.0.1:0", "unix:folder", "unix:nowhere/x", "127.0.0.1:0,password-file=folder", ":1"],
    "web": ["127.0.0.1:0", "unix:folder", "127.0.0.1:0,remote=on", "0.0.0.0:0"],
    "qmp": ["unix:folder", "unix:file", "tcp:0.0.0.0:1", "tcp:127.0.0.1:0,server=on,wait=off", "unix:"],
    "qtest": ["unix:folder", "unix:nowhere/x", "tcp:1"],
    "board": ["file:build", "./file:build", "nowhere.py:x", ":", "a:b", "os:getcwd", "folder"],
    "board-option": ["=", "a", "a=b"],
    "scheduler": ["tcp:", "udp://x", "tcp://127.0.0.1:1"],
    "jobs": ["0", "-1", "x"],
    "print-completion": ["bash", "fish"],
    "vcpu": ["0", "999"],
}


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> dict[tuple[str, ...], list[str]]:
    """Return the options of each command, and of each command's commands; those that take a value end in "="."""
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = [commands(each, (*words, name)) for name, each in action.choices.items()]
            return {command: known for found in inner for command, known in found.items()}
        if action.option_strings:
            options.append(action.option_strings[-1].removeprefix("--") + ("" if action.nargs == 0 else "="))
    return {words: [option for option in options if option not in LEFT_OUT]}


LEFT_OUT = {"live", "persist", "lifeline="}
"""What is made not to end, and what ends us, if the number is a pipe of ours."""
OPTIONS = commands(cli._parser()) | {("nonsense",): ["domain="]}
NAMES = {
    ("key",): ["a"],
    ("mouse",): ["click", "left"],
    ("trace",): ["file"],
    ("insert",): ["file"],
    ("console",): ["file"],
    ("matrix",): ["file"],
    ("upgrade",): ["d"],
    ("monitor",): ["info", "status"],
    ("disk", "create"): ["new", "1M"],
    ("disk", "info"): ["file"],
    ("disk", "commit"): ["file"],
    ("disk", "convert"): ["file", "folder"],
    ("disk", "rebase"): ["file", "file"],
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, options that it knows with values that are like theirs or not, and names."""
    command = draw(st.sampled_from([("run",), ("serve",)]) | st.sampled_from(list(OPTIONS)))
    options = draw(st.lists(st.sampled_from(OPTIONS[command]), max_size=3))
    said = [
        f"--{option}{draw(st.sampled_from(VALUES.get(option[:-1], ['file'])) | WORDS)}"
        if option.endswith("=")
        else f"--{option}"
        for option in options
    ]
    names = draw(st.lists(WORDS.filter(lambda word: not word.startswith("-")), max_size=2))
    return [*command, *said, *names]


@pytest.fixture
def without_core(folder, monkeypatch) -> Iterator[None]:
    """All that a command line says is opened; only the core is not started, and none is waited for, nor is a user."""

    async def no_core(*_: object) -> None:
        raise DevmodelError("no core is started here")

    monkeypatch.setattr(run.Core, "start", no_core)
    monkeypatch.setattr(cli, "join", no_core)
    monkeypatch.setattr(sockets, "PREFIX", "devmodel-none-")  # whatever machine runs here is left alone
    (folder / "machine.toml").write_text('[[disk]]\nsize = "1M"\n')
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        yield


def ends_in_a_line(capsys, words: list[str]) -> None:
    status, lines = ended(cli.main, capsys, *words)
    assert status in {0, 1, 2}, (words, status, lines)
    assert lines or not status, words
    assert not any("Traceback" in line or "internal error" in line for line in lines), (words, lines)


@pytest.mark.parametrize("command", OPTIONS, ids="-".join)
def test_every_option_with_every_value_ends_in_a_line_and_no_traceback(without_core, capsys, command):
    names = NAMES.get(command, [])
    for option in OPTIONS[command]:
        values = [*VALUES.get(option[:-1], []), *COMMON] if option.endswith("=") else [""]
        for value in values:
            needed = ["--domain=d"] if command == ("serve",) and option != "domain=" else []
            ends_in_a_line(capsys, [*command, *needed, f"--{option}{value}", *names])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=command_lines())
def test_random_command_lines_end_in_a_line_and_no_traceback(without_core, capsys, words):
    ends_in_a_line(capsys, words)


DEMO = ("devmodel", "run", "--fw-cfg", "opt/devmodel/self-test=1")
CORE = ("hvcore", "run", "--domain", "d", "--image", "image")


@pytest.mark.parametrize(
    ("program", "what", "most"),
    [
        *((DEMO, resource.RLIMIT_NOFILE, most) for most in (6, 9, 12, 15, 18, 21)),
        *((CORE, resource.RLIMIT_NOFILE, most) for most in (6, 8, 10, 12)),
        *((DEMO, resource.RLIMIT_FSIZE, most) for most in (0, 4096)),
        *((CORE, resource.RLIMIT_FSIZE, most) for most in (0, 4096)),
    ],
    ids=str,
)
def test_a_limit_of_the_host_is_named_in_one_line(folder, program, what, most):
    """What ulimit -n and -f allow (getrlimit(2)); Python itself wants five descriptors to say anything."""
    (folder / "image").write_bytes(b"\xeb\xfe")
    done = subprocess.run(
        [sys.executable, "-m", *program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
        preexec_fn=lambda: resource.setrlimit(what, (most, most)),
    )
    lines = done.stderr.splitlines()
    assert done.returncode in {1, 2}, lines
    assert (
        "too many open files" in lines[-1].lower()
        or "file too large" in lines[-1].lower()
        or "TMPDIR" in lines[-1]
    )
    assert not any("Traceback" in line or "internal error" in line for line in lines), lines


TABLES = st.dictionaries(
    st.sampled_from(["base", "path", "size", "tcp", "history", "bios", "console", "readonly", "parts", "x"]),
    st.one_of(
        st.text(max_size=8),
        st.integers(-(2**70), 2**70),
        st.booleans(),
        st.floats(),
        st.lists(st.text(max_size=3)),
    ),
    max_size=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables=st.dictionaries(
        st.sampled_from(["serial", "disk", "video", "rtc", "debug", "server", "fw_cfg", "machine", "other"]),
        TABLES | st.lists(TABLES, max_size=2),
        max_size=4,
    )
)
def test_random_machine_files_are_read_or_refused(folder, tables):
    from devmodel import ConfigError
    from devmodel.config import Options, load

    with open(folder / "random.toml", "w", encoding="utf-8") as file:
        for name, content in tables.items():
            for table in content if isinstance(content, list) else [content]:
                file.write(f"[[{name}]]\n" if isinstance(content, list) else f"[{name}]\n")
                file.writelines(f"{key} = {_toml(value)}\n" for key, value in table.items())
    with contextlib.suppress(ConfigError):
        load(str(folder / "random.toml"), Options())


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return repr(value)


def test_what_a_kill_left_is_reaped_and_what_lives_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    dead = tmp_path / f"{sockets.PREFIX}dead"
    dead.mkdir()
    (dead / "domain").write_bytes(b"")
    other = tmp_path / "something-else"
    other.mkdir()
    long_ago = time.time() - 60
    os.utime(dead, (long_ago, long_ago))
    with domain_socket(None) as path:
        assert not dead.exists()
        living = Path(path).parent
        os.utime(living, (long_ago, long_ago))
        reap()
        assert living.exists()
    assert not living.exists()
    assert other.exists()
    new = tmp_path / f"{sockets.PREFIX}new"
    new.mkdir()
    reap()
    assert new.exists()  # its owner may be about to hold it


@pytest.mark.parametrize("module", ["devmodel", "hvcore"])
def test_a_closed_terminal_ends_both_processes_cleanly(tmp_path, module):
    """SIGHUP does what SIGTERM does."""
    import signal

    domain = str(tmp_path / "domain")
    (tmp_path / "image").write_bytes(b"\xf4")
    arguments = ["run", "--image", str(tmp_path / "image")] if module == "hvcore" else ["serve"]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--domain", domain, "--log-level=info"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == (0 if module == "hvcore" else 128 + signal.SIGHUP)
    process.stderr.close()
    assert not os.path.exists(domain)


@pytest.mark.parametrize("module", ["devmodel", "hvcore"])
def test_ctrl_c_while_a_program_is_still_imported_ends_it_without_a_traceback(tmp_path, module):
    (tmp_path / "structlog.py").write_text("import time\nprint('half', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", module, "--version"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_a_signal_that_was_ignored_stays_ignored(monkeypatch):
    import signal

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in ending_signals()


# -- standard streams

PRINTING = [
    ["devmodel", "--help"],
    ["devmodel", "disk", "info", "--json", "file"],
    ["devmodel", "disk", "info", "file"],
    ["devmodel", "--print-completion", "bash"],
    ["hvcore", "--version"],
]
STREAMS = {
    "nobody reads": (">&3", 128 + signal.SIGPIPE, ""),
    "no room": ("> /dev/full", 1, "standard output cannot be written: No space left on device"),
    "closed": (">&-", 0, ""),
    "all closed": ("<&- >&- 2>&-", 0, ""),
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("redirection", "status", "line"), STREAMS.values(), ids=STREAMS)
def test_output_that_cannot_be_written_ends_a_command_in_a_line(
    folder, redirection, status, line, unbuffered
):
    """As by SIGPIPE where nobody reads any more; a traceback, or Python's own words at exit, would be more lines."""
    ours, theirs = os.pipe()
    os.close(ours)
    commands = [
        f"{shlex.join([sys.executable, '-m', *words])} {redirection}; echo $? >&4" for words in PRINTING
    ]
    with open("statuses", "wb") as statuses:
        done = subprocess.run(
            ["bash", "-c", f"exec 3>&{theirs} 4>&{statuses.fileno()}; {'; '.join(commands)}"],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered, "TMPDIR": str(folder)},
            pass_fds=[theirs, statuses.fileno()],
            capture_output=True,
            check=True,
            timeout=120,
            text=True,
        )
    os.close(theirs)
    assert Path("statuses").read_text().split() == [str(status)] * len(PRINTING)
    said = [f"{words[0]}: {line}" for words in PRINTING] if line else []
    assert (done.stderr.splitlines(), done.stdout) == (said, "")


def test_a_log_without_a_reader_ends_nothing(monkeypatch):
    """A server whose log went to `| head` would else end with its next line, and its guest with it."""
    for path in ("/dev/full", None):
        ours, theirs = os.pipe()
        os.close(ours)
        fd = theirs if path is None else os.open(path, os.O_WRONLY)
        with open(fd, "w") as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            log.say("a line")
            DebugConsole(StandardError()).put(ord("x"))
            log.say("another")
