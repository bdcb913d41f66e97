"""The words of `devmodel monitor`: QEMU's, and what they ask of the machine."""

import contextlib

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from devmodel import DevmodelError
from devmodel.control import messages, probe
from devmodel.control.human import ALIASES, INFO, WORDS, Human, complete
from tests.devmodel.control.fake_access import FakeAccess, context

BLOCK = """\
ide0-hd0: /disk (raw)
ide1-cd0: /cd.iso (raw, read-only)
    Removable device: not locked
floppy0: not inserted
    Removable device: not locked
"""


@pytest.fixture
def access() -> FakeAccess:
    return FakeAccess()


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("stop", probe.Pause()),
        ("c", probe.Continue()),
        ("system_reset", probe.Restart()),
        ("system_powerdown", messages.PowerButton()),
        ("nmi", probe.Nmi()),
        ("q", probe.Quit()),
        ("o 0x80 0x12", probe.Outp(port=0x80, value=0x12, size=1)),
        ("o /h 0x80 0x1234", probe.Outp(port=0x80, value=0x1234, size=2)),
        ("i /h 0x1f0", probe.Inp(port=0x1F0, size=2)),
        ("sendkey ctrl-alt-delete 50", messages.Key(keys=["ctrl-alt-delete"], hold=50)),
        ("mouse_move 3 -4 1", messages.Mouse(actions=[messages.MouseAction(right=3, down=-4, wheel=1)])),
        ("eject -f ide1-cd0", messages.Eject(drive=0, force=True)),
        ("eject floppy0", messages.Eject(drive=0, floppy=True)),
        ("change ide1-cd0 /other.iso", messages.Insert(path="/other.iso", drive=0)),
        ("info state pic", probe.State("pic")),
    ],
)
async def test_a_line_is_a_command_of_the_monitors(access, line, command):
    await Human(access).do(line)
    assert access.asked[-1] == command


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("", ""),
        ("xp /4xb 0x10", "0000000000000010: 0x10 0x11 0x12 0x13\n"),
        ("xp/2hx 0x10", "0000000000000010: 0x1110 0x1312\n"),
        ("xp /2xg 0", "0000000000000000: 0x0706050403020100 0x0f0e0d0c0b0a0908\n"),
        ("xp /3xg 0", f"{0:016x}: 0x0706050403020100 0x0f0e0d0c0b0a0908\n{16:016x}: 0x1716151413121110\n"),
        ("x /2dw $esp - 4", "00007bfc: -66052 50462976\n"),
        ("xp /1gx 8", "0000000000000008: 0x0f0e0d0c0b0a0908\n"),
        ("xp /3c 0x41", "0000000000000041: 'A' 'B' 'C'\n"),
        ("xp /ob 8", "0000000000000008: 0010\n"),
        ("p /x $eip+1", "0x00007c11\n"),
        ("print /d -1+3", "2\n"),
        ("i 0x64", "portb[0x0064] = 0x1c\n"),
        ("info status", "VM status: running\n"),
        ("info name", "guest\n"),
        ("info version", "devmodel 1\n"),
        ("info chardev", "serial0: tcp:127.0.0.1:4000\nserial1: -\n"),
        ("info block", BLOCK),
        ("info state pic", '{\n  "imr": 255\n}\n'),
        ("screen", "hello\n"),
    ],
)  # fmt: skip
async def test_what_a_line_prints(access, line, printed):
    assert await Human(access).do(line) == printed


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("frob", "no command 'frob'; 'help' lists them"),
        ("info", "info what?; allowed: version, name, "),
        ("info frob", "info 'frob'; allowed: version, name, "),
        ("help frob", "no command 'frob'"),
        ("x", "x: use `x [/FORMAT] ADDRESS`"),
        ("xp /z 1", "format '/z': 'z'; allowed: /, a count"),
        ("xp /0x 1", "format '/0x': 0 items; allowed: 1 to 262144"),
        ("xp /999999999x 1", "format '/999999999x': 999999999 items"),
        ("xp /x", "an address is missing behind the format"),
        ("xp frob", "'frob'; allowed: a number as 4096 or 0x1000"),
        ("xp $frob", "no register '$frob'; allowed: $eax, "),
        ("xp 1*2", "'1*2'; allowed: numbers and registers"),
        ("xp 1-2", "'1-2' is -0x1, which is no address"),
        ("o 0x80 256", "0x100 does not fit into 1 byte"),
        ("i 0x10000", "port 0x10000; allowed: 0 to 0xffff"),
        ("sendkey a -1", "'-1'; allowed: a number from 0 to 5000"),
        ("mouse_button 8", "'8'; allowed: a number from 0 to 7"),
        ("eject ide0-hd0", "Device 'ide0-hd0' is not removable"),
        ("change sda /x", "Device 'sda' not found; there are ide0-hd0, ide1-cd0, floppy0"),
        ("screendump /nowhere/x.png", "cannot write /nowhere/x.png: No such file or directory"),
        ("screendump /tmp/x -f gif", "format 'gif'; allowed: png, ppm"),
        ("pmemsave 0 0 /tmp/x", "0 bytes; allowed: 1 to "),
    ],
)
async def test_a_mistake_is_one_line(access, line, why):
    with pytest.raises(DevmodelError) as raised:
        await Human(access).do(line)
    assert str(raised.value).startswith(why)
    assert "\n" not in str(raised.value)


