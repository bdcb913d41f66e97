"""Sleeping on a doorbell in trio's stead: nothing is lost, nobody else waits, and it may always be trio that sleeps."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import trio
import trio.lowlevel
import trio.testing

from ioreq import standby
from ioreq.evtchn import make_doorbell, ring_doorbell
from ioreq.standby import Bell, Standby, listen


@pytest.fixture(params=["in its stead", "by trio"])
def stead(request, monkeypatch) -> bool:
    if request.param == "by trio":
        monkeypatch.setattr(standby, "_trios_epoll", lambda: None)
    return request.param != "by trio"


@pytest.fixture
def fd() -> Iterator[int]:
    fd = make_doorbell()
    yield fd
    os.close(fd)


class Steps(trio.abc.Instrument):
    """Counts what tasks do."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_trio_keeps_its_epoll_where_we_look_for_it(fd):
    """If this fails under a new trio, all works as before, at the price of a pass of the scheduler a ring."""
    with listen(fd) as bell:
        assert type(bell) is not Bell
        assert standby._trios_epoll() is not None


async def test_a_ring_that_needs_no_task_wakes_none(fd):
    """A ring from a thread is looked at a hundred times, and only the last lets the task go on."""
    looked = threading.Semaphore(0)
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        looked.release()
        return looks == 100

    def ring() -> None:
        for _ in range(100):
            ring_doorbell(fd)
            assert looked.acquire(timeout=30)

    steps = Steps()
    with listen(fd) as bell:
        thread = threading.Thread(target=ring)
        trio.lowlevel.add_instrument(steps)
        thread.start()
        with trio.fail_after(30):
            await bell.wait(look)
        trio.lowlevel.remove_instrument(steps)
        thread.join()
    assert looks == 100
    assert steps.count < 20


async def test_look_is_called_for_each_ring_and_says_when_it_is_enough(fd, stead, nursery):
    looks: list[int] = []

    async def ring() -> None:
        for n in range(3):
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert len(looks) == n
            ring_doorbell(fd)

    nursery.start_soon(ring)
    with listen(fd) as bell, trio.fail_after(30):
        await bell.wait(lambda: looks.append(0) or len(looks) == 3)
    assert len(looks) == 3


