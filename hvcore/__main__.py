"""`python -m hvcore`, and the command `hvcore`."""

import sys

from ioreq.program import start


def main() -> int:
    """Run it; return the exit status."""
    return start("hvcore.cli")


if __name__ == "__main__":
    sys.exit(main())
