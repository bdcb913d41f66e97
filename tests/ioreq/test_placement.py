"""A thread steps aside from the processor of another process, for a while."""

import os
import subprocess
import sys
import threading
import time

import pytest

from ioreq import placement
from ioreq.placement import Placement

SERVER = 4711
EVERYWHERE = {0, 1, 2}


class Host:
    """Processors 0 to 2, and who is on which of them."""

    def __init__(self) -> None:
        self.where: dict[str, int | None] = {"thread-self": 1, str(SERVER): 1}
        self.allowed: dict[int, set[int]] = {0: EVERYWHERE}

    def read(self, thread: int) -> set[int]:
        return self.allowed[self._known(thread)]

    def write(self, thread: int, processors: set[int]) -> None:
        if not processors:
            raise OSError("as sched_setaffinity(2): EINVAL")
        self.allowed[self._known(thread)] = set(processors)

    def _known(self, thread: int) -> int:
        """Return 0, the thread that calls, which is the test's own."""
        if thread not in (0, threading.main_thread().native_id):
            raise ProcessLookupError
        return 0

    @property
    def mine(self) -> set[int]:
        """Where the test's own thread may run."""
        return self.allowed[0]


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(placement, "_processor", host.where.get)
    monkeypatch.setattr("os.sched_getaffinity", host.read)
    monkeypatch.setattr("os.sched_setaffinity", host.write)
    return host


def hold_for(seconds, monkeypatch):
    monkeypatch.setattr(placement, "HOLD", seconds)


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_thread_leaves_the_processor_that_it_shares_and_may_come_back_after_a_while(host, monkeypatch):
    hold_for(0.05, monkeypatch)
    assert Placement().step_aside(SERVER)
    assert host.mine == {0, 2}
    wait_until(lambda: host.mine == EVERYWHERE)


@pytest.mark.parametrize("where", [0, None], ids=["elsewhere", "unseen"])
def test_a_thread_stays_where_the_other_is_not_seen_beside_it(host, where):
    host.where[str(SERVER)] = where
    assert not Placement().step_aside(SERVER)
    assert host.mine == EVERYWHERE


def test_a_thread_stays_that_has_no_other_processor(host):
    host.allowed[0] = {1}
    assert not Placement().step_aside(SERVER)
    assert host.mine == {1}


def test_a_thread_that_is_followed_steps_aside_again_and_comes_back_to_all_processors(host, monkeypatch):
    hold_for(0.1, monkeypatch)
    place = Placement()
    assert place.step_aside(SERVER)
    host.where["thread-self"] = host.where[str(SERVER)] = 2
    assert place.step_aside(SERVER)
    assert host.mine == {0, 1}
    wait_until(lambda: host.mine == EVERYWHERE)


def test_who_is_pinned_by_others_meanwhile_stays_pinned(host, monkeypatch):
    hold_for(0.05, monkeypatch)
    place = Placement()
    assert place.step_aside(SERVER)
    host.write(0, {0})
    wait_until(lambda: place._allowed is None)
    assert host.mine == {0}


def test_a_thread_that_nobody_could_bring_back_stays(host, monkeypatch):
    """A host that has no more threads says so by RuntimeError."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    place = Placement()
    assert not place.step_aside(SERVER)
    assert host.mine == EVERYWHERE
    assert not place.step_aside(SERVER)


def test_a_thread_that_has_ended_is_let_be(host, monkeypatch):
    hold_for(0.05, monkeypatch)
    place = Placement()
    thread = threading.Thread(target=place.step_aside, args=(SERVER,))
    thread.start()
    thread.join()
    assert host.mine == {0, 2}  # as the thread, which was the one that called
    wait_until(lambda: place._allowed is None)
    assert host.mine == {0, 2}


def test_the_processor_of_a_thread_and_of_a_process_is_what_the_host_says():
    """Whatever its name: proc_pid_stat(5) has the program's in brackets, with the blanks and brackets that it has."""
    before = os.sched_getaffinity(0)
    only = min(before)
    os.sched_setaffinity(0, {only})
    try:
        name = "import ctypes; ctypes.CDLL(None).prctl(15, b') S 1 (', 0, 0, 0)"  # PR_SET_NAME
        with subprocess.Popen(
            [sys.executable, "-c", f"{name}; print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert placement._processor("thread-self") == only
            assert placement._processor(str(other.pid)) == only
            other.communicate(b"\n")
        assert placement._processor(str(other.pid)) is None
    finally:
        os.sched_setaffinity(0, before)
