"""Where the time goes: what `hvcore run --statistics` says of a guest, as columns of a table."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

Statistics = dict[str, Any]
"""The event `vcpu.statistics`; see `hvcore.measured`."""

EVENT: Final = "vcpu.statistics"
SHARES: Final = {
    "guest": "in the guest",
    "tlb_misses": "  TLB misses",
    "decoding": "  block misses: decoding",
    "translating": "  making host code",
    "exits": "handling exits (the core's Python)",
    "waiting": "waiting for device models",
    "asleep": "halted",
}
COUNTS: Final = {
    "tlb_misses": "TLB misses",
    "blocks": "blocks decoded",
    "translated": "blocks made host code",
    "exits": "exits",
    "requests": "requests waited for",
    "interpreted": "operations interpreted in host code",
}
KINDS: Final = {"exit_kinds": "exits", "interpreted_kinds": "interpreted"}


def find(said: str) -> Statistics:
    """Return the statistics among a core's JSON log lines. Raises LookupError if there are none."""
    for line in said.splitlines():
        if EVENT in line:
            event: Statistics = json.loads(line)
            return event
    raise LookupError(f"no {EVENT} in {said!r}")


def derive(statistics: Statistics) -> dict[str, Any]:
    """Return what the table shows: counts a million instructions, and shares of the time in percent."""
    seconds = statistics["seconds"]
    millions = statistics["instructions"] / 1e6
    return {
        "instructions": statistics["instructions"],
        "seconds": seconds["total"],
        "mips": millions / seconds["guest"],
        "shares": {name: 100 * seconds[name] / seconds["total"] for name in SHARES},
        "per_million": {name: statistics[name] / millions for name in COUNTS},
        "kinds": {of: {name: count / millions for name, count in statistics[of].items()} for of in KINDS},
    }


def table(columns: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table with a column for each guest, of what `derive` returns."""

    def row(name: str, values: list[float]) -> str:
        return f"  {name:<44}" + "".join(f"{_shown(value):>14}" for value in values)

    guests = list(columns.values())
    yield f"  {'where the time goes':<44}" + "".join(f"{name:>14}" for name in columns)
    yield row("million instructions", [guest["instructions"] / 1e6 for guest in guests])
    yield row("MIPS while in the guest", [guest["mips"] for guest in guests])
    yield "  share of the time, %"
    for name, title in SHARES.items():
        yield row(f"  {title}", [guest["shares"][name] for guest in guests])
    yield "  a million instructions"
    for name, title in COUNTS.items():
        yield row(f"  {title}", [guest["per_million"][name] for guest in guests])
    for name, guest in columns.items():
        for of, title in KINDS.items():
            most = ", ".join(f"{kind} {_shown(count)}" for kind, count in guest["kinds"][of].items())
            if most:
                yield f"  {name}, {title} a million: {most}"


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
