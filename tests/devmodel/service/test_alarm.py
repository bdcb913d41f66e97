"""Alarms under trio's own clock, where a timerfd of the host wakes, and under one that jumps."""

import trio
import trio.testing

from devmodel.service.alarm import TimerAlarm, TrioAlarm, open_alarm
from devmodel.service.clock import TrioClock

MS = 1_000_000


async def test_the_hosts_timer_wakes_where_time_runs_by_itself():
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        assert isinstance(alarm, TimerAlarm)
        alarm.set(2 * MS)
        await alarm.wait()
        assert clock.now() >= 2 * MS


async def test_a_clock_of_a_test_is_waited_for_by_trio(autojump_clock):
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        assert isinstance(alarm, TrioAlarm)
        alarm.set(3_600_000 * MS)
        await alarm.wait()
        assert clock.now() == 3_600_000 * MS


async def test_a_deadline_that_has_passed_rings_at_once():
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        for passed in (clock.now() - MS, 0, 0):  # the same again, too
            alarm.set(passed)
            with trio.fail_after(5):
                await alarm.wait()


async def test_an_alarm_is_moved_under_who_sleeps(nursery):
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        alarm.set(clock.now() + 3_600_000 * MS)
        woken = trio.Event()

        async def sleep() -> None:
            await alarm.wait()
            woken.set()

        nursery.start_soon(sleep)
        await trio.testing.wait_all_tasks_blocked()
        alarm.set(clock.now() + MS)
        with trio.fail_after(5):
            await woken.wait()


async def test_an_alarm_that_is_stopped_does_not_ring():
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        alarm.set(clock.now() + MS)
        await trio.sleep(0.005)  # it has rung, and nobody has heard
        alarm.set(None)
        with trio.move_on_after(0.02) as scope:
            await alarm.wait()
        assert scope.cancelled_caught


async def test_an_alarm_rings_once():
    clock = TrioClock.start()
    with open_alarm(clock) as alarm:
        alarm.set(MS)
        await alarm.wait()
        alarm.set(clock.now() + 3_600_000 * MS)
        with trio.move_on_after(0.02) as scope:
            await alarm.wait()
        assert scope.cancelled_caught
