"""The examples in whole machines: guests find them, Linux drives one, and an upgrade does not lose them."""

import re
import sys
from pathlib import Path

import pytest
import trio

from devmodel.testing import Console, Machine, Process
from examples import copier, dice, lookup, ticker
from tests.guests.conftest import *  # noqa: F403  (the fixtures of those who boot guests)
from tests.guests.images import KERNEL, make_image
from tests.guests.initramfs import DRIVERS, GUESTS, MARKER, make_initramfs

ROLL = bytes.fromhex(
    "BA 00 05  66 ED"  # mov dx, 0x500; in eax, dx
    "BA F8 03"  #        mov dx, 0x3f8
    "B9 04 00"  #        mov cx, 4
    "EE  66 C1 E8 08"  # out dx, al; shr eax, 8
    "E2 F9"  #           loop to the out
    "FA F4"  #           cli; hlt: a guest that can wake no more has switched itself off
)


async def test_a_guest_throws_the_dice(vendor, tmp_path):
    (tmp_path / "roll.bin").write_bytes(ROLL)
    async with Machine(image=tmp_path / "roll.bin", board=dice.build, vendor=vendor) as machine:
        assert await machine.console.end() == (270369).to_bytes(4, "little")
        assert await machine.wait() == 0


async def test_a_guest_that_is_soon_over_waits_for_who_listens_to_it(tmp_path):
    """It could be over before a test's client was there, who then heard nothing, or was refused."""
    (tmp_path / "roll.bin").write_bytes(ROLL)
    with open(tmp_path / "said", "wb") as said:
        process = Process.of_module(
            *("devmodel", "run", "--image", str(tmp_path / "roll.bin"), "--board", "examples.dice:build"),
            *("--serial", "tcp:127.0.0.1:0", "--serial-wait"),
            said=said,
        )
        try:
            with trio.fail_after(60):
                while not (found := re.search(r"tcp:(\S+)\n", (tmp_path / "said").read_text())):
                    await trio.sleep(0.05)
            await trio.sleep(1.5)
            assert process.poll() is None
            console = await Console.connect(found[1])
            assert await console.end() == (270369).to_bytes(4, "little")
            console.close()
            assert await process.wait() == 0
        finally:
            process.finish(1)


def ticking() -> bytes:
    """A guest that says "." for every tick."""
    begin = bytes.fromhex(
        "FA 31C0 8ED8"  # cli; xor ax, ax; mov ds, ax
        "B011 E620  B020 E621  B004 E621  B001 E621  B0DF E621"  # 8259A: vectors from 0x20; only request 5
        "BA 08 05  66 B8 E8030000  66 EF"  # mov dx, 0x508; mov eax, 1000; out dx, eax
    )
    wait = bytes.fromhex("FB F4 EB FC")  # sti; hlt; jmp to the sti
    handler = bytes.fromhex(
        "BA 0C 05  66 ED"  # mov dx, 0x50c; in eax, dx
        "BA F8 03  B0 2E  EE"  # mov dx, 0x3f8; mov al, '.'; out dx, al
        "B0 20  E6 20  CF"  # mov al, 0x20; out 0x20, al; iret
    )
    vector = 4 * 0x25
    set_vector = 2 * 6
    at = 0x7C00 + len(begin) + set_vector + len(wait)
    return (
        begin
        + b"\xc7\x06"
        + vector.to_bytes(2, "little")
        + at.to_bytes(2, "little")  # mov word [vector], handler
        + b"\xc7\x06"
        + (vector + 2).to_bytes(2, "little")
        + bytes(2)  # and its segment, 0
        + wait
        + handler
    )


async def test_a_guest_sleeps_from_tick_to_tick(vendor, tmp_path):
    (tmp_path / "tick.bin").write_bytes(ticking())
    async with Machine(image=tmp_path / "tick.bin", board=ticker.build, vendor=vendor) as machine:
        await machine.console.expect("." * 50)
        with trio.fail_after(20):
            while not (await machine.registers()).halted:
                pass


@pytest.fixture(params=["in the main server", "in a server of its own"])
def apart(request: pytest.FixtureRequest) -> list[str]:
    return [] if request.param == "in the main server" else ["--apart", "own"]


