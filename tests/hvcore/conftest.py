"""What the core's tests share."""

import logging

import pytest
import structlog


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Say nothing of what the guests of these tests do; each test leaves logging as it was (`tests/conftest.py`)."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
