"""A short sample of what `python -m tests.fuzz` does for as long as one likes."""

import os

import pytest

from tests.fuzz.hostile_core import AgainstServer
from tests.fuzz.hostile_server import AgainstCore

SECONDS = float(os.environ.get("DEVMODEL_FUZZ", "8"))


@pytest.mark.parametrize("kind", [AgainstCore, AgainstServer])
def test_a_hostile_peer_at_random_finds_nothing(kind, tmp_path):
    assert kind(tmp_path, 1).run(SECONDS) > 5
