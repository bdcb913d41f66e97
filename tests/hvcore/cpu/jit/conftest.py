"""Processors whose blocks become host code before they run; none where the processor is not compiled."""

import pytest

from hvcore.cpu.processor import COMPILED
from tests.hvcore.cpu.bench import Bench
from tests.hvcore.cpu.jit.host_code import translating
from tests.hvcore.cpu.test_paging import Paged


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if not COMPILED:
        pytest.skip("only the compiled processor translates")


@pytest.fixture
def flat() -> Bench:
    return translating()


@pytest.fixture
def paged() -> Paged:
    paged = Paged()
    if not paged.processor.translate_after:
        pytest.skip("this host runs no code that we make")
    paged.processor.translate_after = 1
    return paged


@pytest.fixture
def real() -> Bench:
    bench = Bench(16, 1 << 20)
    if not bench.processor.translate_after:
        pytest.skip("this host runs no code that we make")
    bench.processor.translate_after = 1
    bench.processor.intercepts.exceptions = 0xFFFFFFFF
    bench.processor.update_intercepts()
    return bench
