"""`devmodel stats`: counts of the core, by the devices that the servers have."""

import os
import pty
import subprocess
import sys
import time

import msgspec
import pytest
import trio

from devmodel.service.stats import MappedRange, Report, ServerStatistics, duration, report, table
from ioreq.histogram import bucket
from ioreq.messages import Accesses, Exits, Statistics, VcpuStatistics


def core(reads: int = 10, exits: int = 7, instructions: int = 1000) -> Statistics:
    return Statistics(
        [
            VcpuStatistics(
                vcpu=0,
                instructions=instructions,
                asleep_ns=instructions * 1000,
                exits=[Exits("io", exits, [(bucket(1500), 3)])],
                accesses=[
                    Accesses("port", 0x3FD, reads=reads, mirrored=40, waits=[(bucket(2000), 1)]),
                    Accesses("port", 0x3F8, reads=1, posted=100, writes=2, waits=[(bucket(4000), 1)]),
                    Accesses("memory", 0xA0000, posted=5),
                    Accesses("port", 0x5A0, reads=3),
                    Accesses("interrupt", 0, reads=9),
                ],
            )
        ]
    )


SERIAL = [MappedRange("port", 0x3F8, 0x3FF, "uart")]
REST = [MappedRange("memory", 0xA0000, 0xBFFFF, "vga memory")]


def servers(**how: int) -> list[ServerStatistics]:
    said = core(**how)
    return [
        ServerStatistics("m", ["pic", "vga"], REST, {}, said),
        ServerStatistics("m", ["serial"], SERIAL, {"uart": [(bucket(700), 2)]}, said),
    ]


def test_ports_are_added_up_by_device_whichever_server_has_it():
    rows = {row.device: row for row in report(servers()).devices}
    uart = rows["uart"]
    assert (uart.reads, uart.mirrored, uart.writes, uart.posted) == (11, 40, 2, 100)
    assert uart.wait_median is not None
    assert 2000 <= uart.wait_median <= 2250
    assert uart.served_median is not None
    assert 700 <= uart.served_median <= 800
    assert rows["vga memory"].posted == 5
    assert rows["interrupt"].reads == 9
    assert rows["port 0x5a0"].reads == 3  # of a server that is not ours


def test_a_table_shows_what_happened_since_the_last_a_second():
    before, now = report(servers()), report(servers(reads=30, exits=27, instructions=3_001_000))
    text = table(now, before, 2.0)
    assert "m: a second, over 2.0 s" in text
    assert "vCPU 0: 1.5 million instructions, asleep 100 %" in text
    (uart,) = [line for line in text.splitlines() if line.startswith("uart")]
    assert uart.split()[1:5] == ["10", "0", "0", "0"]
    assert "vga" not in text
    (io,) = [line for line in text.splitlines() if line.startswith("io ")]
    assert io.split() == ["io", "10", "-", "-"]


@pytest.mark.parametrize(
    ("ns", "text"), [(None, "-"), (999, "999 ns"), (1500, "1.5 us"), (2_000_000, "2.0 ms")]
)
def test_durations_are_for_people(ns, text):
    assert duration(ns) == text


@pytest.fixture
async def machine():
    from devmodel.testing import Machine

    async with Machine("--apart", "ide") as machine:
        await machine.console.expect(b"demo> ")
        yield machine


def stats(machine, *arguments: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "devmodel", "stats", machine.domain, *arguments],
        capture_output=True,
        timeout=30,
        check=True,
    ).stdout


async def test_a_machine_tells_its_counts_as_json(machine):
    first = msgspec.json.decode(await trio.to_thread.run_sync(stats, machine, "--json"), type=Report)
    rows = {row.device: row for row in first.devices}
    assert rows["uart"].posted > 300  # what the self-test has said
    assert rows["ide0"].reads > 3
    assert {row.reason: row.count for row in first.exits}["io"] > 500
    await trio.sleep(0.5)
    second = msgspec.json.decode(await trio.to_thread.run_sync(stats, machine, "--json"), type=Report)
    interrupts = [next(r.reads for r in each.devices if r.device == "interrupt") for each in (first, second)]
    assert interrupts[1] - interrupts[0] > 25  # of a timer at 100 Hz
    asleep = [each.vcpus[0].asleep_ns for each in (first, second)]
    assert asleep[1] - asleep[0] > 100_000_000


async def test_on_a_terminal_the_table_updates(machine):
    def watch() -> bytes:
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "devmodel", "stats", machine.domain, "--interval", "0.2"]
        with subprocess.Popen(command, stdout=slave, stdin=subprocess.DEVNULL) as process:
            os.close(slave)
            seen, deadline = b"", time.monotonic() + 20
            while seen.count(b"\x1b[H\x1b[J") < 2 and time.monotonic() < deadline:
                seen += os.read(master, 4096)
            process.terminate()
            os.close(master)
        return seen

    seen = await trio.to_thread.run_sync(watch)
    assert b"since the start" in seen
    assert b"a second, over 0." in seen
    assert b"hlt" in seen
