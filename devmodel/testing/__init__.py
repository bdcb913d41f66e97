"""Tests of guests, of boards and of chips: see docs/testing.md."""

from devmodel.testing.bench import Bench, MemoryDisk, live
from devmodel.testing.machine import Console, Machine, NotSeen

__all__ = ["Bench", "Console", "Machine", "MemoryDisk", "NotSeen", "live"]
