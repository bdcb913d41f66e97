"""The examples on a bench: no core, no guest, no time that passes by itself."""

import pytest
import trio
from trio.testing import MockClock

from devmodel import ConfigError
from devmodel.testing import Bench, check_board, live
from examples import copier, dice, lookup, ticker

US = 1000
MS = 1_000_000


@pytest.mark.parametrize("example", [dice, ticker, copier, lookup], ids=lambda example: example.__name__)
def test_every_example_stands_any_guest_a_reset_and_a_successor_at_any_time(example):
    check_board(example.build)


def test_the_dice_throw_the_sequence_of_the_paper():
    """The first numbers of xorshift32 from 1: 270369 and 67634689 (Marsaglia's shifts 13, 17, 5)."""
    bench = Bench(dice.build)
    assert [bench.inp(dice.BASE, 4), bench.inp(dice.BASE, 4)] == [270369, 67634689]
    bench.out(dice.BASE, 1, 4)
    assert bench.inp(dice.BASE, 4) == 270369


def test_the_dice_go_on_in_a_successor_and_begin_again_after_a_reset():
    bench = Bench(dice.build)
    assert bench.inp(dice.BASE, 4) == 270369
    other = bench.successor()
    assert other.inp(dice.BASE, 4) == 67634689
    other.board.reset()
    assert other.inp(dice.BASE, 4) == 270369


def test_the_ticker_interrupts_at_the_end_of_its_period_and_not_before():
    bench = Bench(ticker.build)
    bench.start_interrupts(0x20)
    bench.out(ticker.BASE, 250, 4)
    bench.advance(250 * US - 1)
    assert not bench.irq(5)
    bench.advance(1)
    assert bench.irq(5)
    assert bench.interrupt() == 0x25
    assert bench.inp(ticker.BASE + ticker.Reg.TICKS, 4) == 1
    assert not bench.irq(5)


def test_the_ticker_counts_what_the_guest_was_too_slow_for():
    bench = Bench(ticker.build, irq="10")
    bench.out(ticker.BASE, 1000, 4)
    bench.advance(10 * MS)
    assert bench.irq(10)
    assert bench.inp(ticker.BASE + ticker.Reg.TICKS, 4) == 10
    bench.out(ticker.BASE, 0, 4)
    bench.advance(10 * MS)
    assert bench.inp(ticker.BASE + ticker.Reg.TICKS, 4) == 0


def test_the_ticker_goes_on_in_a_successor_with_the_period_that_had_begun():
    bench = Bench(ticker.build)
    bench.out(ticker.BASE, 1000, 4)
    bench.advance(1 * MS - 1)
    other = bench.successor()
    assert not other.irq(5)
    other.advance(1)
    assert other.irq(5)


async def test_an_hour_of_ticks_takes_no_time_under_autojump(autojump_clock: MockClock):
    async with live(ticker.build) as bench:
        bench.out(ticker.BASE, 1_000_000, 4)
        await trio.sleep(3600.5)
        assert bench.inp(ticker.BASE + ticker.Reg.TICKS, 4) == 3600


MEMORY, PORTS = 0xE000_0000, 0xC000


@pytest.fixture
def copying() -> Bench:
    """A copier where firmware would have put it."""
    bench = Bench(copier.build)
    bench.start_interrupts(0x20)
    bench.place(copier.SLOT, {0: MEMORY, 1: PORTS}, irq=11)
    bench.ram[0x1000:0x1004] = b"data"
    for register, value in ((copier.Reg.SOURCE, 0x1000), (copier.Reg.TARGET, 0x2000), (copier.Reg.LENGTH, 4)):
        bench.store(MEMORY + register, value, 4)
    return bench


def test_the_copier_says_what_it_is(copying):
    assert copying.configure(copier.SLOT, 0) == 0x10F2_1AF4
    assert copying.configure(copier.SLOT, 8) == 0x0880_0000
    assert copying.configure(copier.SLOT, 0x3D, size=1) == 1
    copying.configure(copier.SLOT, 0x10, 0xFFFF_FFFF)
    assert copying.configure(copier.SLOT, 0x10) == 0xFFFF_FFF0


def test_the_copier_is_busy_for_as_long_as_it_takes_and_then_interrupts(copying):
    copying.out(PORTS + copier.Reg.STATUS, copier.START, 4)
    copying.advance(4 * copier.NS_PER_BYTE - 1)
    assert copying.load(MEMORY + copier.Reg.STATUS, 4) == copier.BUSY
    assert copying.ram[0x2000:0x2004] == bytes(4)
    copying.advance(1)
    assert copying.load(MEMORY + copier.Reg.STATUS, 4) == copier.DONE
    assert copying.ram[0x2000:0x2004] == b"data"
    assert copying.interrupt() == 0x2B
    copying.store(MEMORY + copier.Reg.STATUS, copier.DONE, 4)
    assert not copying.irq(11)


