"""Alarms under trio's own clock, where a timerfd of the host rings, and under one that jumps."""

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from devmodel.service.alarm import Alarm, TimerAlarm, TrioAlarm, open_alarm
from devmodel.service.clock import TrioClock

MS = 1_000_000
HOUR = 3_600_000 * MS


class Kept:
    """An alarm that is kept, and how often it has rung."""

    def __init__(self, alarm: Alarm, clock: TrioClock) -> None:
        self.alarm = alarm
        self.clock = clock
        self.rings = -1  # it rings once at the beginning
        self._rung = trio.Event()

    def ring(self) -> None:
        self.rings += 1
        self.alarm.set(None)
        self._rung.set()

    async def rung(self) -> None:
        """Wait until it rings the next time."""
        self._rung = trio.Event()
        with trio.fail_after(30):
            await self._rung.wait()


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        async with trio.open_nursery() as nursery:
            kept = Kept(alarm, clock)
            nursery.start_soon(alarm.keep, kept.ring)
            while kept.rings < 0:
                await trio.lowlevel.checkpoint()
            yield kept
            nursery.cancel_scope.cancel()


async def test_the_hosts_timer_rings_where_time_runs_by_itself(kept):
    assert isinstance(kept.alarm, TimerAlarm)
    deadline = kept.clock.now() + 2 * MS
    kept.alarm.set(deadline)
    await kept.rung()
    assert kept.clock.now() >= deadline


async def test_a_clock_of_a_test_is_waited_for_by_trio(autojump_clock, nursery):
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        assert isinstance(alarm, TrioAlarm)
        rings: list[int] = []

        def ring() -> None:
            rings.append(clock.now())
            alarm.set(HOUR * len(rings))

        nursery.start_soon(alarm.keep, ring)
        await trio.sleep(3600 * 2.5)
        assert rings == [0, HOUR, 2 * HOUR]
        nursery.cancel_scope.cancel()


async def test_a_deadline_that_has_passed_rings_at_once(kept):
    for passed in (kept.clock.now() - MS, 0, 0):  # the same again, too
        kept.alarm.set(passed)
        await kept.rung()


async def test_an_alarm_is_moved_under_who_sleeps(kept):
    kept.alarm.set(kept.clock.now() + HOUR)
    await trio.testing.wait_all_tasks_blocked()
    kept.alarm.set(kept.clock.now() + MS)
    await kept.rung()


async def test_an_alarm_that_is_stopped_does_not_ring(kept):
    kept.alarm.set(1)  # it has rung, and nobody has heard
    kept.alarm.set(None)
    await trio.sleep(0.02)
    assert kept.rings == 0


async def test_an_alarm_rings_once(kept):
    kept.alarm.set(1)
    await kept.rung()
    await trio.sleep(0.02)
    assert kept.rings == 1
