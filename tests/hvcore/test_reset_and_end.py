"""Triple faults, resets, and every way in which a domain ends. The processor is scripted."""

import threading
import time

import pytest

import hvcore.domain
from hvcore.cpu.exitinfo import ExitKind
from ioreq.messages import (
    ClaimInterruptAcknowledge,
    CreateIoreqServer,
    NrVcpus,
    Ok,
    RemoteShutdown,
    Reset,
    ResetDone,
    SetIoreqServerState,
    Shutdown,
    Vcpus,
)
from tests.hvcore.domain_bench import Bench, ScriptedVcpu, bench, captured
from tests.hvcore.fake_processor import io

__all__ = ["bench"]  # the fixture


def no_reboot(test):
    test.reboot = False
    return test


def test_a_triple_fault_resets_devices_first_and_then_the_processor(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)  # what it starts with is loaded
    bench.cpu.set_gpr(0, 77)
    bench.domain.memory.set_type(0xC0000, 0xC7FFF, "ram")
    bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
    bench.cpu.stop()
    assert peer.event() == Reset()
    assert bench.cpu.gpr(0) == 77
    assert peer.call(ResetDone()) == Ok()
    bench.until(lambda: bench.cpu.gpr(0) == 0)
    bench.until(lambda: bench.domain.memory.type_of(0xC0000) == "rom")
    bench.until(lambda: bench.cpu.rip == 0x7C00)


def test_a_guest_that_does_nothing_but_fault_is_told_of_once(bench, monkeypatch):
    logs = captured(monkeypatch)
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    for _ in range(12):
        bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
        bench.cpu.stop()
        assert peer.event() == Reset()
        assert peer.call(ResetDone()) == Ok()
        bench.until(lambda: not bench.cpu.script)
    told = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in told] == ["domain.faults_without_end"]


@no_reboot
def test_without_reboot_a_triple_fault_ends_the_domain_with_status_1(bench, monkeypatch):
    logs = captured(monkeypatch)
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)
    bench.cpu.script = [(ExitKind.TRIPLE_FAULT, {})]
    bench.cpu.stop()
    assert peer.event() == Shutdown(3, 1)
    bench.until(lambda: bench.status is not None)
    assert bench.status == 1
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "domain.triple_fault_without_reboot"
    ]


def test_a_device_model_that_leaves_during_a_reset_does_not_hold_it_up(bench):
    peer, _ = bench.attach()
    bench.until(bench.cpu.started.is_set)  # what it starts with is loaded
    bench.cpu.set_gpr(0, 77)
    assert peer.call(RemoteShutdown(1)) == Ok()
    assert peer.event() == Reset()
    peer.sock.close()
    bench.until(lambda: bench.cpu.gpr(0) == 0)


@pytest.mark.parametrize("how", ["slow", "for ever"])
def test_a_server_that_is_slow_in_a_reset_is_waited_for_and_then_given_up(bench, monkeypatch, how):
    """One that is stopped for ten seconds is no dead one: that is told by the end of its connection."""
    monkeypatch.setattr(hvcore.domain, "RESET_SLOW", 0.1)
    monkeypatch.setattr(hvcore.domain, "RESET_PATIENCE", 60.0 if how == "slow" else 0.4)
    peer, _ = bench.attach()
    logs = captured(monkeypatch)
    assert peer.call(RemoteShutdown(1)) == Ok()
    assert peer.event() == Reset()
    bench.until(lambda: [line["event"] for line in logs][-1:] == ["server.slow_reset"])
    if how == "slow":
        assert peer.call(ResetDone()) == Ok()
        assert peer.call(NrVcpus()) == Vcpus(1)
    else:
        assert peer.receive() is None
        bench.until(lambda: bench.domain._servers == {})
        assert [line["event"] for line in logs if line["log_level"] != "info"] == [
            "server.slow_reset",
            "server.reset_timeout",
        ]


def test_a_vcpu_without_a_thread_ends_the_domain_with_a_line(bench, monkeypatch):
    monkeypatch.setattr(ScriptedVcpu, "has_thread", False)
    logs = captured(monkeypatch)
    peer = bench.peer()
    peer.greet()
    peer.call(CreateIoreqServer())
    peer.call(SetIoreqServerState(0, True))
    peer.call(ClaimInterruptAcknowledge(0))
    bench.until(lambda: bench.status is not None)
    assert bench.status == 1
    assert [line["why"] for line in logs if line["log_level"] == "error"] == [
        "no thread for a vCPU: can't start new thread"
    ]


@no_reboot
def test_without_reboot_a_reset_ends_the_domain_with_status_0(bench):
    peer, _ = bench.attach()
    peer.call(RemoteShutdown(1))
    assert peer.event() == Shutdown(0, 0)
    bench.until(lambda: bench.status is not None)
    assert bench.status == 0


def test_power_off_ends_with_the_code_and_everybody_is_told(bench):
    peer, _ = bench.attach()
    other = bench.peer()
    other.greet()
    assert peer.call(RemoteShutdown(0, 33)) == Ok()
    assert peer.event() == Shutdown(0, 33)
    assert other.event() == Shutdown(0, 33)
    bench.until(lambda: bench.status == 33)
    assert other.receive() is None


def test_a_crash_ends_with_status_1(bench):
    peer, _ = bench.attach()
    bench.cpu.task_switches = False
    bench.cpu.script = [(ExitKind.TASK_SWITCH, {"number": 0x28, "instruction_length": 2})]
    bench.cpu.stop()
    assert peer.event() == Shutdown(3, 1)
    bench.until(lambda: bench.status == 1)


def test_a_stuck_server_does_not_hold_up_the_end(bench):
    _peer, _ = bench.attach()
    bench.attach_stuck(0x60)
    bench.cpu.script = [io(0x60, 1, read=True, rip=0x7C00)]
    bench.cpu.stop()
    time.sleep(0.05)
    before = time.monotonic()
    bench.domain.end(0, 0)
    bench.until(lambda: bench.status == 0)
    assert time.monotonic() - before < 1


def test_an_exception_in_the_core_ends_it_with_that_exception(tmp_path, monkeypatch):
    monkeypatch.setattr(hvcore.domain, "Vcpu", ScriptedVcpu)
    bench = Bench(tmp_path, "vmx")

    def broken():
        raise ZeroDivisionError("a bug")

    caught = []

    def run():
        try:
            bench.domain.run()
        except ZeroDivisionError as error:
            caught.append(error)

    bench.thread = threading.Thread(target=run)
    bench.thread.start()
    bench.cpu.script = [broken]
    bench.attach()
    bench.thread.join(5)
    assert [str(error) for error in caught] == ["a bug"]
    bench.end()
