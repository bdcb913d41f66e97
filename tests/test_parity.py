"""The same guest under both vendors does the same, to the byte and to the instruction."""

import re

import pytest

from tests.lockstep import DEMO, SELF_TEST, Machine


@pytest.fixture(scope="module")
def demo():
    machines = {vendor: Machine(vendor, DEMO, files=SELF_TEST) for vendor in ("vmx", "svm")}
    for machine in machines.values():
        machine.run(200_000_000)
    return machines


def test_the_demo_guest_leaves_the_same_trace_under_both_vendors(demo):
    vmx, svm = demo["vmx"], demo["svm"]
    assert len(vmx.trace) > 1000
    for one, other in zip(vmx.trace, svm.trace, strict=False):
        assert one == other
    assert len(vmx.trace) == len(svm.trace)
    assert vmx.serial == svm.serial
    assert vmx.processor.icount == svm.processor.icount
    assert vmx.now() == svm.now()


def test_the_demo_guest_passes_its_self_test_on_stepped_time(demo):
    for machine in demo.values():
        assert machine.crashed is None
        assert machine.status == 0
        results = re.findall(rb"^  (\S+) .* (\S+)\r$", bytes(machine.serial), re.MULTILINE)
        assert results == [(chip, b"ok") for chip in (b"8259A", b"8254", b"16550A", b"IDE", b"VGA")]


def test_both_vendors_end_in_the_same_state(demo):
    vmx, svm = (machine.vcpu.backend.save() for machine in demo.values())
    assert vmx == svm
    vmx_memory, svm_memory = (machine.memory.read(0, 0xA_0000) for machine in demo.values())
    assert vmx_memory == svm_memory


def test_a_machine_on_stepped_time_does_the_same_every_time(demo):
    again = Machine("vmx", DEMO, files=SELF_TEST)
    again.run(200_000_000)
    assert again.trace == demo["vmx"].trace
