"""QEMU's qtest protocol to the letter (docs/devel/testing/qtest, system/qtest.c), without a socket."""

import pytest

from devmodel.board.clock import ManualClock
from devmodel.board.outside import Fittings
from devmodel.board.pc import Board
from devmodel.qtest.machine import QtestCore
from devmodel.qtest.server import MAX_LINE, Lines, Qtest


def make(memory: int = 2 << 20) -> Qtest:
    core, clock = QtestCore(memory), ManualClock()
    return Qtest(Board.build(clock, core, Fittings(memory=core.e820)), core, clock)


@pytest.fixture
def qtest() -> Qtest:
    return make()


def ask(qtest: Qtest, line: str) -> str:
    for _ in qtest.perform(line.encode("latin-1")):
        pass
    return qtest.take().decode("latin-1").removesuffix("\n")


def script(qtest: Qtest, text: str) -> None:
    """Send what stands behind `>`, and see that the answer is what stands below, behind `<`."""
    wanted: list[str] = []
    got: list[str] = []
    for line in text.strip().splitlines():
        way, _, words = line.strip().partition(" ")
        if way == ">":
            assert got == wanted, wanted
            got, wanted = ask(qtest, words).splitlines(), []
        else:
            wanted.append(words)
    assert got == wanted


def test_ports_are_read_with_four_digits_and_written_in_their_size(qtest: Qtest) -> None:
    script(
        qtest,
        """
        > outb 0x80 0x1ff
        < OK
        > inb 0x80
        < OK 0x00ff
        > outl 0xcf8 0x80000000
        < OK
        > inl 0xcfc
        < OK 0x12378086
        > inw 0xcfe
        < OK 0x1237
        > inb 0x80 and more words
        < OK 0x00ff
        """,
    )


def test_memory_is_read_with_sixteen_digits_little_endian(qtest: Qtest) -> None:
    script(
        qtest,
        """
        > endianness
        < OK little
        > writel 0x1000 0xdeadbeef
        < OK
        > readw 0x1001
        < OK 0x000000000000adbe
        > writew 0x1000 0x12345678
        < OK
        > readq 0x1000
        < OK 0x00000000dead5678
        > writeq 0x1000 -1
        < OK
        > writeb 0x1003 0x100
        < OK
        > readq 0x1000
        < OK 0xffffffff00ffffff
        """,
    )


def test_blocks_are_hexadecimal_or_base64_and_filled_or_cut(qtest: Qtest) -> None:
    assert ask(qtest, "b64read 0x1000 0") == "OK "
    script(
        qtest,
        """
        > write 0x1000 4 0xaabb
        < OK
        > read 0x1000 4
        < OK 0xaabb0000
        > write 0x1000 2 0xCCDDeeff
        < OK
        > read 0x1000 4
        < OK 0xccdd0000
        > write 0x1000 4 0xaab
        < OK
        > read 0x1000 4
        < OK 0xaa000000
        > write 0x1000 2 0xz1
        < OK
        > read 0x1000 2
        < OK 0xf100
        > b64write 0x1000 4 AQIDBA==
        < OK
        > b64read 0x1000 4
        < OK AQIDBA==
        > b64write 0x1000 2 //8DBA==
        < OK
        > read 0x1000 4
        < OK 0xffff0304
        > memset 0x1000 3 0x155
        < OK
        > memset 0x1000 0 1
        < OK
        > read 0x1000 4
        < OK 0x55555504
        """,
    )


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("write 0x1000 4 0x", "ERR invalid argument size"),
        ("b64write 0x1000 4 !!", "ERR invalid argument size"),
        ("foo bar", "FAIL Unknown command 'foo'"),
        ("", "FAIL Unknown command ''"),
        (" inb 0x61", "FAIL Unknown command ''"),
        ("inb\t0x61", "FAIL Unknown command 'inb\t0x61'"),
        ("INB 0x61", "FAIL Unknown command 'INB'"),
        ("rtas a 1 1 1 1", "FAIL Unknown command 'rtas'"),
        ("module_load hw- virtio", "FAIL"),
        ("irq_intercept_in nosuch", "FAIL Unknown device"),
        ("set_irq_in /machine/nosuch a 1 1", "FAIL Unknown device"),
    ],
)
def test_what_qemu_refuses_is_refused_in_its_words(qtest: Qtest, line: str, answer: str) -> None:
    assert ask(qtest, line) == answer


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("inb", "FAIL inb: 1 argument needed"),
        ("outb 0x80", "FAIL outb: 2 arguments needed"),
        ("inb  0x61", "FAIL inb: '' is not a number"),
        ("inb 0x61\r", "FAIL inb: '0x61\r' is not a number"),
        ("inb 08", "FAIL inb: '08' is not a number"),
        ("inb 0x", "FAIL inb: '0x' is not a number"),
        ("inb 0x10000", "FAIL inb: there is no port '0x10000'"),
        ("outb 0x80 0x10000000000000000", "FAIL outb: '0x10000000000000000' is out of range"),
        ("read 0x1000 0", "FAIL read: SIZE is 0"),
        ("read 0 0x10000001", "FAIL read: SIZE '0x10000001' is more than 268435456"),
        ("clock_step 0x8000000000000000", "FAIL clock_step: '0x8000000000000000' is out of range"),
        ("clock_set", "FAIL clock_set: 1 argument needed"),
        ("set_irq_in pic a 1 1", "FAIL set_irq_in: pic has no a[1]; unnamed-gpio-in has 16"),
        ("b64write 0 4 A===", "FAIL b64write: B64_DATA is not base64"),
    ],
)
def test_where_qemu_gives_up_the_reason_is_told_and_nothing_happens(
    qtest: Qtest, line: str, answer: str
) -> None:
    before = qtest.board.save()
    assert ask(qtest, line) == answer
    assert qtest.board.save() == before


