"""The request trace: what is recorded is read back, at the rate and within the memory that it promises."""

import io
import threading
import time
from pathlib import Path

import pytest
import structlog

from devmodel import ConfigError, DevmodelError
from devmodel.board.bus import Bus
from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.parts import ALL
from devmodel.board.pc import Board
from devmodel.board.registers import REPEATED, TABLES, names_of
from devmodel.cli import main
from devmodel.devices.parallel import NoPrinter
from devmodel.service.trace import (
    BUFFER,
    DESCENDING,
    POINTER,
    POSTED,
    QUEUED,
    READ,
    RECORD,
    Filter,
    Header,
    Recorder,
    Trace,
    line,
    open_trace,
    ranges_of,
)
from ioreq.layout import TYPE_COPY, TYPE_INTACK, TYPE_PIO
from tests.devmodel.recording_core import Core


@pytest.fixture
def bus() -> Bus:
    board = make_board()
    return board.bus


def make_board() -> Board:
    fittings = Fittings(
        memory=[(0, 1 << 24, 1)], parts=ALL, serial=[False] * 4, printer=NoPrinter(), hpet=True
    )
    board = Board.build(ManualClock(), Core(), fittings)
    for function, register, value in ((3, 0x40, 0x601), (3, 0x80, 1), (1, 0x20, 0xC001), (1, 4, 5)):
        board.pci_config.write((1 << 3 | function) << 32 | register, 4, value)
    return board


class Kept(io.BytesIO):
    """A file whose content outlives it."""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def recorded(bus, *records) -> Trace:
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, ranges_of(bus)))
    for record in records:
        recorder.record(*record)
    recorder.close()
    return Trace(io.BytesIO(file.content), "t")


RECORDS = (
    (TYPE_PIO, 0x3F8, 0x41, 1, POSTED),
    (TYPE_PIO, 0x3FD, 0x60, 1, READ),
    (TYPE_PIO, 0x1F0, 0x8000, 2, READ | POINTER | DESCENDING, 256),
    (TYPE_COPY, 0xB8000, 0x0741, 2, POSTED),
    (TYPE_INTACK, 0, 0x24, 2, READ),
    (TYPE_PIO, 0x3F6, 0x02, 1, POSTED),
    (TYPE_PIO, 0x64, 0x1C, 1, READ),
)


def test_a_trace_is_read_back_with_the_names_of_devices_and_registers(bus):
    lines = [line(event)[16:] for event in recorded(bus, *RECORDS)]
    assert lines == [
        "uart DATA                    posted  0x03f8.1  0x41",
        "uart LSR                     read    0x03fd.1  0x60",
        "ide0 DATA                    read    0x01f0.2  256 x 2 bytes at 0x8000 down",
        "vga memory                   posted  0xb8000.2  0x0741",
        "acknowledge                  read    vector 0x24",
        "ide0 control                 posted  0x03f6.1  0x02",
        "kbc status COMMAND           read    0x0064.1  0x1c",
    ]


@pytest.mark.parametrize(
    ("wanted", "which"),
    [
        (Filter(), range(7)),
        (Filter(device="ide0"), (2, 5)),
        (Filter(device="ide0 control"), (5,)),
        (Filter(device="kbc"), (6,)),
        (Filter(ports=(0x3F8, 0x3FF)), (0, 1)),
        (Filter(ports=(0x1F1, 0x1F1)), (2,)),
        (Filter(read=True), (1, 2, 4, 6)),
        (Filter(read=False, device="uart"), (0,)),
        (Filter(until=-1.0), ()),
        (Filter(since=3600.0), ()),
    ],
)
def test_filters_choose(bus, wanted, which):
    trace = recorded(bus, *RECORDS)
    addresses = [event.address for event in trace.select(wanted)]
    assert addresses == [RECORDS[n][1] for n in which]


def test_a_device_that_is_not_there_is_one_line(bus):
    with pytest.raises(ConfigError, match=r"^no device 'floppy' in t; allowed: apm, bmide, debug console, "):
        list(recorded(bus).select(Filter(device="floppy")))


def test_every_table_of_registers_is_of_a_mapping(bus):
    mappings = {m.name: m for space in (bus.pio, bus.memory) for m in space.mappings}
    assert TABLES.keys() | REPEATED.keys() <= mappings.keys()
    assert names_of("uart")[5] == "LSR"
    assert (names_of("fdc")[0], names_of("fdc digital input")[0]) == ("DOR", "DIR")
    assert names_of("kbc data")[0] == "DATA"
    assert names_of("post") == {}


def test_registers_that_a_mapping_has_several_times_say_whose_they_are():
    assert names_of("bmide")[0x0A] == "SECONDARY STATUS"
    assert (names_of("hpet")[0xF0], names_of("hpet")[0x128]) == ("COUNTER", "TIMER1 COMPARATOR")
    assert names_of("vbe") == {0: "INDEX", 1: "DATA", 2: "DATA_ALIGNED"}
    assert names_of("pm")[8] == "TIMER"


def test_registers_have_their_names_where_the_guest_has_put_them():
    board, file = make_board(), Kept()
    recorder = Recorder(file, Header("m", 0.0, ranges_of(board.bus)))

    def put(function: int, register: int, value: int) -> None:
        board.pci_config.write((1 << 3 | function) << 32 | register, 4, value)
        recorder.follow(ranges_of(board.bus))

    def read(port: int) -> None:
        recorder.record(TYPE_PIO, port, 0, 4, READ)

    read(0x608)
    put(3, 0x40, 0xB001)
    read(0x608)
    read(0xB008)
    read(0xC002)
    put(1, 0x20, 0xD001)
    read(0xC002)
    read(0xD00A)
    put(1, 4, 0)
    read(0xD00A)
    recorder.close()
    trace = Trace(io.BytesIO(file.content), "t")
    assert [f"{event.device} {event.register}".strip() for event in trace.select(Filter(read=True))] == [
        "pm TIMER", "", "pm TIMER", "bmide PRIMARY STATUS", "", "bmide SECONDARY STATUS", ""
    ]  # fmt: skip


