"""devmodel.testing itself: what a console waits for, and what of a machine can be reached."""

import re
import socket

import anyio
import attrs
import pytest
import trio

from devmodel import ConfigError, DevmodelError
from devmodel.testing import Bench, Console, Fatal, Machine, MemoryDisk, NotSeen, Result, check_board
from devmodel.testing.options import arguments_of

PROMPT = "demo> "


@pytest.fixture
def wire():
    """A console, and the guest's end of it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield Console(ours, lambda: "as was said"), theirs


async def test_text_bytes_and_patterns_are_waited_for(wire):
    console, guest = wire
    guest.sendall(b"one two 34 five\xff")
    assert await console.expect("one") == b"one"
    assert await console.expect(b"two") == b" two"
    seen = await console.expect(re.compile(r"(\d)(\d)"))
    assert (seen.before, seen.match.groups()) == (b" ", (b"3", b"4"))
    assert await console.expect(re.compile(rb"f\w+\xff")) == b" five\xff"


async def test_of_several_the_one_that_comes_first_counts_and_the_rest_is_for_the_next(wire):
    console, guest = wire
    guest.sendall(b"..b..a..")
    seen = await console.expect(["a", b"b", re.compile("c")])
    assert (seen, seen.which) == (b"..b", 1)
    assert await console.expect(["b", "a"]) == b"..a"


async def test_what_does_not_come_shows_what_came(wire):
    console, guest = wire
    guest.sendall(b"something else")
    with pytest.raises(NotSeen, match=r"(?s)^'this' did not come in 0.05 s; .*something else\nas was said$"):
        await console.expect("this", 0.05)
    with pytest.raises(NotSeen, match=r"^none of 'this', b'that' did not come"):
        await console.expect(["this", b"that"], 0.05)
    guest.close()
    with pytest.raises(NotSeen, match=r"^'this' never came, the machine hung up"):
        await console.expect("this")


async def test_a_panic_ends_each_wait_at_once_with_what_the_guest_said_after_it(wire):
    console, guest = wire
    guest.sendall(b"Kernel panic - not syncing: VFS\r\n")

    async def more() -> None:
        await trio.sleep(0.1)
        guest.sendall(b"Call Trace:\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(more)
        with trio.fail_after(5), pytest.raises(Fatal) as caught:
            await console.expect("login:")
    assert str(caught.value).startswith(
        "'login:' will not come: the guest said 'Kernel panic - not syncing: VFS';"
    )
    assert "Call Trace:" in str(caught.value)


async def test_who_waits_for_the_panic_gets_it_and_what_came_before_it_too(wire):
    console, guest = wire
    guest.sendall(b"login: \r\nKernel panic - not syncing: VFS\r\n")
    await console.expect("login:")
    assert await console.expect("Kernel panic") == b" \r\nKernel panic"


async def shell(guest: socket.socket, prompt: bytes, says: dict[str, tuple[bytes, int]]) -> None:
    """Answer what `Console.run` types, as a shell on a terminal that echoes does."""
    typed = b""
    while b"\r" not in typed:
        await anyio.wait_readable(guest)
        typed += guest.recv(4096)
    found = re.fullmatch(rb"echo 'b''(\w+)'; eval (.*); echo \"e\"'\1' \$\?\r", typed, re.DOTALL)
    assert found is not None, typed
    output, status = says[found[2].decode()]
    guest.sendall(typed[:40] + b"\r\n" + typed[40:].replace(b"\r", b"\r\n"))  # wrapped, as on 40 columns
    guest.sendall(b"b%b\r\n%be%b %d\r\n%b" % (found[1], output, found[1], status, prompt))


@pytest.mark.parametrize("prompt", [b"/ # ", b"[root@guest ~]$ ", b""])
async def test_a_command_gives_its_output_and_its_status_whatever_the_prompt(wire, nursery, prompt):
    console, guest = wire
    guest.setblocking(False)
    guest.sendall(prompt)
    says = {"ls": (b"a\r\nb\r\n", 0), "'echo -n x; false'": (b"x", 1)}
    nursery.start_soon(shell, guest, prompt, says)
    assert await console.run("ls") == Result("a\nb\n", 0)
    nursery.start_soon(shell, guest, prompt, says)
    assert await console.run("echo -n x; false") == Result("x", 1)


def test_options_are_what_the_command_takes():
    def board() -> None: ...

    assert arguments_of(
        {"memory": 1 << 20, "disks": ["a", "b"], "fw_cfg": {"opt/x": "1"}, "reboot": False}
    ) == [
        "--memory=1048576",
        "--disk=a",
        "--disk=b",
        "--fw-cfg=opt/x=1",
        "--no-reboot",
    ]
    assert arguments_of({"kernel": "k", "machine": "m.toml", "trace": True, "fatal": ()}) == [
        "m.toml",
        "--kernel=k",
    ]
    with pytest.raises(TypeError, match=r"^a machine has no option 'disk'; it has machine, vendor, cpu"):
        arguments_of({"disk": "a"})
    with pytest.raises(TypeError, match="disks: give a list of paths"):
        arguments_of({"disks": "a"})
    with pytest.raises(ConfigError, match="give a function at the top of a module"):
        arguments_of({"board": board})


async def test_a_machine_is_reached_into(machine):
    await machine.console.expect(PROMPT)
    async with machine.paused():
        before = await machine.registers()
        await machine.console.type("time\r")
        with pytest.raises(NotSeen):
            await machine.console.expect(PROMPT, 0.3)
        assert await machine.registers() == before
        assert before.cs.base == 0xF_0000
    await machine.console.expect(PROMPT)

    data = bytes(range(256)) * 200  # more than goes into one command
    await machine.write(0x1_0000, data)
    assert await machine.read(0x1_0000, len(data)) == data
    assert await machine.read(1 << 40, 4) == b"\xff" * 4
    await machine.write_disk(10, data)
    assert await machine.read_disk(10, len(data) // 512) == data

    await machine.out(0x80, 0x5A)
    assert await machine.inp(0x80) == 0x5A
    await machine.out(0xCF8, 0x8000_0810, 4)
    assert await machine.inp(0xCF8, 4) == 0x8000_0810
    await machine.reset()
    await machine.console.expect("self-test passed")


@pytest.mark.machine(shared=True)
@pytest.mark.parametrize(
    ("what", "line"),
    [
        (lambda m: m.inp(0x500), "nobody answers at port 0x500"),
        (lambda m: m.inp(0x80, 3), "an access to a port has 1, 2 or 4 bytes"),
        (lambda m: m.write(0x3FF_FFFF, b"xx"), "not all of 0x3ffffff-0x4000000 is RAM"),
        (lambda m: m.read_disk(0, disk=1), "there is no disk 1; the last is 0"),
        (lambda m: m.read_disk(2048), "sectors 2048 to 2048 cannot be read; it has 2048"),
        (lambda m: m.write_disk(2048, bytes(512)), "sectors from 2048 on cannot be written; it has 2048"),
        (lambda m: m.write_disk(0, b"x"), "1 bytes are no whole sectors of 512"),
        (lambda m: m.registers(vcpu=1), "there is no vCPU 1"),
        (lambda m: m.out(0x80, -1), "Expected `int` >= 0 - at `$.value`"),
    ],
)
async def test_what_cannot_be_reached_is_one_line(machine, what, line):
    with pytest.raises(DevmodelError) as error:
        await what(machine)
    assert str(error.value) == line


async def test_ports_are_found_at_the_server_that_has_them(boot):
    machine = await boot("--apart", "serial")
    await machine.console.expect(PROMPT)
    await machine.out(0x3FF, 0x5A)
    assert await machine.inp(0x3FF) == 0x5A
    assert await machine.inp(0x61) & 0xC0 == 0


async def test_a_machine_that_cannot_start_says_what_the_command_says():
    with pytest.raises(NotSeen, match=r"(?s)^exit status 2 before a serial console came\nhvcore: .*no-such"):
        await Machine(kernel="no-such").start()


def test_a_bench_has_disks_a_serial_line_and_memory():
    disk = MemoryDisk(bytearray(b"boot".ljust(512)) + bytearray(512 * 2047))
    bench = Bench(disks=[disk])
    for register, value in ((2, 1), (3, 0), (4, 0), (5, 0), (6, 0xE0), (7, 0x20)):  # READ SECTORS, LBA 0
        bench.out(0x1F0 + register, value)
    bench.advance(1_000_000)
    assert bench.inp(0x1F0, 4).to_bytes(4, "little") == b"boot"
    bench.out(0x3F8, ord("!"))
    assert bench.serial == b"!"
    bench.type(b"?")
    assert bench.inp(0x3F8) == ord("?")
    bench.ram[:4] = b"gues"
    assert bench.board.ram.read(0, 4) == b"gues"


def test_a_chip_that_is_always_due_is_found_on_the_bench():
    class Stuck:
        def read(self, offset, size):
            return 0

        def write(self, offset, size, value): ...

        def deadline(self):
            return 1000

        def tick(self): ...

    bench = Bench(lambda board: board.add(Stuck(), name="stuck", ports=0x500))
    with pytest.raises(
        AssertionError, match="a chip is still due at 1000 ns, however often it is ticked at 1000 ns"
    ):
        bench.advance(2000)


@attrs.define
class FaultyState:
    value: int = 0


class Faulty:
    """A register of a byte; with a fault that `what` names."""

    def __init__(self, what):
        self.what = what
        self.state = FaultyState()
        self.hidden = 0

    def reset(self):
        if self.what != "reset":
            self.state = FaultyState()

    def read(self, offset, size):
        match self.what:
            case "raises" if offset == 3:
                raise IndexError(offset)
            case "hides":
                return self.hidden
            case "wide":
                return self.state.value | 0x100
            case "text":
                return str(self.state.value)
        return self.state.value

    def write(self, offset, size, value):
        self.state.value = self.hidden = value


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("raises", r"a chip raised IndexError in a read of \d bytes? at port 0x50\d"),
        ("hides", r"a successor reads 0x\w+, not 0x\w+: a read of \d bytes? at port 0x50\d"),
        ("wide", r"0x\w+ is no answer to a read of 1 byte at port 0x50\d|a successor"),
        ("text", r"a chip raised TypeError|'\d+' is no number"),
        (
            "reset",
            r"after a reset 'faulty' is FaultyState\(value=\d+\), and was FaultyState\(value=0\) when it was new",
        ),
    ],
)
def test_the_check_of_a_board_finds(what, line):
    def build(board):
        board.add(Faulty(what), name="faulty", ports=range(0x500, 0x504))

    with pytest.raises(AssertionError, match=line):
        check_board(build)


def test_the_check_of_a_board_finds_nothing_where_nothing_is():
    check_board(lambda board: board.add(Faulty("nothing"), name="faulty", ports=range(0x500, 0x504)))
    with pytest.raises(AssertionError, match="the board adds nothing that a guest could reach"):
        check_board(lambda _board: None)
