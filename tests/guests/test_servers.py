"""One machine, its board divided over several device-model processes."""

import hashlib
import random
import re
import signal
import subprocess
import sys

import pytest
import trio

from devmodel.control import asking, probe, sockets
from devmodel.control.access import Remote
from devmodel.control.human import Human
from devmodel.service.trace import open_trace
from devmodel.testing import Machine, NotSeen
from tests.guests.test_failure import DEMO, PROMPT, refused

SELF_TEST = "--fw-cfg=opt/devmodel/self-test=1"
GRUB = b"grub>"
SHELL = b"/ # "
CHIPS = (b"8259A", b"8254", b"16550A", b"IDE", b"VGA")

SPLITS = [
    pytest.param("vmx", ["ide,serial"], id="vmx, two"),
    pytest.param("svm", ["ide", "serial,vga"], id="svm, three"),
    pytest.param(
        "vmx", ["pic,pci", "pit,kbc,rtc"], id="vmx, three, the timer without its interrupt controller"
    ),
    pytest.param(
        "svm",
        ["pic", "pit", "serial", "ide", "vga,kbc", "pci", "pm,debug,dma"],
        id="svm, as many as a domain has",
    ),
]


def options(vendor: str, apart: list[str]) -> list[str]:
    return ["--vendor", vendor, *(argument for parts in apart for argument in ("--apart", parts))]


@pytest.mark.parametrize(("vendor", "apart"), SPLITS)
async def test_the_demo_guest_finds_every_chip_wherever_it_is(vendor, apart):
    async with Machine(SELF_TEST, *options(vendor, apart)) as machine:
        said = await machine.console.end()
        assert b"self-test passed" in said, said
        assert said.count(b" ok\r\n") == len(CHIPS)
        assert await machine.wait() == 0
        assert "server" not in machine.said()


@pytest.mark.parametrize(("vendor", "apart"), SPLITS[:3])
async def test_seabios_boots_grub_from_a_disk_of_another_server(grub, vendor, apart):
    async with Machine(*grub, *options(vendor, apart)) as machine:
        console = machine.console
        await console.expect(GRUB)
        assert "GNU GRUB" in await machine.screen()
        await console.type("cat (hd0,msdos1)/hello.txt\r")
        assert b"Hello from a FAT file system." in await console.expect(GRUB)
        await console.type("reboot\r")
        await console.expect(GRUB)  # every server has reset its chips
        await console.type("halt\r")
        assert await machine.wait() == 0


async def test_screen_and_keyboard_are_found_where_they_are(grub_on_screen):
    arguments = options("svm", ["serial", "vga", "kbc"])
    async with Machine(*grub_on_screen, *arguments) as machine:
        await machine.shows("grub>")
        await machine.key(*"echo", "spc", "shift-k", *"eys", "ret")
        await machine.shows("grub> echo Keys\nKeys\n")


async def test_servers_are_started_by_hand_in_any_order_and_the_guest_waits_for_the_last():
    async with Machine(
        DEMO, "--vendor", "svm", "--servers", "3", "--only", "serial", apart="core"
    ) as machine:
        await machine.start_another(DEMO, "--without", "serial,ide")
        with pytest.raises(NotSeen):
            await machine.console.expect(b"demo", 1)
        await machine.start_another(DEMO, "--only", "ide")
        await machine.console.expect(PROMPT)


async def test_parts_that_another_server_has_are_refused_and_cost_the_guest_nothing():
    """The core asks the first of two servers that claim a port, as Xen does: the second would be in vain."""
    async with Machine(DEMO, apart="core") as machine:
        await machine.console.expect(PROMPT)
        arguments = ["devmodel", "serve", "--domain", machine.domain, "--only", "pit,vga"]
        line = await trio.to_thread.run_sync(refused, *arguments)
        assert re.fullmatch(rf"devmodel: {machine.domain}: process \d+ serves pit, vga there already", line)
        assert SECTOR in await sector(machine)


