"""python -m tests.fuzz --against core|server|both --seconds N --seed S."""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

from tests.fuzz.hostile_core import AgainstServer
from tests.fuzz.hostile_server import AgainstCore
from tests.fuzz.victim import Finding

KINDS = {"core": AgainstCore, "server": AgainstServer}


def main() -> int:
    """Run; exit status 1 and the finding if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--against", choices=(*KINDS, "both"), default="both")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings: list[Finding] = []

    def attack(kind: str) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            try:
                done = KINDS[kind](Path(folder), options.seed).run(options.seconds)
            except Finding as finding:
                findings.append(finding)
                sys.stderr.write(f"against the {kind}: {finding}\n")
            else:
                sys.stdout.write(f"against the {kind}: {done} connections, no finding\n")

    kinds = list(KINDS) if options.against == "both" else [options.against]
    threads = [threading.Thread(target=attack, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 if findings else 0


sys.exit(main())
