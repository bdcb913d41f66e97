"""A CD-ROM drive: the packet protocol, and what MMC commands say of it and of its disc."""

import copy
import functools
import operator
import struct
from typing import Final

import attrs
import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.lines import Line
from devmodel.devices import cd_sector
from devmodel.devices.ata_transport import RESET_NS
from devmodel.devices.ide import IdeChannel, Reg
from devmodel.devices.mmc import Tray
from tests.devmodel.devices.test_ide import SlowDisk

BLOCK = 2048
BLOCKS = 5000
CHECK = 0x41  # DRDY and ERR; bit 4 is SERV, which is not there without overlap


@attrs.define
class Bench:
    disc: SlowDisk = attrs.field(factory=lambda: SlowDisk(sectors=4 * BLOCKS))
    tray: Tray = attrs.field(init=False)
    line: Line = attrs.field(factory=Line)
    clock: ManualClock = attrs.field(factory=ManualClock)
    ide: IdeChannel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tray = Tray(self.disc)
        self.ide = IdeChannel(irq=self.line, clock=self.clock, disks=(self.tray, None))

    def pause(self, ns: int = 10_000) -> None:
        self.clock.advance(ns)
        self.ide.tick()

    def work(self) -> None:
        self.pause()
        while self.disc.queue:
            self.disc.work()
        self.pause()

    def out(self, register: int, value: int) -> None:
        self.ide.write(register, 1, value)

    def into(self, register: int) -> int:
        return self.ide.read(register, 1)

    def registers(self) -> tuple[int, ...]:
        return tuple(self.into(i) for i in range(1, 8))

    def begin(self, packet: bytes, *, limit: int = 0xFFFE, features: int = 0) -> None:
        for register, value in ((6, 0xA0), (1, features), (4, limit & 0xFF), (5, limit >> 8), (7, 0xA0)):
            self.out(register, value)
        self.pause()
        assert (self.line.level, self.into(Reg.COUNT), self.into(Reg.COMMAND)) == (False, 1, 0x48)
        self.ide.write_string(0, 2, packet.ljust(12, b"\0"))
        self.work()

    def blocks(self, packet: bytes, *, limit: int = 0xFFFE) -> list[bytes]:
        """Do a packet command, and return the DRQ blocks of data that it gives."""
        self.begin(packet, limit=limit)
        found = []
        while True:
            assert self.line.level
            status = self.into(Reg.COMMAND)
            if not status & 0x08:
                assert self.into(Reg.COUNT) == 3
                return found
            assert self.into(Reg.COUNT) == 2
            length = self.into(Reg.LBA_MID) | self.into(Reg.LBA_HIGH) << 8
            found.append(self.ide.read_string(0, 2, -(-length // 2))[:length])
            self.work()

    def packet(self, *packet: int, limit: int = 0xFFFE) -> bytes:
        return b"".join(self.blocks(bytes(packet), limit=limit))

    def failed(self) -> tuple[int, int, int] | None:
        """Sense key, code and qualifier of a command that failed."""
        if self.into(Reg.COMMAND) != CHECK:
            return None
        key = self.into(Reg.FEATURES) >> 4
        sense = self.packet(0x03, 0, 0, 0, 18)
        assert sense[2] == key
        return sense[2], sense[12], sense[13]

    def ready(self) -> None:
        """Take the unit attentions."""
        while self.failed_after(0x00) is not None:
            pass

    def failed_after(self, *packet: int) -> tuple[int, int, int] | None:
        self.packet(*packet)
        return self.failed()


@pytest.fixture
def fresh() -> Bench:
    return Bench()


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.ready()
    return bench


def read_10(lba: int, count: int) -> tuple[int, ...]:
    return (0x28, 0, *struct.pack(">I", lba), 0, *struct.pack(">H", count), 0)


# -- registers and resets (ATA/ATAPI-6, 9.12) ----------------------------------------------------------------


def test_the_signature_says_packet_drive(fresh: Bench) -> None:
    assert fresh.registers() == (1, 1, 1, 0x14, 0xEB, 0xA0, 0x00)


@pytest.mark.parametrize("code", [0xEC, 0x20])
def test_commands_of_a_disk_are_aborted_with_the_signature(fresh: Bench, code: int) -> None:
    for register in (2, 3, 4, 5):
        fresh.out(register, 0x55)
    fresh.out(Reg.COMMAND, code)
    fresh.pause()
    assert fresh.registers() == (4, 1, 1, 0x14, 0xEB, 0xA0, 0x41)


def test_identify_packet_device_says_what_it_is(fresh: Bench) -> None:
    fresh.out(Reg.COMMAND, 0xA1)
    fresh.pause()
    assert fresh.into(Reg.COMMAND) == 0x48
    raw = fresh.ide.read_string(0, 2, 256)
    w = struct.unpack("<256H", raw)
    assert w[0] == 0x85C0  # ATAPI, CD-ROM, removable, accelerated DRQ, 12 bytes
    assert w[49] & 0x0300 == 0x0300  # DMA, LBA
    assert (w[63], w[88]) == (0x0007, 0x003F)
    assert sum(raw) & 0xFF == 0
    assert fresh.into(Reg.COMMAND) == 0x40


def test_a_seek_shows_dsc_until_the_next_command(bench: Bench) -> None:
    """SFF-8020i: bit 4 is DSC, "drive seek complete". VIDE-CDD.SYS polls for it after each SEEK, for 30 s."""
    bench.begin(bytes((0x2B, 0, 0, 0, 0, 9)))
    assert bench.line.level
    assert (bench.into(Reg.COUNT), bench.into(Reg.COMMAND), bench.into(Reg.COMMAND)) == (3, 0x50, 0x50)
    assert bench.failed_after(0x00) is None
    assert bench.into(Reg.COMMAND) == 0x40
    assert bench.failed_after(0x2B, 0, 0, 0, 0x13, 0x88) == (5, 0x21, 0)


def test_an_open_tray_stays_open_over_a_reset_of_the_machine(bench: Bench) -> None:
    """An installer ejects its disc and restarts: what is started then is the disk."""
    bench.packet(0x1E, 0, 0, 0, 1)
    bench.packet(0x1E, 0, 0, 0, 0)
    bench.packet(0x1B, 0, 0, 0, 2)
    bench.ide.reset()
    bench.pause()
    assert bench.failed_after(0x00) == (6, 0x29, 0)
    assert bench.failed_after(0x00) == (2, 0x3A, 2)
    bench.packet(0x1B, 0, 0, 0, 3)
    assert bench.failed_after(0x00) == (6, 0x28, 0)
    assert bench.failed_after(0x00) is None


def test_the_service_bit_is_never_set(bench: Bench) -> None:
    """ATA/ATAPI-6, 7.15.6.4: bit 4 is SERV in a packet drive, which says that an overlapped command wants service."""
    bench.out(Reg.COMMAND, 0xA0)
    seen = {bench.into(Reg.COMMAND)}
    bench.pause()
    seen.add(bench.into(Reg.COMMAND))
    bench.ide.write_string(0, 2, bytes((0x12, 0, 0, 0, 36)).ljust(12, b"\0"))
    seen.add(bench.into(Reg.COMMAND))
    bench.pause()
    seen.add(bench.into(Reg.COMMAND))
    bench.ide.read_string(0, 2, 18)
    bench.pause()
    seen.add(bench.into(Reg.COMMAND))
    assert seen == {0xC0, 0x48, 0x40}
    bench.out(Reg.COMMAND, 0xEC)
    bench.pause()
    assert bench.into(Reg.COMMAND) == CHECK


def test_an_absent_slave_of_a_packet_drive_reads_zeros(bench: Bench) -> None:
    """9.16.1: a disk answers for the absent drive 1 with its own registers, a packet drive with 00h in all."""
    for register in (1, 2, 3, 4, 5):
        bench.out(register, 0x55)
    bench.out(Reg.DEVICE, 0xB0)
    assert bench.registers() == (0,) * 7
    assert bench.ide.control.read(0, 1) == 0
    bench.out(Reg.COMMAND, 0xA1)
    bench.pause()
    assert (bench.line.level, bench.registers()) == (False, (0,) * 7)
    bench.out(Reg.DEVICE, 0xA0)
    assert bench.registers()[1:6] == (0x55, 0x55, 0x55, 0x55, 0xA0)


def test_the_interrupt_reason_of_identify_packet_is_io(fresh: Bench) -> None:
    """Drivers for DOS take the direction of every data block from there, of this command's too."""
    fresh.out(Reg.COUNT, 0)
    fresh.out(Reg.COMMAND, 0xA1)
    fresh.pause()
    assert (fresh.into(Reg.COUNT), fresh.into(Reg.COMMAND)) == (2, 0x48)


def test_device_reset_ends_what_it_does_even_while_busy(bench: Bench) -> None:
    for register, value in ((4, 0), (5, 8), (7, 0xA0)):
        bench.out(register, value)
    bench.pause()
    bench.ide.write_string(0, 2, bytes(read_10(0, 1)).ljust(12, b"\0"))
    assert bench.into(Reg.COMMAND) & 0x80
    bench.out(Reg.COMMAND, 0x08)
    bench.work()
    assert not bench.line.level
    assert bench.registers() == (1, 1, 1, 0x14, 0xEB, 0xA0, 0x00)
    assert bench.failed_after(0x00) is None


def test_a_software_reset_shows_the_signature_when_busy_ends(bench: Bench) -> None:
    bench.ide.control.write(0, 1, 4)
    assert bench.into(Reg.COMMAND) == 0x80
    bench.ide.control.write(0, 1, 0)
    bench.pause(RESET_NS - 1)
    assert bench.into(Reg.COMMAND) & 0x80
    bench.pause(1)
    assert bench.registers() == (1, 1, 1, 0x14, 0xEB, 0xA0, 0x00)


def test_overlap_is_refused(fresh: Bench) -> None:
    fresh.out(Reg.FEATURES, 2)
    fresh.out(Reg.COMMAND, 0xA0)
    fresh.pause()
    assert (fresh.into(Reg.FEATURES), fresh.into(Reg.COMMAND)) == (4, 0x41)


def test_set_features_chooses_a_transfer_mode_that_identify_shows(fresh: Bench) -> None:
    for register, value in ((1, 3), (2, 0x42), (7, 0xEF)):
        fresh.out(register, value)
    fresh.pause()
    assert fresh.into(Reg.COMMAND) == 0x40
    fresh.out(Reg.COMMAND, 0xA1)
    fresh.pause()
    w = struct.unpack("<256H", fresh.ide.read_string(0, 2, 256))
    assert w[88] == 0x043F


# -- sense (SPC-2) ---------------------------------------------------------------------------------------------


def test_power_on_is_a_unit_attention_that_is_told_once(fresh: Bench) -> None:
    assert fresh.packet(0x12, 0, 0, 0, 36)[:2] == b"\x05\x80"  # INQUIRY is answered before
    assert fresh.failed_after(0x00) == (6, 0x29, 0)
    assert fresh.failed_after(0x00) is None
    assert fresh.packet(0x03, 0, 0, 0, 18)[2] == 0


def test_request_sense_takes_a_pending_attention_away(fresh: Bench) -> None:
    assert fresh.packet(0x03, 0, 0, 0, 18)[2:14:10] == b"\x06\x29"
    assert fresh.failed_after(0x00) is None


def test_what_it_does_not_know_is_an_invalid_command(bench: Bench) -> None:
    assert bench.failed_after(0xFF) == (5, 0x20, 0)


def test_without_a_disc_it_is_not_ready() -> None:
    bench = Bench()
    bench.tray.disc = None
    bench.packet(0)
    bench.failed()
    for packet in ((0x00,), (0x25,), read_10(0, 1), (0x43, 0, 0, 0, 0, 0, 0, 0, 12)):
        assert bench.failed_after(*packet) == (2, 0x3A, 1)
    assert bench.failed_after(0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 8) is None
    bench.packet(0x1B, 0, 0, 0, 2)
    assert bench.failed_after(0x00) == (2, 0x3A, 2)  # the tray is open


# -- data ------------------------------------------------------------------------------------------------------


def test_the_capacity_is_the_last_block_and_its_size(bench: Bench) -> None:
    assert bench.packet(0x25) == struct.pack(">II", BLOCKS - 1, BLOCK)


def test_blocks_come_in_pieces_of_the_byte_count_limit(bench: Bench) -> None:
    wanted = b"".join(bench.disc.sector(4 * 17 + i) for i in range(12))
    for limit, lengths in (
        (0xFFFE, [6144]),
        (0x0800, [2048, 2048, 2048]),
        (0x0FFF, [4094, 2050]),
        (0, [6144]),
        (0xFFFF, [6144]),
    ):
        found = bench.blocks(bytes(read_10(17, 3)), limit=limit)
        assert [len(block) for block in found] == lengths
        assert b"".join(found) == wanted


def test_a_long_read_asks_the_disc_for_a_piece_at_a_time(bench: Bench) -> None:
    bench.disc.asked.clear()
    data = bench.packet(0xA8, 0, *struct.pack(">II", 100, 70), 0, 0)
    assert data == b"".join(bench.disc.sector(400 + i) for i in range(280))
    assert bench.disc.asked == [("read", 400, 128), ("read", 528, 128), ("read", 656, 24)]


def test_a_read_of_nothing_is_good(bench: Bench) -> None:
    assert bench.packet(*read_10(5, 0)) == b""
    assert bench.failed() is None


def test_blocks_behind_the_end_are_out_of_range(bench: Bench) -> None:
    assert bench.failed_after(*read_10(BLOCKS - 1, 2)) == (5, 0x21, 0)
    assert bench.failed_after(0x2B, 0, *struct.pack(">I", BLOCKS)) == (5, 0x21, 0)
    assert bench.failed_after(0x2B, 0, *struct.pack(">I", BLOCKS - 1)) is None


def test_good_blocks_come_before_a_bad_one_is_told(bench: Bench) -> None:
    bench.disc.bad = {4 * 12 + 3}
    assert bench.packet(*read_10(10, 5)) == b"".join(bench.disc.sector(40 + i) for i in range(8))
    assert bench.failed() == (3, 0x11, 0)


def test_an_allocation_length_cuts_what_is_sent(bench: Bench) -> None:
    assert len(bench.packet(0x12, 0, 0, 0, 36)) == 36
    assert len(bench.packet(0x12, 0, 0, 0, 5)) == 5
    assert bench.packet(0x12, 0, 0, 0, 0) == b""
    assert bench.into(Reg.COMMAND) == 0x40


# -- READ CD ---------------------------------------------------------------------------------------------------


def test_read_cd_gives_the_parts_that_are_asked_for(bench: Bench) -> None:
    data = b"".join(bench.disc.sector(4 * 16 + i) for i in range(4))
    for flags, wanted in (
        (0x10, data),
        (0x30, b"\x00\x02\x16\x01" + data),  # 16 blocks behind 00:02:00
        (0x80, b"\0" + b"\xff" * 10 + b"\0"),
    ):
        assert bench.packet(0xBE, 0, 0, 0, 0, 16, 0, 0, 1, flags, 0, 0) == wanted
    assert bench.packet(0xB9, 0, 0, 0, 2, 16, 0, 2, 17, 0x10, 0, 0) == data
    assert len(bench.packet(0xBE, 0, 0, 0, 0, 16, 0, 0, 2, 0xF8, 0, 0)) == 2 * 2352
    assert bench.packet(0xBE, 0, 0, 0, 0, 16, 0, 0, 1, 0, 0, 0) == b""


@pytest.mark.parametrize("parts", [0x00, 0x40])
def test_read_cd_of_parts_that_a_sector_has_not_moves_nothing(bench: Bench, parts: int) -> None:
    """MMC-3, 5.16: a sector of mode 1 has no subheader, so asking for that alone is asking for nothing."""
    assert bench.blocks(bytes((0xBE, 0, 0, 0, 0, 7, 0, 0, 1, parts))) == []
    whole = bench.packet(0xBE, 0, 0, 0, 0, 7, 0, 0, 1, 0xF8)
    assert len(whole) == 2352
    assert bench.packet(0xBE, 0, 0, 0, 0, 7, 0, 0, 1, 0xB8) == whole


@pytest.mark.parametrize(
    ("parts", "length"),
    [(0x08, 288), (0x10, 2048), (0x18, 2336), (0x20, 4), (0x30, 2052), (0x38, 2340), (0x80, 12), (0xA0, 16),
     (0xB0, 2064), (0xF8, 2352), (0x50, 2048), (0xE0, 16),
     (0x28, None), (0x88, None), (0x90, None), (0x98, None), (0xA8, None)],
)  # fmt: skip
def test_read_cd_wants_parts_that_lie_side_by_side(bench: Bench, parts: int, length: int | None) -> None:
    """MMC-3, READ CD: fields that are not contiguous cannot be asked for; of mode 1 the subheader is no field."""
    data = bench.packet(0xBE, 0, 0, 0, 0, 7, 0, 0, 1, parts)
    assert len(data) == (length or 0)
    assert bench.failed() == (None if length else (5, 0x24, 0))


def test_read_cd_refuses_audio_and_subchannels(bench: Bench) -> None:
    for kind, sense in ((1, 0x64), (3, 0x64), (4, 0x64), (5, 0x64), (6, 0x24), (7, 0x24)):
        assert bench.failed_after(0xBE, kind << 2, 0, 0, 0, 16, 0, 0, 1, 0x10, 0, 0) == (5, sense, 0)
    assert bench.failed_after(0xBE, 0, 0, 0, 0, 16, 0, 0, 1, 0x10, 1, 0) == (5, 0x24, 0)


def test_a_whole_sectors_codes_are_right() -> None:
    """ECMA-130 annex A: each code word of P and Q, over GF(2^8) with x^8+x^4+x^3+x^2+1, is divisible by its generator.

    So the sum of its bytes is 0, and so is the sum of each times alpha to the power of its place from the end.
    """

    def times(a: int, b: int) -> int:
        product = 0
        for bit in range(8):
            if b >> bit & 1:
                product ^= a << bit
        for bit in range(14, 7, -1):
            if product >> bit & 1:
                product ^= 0x11D << bit - 8
        return product

    power = [1]
    for _ in range(50):
        power.append(times(power[-1], 2))
    sector = cd_sector.whole(b"\x00\x02\x16\x01", bytes(n * 7 & 0xFF for n in range(2048)))
    assert len(sector) == cd_sector.SIZE
    body = sector[12:]

    def check(word: list[int]) -> None:
        assert functools.reduce(operator.xor, word) == 0
        weighted = [times(byte, power[len(word) - 1 - i]) for i, byte in enumerate(word)]
        assert functools.reduce(operator.xor, weighted) == 0

    for half in range(2):
        for column in range(43):
            check([body[2 * (column + 43 * row) + half] for row in range(26)])  # P
        for diagonal in range(26):
            places = [(44 * m + 43 * diagonal) % 1118 for m in range(43)]
            places += [1118 + diagonal, 1144 + diagonal]
            check([body[2 * place + half] for place in places])  # Q
    assert cd_sector.edc(sector[:2068]) == bytes(4)  # over data and code the remainder is 0


# -- tables ----------------------------------------------------------------------------------------------------


def test_the_table_of_contents_has_one_data_track_and_the_lead_out(bench: Bench) -> None:
    assert bench.packet(0x43, 0, 0, 0, 0, 0, 0, 0, 64) == bytes.fromhex(
        "0012 01 01  00 14 01 00 00000000  00 14 aa 00"
    ) + struct.pack(">I", BLOCKS)
    time = bench.packet(0x43, 2, 0, 0, 0, 0, 0, 0, 64)
    minutes, rest = divmod(BLOCKS + 150, 4500)
    assert time[8:12] == b"\0\0\2\0"
    assert time[16:20] == bytes((0, minutes, rest // 75, rest % 75))
    assert bench.packet(0x43, 0, 0, 0, 0, 0, 0xAA, 0, 64)[:8] == bytes.fromhex("000a 01 01 00 14 aa 00")
    assert bench.failed_after(0x43, 0, 0, 0, 0, 0, 2, 0, 64) == (5, 0x24, 0)


def test_sessions_and_the_full_table_are_there(bench: Bench) -> None:
    assert bench.packet(0x43, 0, 1, 0, 0, 0, 0, 0, 64) == bytes.fromhex("000a 01 01 00 14 01 00 00000000")
    at_the_place_of_sff_8020 = bench.packet(0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0x40)
    assert at_the_place_of_sff_8020[:4] == bytes.fromhex("000a 01 01")
    full = bench.packet(0x43, 2, 2, 0, 0, 0, 0, 0, 64)
    assert [full[at + 3] for at in range(4, len(full), 11)] == [0xA0, 0xA1, 0xA2, 1]
    assert len(full) == int.from_bytes(full[:2], "big") + 2


@pytest.mark.parametrize(("blocks", "profile"), [(BLOCKS, 0x0008), (500_000, 0x0010), (0, 0)])
def test_the_profile_follows_the_disc(blocks: int, profile: int) -> None:
    bench = Bench()
    bench.disc.sectors = 4 * blocks
    bench.packet(0)
    bench.failed()
    data = bench.packet(0x46, 0, 0, 0, 0, 0, 0, 1, 0)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert int.from_bytes(data[6:8], "big") == profile
    assert data[8:20] == bytes.fromhex("0000 03 08") + struct.pack(
        ">HBxHBx", 0x10, profile == 0x10, 8, profile == 8
    )
    one = bench.packet(0x46, 2, 0, 0x10, 0, 0, 0, 1, 0)
    assert int.from_bytes(one[8:10], "big") == 0x10
    assert len(one) == 20
    current = bench.packet(0x46, 1, 0, 0x10, 0, 0, 0, 1, 0)
    assert (len(current) > 8) == bool(profile)
    structure = bench.failed_after(0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 0)
    assert (structure is None) == (profile == 0x10)


def test_disc_and_track_information_say_finished(bench: Bench) -> None:
    disc = bench.packet(0x51, 0, 0, 0, 0, 0, 0, 0, 64)
    assert disc[:7] == bytes.fromhex("0020 0e 01 01 01 01")
    track = bench.packet(0x52, 1, 0, 0, 0, 1, 0, 0, 64)
    assert track[:4] == bytes.fromhex("001a 01 01")
    assert track[24:28] == struct.pack(">I", BLOCKS)
    assert bench.failed_after(0x52, 1, 0, 0, 0, 2, 0, 0, 64) == (5, 0x24, 0)


@pytest.mark.parametrize(("code", "header"), [(0x1A, 4), (0x5A, 8)])
def test_mode_pages_come_alone_or_all(bench: Bench, code: int, header: int) -> None:
    def pages(page: int) -> bytes:
        packet = (code, 0, page, 0, 255, 0) if code == 0x1A else (code, 0, page, 0, 0, 0, 0, 0, 255)
        return bench.packet(*packet)

    capabilities = pages(0x2A)
    assert capabilities[header : header + 2] == b"\x2a\x12"
    assert len(capabilities) == header + 20
    assert pages(0x3F)[header:] == b"".join(pages(page)[header:] for page in (0x01, 0x0D, 0x0E, 0x2A))
    assert pages(0x0D)[header:] == bytes((0x0D, 6, 0, 0, 0, 60, 0, 75))  # SFF-8020i, CD-ROM parameters page
    assert pages(0x4D)[header:] == bytes((0x0D, 6, 0, 0, 0, 0, 0, 0))
    changeable = pages(0x40 | 0x01)
    assert changeable[header + 2 :] == bytes.fromhex("ffff 0000 0000")
    pages(0x30)
    assert bench.failed() == (5, 0x24, 0)
    pages(0xC1)
    assert bench.failed() == (5, 0x39, 0)


def select(bench: Bench, parameters: bytes, *, flags: int = 0x10, limit: int = 0xFFFE) -> list[int]:
    """Send a parameter list by MODE SELECT (10), and return the lengths of its DRQ blocks."""
    bench.begin(bytes((0x55, flags, 0, 0, 0, 0, 0, *struct.pack(">H", len(parameters)))), limit=limit)
    lengths = []
    while bench.into(Reg.COMMAND) & 0x08:
        assert bench.into(Reg.COUNT) == 0
        lengths.append(bench.into(Reg.LBA_MID) | bench.into(Reg.LBA_HIGH) << 8)
        bench.ide.write_string(0, 2, parameters[: lengths[-1]].ljust(-(-lengths[-1] // 2) * 2, b"\0"))
        parameters = parameters[lengths[-1] :]
        bench.work()
    assert bench.into(Reg.COUNT) == 3
    return lengths


HEADER: Final = bytes(8)
RECOVERY: Final = bytes.fromhex("01 06 20 07 00 00 00 00")


@pytest.mark.parametrize(("limit", "lengths"), [(0xFFFE, [16]), (8, [8, 8]), (7, [6, 6, 4])])
def test_mode_select_sets_the_error_recovery(bench: Bench, limit: int, lengths: list[int]) -> None:
    """MMC, MODE SELECT (10) of the Core feature: page 01h; MODE SENSE tells the current, and the default values."""
    assert select(bench, HEADER + RECOVERY, limit=limit) == lengths
    assert bench.failed() is None
    assert bench.packet(0x5A, 0, 0x01, 0, 0, 0, 0, 0, 255)[8:] == RECOVERY
    assert bench.packet(0x5A, 0, 0x81, 0, 0, 0, 0, 0, 255)[8:] == bytes.fromhex("01 06 00 05 00 00 00 00")


def test_mode_select_takes_what_mode_sense_gave(bench: Bench) -> None:
    """All pages in one list, and a block descriptor of the disc's blocks in front of them."""
    pages = bench.packet(0x5A, 0, 0x3F, 0, 0, 0, 0, 0, 255)[8:]
    select(bench, HEADER + pages)
    assert bench.failed() is None
    for length, wanted in ((2048, None), (0, None), (512, (5, 0x26, 0))):
        select(bench, bytes((0, 0, 0, 0, 0, 0, 0, 8)) + length.to_bytes(8, "big") + pages)
        assert bench.failed() == wanted
    assert select(bench, b"") == []
    assert bench.failed() is None


@pytest.mark.parametrize(
    ("parameters", "sense"),
    [
        (HEADER[:7], (5, 0x1A, 0)),
        (HEADER + RECOVERY[:5], (5, 0x1A, 0)),
        (HEADER + b"\x01\x05" + RECOVERY[2:], (5, 0x26, 0)),
        (HEADER + RECOVERY[:7] + b"\x01", (5, 0x26, 0)),
        (HEADER + b"\x0e\x0e" + bytes(14), (5, 0x26, 0)),  # IMMED can only be 1
        (HEADER + b"\x0d\x06" + bytes(6), (5, 0x26, 0)),
        (HEADER + b"\x0f\x06" + bytes(6), (5, 0x26, 0)),
        (HEADER + b"\x3f\x06" + bytes(6), (5, 0x26, 0)),
        (HEADER[:7] + b"\x04" + RECOVERY, (5, 0x26, 0)),
    ],
)
def test_mode_select_refuses_what_cannot_be(
    bench: Bench, parameters: bytes, sense: tuple[int, int, int]
) -> None:
    """SPC: a list that ends in the middle of a page is of a wrong length, and nothing else can be changed."""
    select(bench, parameters)
    assert bench.failed() == sense
    assert bench.packet(0x5A, 0, 0x01, 0, 0, 0, 0, 0, 255)[8:12] == b"\x01\x06\x00\x05"


def test_mode_select_saves_nothing(bench: Bench) -> None:
    assert select(bench, HEADER + RECOVERY, flags=0x11) == []
    assert bench.failed() == (5, 0x24, 0)


def test_read_header_tells_mode_and_address(bench: Bench) -> None:
    """SFF-8020i, READ HEADER: of a data block, as a number or as a time."""
    assert bench.packet(0x44, 0, 0, 0, 0, 9, 0, 0, 8) == bytes((1, 0, 0, 0, 0, 0, 0, 9))
    assert bench.packet(0x44, 2, 0, 0, 0, 9, 0, 0, 8) == bytes((1, 0, 0, 0, 0, 0, 2, 9))
    assert bench.packet(0x44, 0, 0, 0, 0, 9, 0, 0, 1) == b"\1"
    assert bench.failed_after(0x44, 0, *struct.pack(">I", BLOCKS), 0, 0, 8) == (5, 0x21, 0)


def test_the_mechanism_is_no_changer(bench: Bench) -> None:
    assert bench.packet(0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 64) == bytes((0, 0, 0, 0, 0, 1, 0, 0))
    assert bench.packet(0x42, 0, 0x40, 1, 0, 0, 0, 0, 64)[1] == 0x15


# -- the tray --------------------------------------------------------------------------------------------------


def event(bench: Bench) -> tuple[int, int]:
    data = bench.packet(0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)
    assert data[:4] == bytes.fromhex("0006 04 10")
    return data[4], data[5]


def test_the_guest_ejects_and_loads(bench: Bench) -> None:
    bench.packet(0x1B, 0, 0, 0, 2)
    assert event(bench) == (3, 1)  # media removal; the tray is open
    assert event(bench) == (0, 1)  # told once
    assert bench.failed_after(0x00) == (2, 0x3A, 2)
    bench.packet(0x1B, 0, 0, 0, 3)
    assert event(bench) == (2, 2)
    assert bench.failed_after(0x00) == (6, 0x28, 0)
    assert bench.failed_after(0x00) is None


def test_a_locked_tray_stays_shut(bench: Bench) -> None:
    bench.packet(0x1E, 0, 0, 0, 1)
    assert bench.failed_after(0x1B, 0, 0, 0, 2) == (5, 0x53, 2)
    assert bench.tray.eject(False) is False
    assert event(bench) == (1, 2)  # somebody wants it open
    bench.packet(0x1E, 0, 0, 0, 0)
    assert bench.tray.eject(False) is True
    assert event(bench) == (3, 1)


def test_force_opens_a_locked_tray(bench: Bench) -> None:
    bench.packet(0x1E, 0, 0, 0, 1)
    assert bench.tray.eject(True) is True
    assert bench.failed_after(0x00) == (2, 0x3A, 2)


def test_another_disc_is_a_unit_attention_and_an_event(bench: Bench) -> None:
    other = SlowDisk(sectors=4 * 100)
    bench.tray.insert(other)
    assert event(bench) == (2, 2)
    assert bench.failed_after(0x25) == (6, 0x28, 0)
    assert bench.packet(0x25) == struct.pack(">II", 99, BLOCK)


def test_a_disc_that_is_taken_out_ends_the_command_that_waits_for_it(bench: Bench) -> None:
    for register, value in ((4, 0), (5, 8), (7, 0xA0)):
        bench.out(register, value)
    bench.pause()
    bench.ide.write_string(0, 2, bytes(read_10(0, 1)).ljust(12, b"\0"))
    bench.pause()
    bench.tray.eject(True)
    bench.pause()
    assert bench.failed() == (2, 0x3A, 2)
    bench.work()  # what the medium says then is too late
    assert bench.into(Reg.COMMAND) == 0x40


def test_events_are_only_polled_for(bench: Bench) -> None:
    assert bench.failed_after(0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8) == (5, 0x24, 0)
    assert bench.packet(0x4A, 1, 0, 0, 0x02, 0, 0, 0, 8) == bytes.fromhex("0002 80 10")


# -- state -----------------------------------------------------------------------------------------------------


def test_a_read_goes_on_after_it_was_saved_while_the_disc_works(bench: Bench) -> None:
    for register, value in ((4, 0), (5, 8), (7, 0xA0)):
        bench.out(register, value)
    bench.pause()
    bench.ide.write_string(0, 2, bytes(read_10(3, 2)).ljust(12, b"\0"))
    saved = copy.deepcopy(bench.ide.state)
    disc, line = SlowDisk(sectors=4 * BLOCKS), Line()
    again = IdeChannel(irq=line, clock=bench.clock, disks=(Tray(disc), None), state=saved)
    bench.clock.advance(10_000)
    disc.work()
    assert line.level
    assert again.read(Reg.COMMAND, 1) == 0x48
    assert again.read_string(0, 4, 512) == b"".join(disc.sector(12 + i) for i in range(4))


# -- what is left of the commands --------------------------------------------------------------------------------


def test_power_modes_are_told_and_sleep_ends_with_a_reset(fresh: Bench) -> None:
    for code, power in ((0xE0, 0x00), (0xE1, 0xFF), (0x96, 0x00), (0xE3, 0xFF)):
        fresh.out(Reg.COMMAND, code)
        fresh.pause()
        fresh.out(Reg.COMMAND, 0xE5)
        fresh.pause()
        assert (fresh.into(Reg.COUNT), fresh.into(Reg.COMMAND)) == (power, 0x40)
    fresh.out(Reg.COMMAND, 0xE6)
    fresh.pause()
    assert fresh.into(Reg.COMMAND) == 0x40
    fresh.out(Reg.COMMAND, 0xA1)
    fresh.pause()
    assert (fresh.line.level, fresh.into(Reg.COMMAND)) == (False, 0x40)
    fresh.out(Reg.COMMAND, 0x08)
    fresh.pause()
    fresh.out(Reg.COMMAND, 0xA1)
    fresh.pause()
    assert fresh.into(Reg.COMMAND) == 0x48


@pytest.mark.parametrize(("features", "count", "status"), [(3, 0x0C, 0x40), (3, 0x46, 0x41), (2, 0, 0x41)])
def test_set_features_knows_transfer_modes_only(fresh: Bench, features: int, count: int, status: int) -> None:
    for register, value in ((1, features), (2, count), (7, 0xEF)):
        fresh.out(register, value)
    fresh.pause()
    assert fresh.into(Reg.COMMAND) == status


def test_the_diagnostic_shows_the_signature(bench: Bench) -> None:
    bench.out(Reg.COMMAND, 0x90)
    bench.pause()
    assert bench.line.level
    assert bench.registers() == (1, 1, 1, 0x14, 0xEB, 0xA0, 0x00)


@pytest.mark.parametrize(
    "packet",
    [
        (0x12, 1, 0, 0, 36),  # vital product data
        (0x12, 0, 0x80, 0, 36),
        (0x43, 0, 3, 0, 0, 0, 0, 0, 64),  # the program memory area
        (0x43, 0, 2, 0, 0, 0, 5, 0, 64),
        (0x46, 3, 0, 0, 0, 0, 0, 0, 64),
        (0x42, 0, 0x40, 3, 0, 0, 2, 0, 64),  # the recording code of a track that is not there
        (0x42, 0, 0x40, 4, 0, 0, 0, 0, 64),
        (0x52, 3, 0, 0, 0, 1, 0, 0, 64),  # a reserved way to say which track
        (0x51, 1, 0, 0, 0, 0, 0, 0, 64),
        (0xB9, 0, 0, 0, 2, 16, 0, 2, 15, 0x10, 0, 0),  # the end before the begin
        (0xB9, 0, 0, 0, 0, 0, 0, 2, 15, 0x10, 0, 0),  # the lead-in
    ],
)
def test_fields_that_mean_nothing_here_are_invalid(bench: Bench, packet: tuple[int, ...]) -> None:
    assert bench.failed_after(*packet) == (5, 0x24, 0)


def test_the_speed_is_whatever_it_is(bench: Bench) -> None:
    assert bench.failed_after(0xBB, 0, 0xFF, 0xFF, 0xFF, 0xFF) is None


def test_a_disc_without_numbers_says_so(bench: Bench) -> None:
    """MMC-3, 5.28: formats 2 and 3 have MCVAL and TCVAL of 0 where there is no catalogue number or recording code."""
    catalogue = bench.packet(0x42, 0, 0x40, 2, 0, 0, 0, 0, 64)
    assert catalogue == bytes((0, 0x15, 0, 20, 2)).ljust(24, b"\0")
    recording = bench.packet(0x42, 0, 0x40, 3, 0, 0, 1, 0, 64)
    assert recording == bytes((0, 0x15, 0, 20, 3, 0x14, 1)).ljust(24, b"\0")


def test_no_audio_is_played(bench: Bench) -> None:
    assert bench.packet(0x42, 0, 0, 0, 0, 0, 0, 0, 64) == bytes((0, 0x15, 0, 0))


ILLEGAL_MODE = (5, 0x64, 0)
END = struct.pack(">I", BLOCKS)


@pytest.mark.parametrize(
    ("packet", "sense"),
    [
        ((0x45, 0, 0, 0, 0, 16, 0, 0, 75), ILLEGAL_MODE),
        ((0x45, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 1), ILLEGAL_MODE),  # from where the head is
        ((0x45, 0, 0, 0, 0, 16, 0, 0, 0), None),  # nothing is played, and that is no error
        ((0x45, 0, *END, 0, 0, 1), (5, 0x21, 0)),
        ((0xA5, 0, 0, 0, 0, 16, 0, 0, 0, 75), ILLEGAL_MODE),
        ((0xA5, 0, 0, 0, 0, 16, 1, 0, 0, 0), ILLEGAL_MODE),
        ((0xA5, 0, 0, 0, 0, 16, 0, 0, 0, 0), None),
        ((0xA5, 0, *END, 0, 0, 0, 1), (5, 0x21, 0)),
        ((0x47, 0, 0, 0, 2, 16, 0, 3, 16), ILLEGAL_MODE),
        ((0x47, 0, 0, 0xFF, 0xFF, 0xFF, 0, 3, 16), ILLEGAL_MODE),
        ((0x47, 0, 0, 0, 2, 16, 0, 2, 16), None),
        ((0x47, 0, 0, 0, 3, 16, 0, 2, 16), (5, 0x24, 0)),  # the end before the begin
        ((0x47, 0, 0, 0, 2, 0, 0x3F, 0x24, 0xFF), (5, 0x24, 0)),  # a frame that no second has
        ((0x47, 0, 0, 0, 60, 0, 2, 0, 0), (5, 0x24, 0)),
        ((0x47, 0, 0, 0xFF, 0xFF, 0xFF, 0, 60, 0), (5, 0x24, 0)),
        ((0x47, 0, 0, 2, 0, 0, 2, 1, 0), (5, 0x21, 0)),
        ((0x47, 0, 0, 0, 1, 74, 0, 1, 74), (5, 0x21, 0)),  # the lead-in
        ((0x4B,), (5, 0x2C, 0)),
        ((0x4B, 0, 0, 0, 0, 0, 0, 0, 1), (5, 0x2C, 0)),
        ((0x4E,), None),
    ],
)
def test_a_data_track_is_not_played(
    bench: Bench, packet: tuple[int, ...], sense: tuple[int, int, int] | None
) -> None:
    """MMC-3: PLAY AUDIO of what is no audio is an illegal mode for this track, and of no length is no error; there is
    nothing to pause or resume, and stopping is never an error. The audio status stays 15h, none to tell."""
    assert bench.failed_after(*packet) == sense
    assert bench.packet(0x42, 0, 0, 0, 0, 0, 0, 0, 64)[1] == 0x15


@pytest.mark.parametrize("code", [0x42, 0x45, 0x47, 0x4B, 0x4E, 0xA5])
def test_audio_wants_a_disc(bench: Bench, code: int) -> None:
    bench.tray.eject(True)
    assert bench.failed_after(code, 0, 0, 0, 0, 0, 0, 0, 1) == (2, 0x3A, 2)


def test_the_subchannel_tells_where_the_head_is(bench: Bench) -> None:
    """MMC-3, 5.28: from the disc's begin, where the lead-in counts as time, and from the track's. Format 0 is all."""
    bench.packet(*read_10(99, 1))
    numbers = bytes((0, 0x15, 0, 12, 1, 0x14, 1, 1)) + 2 * struct.pack(">I", 100)
    assert bench.packet(0x42, 0, 0x40, 1, 0, 0, 0, 0, 64) == numbers
    times = bytes((0, 0x15, 0, 12, 1, 0x14, 1, 1, 0, 0, 3, 25, 0, 0, 1, 25))
    assert bench.packet(0x42, 2, 0x40, 1, 0, 0, 0, 0, 64) == times
    everything = bench.packet(0x42, 2, 0x40, 0, 0, 0, 0, 0, 64)
    assert everything == bytes((0, 0x15, 0, 44, 0)) + times[5:] + bytes(32)
    bench.packet(0x2B, 0, 0, 0, 0, 9)
    assert bench.packet(0x42, 0, 0x40, 1, 0, 0, 0, 0, 64)[8:] == 2 * struct.pack(">I", 9)
    bench.packet(*read_10(BLOCKS - 1, 1))
    assert bench.packet(0x42, 0, 0x40, 1, 0, 0, 0, 0, 64)[8:] == 2 * struct.pack(">I", BLOCKS - 1)
    bench.tray.insert(SlowDisk(sectors=4 * BLOCKS))
    bench.ready()
    assert bench.packet(0x42, 0, 0x40, 1, 0, 0, 0, 0, 64)[8:] == bytes(8)


AUDIO: Final = bytes.fromhex("0e 0e 04 000000 00 4b 01ff 02ff 0000 0000")


def test_the_volume_is_set_as_linux_does_it(bench: Bench) -> None:
    """SFF-8020i, page 0Eh: cdrom.c reads it and what can be changed, and gives it back with other volumes."""

    def page(control: int) -> bytes:
        return bench.packet(0x5A, 0, control << 6 | 0x0E, 0, 0, 0, 0, 0, 24)[8:]

    assert page(0) == page(2) == AUDIO
    changeable = page(1)
    assert changeable == bytes.fromhex("0e 0e 02 000000 00 00 0fff 0fff 0000 0000")
    softer = AUDIO[:9] + b"\x80\x02\x40" + AUDIO[12:]
    select(bench, HEADER + softer)
    assert bench.failed() is None
    assert (page(0), page(2)) == (softer, AUDIO)
    bench.out(Reg.COMMAND, 0x08)
    bench.pause()
    assert page(0) == softer  # DEVICE RESET changes no mode
    select(bench, HEADER + AUDIO[:15] + b"\1")  # the fourth port is not there
    assert bench.failed() == (5, 0x26, 0)
    capabilities = bench.packet(0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 64)[8:]
    assert (capabilities[4] & 1, capabilities[7] & 3, capabilities[10:12]) == (1, 3, b"\1\0")
    assert bench.packet(0x46, 2, 0x01, 0x03, 0, 0, 0, 0, 64)[8:] == bytes.fromhex("0103 01 04 03 00 0100")


def test_opening_an_open_tray_and_closing_a_closed_one_changes_nothing(bench: Bench) -> None:
    bench.packet(0x1B, 0, 0, 0, 3)
    assert event(bench) == (0, 2)
    bench.packet(0x1B, 0, 0, 0, 2)
    assert event(bench) == (3, 1)
    bench.packet(0x1B, 0, 0, 0, 2)
    assert event(bench) == (0, 1)
    assert bench.packet(0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 8)[2] == 0x71  # door open
    bench.tray.disc = None
    bench.packet(0x1B, 0, 0, 0, 3)
    assert event(bench) == (0, 0)
    assert bench.packet(0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 8)[2] == 0x70


def test_a_dvd_says_how_large_it_is() -> None:
    bench = Bench()
    bench.disc.sectors = 4 * 500_000
    bench.ready()
    data = bench.packet(0xAD, 0, 0, 0, 0, 0, 0, 0, 8, 4)
    assert len(data) == 2052
    assert struct.unpack(">II", data[8:16]) == (0x30000, 0x30000 + 499_999)
    assert bench.packet(0xAD, 0, 0, 0, 0, 0, 0, 1, 0, 8) == bytes.fromhex("0006 0000 00000000")
    assert bench.failed_after(0xAD, 0, 0, 0, 0, 0, 0, 4, 0, 8) == (5, 0x24, 0)


def test_a_tray_without_a_drive_is_just_a_tray() -> None:
    tray = Tray()
    disc = SlowDisk()
    tray.insert(disc)
    assert tray.disc is disc
    assert tray.eject(False)
    assert tray.disc is None


def test_a_command_under_way_is_given_up_by_a_state_that_is_too_old(bench: Bench) -> None:
    for register, value in ((4, 0), (5, 8), (7, 0xA0)):
        bench.out(register, value)
    bench.pause()
    bench.ide.recover(complete=False)
    bench.pause()
    assert bench.line.level
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x84, 0x41)
    bench.out(Reg.COMMAND, 0xA0)
    bench.pause()
    assert (bench.into(Reg.FEATURES), bench.into(Reg.COMMAND)) == (0x84, 0x41)
    assert bench.failed_after(0x00) is None


def test_a_read_that_is_restored_with_an_empty_tray_ends(bench: Bench) -> None:
    for register, value in ((4, 0), (5, 8), (7, 0xA0)):
        bench.out(register, value)
    bench.pause()
    bench.ide.write_string(0, 2, bytes(read_10(3, 2)).ljust(12, b"\0"))
    saved = copy.deepcopy(bench.ide.state)
    bench.clock.advance(10_000)
    again = IdeChannel(irq=Line(), clock=bench.clock, disks=(Tray(), None), state=saved)
    assert (again.read(Reg.FEATURES, 1), again.read(Reg.COMMAND, 1)) == (2 << 4 | 4, CHECK)


def test_a_drive_that_does_nothing_has_nothing_to_give_up(bench: Bench) -> None:
    bench.ide.recover(complete=True)
    assert bench.failed_after(0x00) is None
