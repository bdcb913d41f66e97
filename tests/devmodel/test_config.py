"""The device models' half of the machine description, and the one line for each mistake."""

import pytest

from devmodel import ConfigError
from devmodel.board.parts import ALL
from devmodel.config import Cdrom, Config, Disk, Floppy, Options, ParallelPort, Serial, load
from devmodel.consoles.address import Address
from devmodel.devices.pit import MISSED_TICKS


@pytest.fixture
def write(tmp_path):
    def writer(text: str) -> str:
        path = tmp_path / "machine.toml"
        path.write_text(text)
        return str(path)

    return writer


def test_no_file_is_a_bare_machine():
    assert load(None, Options()) == Config()


def test_everything_there_is(write, tmp_path):
    config = load(
        write("""
[machine]
vendor = "svm"       # the core's; not looked at here
colour = "grey"
[serial]
tcp = "127.0.0.1:4444"
history = 100
[[disk]]
path = "a.img"
readonly = true
[[disk]]
size = "1M"
[[cdrom]]
path = "a.iso"
[[cdrom]]
[[floppy]]
path = "a.flp"
readonly = true
[[floppy]]
drive = "1.2M"
[video]
bios = "/usr/share/vga.bin"
[fw_cfg]
"opt/x" = "1"
[parallel]
path = "printed"
[rtc]
base = "2026-01-31T12:00:00"
[debug]
console = "out.txt"
"""),
        Options(),
    )
    assert config.serial == Serial("127.0.0.1:4444", 100)
    assert config.serial.far_end() == Address("tcp", host="127.0.0.1", port=4444)
    assert config.disks == (Disk(str(tmp_path / "a.img"), readonly=True), Disk(size="1M"))
    assert config.disks[1].scratch_bytes() == 1 << 20
    assert config.cdroms == (Cdrom(str(tmp_path / "a.iso")), Cdrom())
    floppies = (Floppy(str(tmp_path / "a.flp"), readonly=True), Floppy(drive="1.2M"))
    assert config.floppies == floppies
    assert config.video.bios == "/usr/share/vga.bin"
    assert config.fw_cfg == {"opt/x": "1"}
    assert config.parallel == ParallelPort(str(tmp_path / "printed"))
    assert config.rtc.base == "2026-01-31T12:00:00"
    assert config.debug.console == str(tmp_path / "out.txt")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[serial]\ncolour = 1",
            "machine.toml: unknown key 'colour' in [serial]; allowed: tcp, history, wait, paced, flow, console",
        ),
        (
            "[[disk]]\nfile = 'x'",
            "machine.toml: unknown key 'file' in [[disk]]; allowed: path, size, readonly, snapshot, base, format",
        ),
        (
            "[modem]",
            (
                "machine.toml: unknown table [modem]; allowed: "
                "machine, serial, disk, cdrom, floppy, video, vnc, web, rtc, pit, parallel, hpet, debug, qmp, server, "
                "fw_cfg, board"
            ),
        ),
        ("[serial]\nhistory = 'long'", "machine.toml: history in [serial]: Expected `int`, got `str`"),
        ("[serial]\nhistory = -1", "machine.toml: history in [serial]: Expected `int` >= 0"),
        ("[serial]\ntcp = '4444'", "machine.toml: tcp in [serial]: '4444' is not HOST:PORT"),
        (
            "[serial]\ntcp = 'localhost:70000'",
            "machine.toml: tcp in [serial]: 'localhost:70000' is not HOST:PORT",
        ),
        ("[disk]\npath = 'x'", "machine.toml: write [[disk]], a table for each disk"),
        ("[[disk]]", 'machine.toml: a [[disk]] without path needs a size, for example size = "1M"'),
        (
            "[[disk]]\nsize = '1X'",
            'machine.toml: a [[disk]] without path needs a size, for example size = "1M"',
        ),
        (
            "[[disk]]\npath='x'\nsize = '1M'",
            "machine.toml: size in [[disk]] goes without path; an image has its own size",
        ),
        ("[[disk]]\npath='x'\n" * 5, "machine.toml: 5 disks; at most 4 are allowed"),
        (
            "[[disk]]\npath='x'\n" * 3 + "[[cdrom]]\n" * 2,
            "machine.toml: 5 disks and CD-ROM drives together; at most 4 are allowed",
        ),
        ("floppy = 1", "machine.toml: write [[floppy]], a table for each floppy drive"),
        ("[[floppy]]\n" * 3, "machine.toml: 3 floppy drives; at most 2 are allowed"),
        (
            "[[floppy]]\ndrive = '3M'",
            "machine.toml: drive in [[floppy]]: '3M'; allowed: 360K, 1.2M, 720K, 1.44M, 2.88M",
        ),
        ("cdrom = 1", "machine.toml: write [[cdrom]], a table for each CD-ROM drive"),
        ("[[cdrom]]\nsize = 1", "machine.toml: unknown key 'size' in [[cdrom]]; allowed: path"),
        (
            "[rtc]\nbase = 'x'",
            "machine.toml: base in [rtc]: 'x'; allowed: utc, localtime, or a date like 2026-01-31T12:00:00",
        ),
        (
            "[pit]\nmissed_ticks = 'x'",
            f"machine.toml: missed_ticks in [pit]: 'x'; allowed: {', '.join(MISSED_TICKS)}",
        ),
        (
            "[qmp]\nlisten = 'x'",
            "qmp 'x'; allowed: unix:PATH, or tcp:HOST:PORT",
        ),
        (
            "[qmp]\nlisten = 'tcp:0.0.0.0:4444'",
            "qmp 'tcp:0.0.0.0:4444': who connects controls the machine; allowed: unix:PATH, tcp:127.0.0.1:PORT",
        ),
        (
            "[qmp]\nlisten = 'tcp:127.0.0.1:4444,wait=on'",
            (
                "qmp 'tcp:127.0.0.1:4444,wait=on': 'wait=on'; allowed: unix:PATH, or tcp:HOST:PORT, and behind them "
                "server=on, wait=off, server, nowait"
            ),
        ),
        ("[fw_cfg]\nx = 1", 'machine.toml: x in [fw_cfg]: give a string, "…"'),
        ("serial = 3", "machine.toml: [serial] is a table"),
        ("[serial", "machine.toml: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(write, text, line):
    with pytest.raises(ConfigError) as caught:
        load(write(text), Options())
    assert str(caught.value) == line


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none.toml: No such file or directory"):
        load(str(tmp_path / "none.toml"), Options())


def test_options_override_the_file(write):
    path = write("[serial]\nhistory = 7\n[[disk]]\nsize = 512\n[fw_cfg]\na = '1'\nb = '2'")
    config = load(
        path,
        Options(
            serials=("tcp:[::1]:0", "tcp:127.0.0.1:1"),
            disks=("x.img",),
            cdroms=("x.iso", "y.iso"),
            floppies=("a.img",),
            parallel="printed",
            video_bios="v.bin",
            fw_cfg=("b=3=4",),
            debug_console="stderr",
        ),
    )
    assert config.serial == Serial(console="tcp:[::1]:0", history=7)
    assert config.serial.far_end() == Address("tcp", host="::1", port=0)
    assert config.more_serials == (Serial(console="tcp:127.0.0.1:1"),)
    assert config.disks == (Disk("x.img"),)
    assert config.cdroms == (Cdrom("x.iso"), Cdrom("y.iso"))
    assert config.floppies == (Floppy("a.img"),)
    assert config.parallel == ParallelPort("printed")
    assert config.video.bios == "v.bin"
    assert config.fw_cfg == {"a": "1", "b": "3=4"}
    assert config.debug.console == "stderr"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            Options(serials=("udp:x:1",)),
            "--serial 'udp:x:1'; allowed: tcp:HOST:PORT, telnet:HOST:PORT, unix:PATH, pty, file:PATH, stdio, null",
        ),
        (Options(serials=("tcp:x",)), "--serial 'x' is not HOST:PORT"),
        (
            Options(serials=("stdio", "terminal")),
            "options: 2 serial ports on stdio; there is one terminal",
        ),
        (
            Options(serials=("telnet:a:1,password=x",)),
            "--serial 'telnet:a:1,password=x': unknown option 'password'; allowed: remote, password-file",
        ),
        (Options(serials=("pty,remote",)), "--serial 'pty,remote': unknown option 'remote'; pty has none"),
        (Options(serials=("tcp:a:1,remote=yes",)), "--serial 'tcp:a:1,remote=yes': remote is on or off"),
        (
            Options(serials=("unix:/a,mode=rw",)),
            "--serial 'unix:/a,mode=rw': a mode is three octal digits, for example 0660",
        ),
        (Options(serials=("unix:",)), "--serial 'unix:' needs a path"),
        (Options(serials=("file:,x",)), "--serial 'file:,x': unknown option 'x'; file has none"),
        (Options(fw_cfg=("name",)), "--fw-cfg 'name'; allowed: NAME=VALUE"),
    ],
)
def test_mistakes_in_options(options, line):
    with pytest.raises(ConfigError) as caught:
        load(None, options)
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("text", "size"), [(5, 5), ("5", 5), ("4K", 4096), ("2G", 2 << 30), ("G", 0), ("-1", 0), (None, 0)]
)
def test_sizes(text, size):
    assert Disk(size=text).scratch_bytes() == size


