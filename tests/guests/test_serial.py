"""Four serial ports with Linux's driver: found, heard, spoken to; paced; and with somebody who does not read."""

import hashlib
import time

import pytest

from devmodel.testing import Machine
from tests.guests.test_drives import no_complaints, shell_of

PORTS = ["--serial", "tcp:127.0.0.1:0"] * 3


async def test_linux_finds_four_ports_and_each_has_a_console_of_its_own(vendor, linux):
    async with Machine(*linux, *PORTS, "--vendor", vendor) as machine:
        shell = await shell_of(machine)
        found = [
            line for line in (await shell.run("cat /proc/tty/driver/serial")).splitlines() if "16550A" in line
        ]
        places = [f"{n}: uart:16550A port:{port:08X} irq:{irq}"
                  for n, port, irq in ((0, 0x3F8, 4), (1, 0x2F8, 3), (2, 0x3E8, 4), (3, 0x2E8, 3))]  # fmt: skip
        assert [line[: len(places[0])] for line in found] == places
        for port in (2, 3, 4):
            console = await machine.connect(port)
            tty = f"/dev/ttyS{port - 1}"
            await shell.run(f"stty -F {tty} raw -echo; cat {tty} > /tmp/typed{port} & sleep 0.5")
            await shell.run(f"echo hello from {port} > {tty}")
            await console.expect(f"hello from {port}\n")
            await console.type(f"typed on {port}\n")
            said = f"while ! grep -q on /tmp/typed{port}; do sleep 0.1; done; cat /tmp/typed{port}"
            assert await shell.run(said) == f"typed on {port}\n"
        await no_complaints(shell)


async def test_a_mebibyte_arrives_whole_although_another_client_reads_nothing(linux):
    async with Machine(*linux, *PORTS[:2]) as machine:
        shell = await shell_of(machine)
        deaf, console = await machine.connect(2), await machine.connect(2)
        await shell.run("stty -F /dev/ttyS1 raw -echo 115200; seq 1 170000 > /tmp/numbers")
        sent = b"".join(b"%d\n" % n for n in range(1, 170001)) + b"end\n"
        assert len(sent) > 1 << 20
        await shell.run("(cat /tmp/numbers; echo end) > /dev/ttyS1 &")
        got = await console.expect(b"\nend\n", 240)
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
        await deaf.aclose()


async def test_with_flow_control_a_client_that_is_late_gets_everything(linux, tmp_path):
    description = tmp_path / "machine.toml"
    description.write_text("[[serial]]\n[[serial]]\ntcp = '127.0.0.1:0'\nflow = true\nhistory = 0\n")
    async with Machine(description, *linux) as machine:
        shell = await shell_of(machine)
        console = await machine.connect(2)
        await shell.run("stty -F /dev/ttyS1 raw -echo 115200 crtscts; seq 1 170000 > /tmp/numbers")
        sent = b"".join(b"%d\n" % n for n in range(1, 170001)) + b"end\n"
        await shell.run("(cat /tmp/numbers; echo end) > /dev/ttyS1 &")
        await shell.run("sleep 5")
        assert await shell.run("jobs | grep -c Running") == "1\n", (
            "the driver waits for us, and nobody else does"
        )
        got = await console.expect(b"\nend\n", 240)
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


@pytest.mark.parametrize("paced", [True, False])
async def test_output_is_paced_at_the_baud_rate_if_it_is_to_be(linux, tmp_path, paced):
    description = tmp_path / "machine.toml"
    description.write_text(f"[[serial]]\n[[serial]]\ntcp = '127.0.0.1:0'\npaced = {str(paced).lower()}\n")
    async with Machine(description, *linux) as machine:
        shell = await shell_of(machine)
        console = await machine.connect(2)
        await shell.run("stty -F /dev/ttyS1 raw -echo 2400; seq 1 300 > /tmp/numbers")
        begin = time.monotonic()
        await shell.run("cat /tmp/numbers > /dev/ttyS1 &")
        await console.expect(b"\n300\n", 120)
        took = time.monotonic() - begin
        line = 1092 * 10 / 2400  # seconds for the bytes on a line
        assert took > 0.9 * line if paced else took < line
