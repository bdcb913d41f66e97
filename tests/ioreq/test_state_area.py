"""The area of a server's state: one half is always whole."""

import pytest

from ioreq.layout import PAGE_SIZE
from ioreq.state_area import AREA_SIZE, HALF, StateArea


@pytest.fixture
def memory() -> bytearray:
    return bytearray(AREA_SIZE)


def test_an_area_is_empty_at_first_and_then_has_what_was_written_last(memory):
    area = StateArea(memory)
    assert area.read() is None
    for state in (b"one", b"", b"the third, which is longer"):
        assert area.write(state)
        assert area.read() == state
        assert StateArea(memory).read() == state  # as the next server sees it
    area.clear()
    assert area.read() is None


def test_who_dies_while_he_writes_leaves_what_he_wrote_before(memory):
    area = StateArea(memory)
    area.write(b"first")
    area.write(b"second")
    memory[PAGE_SIZE : PAGE_SIZE + 5] = b"third"[::-1]  # the half that the third would go to
    memory[8:16] = (5).to_bytes(8, "little")
    assert area.read() == b"second"


def test_what_is_too_long_is_not_written(memory):
    area = StateArea(memory)
    area.write(b"fits")
    assert not area.write(bytes(HALF + 1))
    assert area.read() == b"fits"
    assert area.write(bytes(HALF))


def test_a_length_that_cannot_be_is_no_state(memory):
    area = StateArea(memory)
    area.write(b"state")
    memory[8:16] = (HALF + 1).to_bytes(8, "little")
    assert area.read() is None