async def test_a_guest_that_one_server_holds_is_paused_and_goes_on_whoever_is_asked():
    """Each server holds the vCPUs by a connection of its own: QMP's `stop` may be said to one, `cont` to another."""
    async with Machine(DEMO, "--apart", "ide") as machine:
        await machine.console.expect(PROMPT)
        remote = Remote(machine.domain)
        monitor = Human(remote)
        ide = sockets.path_of(machine.domain, frozenset({"ide"}))
        await trio.to_thread.run_sync(asking.ask_at, ide, probe.Pause())
        assert await monitor.do("info status") == "VM status: paused\n"
        await monitor.do("cont")
        assert await monitor.do("info status") == "VM status: running\n"
        assert SECTOR in await sector(machine)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_server_of_the_disk_dies_and_another_takes_its_place_while_the_guest_runs(how):
    async with Machine(
        DEMO, "--vendor", "vmx", "--servers", "2", "--without", "ide", apart="core"
    ) as machine:
        ide = await machine.start_another(DEMO, "--only", "ide")
        await machine.console.expect(PROMPT)
        assert SECTOR in await sector(machine)
        ide.send_signal(how)
        await ide.wait()
        assert b"the disk reports an error" in await sector(machine)
        await machine.start_another(DEMO, "--only", "ide")
        with trio.fail_after(20):
            while SECTOR not in await sector(machine):
                await trio.sleep(0.1)


SECTOR = b"000001F0  00 00 00 00"


async def sector(machine: Machine) -> bytes:
    """Have the demo guest read sector 0."""
    await machine.console.type("disk 0\r")
    return await machine.console.expect(PROMPT)


async def test_a_server_apart_that_cannot_start_ends_the_machine_with_its_line_and_status(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    async with Machine(DEMO, "--disk", image):
        line = await trio.to_thread.run_sync(refused_at_last, DEMO, "--disk", str(image), "--apart", "ide")
        assert line.splitlines() == [
            f"devmodel: disk {image}: another process has it open",
            "devmodel: a server apart ended with exit status 2",
        ]


def refused_at_last(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "devmodel", "run", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert done.returncode == 2, done
    return done.stderr


def test_a_board_that_cannot_be_parted_so_is_one_line(tmp_path):
    parts = "pic, pit, kbc, rtc, serial, parallel, ide, pci, pm, vga, fw_cfg, dma, debug, own"
    domain = tmp_path / "domain"
    line = refused("devmodel", "serve", "--domain", domain, "--only", "ide,floppy")
    assert line == f"devmodel: --only: unknown part 'floppy'; allowed: {parts}"
    line = refused("devmodel", "run", "--apart", "port92")
    assert line == f"devmodel: --apart: unknown part 'port92' (it belongs to 'kbc'); allowed: {parts}"
    line = refused("devmodel", "run", "--apart", "serial")
    assert line == "devmodel: the serial port is in a server apart; give it --serial tcp:HOST:PORT"
    line = refused("hvcore", "run", DEMO, "--domain", domain, "--servers", "9")
    assert line == "hvcore: --servers is 9; allowed: 1 to 8"


@pytest.mark.parametrize("vendor", ["vmx", "svm"])
def test_a_trace_shows_what_a_guest_asks_of_each_server(vendor, tmp_path):
    path = tmp_path / "trace"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "devmodel", "run", SELF_TEST, "--vendor", vendor),
            *("--apart", "ide", "--trace", path),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    with open_trace(f"{path}.ide") as trace:
        ide = list(trace)
    with open_trace(str(path)) as trace:
        rest = list(trace)
    assert {event.device for event in ide} >= {"ide0", "ide0 control"}
    assert 0xEC in [event.value for event in ide if event.register == "COMMAND" and not event.read]
    assert any(event.register == "DATA" and event.read and event.count == 256 for event in ide)
    text = bytes(
        event.value for event in rest if (event.device, event.register) == ("uart", "DATA") and not event.read
    )
    assert b"self-test passed" in text
    assert {event.value for event in rest if event.space == "interrupt"} >= {0x20, 0x24, 0x2E}


@pytest.mark.parametrize(
    ("vendor", "apart"), [("vmx", ["ide,serial"]), ("svm", ["serial", "ide", "pit,rtc"])], ids=["two", "four"]
)
async def test_linux_boots_and_reads_a_disk_of_another_server(linux, tmp_path, vendor, apart):
    disk = tmp_path / "disk.img"
    disk.write_bytes(random.Random(8).randbytes(1 << 20))
    async with Machine(*linux, "--disk", disk, *options(vendor, apart)) as machine:
        console = machine.console
        await console.expect(SHELL, 180)
        await console.type("sha256sum /dev/sda\r")
        assert hashlib.sha256(disk.read_bytes()).hexdigest().encode() in await console.expect(SHELL, 60)
        await console.type("dmesg | grep -ciE 'nobody cared|timeout|lost |spurious'\r")
        assert b"\r\n0\r\n" in await console.expect(SHELL, 60)
