"""How long it is worth to poll before sleeping, by what polls and sleeps have cost."""

import pytest

from ioreq.patience import (
    ENOUGH_NS,
    FAILED,
    FIRST,
    FIRST_PAUSE,
    LOOKS_A_MICROSECOND,
    MOST,
    WINDOW,
    Patience,
    set_window,
)

SHORT, LONG = 50_000, 10_000_000
LOST = FAILED * WINDOW * 1000
"""What a poll that fails costs, in ns."""


@pytest.fixture
def patience():
    patience = Patience()
    patience.most = patience.looks = MOST  # as on a host with several processors
    return patience


def give_up(patience):
    while patience.looks:
        patience.slept(SHORT)


def sleeps_until_it_tries(patience):
    sleeps = 0
    while not patience.looks:
        patience.slept(SHORT)
        sleeps += 1
    return sleeps


def test_patience_shrinks_while_idle_and_grows_with_short_sleeps(patience):
    for _ in range(20):
        patience.slept(LONG)
    assert patience.looks == FIRST
    for _ in range(2):
        patience.slept(SHORT)
    assert patience.looks == MOST


def test_patience_ends_where_polling_fails_and_the_sleep_after_it_is_short(patience):
    for _ in range(ENOUGH_NS // LOST):
        assert patience.looks
        patience.slept(SHORT)
    assert patience.looks == 0


@pytest.mark.parametrize("sleep", [SHORT, 8_000])
def test_a_poll_that_succeeds_gains_what_short_sleeps_have_cost_of_late(patience, sleep):
    """On a host whose sleeps are cheap, a lost poll takes more good ones to make up for."""
    for _ in range(100):
        patience.slept(sleep)
        patience.slept(LONG)
    assert 0.8 * sleep < patience.price < 1.2 * sleep
    patience.looks, patience.score = MOST, 0
    for _ in range(100):
        patience.slept(sleep)
        for _ in range(2 * LOST // sleep):
            patience.found()
    assert patience.looks == MOST
    assert patience.score == 0
    for _ in range(100):
        patience.slept(sleep)
        for _ in range(LOST // sleep // 2):
            patience.found()
    assert patience.looks == 0


def test_sleeps_that_happen_to_be_very_short_do_not_end_polling(patience):
    """The other side was just about to answer; so would most others not be."""
    for _ in range(100):
        for ns in (1_000, SHORT, SHORT):
            patience.slept(ns)
            for _ in range(LOST // SHORT + 2):
                patience.found()
    assert patience.looks == MOST


def test_patience_tries_again_ever_more_rarely(patience):
    pauses = []
    for _ in range(7):
        give_up(patience)
        pauses.append(sleeps_until_it_tries(patience))
    assert pauses == [FIRST_PAUSE << n for n in range(7)]


def test_a_success_or_two_of_a_try_that_fails_do_not_make_the_tries_more_frequent(patience):
    """One lucky poll a try would otherwise cost a lost one every sixteen sleeps, for ever."""
    pauses = []
    for _ in range(7):
        give_up(patience)
        pauses.append(sleeps_until_it_tries(patience))
        patience.found()
        patience.found()
    assert pauses == [FIRST_PAUSE << n for n in range(7)]


def test_patience_that_tries_with_success_polls_on(patience):
    for _ in range(3):
        give_up(patience)
        sleeps_until_it_tries(patience)
    while patience.score:
        patience.found()
    assert patience.looks == MOST
    give_up(patience)
    assert sleeps_until_it_tries(patience) == FIRST_PAUSE


class Place:
    """Says whether there was a processor to step aside to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.free = True
        self.asked = 0

    def step_aside(self) -> bool:
        self.asked += 1
        return self.free


@pytest.fixture
def place():
    return Place()


@pytest.fixture
def movable(place):
    patience = Patience(place.step_aside)
    patience.most = patience.looks = MOST
    return patience


def test_who_polls_in_vain_steps_aside_before_giving_up_and_tries_there_at_once(movable, place):
    for _ in range(ENOUGH_NS // LOST):
        assert not place.asked
        movable.slept(SHORT)
    assert place.asked == 1
    assert movable.looks == MOST
    while movable.score:
        movable.found()
    assert movable.looks == MOST


def test_a_try_that_fails_on_another_processor_too_is_the_last_for_a_while(movable, place):
    give_up(movable)
    assert place.asked == 1
    assert sleeps_until_it_tries(movable) == FIRST_PAUSE


def test_who_cannot_step_aside_gives_up_at_once(movable, place):
    place.free = False
    for _ in range(ENOUGH_NS // LOST):
        assert movable.looks
        movable.slept(SHORT)
    assert movable.looks == 0


def test_each_try_begins_on_another_processor_if_there_is_need(movable, place):
    give_up(movable)
    asked = place.asked
    for more in (1, 2, 3):
        sleeps_until_it_tries(movable)
        assert place.asked == asked + more
        give_up(movable)


def test_who_never_polls_stays_where_it_is(movable, place):
    movable.most = movable.looks = 0
    for _ in range(10 * FIRST_PAUSE):
        movable.slept(SHORT)
    assert not place.asked
    assert movable.looks == 0


def test_the_polling_window_is_a_setting_and_0_turns_polling_off(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    try:
        set_window(50)
        assert Patience().most == 50 * LOOKS_A_MICROSECOND
        set_window(0)
        assert Patience().most == 0
    finally:
        set_window(WINDOW)
    assert Patience().most == MOST


def test_on_one_processor_nobody_polls(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert Patience().most == 0
