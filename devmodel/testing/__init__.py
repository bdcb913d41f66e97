"""Tests of guests, of boards and of chips: see docs/testing.md."""

from devmodel.testing.bench import Bench, MemoryDisk, live
from devmodel.testing.conformance import check_board
from devmodel.testing.console import FATAL, Console, Fatal, NotSeen, Result, Seen
from devmodel.testing.machine import Machine, Registers
from devmodel.testing.options import MachineOptions
from devmodel.testing.process import Process
from devmodel.testing.qtest import QtestClient, QtestFailed

__all__ = [
    "FATAL",
    "Bench",
    "Console",
    "Fatal",
    "Machine",
    "MachineOptions",
    "MemoryDisk",
    "NotSeen",
    "Process",
    "QtestClient",
    "QtestFailed",
    "Registers",
    "Result",
    "Seen",
    "check_board",
    "live",
]
