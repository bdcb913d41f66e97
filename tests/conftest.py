"""For every test: a skip is a failure where skipping is not allowed; signals are as in a terminal; logs as before."""

import os
import signal
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest
import structlog

# How long an example takes says how busy the host is, and nothing about what it tries.
hypothesis.settings.register_profile("devmodel", deadline=None)
hypothesis.settings.load_profile("devmodel")

pytest_plugins = ["pytester"]  # for the tests of our own plugin


def pytest_configure() -> None:
    """Under `nohup`, or in a script's background, signals are ignored, and what tests start would ignore them too."""
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Leave logging as it was: the commands configure it, for the whole process."""
    del item, nextitem
    before = structlog.get_config() if structlog.is_configured() else None
    try:
        return (yield)
    finally:
        if before is None:
            structlog.reset_defaults()
        else:
            structlog.configure(**before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    del item, call
    report = yield
    if report.skipped and os.environ.get("DEVMODEL_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which DEVMODEL_NO_SKIP forbids: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    del collector
    report = yield
    if report.outcome == "skipped" and os.environ.get("DEVMODEL_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which DEVMODEL_NO_SKIP forbids: {report.longrepr}"
    return report
