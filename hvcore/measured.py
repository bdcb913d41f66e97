"""Where the time of a vCPU goes: `hvcore run --statistics`.

What is measured is measured in classes of its own, so that a domain of which nobody asks has no clock on any way.
The vCPU's time is cut in four: the processor runs the guest; the core waits for a device model's answer; it sleeps
while the guest is halted; and the rest is the core's own, which handles exits. Of the first, the processor itself
says how much went to TLB misses, to blocks that were not decoded yet, and to making host code.
"""

from time import monotonic_ns
from typing import Any, Final

import structlog

from hvcore.cpu.processor import Processor
from hvcore.exits.requests import Requests
from hvcore.memory import GuestMemory
from hvcore.routing import Range
from hvcore.tally import REASONS
from hvcore.vcpu import Vcpu

SHOWN: Final = 5
"""How many kinds of operations and exits are named, of those that came most often."""

log = structlog.get_logger("hvcore.vcpu")


class MeasuredProcessor(Processor):
    """Counts the nanoseconds that it ran."""

    def __init__(self, memory: GuestMemory, pins: memoryview, vcpu: int = 0) -> None:
        super().__init__(memory, pins, vcpu)
        self.timed = 1
        self.ran = 0

    def run(self, budget: int) -> int:
        """Execute, as `Processor` does."""
        before = monotonic_ns()
        kind = super().run(budget)
        self.ran += monotonic_ns() - before
        return kind


class MeasuredRequests(Requests):
    """Counts the requests that wait for an answer, and the nanoseconds until it came."""

    waited = 0
    asked = 0

    def _one(self, claimed: Range, kind: int, address: int, size: int, read: bool, value: int) -> int:
        before = monotonic_ns()
        data = super()._one(claimed, kind, address, size, read, value)
        self.waited += monotonic_ns() - before
        self.asked += 1
        return data

    def _block(self, *arguments: Any, **more: Any) -> tuple[int, int]:
        before = monotonic_ns()
        answer = super()._block(*arguments, **more)
        self.waited += monotonic_ns() - before
        self.asked += 1
        return answer


class MeasuredVcpu(Vcpu):
    """Logs `vcpu.statistics` when its thread ends."""

    processor: MeasuredProcessor
    requests: MeasuredRequests
    asleep = 0

    def _make_processor(self, memory: GuestMemory, pins: memoryview) -> MeasuredProcessor:
        return MeasuredProcessor(memory, pins, self.number)

    def _run(self) -> None:
        before = monotonic_ns()
        super()._run()
        log.info("vcpu.statistics", vcpu=self.number, **self.statistics(monotonic_ns() - before))

    def _sleep(self) -> None:
        before = monotonic_ns()
        super()._sleep()
        self.asleep += monotonic_ns() - before

    def statistics(self, total: int) -> dict[str, Any]:
        """Say what happened in `total` nanoseconds.

        Counts; `seconds`, of which `guest`, `exits`, `waiting` and `asleep` make the total, and the other three
        are parts of `guest`; and the kinds of exits, and of operations interpreted in host code, that came most often.
        """
        processor, requests = self.processor, self.requests
        counts = processor.statistics
        seconds = {
            "total": total,
            "guest": processor.ran,
            "exits": max(total - processor.ran - requests.waited - self.asleep, 0),
            "waiting": requests.waited,
            "asleep": self.asleep,
            "tlb_misses": counts["walking_ns"],
            "decoding": counts["decoding_ns"],
            "translating": counts["translating_ns"],
        }
        return {
            "instructions": processor.icount,
            "exits": counts["exits"],
            "requests": requests.asked,
            "tlb_misses": counts["tlb_misses"],
            "blocks": counts["blocks"],
            "translated": counts["translated"],
            "seconds": {name: round(ns / 1e9, 6) for name, ns in seconds.items()},
            "interpreted": sum(processor.interpreted.values()),
            "exit_kinds": _most({REASONS[kind]: count for kind, count in processor.stops.items()}),
            "interpreted_kinds": _most({kind.lower(): n for kind, n in processor.interpreted.items()}),
        }


def _most(counts: dict[str, int]) -> dict[str, int]:
    """Return the largest, the largest first."""
    order = sorted(counts, key=lambda name: counts[name], reverse=True)
    return {name: counts[name] for name in order[:SHOWN]}
