"""`python -m hvcore`."""

import sys

from hvcore.cli import main

sys.exit(main())