APART = '[[server]]\nparts = ["ide"]\n[[server]]\nparts = ["serial", "vga"]\n'


def test_what_no_server_has_is_left_to_the_main_one(write):
    path = write(APART)
    config = load(path, Options())
    assert config.servers == ({"ide"}, {"serial", "vga"})
    assert config.parts == ALL - {"ide", "serial", "vga"}
    assert load(path, Options(only="ide")).parts == {"ide"}
    assert load(path, Options(without="ide")).parts == ALL - {"ide"}
    assert load(None, Options()).parts == ALL
    config = load(path, Options(apart=("pit,rtc",)))
    assert config.servers[2] == {"pit", "rtc"}
    assert config.parts == ALL - {"ide", "serial", "vga", "pit", "rtc"}


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("", Options(only="ide,uart"), "--only: unknown part 'uart' (it belongs to 'serial'); allowed: "),
        ("", Options(only="ide", without="pic"), "--only and --without exclude each other"),
        ("", Options(without=",".join(ALL)), "--without names every part; nothing is left to serve"),
        ("", Options(apart=("ide", "ide,pic")), "options: 'ide' in two servers; a part lives in one"),
        ("", Options(apart=(",".join(ALL),)), "options: every part is in a server apart; one part at least"),
        (APART + APART, Options(), "machine.toml: 'ide' in two servers; a part lives in one"),
        ('[server]\nparts = ["ide"]', Options(), "machine.toml: write [[server]], a table for each server"),
        (
            '[[server]]\nparts = ["x"]',
            Options(),
            "machine.toml: parts in [[server]]: unknown part 'x'; allowed: ",
        ),
        ("[[server]]\nparts = []", Options(), "machine.toml: parts in [[server]]: no part; allowed: "),
        (
            '[[server]]\nonly = ["x"]',
            Options(),
            "machine.toml: unknown key 'only' in [[server]]; allowed: parts",
        ),
        (
            "[[server]]\nparts = 1",
            Options(),
            "machine.toml: parts in [[server]]: Expected `array`, got `int`",
        ),
    ],
)
def test_a_board_that_cannot_be_parted_so_is_one_line(write, text, options, line):
    with pytest.raises(ConfigError) as error:
        load(write(text), options)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_up_to_four_serial_ports(write):
    text = "[[serial]]\npaced = true\n[[serial]]\ntcp = 'a:1'\nflow = true\n"
    config = load(write(text), Options())
    assert config.serials == (Serial(paced=True), Serial("a:1", flow=True))
    config = load(write(text), Options(serials=("terminal", "tcp:b:2", "tcp:c:3")))
    assert config.serials == (
        Serial(paced=True, console="terminal"),
        Serial(console="tcp:b:2", flow=True),
        Serial(console="tcp:c:3"),
    )
    with pytest.raises(ConfigError, match=r"^options: 5 serial ports; at most 4 are allowed$"):
        load(None, Options(serials=("tcp:a:1",) * 5))
    with pytest.raises(
        ConfigError, match=r"^machine.toml: serial port 2 needs a console; only the first may go without$"
    ):
        load(write("[[serial]]\n[[serial]]\n"), Options())
    with pytest.raises(ConfigError, match=r"^machine.toml: tcp in \[serial\]: that is its console already"):
        load(write("[serial]\ntcp = 'a:1'\nconsole = 'pty'"), Options())
    with pytest.raises(ConfigError, match=r"^machine.toml: console in \[serial\]: 'com1'; allowed: tcp:"):
        load(write("[serial]\nconsole = 'com1'"), Options())


def test_files_of_a_console_are_found_beside_the_file_that_names_them(write, tmp_path):
    text = """
[[serial]]
console = "unix:a,,b.sock,mode=0660"
[[serial]]
console = "telnet:[::]:5,remote,password-file=secret"
[[serial]]
console = "file:/var/log/guest"
"""
    assert [serial.far_end() for serial in load(write(text), Options()).serials] == [
        Address("unix", path=str(tmp_path / "a,b.sock"), mode=0o660),
        Address("telnet", host="::", port=5, remote=True, password_file=str(tmp_path / "secret")),
        Address("file", path="/var/log/guest"),
    ]


def test_an_unknown_key_of_a_serial_port(write):
    with pytest.raises(ConfigError, match=r"^machine.toml: unknown key 'x' in \[serial\]"):
        load(write("[[serial]]\nx = 1"), Options())
