"""For every test: where skipping is not allowed, a skip is a failure that says why."""

import os
from collections.abc import Generator
from typing import Any

import pytest

pytest_plugins = ["pytester"]  # for the tests of our own plugin


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
