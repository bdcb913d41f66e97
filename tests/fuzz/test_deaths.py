"""A few of the deaths that `python -m tests.fuzz.deaths` counts by the thousand."""

import os

import pytest

from tests.fuzz.deaths import STEPS, against_core, against_server

DEATHS = int(os.environ.get("DEVMODEL_DEATHS", str(2 * STEPS)))


@pytest.mark.parametrize(
    "kill", [against_core, against_server], ids=["servers of one core", "cores of one server"]
)
def test_peers_that_die_one_after_the_other_leave_nothing_behind(kill, tmp_path):
    kill(tmp_path, DEATHS if kill is against_core else DEATHS // 2)
