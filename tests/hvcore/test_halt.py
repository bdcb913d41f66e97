"""A guest that halts, and the interrupts and other events that it waits for. The processor is scripted."""

import mmap

import pytest

from hvcore.cpu.exitinfo import ExitKind
from ioreq.messages import (
    InjectEvent,
    Reset,
    ResetDone,
    Shutdown,
)
from tests.hvcore.domain_bench import bench

__all__ = ["bench"]  # the fixture


def test_halt_sleeps_until_the_pin_rises_and_then_takes_the_vector(bench):
    peer, server = bench.attach()
    server.answers[0] = 0x20
    bench.cpu.rflags = 0x202
    bench.cpu.script = [(ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01})]
    bench.cpu.stop()
    bench.until(lambda: bench.domain.vcpus[0].halted)
    bench.cpu.script = [(ExitKind.CPUID, {"instruction_length": 2, "next_rip": 0x7C03})]
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1
    server.end.channels[0].send.send()
    bench.until(lambda: bench.cpu.injected)
    pins[0] = 0
    assert bench.cpu.injected == [(0, 0x20, None, 0)]
    assert server.trace == [("intack", "read", 0, 2)]
    assert bench.cpu.rip >= 0x7C01


def test_halt_with_interrupts_off_ends_the_domain_whatever_the_pin_says(bench):
    peer, server = bench.attach()
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1
    bench.cpu.script = [(ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01})]
    bench.cpu.stop()
    bench.thread.join(5)
    assert bench.status == 0
    assert peer.event() == Shutdown(0, 0)
    assert server.trace == []


def test_a_reset_that_is_due_comes_before_the_end_of_a_guest_that_halts(bench):
    peer, _ = bench.attach()

    def reset_and_halt():
        bench.domain.vcpus[0].post(bench.domain.reset)
        return ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01}

    bench.cpu.script = [reset_and_halt]
    bench.cpu.stop()
    assert peer.event() == Reset()
    peer.call(ResetDone())
    bench.until(lambda: bench.cpu.rip == 0x7C00)
    assert bench.status is None
    assert not bench.domain.vcpus[0].halted


def test_a_trap_that_is_due_ends_a_halt_with_interrupts_off(bench):
    bench.attach()
    bench.cpu.rflags = 0x102  # TF
    budgets = []
    bench.cpu.script = [
        (ExitKind.HLT, {"instruction_length": 1, "next_rip": 0x7C01}),
        lambda: budgets.append(1) or (ExitKind.BUDGET, {}),
    ]
    bench.cpu.stop()
    bench.until(lambda: budgets)
    assert bench.cpu.injected == [(3, 1, None, 0)]
    assert bench.status is None


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (InjectEvent(vector=3, type=2), "event of type 2, vector 3: only NMI, 2 and 2"),
        (InjectEvent(vector=32, type=0), "event of type 0, vector 32: only NMI, 2 and 2"),
        (InjectEvent(vector=2, type=2, vcpu=1), "there is no vCPU 1"),
    ],
)
def test_an_event_that_no_device_brings_about_is_refused(bench, event, why):
    peer, _ = bench.attach()
    assert peer.call(event).text == why


def test_an_interrupt_waits_for_its_window(bench):
    peer, server = bench.attach()
    server.answers[0] = 0x33
    pins = mmap.mmap(peer.domain_fds[1], 4096)
    pins[0] = 1

    def open_window():
        bench.cpu.rflags = 0x202
        return ExitKind.INTERRUPT_WINDOW, {}

    bench.cpu.script = [(ExitKind.EXTERNAL_INTERRUPT, {}), open_window]
    bench.cpu.stop()
    bench.until(lambda: bench.cpu.injected)
    assert bench.cpu.injected == [(0, 0x33, None, 0)]