async def test_what_look_raises_is_raised_where_it_is_waited_for(fd, stead):
    with listen(fd) as bell:
        ring_doorbell(fd)
        with pytest.raises(ZeroDivisionError):
            await bell.wait(lambda: 1 // 0 == 0)
        ring_doorbell(fd)
        with trio.fail_after(30):
            await bell.wait(lambda: True)  # and the bell is none the worse for it


async def test_what_rings_while_nobody_waits_is_not_lost(fd, stead):
    with listen(fd) as bell, trio.fail_after(30):
        for _ in range(3):
            ring_doorbell(fd)
            await trio.sleep(0.002)
            await bell.wait(lambda: True)
        ring_doorbell(fd)
        with trio.move_on_after(0) as scope:
            await bell.wait(lambda: False)
        assert scope.cancelled_caught


async def test_what_rang_before_anybody_listened_counts_for_nothing(fd, stead):
    ring_doorbell(fd)
    with listen(fd) as bell:
        with trio.move_on_after(0.02) as scope:
            await bell.wait(lambda: True)
        assert scope.cancelled_caught


async def test_a_look_that_wakes_another_task_does_not_wait_for_the_next_ring(fd, stead, nursery):
    """trio believes at that time that nothing is to be run, and would sleep for a day."""
    woken = trio.Event()

    def look() -> bool:
        woken.set()
        return False

    async def serve() -> None:
        with listen(fd) as bell:
            await bell.wait(look)

    nursery.start_soon(serve)
    await trio.testing.wait_all_tasks_blocked()
    ring_doorbell(fd)
    with trio.fail_after(30):
        await woken.wait()
    nursery.cancel_scope.cancel()


async def test_files_deadlines_and_threads_are_heard_beside_a_bell_that_never_stops(fd, stead, nursery):
    """Each look rings the bell again, so that there is never nothing to look at."""
    rings = 0

    def look() -> bool:
        nonlocal rings
        rings += 1
        ring_doorbell(fd)
        return False

    async def serve() -> None:
        with listen(fd) as bell:
            ring_doorbell(fd)
            await bell.wait(look)

    nursery.start_soon(serve)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs, trio.fail_after(30):
        before = time.monotonic()
        await trio.sleep(0.05)
        assert time.monotonic() - before >= 0.05
        threading.Timer(0.02, lambda: os.write(theirs.fileno(), b"x")).start()
        assert await ours.recv(1) == b"x"
        assert await trio.to_thread.run_sync(lambda: time.sleep(0.02) or "done") == "done"
    assert rings > 100
    nursery.cancel_scope.cancel()


async def test_deadlines_are_kept_while_all_sleep(fd, stead, nursery):
    async def serve() -> None:
        with listen(fd) as bell:
            await bell.wait(lambda: False)

    nursery.start_soon(serve)
    with trio.fail_after(30):
        for seconds in (0.001, 0.02):
            before = time.monotonic()
            await trio.sleep(seconds)
            assert time.monotonic() - before >= seconds
    nursery.cancel_scope.cancel()


async def test_a_signals_handler_runs_while_all_sleep(fd, stead, nursery):
    """Whether trio hears of it (its wake-up descriptor) or not, and whoever sleeps sleeps on."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    looks = []

    async def serve() -> None:
        with listen(fd) as bell:
            await bell.wait(lambda: looks.append(1))

    def disturb() -> None:
        for n in range(5):
            os.kill(os.getpid(), signal.SIGUSR1)
            deadline = time.monotonic() + 30
            while len(heard) == n and time.monotonic() < deadline:
                time.sleep(0.001)
        ring_doorbell(fd)

    try:
        nursery.start_soon(serve)
        with trio.fail_after(60):
            await trio.to_thread.run_sync(disturb)
            while not looks:
                await trio.sleep(0.01)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1] * 5
    nursery.cancel_scope.cancel()


async def test_more_bells_than_are_heard_of_at_once_are_all_heard(stead, nursery):
    fds = [make_doorbell() for _ in range(100)]
    heard = set()

    async def serve(fd: int) -> None:
        with listen(fd) as bell:
            await bell.wait(lambda: heard.add(fd))

    for fd in fds:
        nursery.start_soon(serve, fd)
    await trio.testing.wait_all_tasks_blocked()
    for fd in fds:
        ring_doorbell(fd)
    with trio.fail_after(30):
        while len(heard) < len(fds):
            await trio.sleep(0.001)
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()
    for fd in fds:
        os.close(fd)


async def test_several_bells_are_told_apart(stead, nursery):
    bells = [make_doorbell() for _ in range(3)]
    heard: list[int] = []

    async def serve(number: int) -> None:
        with listen(bells[number]) as bell:
            await bell.wait(lambda: heard.append(number) or False)

    for number in range(3):
        nursery.start_soon(serve, number)
    await trio.testing.wait_all_tasks_blocked()
    for number in (2, 0, 1, 1):
        before = len(heard)
        ring_doorbell(bells[number])
        with trio.fail_after(30):
            while len(heard) == before:
                await trio.sleep(0.001)
    assert heard == [2, 0, 1, 1]
    nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    for bell in bells:
        os.close(bell)


async def test_nobody_is_told_of_a_descriptor_that_has_another_owner_since(fd):
    """What stays open elsewhere goes on ringing in epoll, under a number that may be another file's by now."""
    elsewhere = os.dup(fd)
    with listen(fd) as bell:
        assert type(bell) is not Bell
    ring_doorbell(elsewhere)
    with trio.fail_after(30):
        await trio.sleep(0.002)
    os.close(elsewhere)


async def test_a_clock_that_jumps_is_left_to_trio(autojump_clock, fd, nursery):
    def ring() -> None:
        time.sleep(0.01)
        ring_doorbell(fd)

    with listen(fd) as bell:
        assert type(bell) is Bell
        thread = threading.Thread(target=ring)
        thread.start()
        await bell.wait(lambda: True)
        thread.join()


async def test_two_that_listen_to_one_bell_are_an_error(fd):
    with listen(fd), pytest.raises(FileExistsError), listen(fd):
        pass


def test_each_run_of_trio_has_its_own(fd):
    async def once() -> Standby | None:
        with listen(fd):
            return standby._standby.get()

    first, second = trio.run(once), trio.run(once)
    assert isinstance(first, Standby)
    assert first is not second


async def test_what_nobody_has_rung_for_is_found_before_a_sleep(fd):
    """It came while we were awake."""
    work = [1]
    with listen(fd, lambda: bool(work)) as bell, trio.fail_after(30):
        assert standby.stands_by()
        await bell.wait(lambda: bool(work) and not work.clear())
    assert work == []


async def test_what_nobody_has_rung_for_is_found_after_a_sleep_before_anything_else(fd, nursery):
    """It came while we slept, and is older than what the other bell has been rung for."""
    order: list[str] = []
    work: list[int] = []
    other = make_doorbell()

    def wake() -> None:
        time.sleep(0.05)  # by then trio is asleep, and if not the order is right all the same
        work.append(1)
        ring_doorbell(other)

    def unrung() -> bool:
        order.append("unrung")
        work.clear()
        return False

    async def serve() -> None:
        with listen(fd, lambda: bool(work)) as bell:
            await bell.wait(unrung)

    with listen(other) as bell:
        nursery.start_soon(serve)
        await trio.testing.wait_all_tasks_blocked()
        thread = threading.Thread(target=wake)
        thread.start()
        with trio.fail_after(30):
            await bell.wait(lambda: order.append("rung") is None)
        thread.join()
    assert order == ["unrung", "rung"]
    nursery.cancel_scope.cancel()
    os.close(other)


async def test_where_trio_sleeps_itself_nothing_may_be_left_unrung(fd, stead):
    with listen(fd):
        assert standby.stands_by() == stead
