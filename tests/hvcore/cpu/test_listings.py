"""What blocks become, instruction by instruction: a change of the translator shows here (docs/translator.md).

After a change that is meant, `python -m tests.hvcore.cpu.listing --write`, and read what `git diff` says.
"""

import pytest

from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import Bench
from tests.hvcore.cpu.listing import BLOCKS, FOLDER, described, translated

pytest.importorskip("capstone", reason="Capstone disassembles")


@pytest.fixture(autouse=True)
def _translates() -> None:
    if not COMPILED or not Bench(32, 1 << 20).processor.translate_after:
        pytest.skip("this host runs no code that we make")


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_becomes_this_host_code(name: str) -> None:
    assert described(BLOCKS[name]) == (FOLDER / f"{name}.txt").read_text()


def test_every_listing_is_of_a_block() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == BLOCKS.keys()


def test_a_block_that_is_only_interpreted_has_no_host_code() -> None:
    bench = translated(b"\x49\x75\xfd")
    assert bench.processor.host_code(0x7C01) == []
    ((address, code),) = bench.processor.host_code(0x7C00)
    assert address > 0
    assert b"\x41\xff\xc9" in code or b"\x41\x83\xe9\x01" in code  # DEC or SUB of R9D, which is ECX
