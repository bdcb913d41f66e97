"""`python -m devmodel`, and the command `devmodel`."""

import sys

from ioreq.program import start


def main() -> int:
    """Run it; return the exit status."""
    return start("devmodel.cli")


if __name__ == "__main__":
    sys.exit(main())