def test_the_copier_that_may_not_be_a_bus_master_refuses(copying):
    copying.configure(copier.SLOT, 4, 3, 2)
    copying.out(PORTS + copier.Reg.STATUS, copier.START, 4)
    assert copying.inp(PORTS + copier.Reg.STATUS, 4) == copier.DONE | copier.REFUSED
    copying.advance(MS)
    assert copying.ram[0x2000:0x2004] == bytes(4)


def test_a_copy_that_is_under_way_is_finished_by_a_successor(copying):
    copying.out(PORTS + copier.Reg.STATUS, copier.START, 4)
    other = copying.successor()
    other.advance(4 * copier.NS_PER_BYTE)
    assert other.ram[0x2000:0x2004] == b"data"
    assert other.irq(11)


def ask(bench: Bench, question: bytes) -> None:
    for byte in question:
        bench.out(lookup.BASE, byte)


def answer_of(bench: Bench) -> bytes:
    answer = b""
    while bench.inp(lookup.BASE + 1) & lookup.READY:
        answer += bytes([bench.inp(lookup.BASE)])
    return answer


async def served(nursery: trio.Nursery, answers: dict[bytes, bytes]) -> str:
    """Serve answers on a free port, and return its address; what is not known is not answered."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            question = bytes(await stream.receive_some(1024))
            if question in answers:
                await stream.send_all(answers[question])
            else:
                await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer, listeners)
    return f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"


async def wait_for(bench: Bench) -> None:
    with trio.fail_after(10):
        while not bench.irq(7):
            await trio.sleep(0.001)


async def test_a_question_goes_to_the_service_and_its_answer_interrupts(nursery):
    address = await served(nursery, {b"colour?\n": b"green\n"})
    async with live(lookup.build, address=address) as bench:
        ask(bench, b"colour?\n")
        assert bench.inp(lookup.BASE + 1) == lookup.BUSY
        await wait_for(bench)
        assert answer_of(bench) == b"green\n"
        assert not bench.irq(7)


async def test_a_service_that_is_not_there_is_a_failure_that_the_guest_can_see():
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with live(lookup.build, address=f"127.0.0.1:{port}") as bench:
            ask(bench, b"anybody?\n")
            await wait_for(bench)
            assert bench.inp(lookup.BASE + 1) == lookup.FAILED
            assert answer_of(bench) == b""


@pytest.mark.parametrize("answer", [b"", b"gre"])
async def test_an_answer_that_breaks_off_is_a_failure_that_the_guest_can_see(nursery, answer):
    """An empty one neither interrupted nor failed: the guest waited for ever."""
    address = await served(nursery, {b"colour?\n": answer})
    async with live(lookup.build, address=address) as bench:
        ask(bench, b"colour?\n")
        await wait_for(bench)
        assert bench.inp(lookup.BASE + 1) == lookup.FAILED
        assert answer_of(bench) == b""


async def test_a_question_that_is_too_long_is_cut_off_and_asked(nursery):
    """The line feed that ends it was too much as well: the device took no more questions until a reset."""
    longest = b"?" * lookup.LONGEST
    address = await served(nursery, {longest + b"\n": b"that is much\n"})
    async with live(lookup.build, address=address) as bench:
        ask(bench, longest + b"???\n")
        await wait_for(bench)
        assert answer_of(bench) == b"that is much\n"


async def test_a_reset_forgets_the_question_and_its_answer(nursery):
    address = await served(nursery, {b"1\n": b"one\n", b"2\n": b"two\n"})
    async with live(lookup.build, address=address) as bench:
        ask(bench, b"1\n")
        bench.board.reset()
        assert bench.inp(lookup.BASE + 1) == 0
        ask(bench, b"2\n")
        await wait_for(bench)
        assert answer_of(bench) == b"two\n"


def test_a_successor_asks_again_what_is_not_answered_yet():
    bench = Bench(lookup.build)
    asked: list[bytes] = []
    bench.board.chips["lookup"].ask = asked.append
    ask(bench, b"still there?\n")
    other = bench.successor()
    assert other.inp(lookup.BASE + 1) == lookup.BUSY
    assert asked == [b"still there?"]
    (task,) = other.board.tasks
    assert task.__self__._questions.receive_nowait() == b"still there?"


def test_an_address_that_is_none_is_refused_when_the_board_is_built():
    with pytest.raises(ConfigError, match=r"^board build: 'nowhere' is not HOST:PORT \(lookup.py:\d+\)$"):
        Bench(lookup.build, address="nowhere")
