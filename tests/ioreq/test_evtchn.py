"""Event channels lose no wake-up: sender and receiver in every order in which their looks at memory can fall.

The code under test is `ioreq/evtchn.py` itself, uncompiled. Its two sides run on a page whose every access waits
for its turn; the test deals the turns, in all ways there are.
"""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from ioreq import evtchn

PORT = 5


@pytest.fixture(scope="module")
def uncompiled() -> ModuleType:
    """`ioreq.evtchn` as plain Python, whose accesses the test can hold up."""
    path = os.path.join(os.path.dirname(evtchn.__file__), "evtchn.py")
    spec = importlib.util.spec_from_file_location("uncompiled_evtchn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Side(threading.Thread):
    """One of two threads, of which only one runs at a time, and only up to its next look at shared memory."""

    def __init__(self, what: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.what = what
        self.go = threading.Semaphore(0)
        self.held = threading.Semaphore(0)
        self.over = False

    def run(self) -> None:
        self.go.acquire()
        self.what()
        self.over = True
        self.held.release()

    def turn(self) -> None:
        """Let it make one access, and run on to the next or to its end."""
        self.go.release()
        assert self.held.acquire(timeout=10)

    def hold(self) -> None:
        """Wait for a turn; called by the thread itself."""
        self.held.release()
        self.go.acquire()


class Words:
    """Words of shared memory, each access a turn."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __getitem__(self, _index: int) -> int:
        _hold()
        return self.value

    def __setitem__(self, _index: int, value: int) -> None:
        _hold()
        self.value = value


def _hold() -> None:
    thread = threading.current_thread()
    if isinstance(thread, Side):
        thread.hold()


class Scene:
    """A receiver that stops polling, while a sender announces two things; it waits for the second."""

    def __init__(self, module: ModuleType, pending: int) -> None:
        page = type("Page", (), {"pending": Words(pending), "mask": Words(1)})()
        self.sender = module.SendPort(page, PORT, -1)
        self.receiver = module.ReceivePort(page, PORT, -1)
        self.work = Words(0)
        self.rings = 0
        self.asleep = False
        self.sides = (Side(self.send), Side(self.receive))

    def ring(self, _fd: int) -> None:
        self.rings += 1

    def send(self) -> None:
        self.sender.send()  # of no interest to who waits
        self.work[0] = 1
        self.sender.send()

    def receive(self) -> None:
        self.receiver.unmask()
        while not self.work[0]:
            self.asleep = True
            while not self.rings:
                _hold()
            self.asleep = False
            self.rings = 0
            self.receiver.clear()

    def play(self, choices: list[int]) -> tuple[list[int], bool]:
        """Deal turns as `choices` say, then to the first side that can go on.

        Returns how many sides could have gone on at each turn, and whether the receiver came to its end.
        """
        for side in self.sides:
            side.start()
        able = []
        while ready := [n for n, side in enumerate(self.sides) if not side.over and not self._waits(n)]:
            choice = choices[len(able)] if len(able) < len(choices) else 0
            able.append(len(ready))
            self.sides[ready[choice]].turn()
        heard = self.sides[1].over
        self.rings += 1
        while not self.sides[1].over:  # it has lost a wake-up; its thread must end all the same
            self.sides[1].turn()
        return able, heard

    def _waits(self, side: int) -> bool:
        return side == 1 and self.asleep and not self.rings


def every_order(module: ModuleType, pending: int) -> Iterator[tuple[list[int], bool]]:
    """Play all schedules; yield each with whether the receiver heard of the work."""
    stack: list[list[int]] = [[]]
    while stack:
        choices = stack.pop()
        scene = Scene(module, pending)
        module.ring_doorbell = scene.ring  # type: ignore[attr-defined]
        able, heard = scene.play(choices)
        yield choices, heard
        later = range(len(choices), len(able))
        stack += [[*choices, *[0] * (at - len(choices)), 1] for at in later if able[at] == 2]


@pytest.mark.parametrize("pending", [0, 1])
def test_no_order_of_sender_and_receiver_loses_a_wake_up(uncompiled, pending):
    orders = 0
    for choices, heard in every_order(uncompiled, pending):
        orders += 1
        assert heard, f"asleep for ever after {choices}"
    assert orders > 100