async def test_the_ticker_interrupts_from_wherever_it_is(apart, tmp_path):
    (tmp_path / "tick.bin").write_bytes(ticking())
    async with Machine(*apart, image=tmp_path / "tick.bin", board=ticker.build) as machine:
        await machine.console.expect("." * 20)


async def upgrade(machine: Machine) -> None:
    command = [sys.executable, "-m", "devmodel", "upgrade", machine.domain]
    done = await trio.run_process(command, capture_stderr=True)
    assert re.match(rb"devmodel: upgraded to devmodel .*\bown\b", done.stderr), done.stderr


async def succeed(machine: Machine) -> None:
    """Kill the server, and start another.

    What it leaves is up to 0.1 s old, and what the guest has read since is not in the ring: it would read what was
    typed to it once more.
    """
    assert machine.server is not None
    await trio.sleep(0.5)
    machine.server.kill()
    await machine.server.wait()
    await machine.start_server()
    machine.console = await machine.connect()


async def test_an_upgrade_and_a_kill_go_on_with_the_chips_of_ones_own(tmp_path):
    (tmp_path / "tick.bin").write_bytes(ticking())
    async with Machine(image=tmp_path / "tick.bin", board=ticker.build, apart="core") as machine:
        await machine.console.expect("." * 20)
        await upgrade(machine)
        await machine.console.expect("." * 20)  # by a client that has stayed connected
        for _ in range(3):
            await succeed(machine)
            await machine.console.expect("." * 20)


async def test_a_guest_asks_a_service_on_the_network(nursery, tmp_path):
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            assert bytes(await stream.receive_some(100)) == b"?\n"
            await stream.send_all(b"!\n")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, listeners)
    address = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    program = bytes.fromhex(
        "BA 20 05  B0 3F EE  B0 0A EE"  # mov dx, 0x520; '?' and a line feed
        "BA 21 05  EC  A8 01  74 F8"  # mov dx, 0x521; in al, dx; test al, 1; jz to the mov
        "BA 20 05  EC  BA F8 03  EE"  # read a byte of the answer, and send it on the serial line
        "FA F4"
    )
    (tmp_path / "ask.bin").write_bytes(program)
    async with Machine(
        image=tmp_path / "ask.bin", board=lookup.build, board_options={"address": address}
    ) as machine:
        assert await machine.console.end() == b"!"


async def test_a_chip_that_raises_is_named_with_its_access_and_where_the_guest_was(tmp_path):
    (tmp_path / "bad.py").write_text(
        "class Chip:\n"
        "    def read(self, offset, size):\n"
        "        return [1, 2, 3][offset + 3]\n"
        "    def write(self, offset, size, value):\n"
        "        raise ValueError(value)\n"
        "    state = 0\n"
        "    def reset(self):\n"
        "        raise ValueError\n"
        "def build(board):\n"
        "    board.add(Chip(), name='bad', ports=range(0x500, 0x504))\n"
    )
    for program, access in (
        ("BA 01 05 EC EB FE", r"in a read of 1 byte at port 0x501, by the instruction at 0000:00007c03"),
        (
            "BA 02 05 B0 07 EE EB FE",
            r"in a write of 0x7 \(1 byte\) at port 0x502, posted before the instruction at \S+",
        ),
        ("B0 01 E6 92 EB FE", r"in a reset"),  # mov al, 1; out 0x92, al
    ):
        (tmp_path / "guest.bin").write_bytes(bytes.fromhex(program))
        async with Machine(image=tmp_path / "guest.bin", board=f"{tmp_path}/bad.py:build") as machine:
            assert await machine.wait() == 1
            said = machine.said()
        assert re.search(
            rf"^devmodel: chip 'bad' failed {access}.*: (IndexError|ValueError): .*\(bad.py:\d\)$",
            said,
            re.MULTILINE,
        )
        assert said.index("devmodel: chip") < said.index("Traceback (most recent call last):")


# -- Linux --------------------------------------------------------------------------------------------------

ARGUMENTS = "console=ttyS0 quiet"
DEVICE = "/sys/bus/pci/devices/0000:00:05.0"


