"""The process that is attacked, and what must never be seen of it.

A finding is: a traceback or an "internal error" said; a death by a signal that we did not send; no answer to an honest
peer, or to SIGTERM, in `PATIENCE` seconds; more than one busy thread, more descriptors, or far more memory than before
when all attackers have gone.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 10.0
TICKS = os.sysconf("SC_CLK_TCK")
MEMORY = 1 << 30  # bytes, of resident memory


class Finding(Exception):  # noqa: N818  (it is what is looked for)
    """What should never happen did; the text says what."""


class Victim:
    """`python -m MODULE …` with what it says in a file."""

    def __init__(self, folder: Path, module: str, arguments: Sequence[str]) -> None:
        self.log = folder / f"{module}.log"
        # The last: it was at its end by itself, its handlers gone, when we told it to end.
        self.statuses = {0, 1, 2, 128 + signal.SIGTERM, -signal.SIGTERM}
        lifeline, self._lifeline = os.pipe()  # it shall not outlive us, however we end
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--lifeline", str(lifeline)],
                pass_fds=[lifeline],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"},
            )
        os.close(lifeline)

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self.process.poll() is not None

    def said(self) -> str:
        """Everything it has said."""
        return self.log.read_text(errors="replace")

    def check(self) -> None:
        """Look at what it said and how it ended, if it did."""
        said = self.said()
        for wrong in (
            "Traceback",
            "internal error",
            "ExceptionGroup",
            "control.failed",
            "vcpu.stuck",
            "\x1b",
        ):
            if wrong in said:
                raise Finding(f"it said {wrong!r}:\n{said[-4000:]}")
        self._check_status()

    def _check_status(self) -> None:
        if self.process.poll() not in {None, *self.statuses}:
            raise Finding(f"it ended with {self.process.returncode}:\n{self.said()[-4000:]}")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def shared_pages(self) -> int:
        """How many memory objects it has mapped."""
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        return sum("memfd:" in line for line in maps.splitlines())

    def resident(self) -> int:
        """Bytes of resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )

    def busy_threads(self, seconds: float = 0.3) -> int:
        """How many of its threads use more than half a processor."""
        before = self._times()
        time.sleep(seconds)
        after = self._times()
        return sum(after[task] - before.get(task, 0) > seconds * TICKS / 2 for task in after)

    def _times(self) -> dict[str, int]:
        times = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            times[task.name] = int(fields[11]) + int(fields[12])
        return times

    def stop(self) -> None:
        """End it as a user would."""
        if not self.ended:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Finding(f"it does not end on SIGTERM:\n{self.said()[-4000:]}") from None
        self._check_status()

    def stacks(self) -> str:
        """End it, and return where its threads were."""
        if self.ended:
            return ""
        before = len(self.said())
        self.process.send_signal(signal.SIGABRT)
        self.process.wait()
        return self.said()[before:]

    def kill(self) -> None:
        """End it for sure."""
        if not self.ended:
            self.process.kill()
        self.process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
