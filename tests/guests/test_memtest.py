"""Unmodified memtest86+ finds nothing wrong: a megabyte of guest code that trusts no memory."""

import re
from pathlib import Path

import pytest

from devmodel.testing import Machine

MEMTEST = Path("/boot/memtest86+ia32.bin")


async def test_memtest86_passes_without_an_error(vendor):
    if not MEMTEST.exists():
        pytest.skip(f"{MEMTEST.name} is in Debian's package memtest86+")
    async with Machine(
        "--kernel", MEMTEST, "--append", "console=ttyS0,115200", "--memory", "8M", "--vendor", vendor
    ) as machine:
        screen = await machine.shows("Pass:  1", 400)
        assert "Memtest86+ v" in screen
        assert re.search(r"Errors: 0\s", screen)
