"""A line of log on its way to a person."""

import pytest
import structlog

from ioreq.lines import Limiter, clean, printable


def test_control_characters_are_shown_and_not_obeyed():
    assert printable("\x1b]0;owned\x07\x9b2J\r\n") == r"\x1b]0;owned\x07\x9b2J\r\n"
    assert printable("Grüße, 世界 → ok") == "Grüße, 世界 → ok"
    assert printable("\u202egnp.exe") == r"\u202egnp.exe"


def test_every_text_of_an_event_is_cleaned_and_numbers_stay():
    event = {"event": "server.gone", "program": "\x1b[2J", "servers": ["\x1b"], "n": 3}
    assert clean(None, "info", event) == {
        "event": "server.gone",
        "program": r"\x1b[2J",
        "servers": [r"\x1b"],
        "n": 3,
    }


def test_a_traceback_keeps_its_lines():
    assert clean(None, "error", {"exception": "a\n\x1bb"}) == {"exception": "a\n\\x1bb"}


def test_a_kind_of_line_passes_up_to_a_rate_and_then_says_what_it_dropped():
    now = [0.0]
    limiter = Limiter(burst=3, rate=1.0, clock=lambda: now[0])

    def passed(name: str) -> int | None:
        try:
            return limiter(None, "info", {"event": name}).get("dropped", 0)
        except structlog.DropEvent:
            return None

    assert [passed("guest.debug") for _ in range(6)] == [0, 0, 0, None, None, None]
    assert passed("disk.failed") == 0
    now[0] = 1.0
    assert [passed("guest.debug") for _ in range(2)] == [3, None]
    now[0] = 100.0
    assert [passed("guest.debug") for _ in range(4)] == [1, 0, 0, None]


def test_names_without_end_share_one_account():
    limiter = Limiter(burst=1, rate=0.0, clock=lambda: 0.0)
    for n in range(256):
        limiter(None, "info", {"event": f"kind {n}"})
    limiter(None, "info", {"event": "one more"})
    with pytest.raises(structlog.DropEvent):
        limiter(None, "info", {"event": "and another"})