async def test_registers_look_as_qemus_do(access):
    text = await Human(access).do("info registers")
    assert text.splitlines()[:5] == [
        "EAX=00000001 EBX=00000004 ECX=00000002 EDX=00000003",
        "ESI=00000007 EDI=00000008 EBP=00000006 ESP=00007c00",
        "EIP=00007c10 EFL=00000246 [---Z-P-] CPL=0 HLT=0",
        "ES =0000 00000000 0000ffff 00009300 DPL=0 DS16 [-WA]",
        "CS =f000 000f0000 0000ffff 00009b00 DPL=0 CS16 [-RA]",
    ]


def table(*entries: tuple[int, int], size: int = 4) -> bytes:
    page = bytearray(4096)
    for index, entry in entries:
        page[size * index : size * (index + 1)] = entry.to_bytes(size, "little")
    return bytes(page)


@pytest.mark.parametrize(
    ("linear", "physical"), [(0xC0000123, 0x5123), (0xC0400456, None), (0x00400456, 0xC00456), (0x5123, None)]
)
async def test_linear_addresses_go_by_the_guests_tables(access, linear, physical):
    """SDM vol. 3 figure 4-2: two levels, and pages of 4 MiB."""
    access.ram = bytearray(16 << 20)
    access.ram[0x1000:0x2000] = table((0x300, 0x2003), (1, 0xC00083))
    access.ram[0x2000:0x3000] = table((0, 0x5003))
    access.registers = context(cr0=1 << 31 | 1, cr3=0x1000, cr4=1 << 4)
    if physical is None:
        with pytest.raises(DevmodelError, match="nothing is mapped at"):
            await Human(access).do(f"x {linear:#x}")
        return
    access.ram[physical : physical + 4] = b"\x78\x56\x34\x12"
    assert await Human(access).do(f"x {linear:#x}") == f"{linear:08x}: 0x12345678\n"


async def test_linear_addresses_by_pae_and_over_the_end_of_a_page(access):
    """SDM vol. 3 figure 4-5: a table of four, then two levels of 512, or a page of 2 MiB."""
    access.ram = bytearray(16 << 20)
    access.ram[0x1020:0x1040] = b"".join(entry.to_bytes(8, "little") for entry in (0, 0, 0, 0x2001))
    access.ram[0x2000:0x3000] = table((0, 0x3003), (1, 0x400083), size=8)
    access.ram[0x3000:0x4000] = table((1, 0x8003), (2, 0x6003 | 1 << 63), size=8)
    access.registers = context(cr0=1 << 31 | 1, cr3=0x1020, cr4=1 << 5)
    access.ram[0x8FFE:0x9000], access.ram[0x6000:0x6002] = b"\x78\x56", b"\x34\x12"
    assert await Human(access).do("x 0xc0001ffe") == "c0001ffe: 0x12345678\n"
    access.ram[0x412344] = 0x55
    assert await Human(access).do("x /xb 0xc0212344") == "c0212344: 0x55\n"


async def test_memory_and_screens_go_to_files(access, tmp_path):
    human = Human(access)
    await human.do(f"pmemsave 0x10 16 {tmp_path / 'p'}")
    await human.do(f"memsave 0x20 4K {tmp_path / 'm'}")
    assert (tmp_path / "p").read_bytes() == bytes(range(0x10, 0x20))
    assert (tmp_path / "m").read_bytes() == bytes(access.ram[0x20:0x1020])
    for name, asked in (("s.png", messages.Screen(png=True)), ("s.ppm", messages.Screen(ppm=True))):
        await human.do(f"screendump {tmp_path / name}")
        assert (tmp_path / name).read_bytes() == b"PICTURE"
        assert access.asked[-1] == asked


async def test_buttons_are_held_until_the_mask_says_otherwise(access):
    human = Human(access)
    for line in ("mouse_button 1", "mouse_button 6", "mouse_button 6", "mouse_button 0"):
        await human.do(line)
    moved = [
        [(action.press, action.release) for action in asked.actions]
        for asked in access.asked
        if isinstance(asked, messages.Mouse)
    ]
    assert moved == [
        [("left", "")],
        [("right", ""), ("middle", ""), ("", "left")],
        [("", "right"), ("", "middle")],
    ]


async def test_help_has_a_line_for_every_command(access):
    text = await Human(access).do("help")
    assert [line.split()[0] for line in text.splitlines()] == list(WORDS)
    assert (await Human(access).do("? p")).startswith("print")
    shown = await Human(access).do("help info")
    assert all(f"info {what}" in shown for what in INFO)


WORD = st.text(max_size=6) | st.sampled_from(["/4xw", "0x10", "$esp", "-f", "floppy0"])
# All but the commands that would write files.
LINE = st.tuples(st.sampled_from([*WORDS, *ALIASES, "frob"]), st.lists(WORD, max_size=4)).filter(
    lambda line: not line[0].endswith("memsave") and line[0] != "screendump"
)


@given(LINE | st.text(max_size=20).map(lambda text: (text, [])))
def test_whatever_is_typed_is_done_or_complained_of(line):
    async def work() -> None:
        with contextlib.suppress(DevmodelError):
            await Human(FakeAccess()).do(" ".join([line[0], *line[1]]))

    trio.run(work)


def test_tab_completes_commands_what_info_shows_and_drives():
    assert complete("sy") == ["system_reset", "system_powerdown"]
    assert complete("info re") == ["registers"]
    assert complete("eject ", ["ide1-cd0", "floppy0"]) == ["ide1-cd0", "floppy0"]
    assert complete("change f", ["ide1-cd0", "floppy0"]) == ["floppy0"]
    assert complete("xp ") == []
