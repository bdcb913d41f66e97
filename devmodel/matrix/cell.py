"""One cell: its machine is started, or its tests are run, and what came of that is its outcome."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final, Literal

import anyio
import msgspec

from devmodel import DevmodelError
from devmodel.matrix.plan import Boot, Cell, Test
from devmodel.testing import Machine, NotSeen

SHOWN: Final = 65_536
"""Bytes of the end of what was printed that are kept."""
COPIED: Final = ("disks",)
"""Options whose files a machine writes: each cell has its own."""

Status = Literal["passed", "failed", "error"]


class Outcome(msgspec.Struct, frozen=True):
    """What came of a cell. An error is no verdict on the guest: the cell could not be run."""

    status: Status
    seconds: float
    why: str = ""
    """One line."""
    output: str = ""
    """The end of what the console, or the tests, have printed."""


async def run(cell: Cell) -> Outcome:
    """Run a cell, under trio or asyncio."""
    begin = time.monotonic()
    try:
        with _copies(cell) as mine:
            if isinstance(mine.work, Boot):
                status, why, output = await _boot(mine, mine.work)
            else:
                status, why, output = await _test(mine, mine.work)
    except (DevmodelError, OSError, TypeError) as error:
        status, why, output = "error", str(error), ""
    why = why.strip().partition("\n")[0].removesuffix("; the console's end:")
    return Outcome(status, time.monotonic() - begin, why, output[-SHOWN:])


@contextlib.contextmanager
def _copies(cell: Cell) -> Iterator[Cell]:
    """Give a cell whose disks are copies, gone with the block."""
    with tempfile.TemporaryDirectory(prefix="devmodel-cell-") as folder:
        options = dict(cell.options)
        for name in COPIED:
            if name in options:
                options[name] = [
                    shutil.copyfile(path, os.path.join(folder, f"{number}-{os.path.basename(path)}"))
                    for number, path in enumerate(options[name])
                ]
        yield msgspec.structs.replace(cell, options=options)


async def _boot(cell: Cell, boot: Boot) -> tuple[Status, str, str]:
    machine = Machine(**cell.options, fatal=[text.encode() for text in boot.fatal])
    printed = ""
    try:
        async with machine:
            try:
                await machine.console.expect(boot.expect, boot.seconds)
                for command in boot.run:
                    result = await machine.run(command, boot.seconds)
                    if result.status:
                        return "failed", f"`{command}` ended with status {result.status}", _printed(machine)
            except NotSeen as error:
                return "failed", str(error), _printed(machine)
            printed = _printed(machine)
    except NotSeen as error:  # it did not come so far
        return "failed", str(error), _printed(machine) or machine.said()
    return "passed", "", printed


def _printed(machine: Machine) -> str:
    return machine.transcript().decode(errors="replace")


async def _test(cell: Cell, test: Test) -> tuple[Status, str, str]:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += [f"--devmodel-option={name}={_json(value)}" for name, value in cell.options.items()]
    with anyio.move_on_after(test.seconds) as scope:
        done = await anyio.run_process(
            [*command, os.path.basename(test.file)],
            cwd=os.path.dirname(test.file),
            check=False,
            stderr=-2,  # where its output goes
        )
    if scope.cancelled_caught:
        return "failed", f"the tests took more than {test.seconds:g} seconds", ""
    output = done.stdout.decode(errors="replace")
    last = output.strip().rpartition("\n")[2]
    return ("passed", "", output) if done.returncode == 0 else ("failed", last, output)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
