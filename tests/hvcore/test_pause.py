"""A domain that is paused, and a vCPU whose registers are asked for. The processor is scripted."""

import errno
import threading
import time

from ioreq.messages import Error, GetVcpuContext, HandOver, Ok, PauseDomain, UnpauseDomain, VcpuContext
from tests.hvcore.domain_bench import bench
from tests.hvcore.fake_processor import io
from tests.hvcore.test_succession import Server, guest, played, ports

__all__ = ["bench"]  # the fixture


def test_no_vcpu_runs_from_the_answer_to_a_pause_until_it_ends(bench):
    server = Server(bench).enable()
    assert server.peer.call(PauseDomain()) == Ok()
    guest(bench, 3)
    time.sleep(0.1)
    assert len(bench.cpu.script) == 4
    assert server.peer.call(UnpauseDomain()) == Ok()
    bench.until(lambda: ports(server) == [0, 1, 2])


def test_a_domain_that_is_paused_before_it_starts_starts_paused(bench):
    early = bench.peer()
    early.greet()
    assert early.call(PauseDomain()) == Ok()
    server = Server(bench).enable()
    guest(bench, 1)
    time.sleep(0.1)
    assert not played(bench)
    assert early.call(UnpauseDomain()) == Ok()
    bench.until(lambda: ports(server) == [0])


def test_each_of_several_holds_it_and_one_that_goes_lets_go(bench):
    server = Server(bench).enable()
    other = bench.peer()
    other.greet()
    for peer in (server.peer, other, other):
        assert peer.call(PauseDomain()) == Ok()
    guest(bench, 1)
    assert server.peer.call(UnpauseDomain()) == Ok()
    time.sleep(0.1)
    assert not played(bench)
    other.sock.close()
    bench.until(lambda: played(bench))


def test_to_let_go_of_what_one_does_not_hold_is_nothing(bench):
    server = Server(bench).enable()
    assert server.peer.call(UnpauseDomain()) == Ok()
    guest(bench, 1)
    bench.until(lambda: played(bench))


def test_a_hand_over_is_answered_although_the_domain_is_paused(bench):
    server = Server(bench).enable()
    other = bench.peer()
    other.greet()
    assert other.call(PauseDomain()) == Ok()
    assert server.peer.call(HandOver(server.id)) == Ok()


def test_registers_are_read_while_it_runs_while_it_is_paused_and_before_it_starts(bench):
    early = bench.peer()
    early.greet()
    assert isinstance(early.call(GetVcpuContext()), VcpuContext)
    server = Server(bench).enable()
    assert isinstance(server.peer.call(GetVcpuContext()), VcpuContext)
    server.peer.call(PauseDomain())
    context = server.peer.call(GetVcpuContext())
    assert context == server.peer.call(GetVcpuContext())
    assert len(context.segments) == 8


def test_registers_are_read_in_the_midst_of_a_request_that_waits_for_its_answer(bench):
    """A server whose chip has raised asks where the guest is, and will never answer."""
    server = Server(bench).enable()
    asked, go_on = threading.Event(), threading.Event()

    def answer(_request):
        asked.set()
        go_on.wait(5)
        return 0x60

    server.end.answers[0x3FD] = answer
    bench.cpu.script = [io(0x3FD, 1, read=True, rip=0x7C00)]
    bench.cpu.stop()
    assert asked.wait(5)
    try:
        assert server.peer.call(GetVcpuContext()).rip == 0x7C00
    finally:
        go_on.set()


def test_a_vcpu_that_there_is_not_is_refused(bench):
    server = Server(bench).enable()
    refused = server.peer.call(GetVcpuContext(vcpu=1))
    assert isinstance(refused, Error)
    assert refused.errno == errno.ENOENT
