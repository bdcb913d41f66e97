"""The machine description's core half: every mistake is one line that names the key and what is allowed."""

import pytest

from hvcore import ConfigError
from hvcore.config import MachineConfig, load

KEYS = "allowed: name, vendor, cpu, memory, firmware, image, image-address, kernel, initrd, append, servers, board"
SIZES = 'allowed: bytes, or a string like "64M", from 1M to 32G in steps of 4K'


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "machine.toml"
        path.write_text(text)
        return str(path)

    return write


def test_defaults(file, tmp_path):
    assert load(file('[machine]\nfirmware = "bios.bin"'), {}) == MachineConfig(
        firmware=str(tmp_path / "bios.bin"), vendor="vmx", memory=64 << 20
    )


def test_everything(file, tmp_path):
    text = '[machine]\nname="a"\nvendor="svm"\ncpu="486"\n'
    text += 'memory="1G"\nimage="/x/y"\nimage-address=0x8000\n[serial]\nx=1'
    assert load(file(text), {}) == MachineConfig(
        name="a", vendor="svm", cpu="486", memory=1 << 30, image="/x/y", image_address=0x8000
    )


def test_each_server_of_the_file_is_one_more_to_wait_for(file):
    text = '[machine]\nfirmware = "bios.bin"\n'
    apart = '[[server]]\nparts = ["ide"]\n[[server]]\nparts = ["serial"]\n'
    assert load(file(text), {}).servers == 1
    assert load(file(text + apart), {}).servers == 3
    assert load(file(text + "servers = 2\n" + apart), {}).servers == 2
    assert load(file(text + apart), {"servers": 5}).servers == 5


def test_options_override_the_file_and_are_relative_to_where_we_are(file):
    path = file('[machine]\nfirmware = "bios.bin"\nmemory = 2097152')
    options = {"memory": "16M", "firmware": "other.bin", "vendor": "svm", "name": None}
    assert load(path, options) == MachineConfig(vendor="svm", memory=16 << 20, firmware="other.bin")


def test_an_image_option_replaces_the_files_firmware_and_the_other_way_round(file):
    assert load(file('[machine]\nfirmware = "bios.bin"'), {"image": "x"}) == MachineConfig(image="x")
    path = file('[machine]\nimage = "x"\nimage-address = 0')
    assert load(path, {"firmware": "bios.bin"}) == MachineConfig(firmware="bios.bin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[machine]\ncolour = 1", f"machine.toml: unknown key 'colour' in [machine]; {KEYS}"),
        ("[machine]\nfirmware='a'\ninitrd='b'", "initrd is given without kernel"),
        (
            "[[modem]]\npath='x'",
            (
                "machine.toml: unknown table [modem]; "
                "allowed: machine, serial, disk, cdrom, floppy, video, vnc, web, fw_cfg, rtc, pit, parallel, debug, "
                "server, board, qmp, hpet"
            ),
        ),
        ("[machine]\nvendor = 'intel'", "machine.toml: vendor in [machine] is 'intel'; allowed: vmx, svm"),
        (
            "[machine]\ncpu = 'z80'",
            "machine.toml: cpu in [machine] is 'z80'; allowed: 486, pentium, pentium2, pentium3, qemu32, i686",
        ),
        ("[machine]\nmemory = '64X'", f"machine.toml: memory in [machine] is '64X'; {SIZES}"),
        ("[machine]\nmemory = true", f"machine.toml: memory in [machine] is true; {SIZES}"),
        (
            "[machine]\nimage-address = 0xA0000",
            "machine.toml: image-address in [machine] is 655360; allowed: an address below 0xa0000",
        ),
        ("[machine]\nname = 5", "machine.toml: name in [machine] is 5; allowed: a string that is not empty"),
        ("machine = 5", "machine.toml: machine must be a table"),
        ("", "nothing to run: give --firmware, --image or --kernel FILE, or one of them in [machine]"),
        (
            "[machine]\nfirmware='a'\nimage='b'",
            "both firmware and image are given; a machine starts in one of them",
        ),
        ("[machine]\nfirmware='a'\nimage-address=0", "image-address is given without image"),
    ],
)
def test_a_mistake_is_one_line(file, text, message):
    with pytest.raises(ConfigError) as refused:
        load(file(text), {})
    assert str(refused.value) == message


@pytest.mark.parametrize("count", [0, 9, "2", True])
def test_a_number_of_servers_that_cannot_be(count):
    with pytest.raises(ConfigError, match=r"^--servers is .*; allowed: 1 to 8$"):
        load(None, {"image": "x", "servers": count})


def test_a_mistake_in_an_option_names_the_option():
    with pytest.raises(ConfigError, match=r"^--memory is '1'; allowed: bytes"):
        load(None, {"memory": "1", "firmware": "x"})


def test_a_file_that_is_no_toml_says_where(file):
    with pytest.raises(ConfigError, match=r"^machine\.toml: .*line 1"):
        load(file("[machine\nname = 1"), {})


def test_a_missing_file_is_one_line():
    with pytest.raises(ConfigError, match=r"^cannot read /nowhere\.toml: No such file or directory$"):
        load("/nowhere.toml", {})