def test_numbers_are_those_of_strtoull(qtest: Qtest) -> None:
    for text, value in (("0x41", 0x41), ("0X41", 0x41), ("65", 65), ("0101", 65), ("+65", 65), ("-191", 65)):
        assert ask(qtest, f"outb 0x80 {text}") == "OK"
        assert ask(qtest, "inb 0200") == f"OK 0x{value:04x}"


def test_time_stands_still_but_for_the_clock_commands(qtest: Qtest) -> None:
    script(
        qtest,
        """
        > clock_step 1000
        < OK 1000
        > clock_set 400
        < OK 1000
        > clock_set 5000
        < OK 5000
        > clock_step -1
        < OK 5000
        > clock_step
        < OK 5000
        """,
    )


def test_a_step_without_a_number_goes_to_the_next_deadline(qtest: Qtest) -> None:
    """8254, mode 0, 100 counts: OUT rises 101 clocks of 1193182 Hz after the count is written."""
    script(
        qtest,
        """
        > irq_intercept_in ioapic
        < OK
        > outb 0x43 0x30
        < OK
        > outb 0x40 100
        < OK
        > outb 0x40 0
        < OK
        > clock_step
        < IRQ raise 0
        < OK 84648
        """,
    )


def test_interrupts_are_told_before_the_answer_and_once_a_change(qtest: Qtest) -> None:
    script(
        qtest,
        """
        > irq_intercept_in /machine/i440fx/ioapic
        < OK
        > irq_intercept_in ioapic
        < OK
        > irq_intercept_out ioapic
        < OK
        > irq_intercept_in pic
        < FAIL IRQ intercept already enabled
        > outb 0x3fc 8
        < OK
        > outb 0x3f9 2
        < IRQ raise 4
        < OK
        > inb 0x3fa
        < IRQ lower 4
        < OK 0x0002
        > set_irq_in ioapic unnamed-gpio-in 5 1
        < IRQ raise 5
        < OK
        > set_irq_in ioapic unnamed-gpio-in 5 2
        < OK
        > set_irq_in ioapic unnamed-gpio-in 5 0
        < IRQ lower 5
        < OK
        """,
    )


def test_the_pin_of_the_interrupt_controller_can_be_intercepted(qtest: Qtest) -> None:
    assert ask(qtest, "irq_intercept_out pic") == "OK"
    for command in ("outb 0x20 0x11", "outb 0x21 8", "outb 0x21 4", "outb 0x21 1", "outb 0x21 0"):
        assert ask(qtest, command) == "OK"
    assert ask(qtest, "set_irq_in pic unnamed-gpio-in 3 1") == "IRQ raise 0\nOK"
    assert ask(qtest, "outb 0x21 8") == "IRQ lower 0\nOK"


