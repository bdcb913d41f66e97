"""What every chip must stand: any access at any time, a reset, and a successor between any two accesses."""

import random
from typing import Any, Final

import attrs

from devmodel.board.device import ONES
from devmodel.testing.bench import Bench, Build

PORTS: Final = 0xC000
MEMORY: Final = 0xE000_0000
FUTURE: Final = 16
"""Accesses after which a board and its successor are compared."""
MOST_TIME: Final = 2_000_000
"""Nanoseconds between two accesses, at most."""


@attrs.frozen(kw_only=True)
class _Access:
    space: str
    address: int
    size: int
    value: int | None
    """Of a write; None: it is a read."""
    wait: int
    """Nanoseconds that pass before."""

    def __str__(self) -> str:
        way = "a read of" if self.value is None else f"a write of {self.value:#x} in"
        what = f"{self.size} byte{'s' * (self.size > 1)}"
        return f"{way} {what} at {'port' if self.space == 'pio' else 'address'} {self.address:#x}"


def check_board(build: Build, *, accesses: int = 400, seed: int = 0, **options: Any) -> None:
    """Play a hostile guest to the chips that `build` adds, and see that they are as chips must be.

    A guest may read and write anywhere in any size at any time: no chip may raise, or answer more than was asked for.
    Between any two accesses a successor takes over (as by `devmodel upgrade`) and has the same future. A reset makes a
    board as it was when it was new.

    Raises:
        AssertionError: one of that is not so; the message says after which access.

    """
    dice = random.Random(seed)  # noqa: S311  (the same each time)
    bench = Bench(build, **options)
    fresh = bench.board.save()
    _place(bench)
    ranges = _own_ranges(bench)
    assert ranges, "the board adds nothing that a guest could reach"
    past: list[str] = []
    for number in range(accesses):
        _step(bench, _choice(dice, ranges), past)
        if number % FUTURE == 0:
            other = bench.successor()
            for _ in range(FUTURE):
                choice = _choice(dice, ranges)
                seen, expected = _step(other, choice, []), _step(bench, choice, past)
                assert seen == expected, f"a successor reads {seen:#x}, not {expected:#x}: {past[-1]}"
            ours, theirs = bench.board.states(), other.board.states()
            for name in _own_chips(bench):
                assert ours[name] == theirs[name], f"a successor's '{name}' is not the same after {past[-1]}"
    bench.board.reset()
    for name in _own_chips(bench):
        state = bench.board.states()[name]
        assert state == fresh[name], (
            f"after a reset '{name}' is {state!r}, and was {fresh[name]!r} when it was new"
        )


def _own_chips(bench: Bench) -> set[str]:
    return bench.board.chips.keys() - Bench().board.chips.keys()


def _own_ranges(bench: Bench) -> list[tuple[str, int, int]]:
    """Return space, first and last address of what the PC does not have."""
    pc = Bench()
    _place(pc)  # its VGA is on PCI too
    plain = pc.board.bus
    return [
        (space.name, m.first, m.last)
        for space, theirs in ((bench.board.bus.pio, plain.pio), (bench.board.bus.memory, plain.memory))
        for m in space.mappings
        if m.name not in {other.name for other in theirs.mappings}
    ]


def _place(bench: Bench) -> None:
    """Give PCI functions addresses, as firmware does."""
    ports, memory = PORTS, MEMORY
    for (slot, number), function in bench.board.pci.functions.items():
        bars = getattr(function, "bars", None)
        if number or not bars:
            continue
        places = {}
        for register, bar in bars.items():
            if bar.space == "pio":
                ports = -(-ports // bar.size) * bar.size
                places[register], ports = ports, ports + bar.size
            else:
                memory = -(-memory // bar.size) * bar.size
                places[register], memory = memory, memory + bar.size
        bench.place(slot, places)


def _choice(dice: random.Random, ranges: list[tuple[str, int, int]]) -> _Access:
    """Return an access, and how long it is until then."""
    space, first, last = dice.choice(ranges)
    size = dice.choice((1, 2, 4) if space == "pio" else (1, 2, 4, 8))
    values = (0, 1, ONES[size], dice.getrandbits(8), dice.getrandbits(8 * size))
    return _Access(
        space=space,
        address=dice.randint(first, min(last, first + 0xFF)),
        size=size,
        value=dice.choice(values) if dice.random() < 0.5 else None,
        wait=dice.choice((0, 1, dice.randrange(MOST_TIME))),
    )


def _step(bench: Bench, access: _Access, past: list[str]) -> int:
    """Let time pass, and do one access; return what was read."""
    past.append(str(access))
    port, size = access.space == "pio", access.size
    try:
        bench.advance(access.wait)
        if access.value is not None:
            (bench.out if port else bench.store)(access.address, access.value, size)
            return 0
        found = (bench.inp if port else bench.load)(access.address, size)
    except Exception as error:
        raise AssertionError(f"a chip raised {type(error).__name__} in {access}") from error
    assert isinstance(found, int), f"{found!r} is no number: {access}"
    assert 0 <= found <= ONES[size], f"{found:#x} is no answer to {access}"
    return found
