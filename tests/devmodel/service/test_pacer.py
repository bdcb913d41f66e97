"""The pacer, with a clock that jumps."""

import trio

from devmodel.service.clock import TrioClock
from devmodel.service.pacer import Pacer
from ioreq.patience import expected


class Alarm:
    def __init__(self, clock: TrioClock) -> None:
        self.clock = clock
        self.at: int | None = None
        self.rang: list[int] = []

    def deadline(self) -> int | None:
        return self.at

    def tick(self) -> None:
        if self.at is not None and self.clock.now() >= self.at:
            self.rang.append(self.clock.now())
            self.at = None


async def test_a_chip_ticks_at_its_deadline_and_not_before(autojump_clock, nursery):
    clock = TrioClock.start()
    alarm = Alarm(clock)
    alarm.at = 1_000_000_001
    nursery.start_soon(Pacer(clock, [alarm]).run)
    await trio.sleep(0.999)
    assert alarm.rang == []
    await trio.sleep(0.002)
    assert 1_000_000_001 <= alarm.rang[0] <= 1_000_001_000


async def test_an_hour_takes_no_time(autojump_clock, nursery):
    clock = TrioClock.start()
    alarm = Alarm(clock)
    alarm.at = 3600 * 10**9
    nursery.start_soon(Pacer(clock, [alarm]).run)
    await trio.sleep(3601)
    assert len(alarm.rang) == 1


async def test_rearming_moves_the_deadline_both_ways(autojump_clock, nursery):
    clock = TrioClock.start()
    alarm = Alarm(clock)
    pacer = Pacer(clock, [alarm])
    nursery.start_soon(pacer.run)
    await trio.sleep(1)
    alarm.at = clock.now() + 10**9
    pacer.rearm()
    pacer.rearm()
    await trio.sleep(0.5)
    alarm.at = clock.now() + 10**8
    pacer.rearm()
    await trio.sleep(0.11)
    assert len(alarm.rang) == 1
    alarm.at = clock.now() + 10**8
    pacer.rearm()
    await trio.sleep(0.05)
    alarm.at = None
    pacer.rearm()
    await trio.sleep(10)
    assert len(alarm.rang) == 1
    assert pacer.earliest() is None


async def test_one_task_serves_many(autojump_clock, nursery):
    clock = TrioClock.start()
    alarms = [Alarm(clock) for _ in range(5)]
    for n, alarm in enumerate(alarms):
        alarm.at = (5 - n) * 10**9
    nursery.start_soon(Pacer(clock, alarms).run)
    await trio.sleep(3.5)
    assert [len(alarm.rang) for alarm in alarms] == [0, 0, 1, 1, 1]


async def test_a_chip_is_asked_once_a_tick_but_again_when_an_access_may_have_changed_it(
    autojump_clock, nursery
):
    clock = TrioClock.start()
    alarm = Alarm(clock)
    asked = 0

    class Asked(Alarm):
        def deadline(self) -> int | None:
            nonlocal asked
            asked += 1
            return super().deadline()

    other = Asked(clock)
    alarm.at = 10**9
    pacer = Pacer(clock, [other, alarm])
    await nursery.start(running, pacer)
    await trio.sleep(0.5)
    before = asked
    await trio.sleep(1)
    assert len(alarm.rang) == 1
    assert asked == before + 1
    other.at = clock.now() + 1000  # and whoever changed it has only noted that
    alarm.at = clock.now() + 1000
    pacer.note()
    await trio.sleep(0.001)
    pacer.tick()
    assert (len(alarm.rang), len(other.rang)) == (2, 1)


async def test_a_deadline_of_microseconds_is_told_to_who_polls_for_requests(autojump_clock, nursery):
    clock = TrioClock.start()
    alarm = Alarm(clock)
    pacer = Pacer(clock, [alarm])
    await nursery.start(running, pacer)
    before = expected.timers
    alarm.at = clock.now() + 4_000
    pacer.rearm()
    assert expected.timers == before + 1
    await trio.sleep(0.001)
    assert (len(alarm.rang), expected.timers) == (1, before)
    alarm.at = clock.now() + 1_000_000
    pacer.rearm()
    assert expected.timers == before
    alarm.at = clock.now() + 4_000
    pacer.rearm()
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await trio.sleep(0.001)
    assert expected.timers == before  # it is not there any more


async def running(pacer: Pacer, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await pacer.run()


class Asked(Alarm):
    """Counts how often it is asked."""

    def __init__(self, clock: TrioClock) -> None:
        super().__init__(clock)
        self.asked = 0

    def deadline(self) -> int | None:
        self.asked += 1
        return super().deadline()


async def test_only_chips_that_an_access_may_have_touched_are_asked_again(autojump_clock, nursery):
    clock = TrioClock.start()
    chips = [Asked(clock) for _ in range(70)]
    touched = [0]
    pacer = Pacer(clock, chips, touched=lambda: touched[0])
    await nursery.start(running, pacer)
    before = [chip.asked for chip in chips]
    for n in (1, 63, 69):
        chips[n].at = clock.now() + 10**9
    touched[0] = 1 << 1 | 1 << 63  # the last bit is that of all from there on
    pacer.note()
    pacer.look()
    asked = [n for n, chip in enumerate(chips) if chip.asked > before[n]]
    assert asked == [1, 63, 64, 65, 66, 67, 68, 69]
    touched[0] = 0
    await trio.sleep(2)
    assert [n for n, chip in enumerate(chips) if chip.rang] == [1, 63, 69]


async def test_a_tick_has_the_others_asked_unless_it_moves_none_of_them(autojump_clock, nursery):
    clock = TrioClock.start()
    alone, other = Asked(clock), Asked(clock)
    pacer = Pacer(clock, [alone, other], touched=lambda: 0, alone=0b01)
    await nursery.start(running, pacer)
    alone.at = clock.now() + 10**9
    pacer.rearm()
    before = other.asked
    await trio.sleep(2)
    assert (len(alone.rang), other.asked) == (1, before)
    other.at = clock.now() + 10**9
    pacer.rearm()
    before = alone.asked
    await trio.sleep(2)
    assert len(other.rang) == 1
    assert alone.asked > before


async def test_what_changes_hears_of_an_access_that_a_tick_came_upon(autojump_clock, nursery):
    class Changes:
        heard = 0

        def changed(self) -> None:
            self.heard += 1

        def deadline(self) -> int | None:
            return None

        def tick(self) -> None:
            pass

    changes = Changes()
    pacer = Pacer(TrioClock.start(), [], changes, touched=lambda: 0)
    pacer.note()
    pacer.tick()
    assert changes.heard == 1
    pacer.look()
    assert changes.heard == 1