def test_for_a_new_client_every_interrupt_is_low(qtest: Qtest) -> None:
    ask(qtest, "irq_intercept_in ioapic")
    assert ask(qtest, "set_irq_in ioapic unnamed-gpio-in 5 1") == "IRQ raise 5\nOK"
    qtest.opened()
    assert ask(qtest, "set_irq_in ioapic unnamed-gpio-in 5 0") == "OK"


def test_an_interrupt_that_no_command_brought_about_is_told_at_once(qtest: Qtest) -> None:
    spoken: list[bytes] = []
    qtest.spoke = lambda: spoken.append(qtest.take())
    for command in ("irq_intercept_in ioapic", "outb 0x3fc 8", "outb 0x3f9 1"):
        ask(qtest, command)
    qtest.board.uart.receive(0x41)
    qtest.board.rearm()
    assert spoken == [b"IRQ raise 4\n"]


def test_devices_shadow_memory_and_ram_are_where_the_processor_sees_them() -> None:
    """Intel 82441FX data sheet, PAM5: C0000h-EFFFFh in pieces of 16 KiB; 59h-5Fh bits 0 read, 1 write enable."""
    qtest = make()
    assert ask(qtest, "read 0xbfffe 4") == "OK 0x0000ffff"  # the VGA's window, and ROM that is not there
    assert ask(qtest, "writel 0xc0000 0x11223344") == "OK"
    assert ask(qtest, "readl 0xc0000") == "OK 0x00000000ffffffff"
    for pam, written, read in (
        (2, "aaaaaaaa", "ffffffff"),
        (1, "bbbbbbbb", "aaaaaaaa"),
        (3, "cccccccc", "cccccccc"),
    ):
        ask(qtest, "outl 0xcf8 0x80000058")
        ask(qtest, f"outb 0xcfe {pam}")
        ask(qtest, f"write 0xc0000 4 0x{written}")
        assert ask(qtest, "read 0xc0000 4") == f"OK 0x{read}"
    assert ask(qtest, "write 0xb8000 4 0x41074207") == "OK"
    assert ask(qtest, "readl 0xb8000") == "OK 0x0000000007420741"
    assert ask(qtest, "read 0x1ffffe 4") == "OK 0x0000ffff"  # the end of memory
    assert ask(qtest, "readq 0xffffffffffffffff") == "OK 0x" + "f" * 16
    assert ask(qtest, "write 0x9fffe 4 0x01020304") == "OK"
    assert ask(qtest, "read 0x9fffe 2") == "OK 0x0102"


def test_memory_beyond_three_gibibytes_goes_on_above_four() -> None:
    core = QtestCore(0xC000_1000)
    core.write(0x1_0000_0FFE, b"\x01\x02\x03\x04")
    assert core.read(0x1_0000_0FFE, 4) == b"\x01\x02\xff\xff"
    assert core.holds(0xBFFF_FFFF, 1)
    assert not core.holds(0xBFFF_FFFF, 2)
    assert core.e820[-1] == (0x1_0000_0000, 0x1000, 1)


def test_a_reset_is_done_behind_its_access_and_power_off_ends_it(qtest: Qtest) -> None:
    ask(qtest, "outb 0x80 0x12")
    assert ask(qtest, "outb 0xcf9 6") == "OK"
    assert ask(qtest, "inb 0x80") == "OK 0x00ff"
    assert qtest.core.ended is None
    assert ask(qtest, "outb 0xf4 3") == "OK"
    assert qtest.core.ended == 7


def test_lines_are_cut_wherever_pieces_end_and_long_ones_are_refused(qtest: Qtest) -> None:
    lines = Lines(limit=8)
    assert lines.feed(b"in") == []
    assert lines.feed(b"b 1\ninb 2\n\nx") == [b"inb 1", b"inb 2", b""]
    assert lines.feed(b"12345678") == []
    assert lines.feed(b"9\nab\n") == [None, b"ab"]
    for _ in qtest.perform(None):
        pass
    assert qtest.take() == f"FAIL Line longer than {MAX_LINE} bytes\n".encode()


def test_a_long_step_pauses_so_that_it_can_be_ended(qtest: Qtest) -> None:
    for command in ("outb 0x43 0x34", "outb 0x40 0x64", "outb 0x40 0"):
        ask(qtest, command)
    pauses = sum(1 for _ in qtest.perform(b"clock_step 1000000000"))
    assert pauses > 10
    assert qtest.take() == b"OK 1000000000\n"