def test_a_device_that_came_late_can_be_asked_for(bus):
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, [r for r in ranges_of(bus) if r.name != "bmide"]))
    recorder.follow(ranges_of(bus))
    recorder.record(TYPE_PIO, 0xC000, 1, 1, POSTED)
    recorder.close()
    events = list(Trace(io.BytesIO(file.content), "t").select(Filter(device="bmide")))
    assert [event.register for event in events] == ["PRIMARY COMMAND"]


def test_where_records_are_missing_it_is_said_again_what_is_where(bus):
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, []))
    recorder.follow(ranges_of(bus))
    recorder._at = 0  # as if a disk that is too slow had cost this buffer
    recorder._lost = 1
    recorder.record(TYPE_PIO, 0x3F8, 0, 1, POSTED)
    recorder.flush()
    recorder.record(TYPE_PIO, 0x608, 0, 4, READ)
    recorder.close()
    *_, last = Trace(io.BytesIO(file.content), "t")
    assert (last.device, last.register) == ("pm", "TIMER")


def test_damage_where_mappings_moved_is_one_line(bus):
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, []))
    recorder.follow(ranges_of(bus))
    recorder.close()
    content = file.content.replace(b'"space"', b'"spice"')
    with pytest.raises(DevmodelError, match=r"^t: damaged, where mappings moved: "):
        list(Trace(io.BytesIO(content), "t"))


def test_a_hundred_thousand_events_a_second_are_recorded_and_none_is_lost(bus):
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, ranges_of(bus)))
    before = time.thread_time()
    for n in range(300_000):
        recorder.record(TYPE_PIO, 0x3F8, n & 0xFF, 1, POSTED)
    spent = time.thread_time() - before
    recorder.close()
    events = list(Trace(io.BytesIO(file.content), "t"))
    assert sum(event.lost for event in events) + sum(not event.lost for event in events) == 300_000
    assert 300_000 / spent > 100_000


def test_a_disk_that_is_too_slow_costs_records_not_memory_and_the_trace_says_where():
    go = threading.Event()

    class Slow(Kept):
        def write(self, data) -> int:
            if self.tell():
                go.wait(30)
            return super().write(data)

    file = Slow()
    recorder = Recorder(file, Header("m", 0.0, []))
    each = BUFFER // RECORD.size
    total = (QUEUED + 5) * each
    for n in range(total):
        recorder.record(TYPE_PIO, n & 0xFFFF, 0, 1, 0)
    assert recorder._full.qsize() <= QUEUED
    go.set()
    while recorder._full.qsize():
        time.sleep(0.001)
    recorder.record(TYPE_PIO, 1, 0, 1, 0)
    recorder.flush()
    recorder.close()
    events = list(Trace(io.BytesIO(file.content), "t"))
    lost = [event.lost for event in events if event.lost]
    assert len(lost) == 1
    assert lost[0] % each == 0
    assert len(events) - 1 + lost[0] == total + 1


def test_a_disk_without_room_is_one_line_of_the_log():
    with structlog.testing.capture_logs() as logs:
        recorder = Recorder(Path("/dev/full").open("wb"), Header("m", 0.0, []))  # noqa: SIM115  (closed with it)
        for _ in range(2 * BUFFER // RECORD.size):
            recorder.record(TYPE_PIO, 0x60, 0, 1, 0)
        recorder.close()
    assert logs == [{"event": "trace.failed", "log_level": "error", "why": "No space left on device"}]


def test_a_trace_that_was_cut_off_is_read_as_far_as_it_goes(bus):
    file = Kept()
    recorder = Recorder(file, Header("m", 0.0, ranges_of(bus)))
    for record in RECORDS:
        recorder.record(*record)
    recorder.close()
    assert len(list(Trace(io.BytesIO(file.content[:-5]), "t"))) == len(RECORDS) - 1


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"devmodel trace 2\n{", b"devmodel trace 2\n{}\n"])
def test_what_is_no_trace_is_one_line(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    with (
        pytest.raises(DevmodelError, match=r"^x: not a trace of `devmodel serve --trace`"),
        open_trace(str(path)),
    ):
        pass


def test_the_command_shows_a_trace(bus, tmp_path, capsys):
    path = str(tmp_path / "t")
    with open(path, "wb") as file:
        recorder = Recorder(file, Header("m", 0.0, ranges_of(bus)))
        for record in RECORDS[:2] * 3:
            recorder.record(*record)
        recorder.close()
    assert main(["trace", path, "--count", "--device", "uart"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "         3  uart DATA                    posted",
        "         3  uart LSR                     read",
    ]
    assert main(["trace", path, "--port", "0x3fd", "--json"]) == 0
    assert '"register":"LSR"' in capsys.readouterr().out.splitlines()[2]
    assert main(["trace", path, "--port", "0x3ff-0x3f8"]) == 2
    assert capsys.readouterr().err == (
        "devmodel: --port '0x3ff-0x3f8'; allowed: a port like 0x3f8, or two like 0x3f8-0x3ff\n"
    )
    assert main(["trace", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.endswith("none: No such file or directory\n")
