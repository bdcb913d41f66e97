"""`python -m tests.hvcore.cpu.differential --cases 1000000 --seed 0 --kind int32`."""

import argparse
import sys
import time

from tests.hvcore.cpu.differential.compare import shrink
from tests.hvcore.cpu.differential.kinds import BY_HAND, KINDS, case_of, machines_for
from tests.hvcore.cpu.differential.machines import HALT, STRAYED
from tests.hvcore.cpu.differential.report import named_test


def ends(stops: dict[int, int]) -> str:
    """How runs ended, in words."""
    counts: dict[str, int] = {}
    for stop, count in sorted(stops.items()):
        name = {HALT: "HLT", STRAYED: "strayed"}.get(stop, f"#{stop}" if stop < 32 else "INT n")
        counts[name] = counts.get(name, 0) + count
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hvcore.cpu.differential", description=__doc__)
    parser.add_argument("--kind", choices=KINDS + BY_HAND, default="int32")
    parser.add_argument(
        "--cases", type=int, default=20_000, help="how many programs; of integers each has two starts"
    )
    parser.add_argument("--seed", type=int, default=0, help="number of the first; go on where a run ended")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many")
    parser.add_argument("--seconds", type=float, default=3600, help="stop after so long")
    arguments = parser.parse_args(argv)
    pair = machines_for(arguments.kind)
    started = shown = time.monotonic()
    failures = 0
    seed = arguments.seed
    try:
        while seed < arguments.seed + arguments.cases:
            case = case_of(arguments.kind, seed)
            found = pair.differences(case)
            if found:
                failures += 1
                small = shrink(pair, case)
                print(f"\n# {arguments.kind}, seed {seed}: {'; '.join(found)}")
                print(named_test(pair, small, arguments.kind, seed), flush=True)
                pair.renew()
            seed += 1
            now = time.monotonic()
            if failures >= arguments.failures or now - started > arguments.seconds:
                break
            if now - shown > 10:
                shown = now
                done = seed - arguments.seed
                print(f"{done} cases, {done / (now - started):.0f} a second, {failures} differ", flush=True)
    except KeyboardInterrupt:  # with its figures
        pass
    done, took, runs = seed - arguments.seed, time.monotonic() - started, sum(pair.stops.values())
    print(
        f"{arguments.kind}: {done} programs, {runs} runs, {pair.instructions} instructions, from seed "
        f"{arguments.seed}, {failures} differ, {took:.0f} s; runs ended with {ends(pair.stops)}, "
        f"at a segment's limit {pair.beyond}; next seed {seed}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
