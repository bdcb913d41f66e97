"""Guest time: trio's, whichever clock that has, and read at the host where it is the host's."""

import trio.testing

from devmodel.service.clock import TrioClock

US = 1000
"""What trio's seconds, which are floating-point numbers, are rounded to at worst."""


def trios(clock: TrioClock) -> int:
    return int((trio.current_time() - clock.origin) * 1e9)


async def test_guest_time_that_is_read_at_the_host_is_trios():
    clock = TrioClock.start(at=10**15)
    for _ in range(100):
        before, now, after = trios(clock), clock.now(), trios(clock)
        assert before - US <= now <= after + US
    assert clock.now() >= 10**15 - US


async def test_guest_time_does_not_run_where_trios_stands_still(mock_clock):
    clock = TrioClock.start(at=500)
    assert {clock.now() for _ in range(100)} == {500}
    mock_clock.jump(3600)
    assert abs(clock.now() - 3600 * 10**9 - 500) < US


async def test_a_clock_of_a_test_that_runs_as_the_hosts_does_may_still_jump():
    clock = trio.lowlevel.current_clock()
    assert not isinstance(clock, trio.testing.MockClock)

    def jump() -> int:
        async def main() -> int:
            guests = TrioClock.start()
            running.jump(7)
            return guests.now()

        running = trio.testing.MockClock(rate=1.0)
        return trio.run(main, clock=running)

    assert await trio.to_thread.run_sync(jump) >= 7 * 10**9