async def shell(machine: Machine) -> None:
    await machine.console.expect(MARKER, 240)


async def test_linux_lists_the_copier_and_has_it_copy_whatever_becomes_of_its_server(linux):
    async with Machine(*linux, board=copier.build, vendor="vmx", apart="core") as machine:
        await shell(machine)

        async def run(command: str) -> str:
            result = await machine.run(command)
            assert result.status == 0, result
            return result.output

        assert await run(f"cd {DEVICE}; cat vendor device class") == "0x1af4\n0x10f2\n0x088000\n"
        memory, ports, *others = [
            [int(field, 16) for field in line.split()] for line in (await run("cat resource")).splitlines()
        ]
        assert memory[1] - memory[0] == ports[1] - ports[0] == 15
        assert (memory[2] & 0x300, ports[2] & 0x300) == (0x200, 0x100)  # IORESOURCE_MEM, IORESOURCE_IO
        assert not any(map(any, others))
        # A bus master with both windows on, as a driver would have it; then a copy between two pages of low memory.
        await run("printf '\\007' | busybox dd of=config bs=1 seek=4 conv=notrunc 2>/dev/null")
        source, target = 0x9_0000, 0x9_1000
        status = f"busybox dd if=/dev/port bs=1 skip={ports[0] + 12} count=1 2>/dev/null | busybox hexdump -e '\"%x\"'"
        for text, then in (
            (b"copied by DMA", upgrade),
            (b"by a successor", succeed),
            (b"after a death", None),
        ):
            await machine.write(source, text)
            for register, value in (
                *((0, source), (4, target), (8, len(text))),
                (12, copier.START | copier.DONE),
            ):
                await run(f"busybox devmem {memory[0] + register:#x} 32 {value:#x}")
            assert (await run(status)).strip() == "2"
            assert await machine.read(target, len(text)) == text
            if then is not None:
                await then(machine)


@pytest.fixture
def uio_disk(grub_tools: None, seabios: list[str], tmp_path: Path) -> list[str]:
    """Firmware, which gives the device its interrupt, and a disk with Linux and a driver for any PCI device."""
    if not (GUESTS / "complete").exists():
        pytest.skip("Debian's i386 kernel and busybox are fetched by `make guests`")
    initramfs = make_initramfs(tmp_path / "initramfs", drivers=(*DRIVERS, "uio_pci_generic"))
    files = {"kernel": GUESTS / "vmlinuz", "initrd": initramfs}
    image = make_image(tmp_path, "linux", KERNEL.format(arguments=ARGUMENTS), files, 32)
    return [*seabios, "--disk", str(image), "--memory", "256M"]


async def test_a_driver_of_linux_probes_the_copier_and_gets_its_interrupt(uio_disk):
    async with Machine(*uio_disk, board=copier.build, vendor="svm") as machine:
        await shell(machine)
        irq = int((await machine.run(f"cat {DEVICE}/irq")).output)
        assert irq in {5, 9, 10, 11}
        await machine.run("cd /sys/bus/pci/drivers/uio_pci_generic; echo '1af4 10f2' > new_id")
        assert (await machine.run("ls -d 0000:00:05.0")).status == 0
        base = int((await machine.run(f"cat {DEVICE}/resource")).output.split()[0], 16)
        await machine.run(
            f"printf '\\007' | busybox dd of={DEVICE}/config bs=1 seek=4 conv=notrunc 2>/dev/null"
        )
        # A read of /dev/uio0 waits for interrupts that come after it was opened, and says how many there were.
        await machine.run("exec 3< /dev/uio0")
        for register, value in ((0, 0x9_0000), (4, 0x9_1000), (8, 64), (12, copier.START)):
            await machine.run(f"busybox devmem {base + register:#x} 32 {value:#x}")
        seen = await machine.run("busybox dd bs=4 count=1 <&3 2>/dev/null | busybox hexdump -e '\"%u\"'")
        assert seen.output == "1"
        table = (await machine.run("grep uio /proc/interrupts")).output
        assert table.split()[:2] == [f"{irq}:", "1"]
