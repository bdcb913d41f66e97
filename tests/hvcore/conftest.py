"""What the core's tests share. `fake_processor` is imported by its name, so its folder is put on the path."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

import logging

import pytest
import structlog


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Say nothing of what the guests of these tests do; each test leaves logging as it was (`tests/conftest.py`)."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
