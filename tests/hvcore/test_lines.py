"""Lines that servers drive at each other: shared as wires are, and let go by who dies."""

from hvcore.lines import Lines


def test_a_change_is_a_change_of_all_drivers_together():
    lines: Lines[str, int] = Lines()
    assert lines.drive("a", 5, True)
    assert not lines.drive("b", 5, True)
    assert not lines.drive("a", 5, True)
    assert not lines.drive("a", 5, False)
    assert lines.drive("b", 5, False)
    assert not lines.drive("b", 5, False)
    assert list(lines.high()) == []


def test_a_driver_that_is_gone_holds_nothing():
    lines: Lines[str, int] = Lines()
    for irq in (3, 4):
        lines.drive("a", irq, True)
    lines.drive("b", 4, True)
    assert lines.let_go("a") == [3]
    assert list(lines.high()) == [4]
    assert lines.let_go("a") == []
