"""CPUID, MSRs and interrupt delivery."""

import pytest
from fake_processor import FakeProcessor

from hvcore.cpumodel import MODELS, PROCESSOR, Feature
from hvcore.exits.cpuid import Cpuid
from hvcore.exits.interrupts import Interrupts
from hvcore.exits.msr import Msr


class Backend:
    def __init__(self):
        self.injected = []
        self.windows = []
        self.ready = True

    def inject(self, *event):
        self.injected.append(event)

    def interruptible(self):
        return self.ready

    def request_interrupt_window(self, wanted):
        self.windows.append(wanted)


@pytest.fixture
def cpu():
    return FakeProcessor()


@pytest.fixture
def backend():
    return Backend()


def cpuid(cpu, leaf, model="i686"):
    cpu.registers[0] = leaf
    Cpuid(cpu, MODELS[model]).execute()
    return cpu.registers[0], cpu.registers[3], cpu.registers[1], cpu.registers[2]


def test_cpuid_is_a_genuine_intel_i686(cpu):
    assert cpuid(cpu, 0) == (0x16, 0x756E_6547, 0x6C65_746E, 0x4965_6E69)
    signature, _, ecx, edx = cpuid(cpu, 1)
    assert signature >> 8 & 0xF == 6
    assert ecx == 0
    assert edx == PROCESSOR
    assert edx & 0x2048 == 0x2048  # PSE PAE PGE
    assert not edx & 1 << 9  # APIC


@pytest.mark.parametrize(
    ("model", "highest", "signature", "named"),
    [
        ("486", 1, 0x480, Feature.FPU | Feature.VME),
        ("pentium", 1, 0x52C, 0x1BF),  # FPU VME DE PSE TSC MSR MCE CX8
        ("i686", 0x16, 0x633, 0xFFFF_FFFF),
    ],
)
def test_a_model_has_its_signature_and_no_feature_that_came_later(cpu, model, highest, signature, named):
    assert cpuid(cpu, 0, model)[0] == highest
    assert cpuid(cpu, 1, model) == (signature, 0, 0, named & PROCESSOR)
    assert cpuid(cpu, 0x8000_0000, model)[0] == (0x8000_0007 if model == "i686" else signature)


def test_an_unknown_leaf_answers_as_the_highest_basic_one(cpu):
    assert cpuid(cpu, 0x4000_0000) == cpuid(cpu, 0x16) == cpuid(cpu, 0x17)
    assert cpuid(cpu, 0x4000_0000, "486") == cpuid(cpu, 1, "486")


def test_the_frequency_of_the_tsc_can_be_asked(cpu):
    assert cpuid(cpu, 0x15) == (1, 1, 1_000_000_000, 0)
    assert cpuid(cpu, 0x16) == (1000, 1000, 0, 0)
    assert cpuid(cpu, 7) == (0, 1 << 1, 0, 0)  # TSC_ADJUST
    assert cpuid(cpu, 0x8000_0007) == (0, 0, 0, 1 << 8)  # invariant TSC


def test_tsc_adjust_moves_the_tsc_and_follows_it(cpu, backend):
    msr = Msr(cpu, backend)

    def write(index, value):
        cpu.registers[1], cpu.registers[0], cpu.registers[2] = index, value & 0xFFFF_FFFF, value >> 32
        assert msr.write()
        cpu.tsc = cpu.msrs[0x10]

    def read(index):
        cpu.registers[1] = index
        assert msr.read()
        return cpu.registers[2] << 32 | cpu.registers[0]

    cpu.tsc = cpu.msrs[0x10] = 1000
    assert read(0x3B) == 0
    write(0x10, 400)
    assert read(0x3B) == 2**64 - 600
    write(0x3B, 50)
    assert (read(0x10), read(0x3B)) == (1050, 50)


def test_the_brand_string_is_printable(cpu):
    words = [word for leaf in (0x8000_0002, 0x8000_0003, 0x8000_0004) for word in cpuid(cpu, leaf)]
    text = b"".join(word.to_bytes(4, "little") for word in words)
    assert text.rstrip(b"\0").isascii()
    assert len(text) == 48


def test_rdmsr_reads_what_the_processor_has(cpu, backend):
    cpu.msrs[0x10] = 0x1122_3344_5566_7788
    cpu.registers[1] = 0x10
    assert Msr(cpu, backend).read()
    assert (cpu.registers[2], cpu.registers[0]) == (0x1122_3344, 0x5566_7788)


def test_an_unknown_msr_is_a_general_protection_fault(cpu, backend):
    cpu.registers[1] = 0xC000_0102
    msr = Msr(cpu, backend)
    assert not msr.read()
    assert not msr.write()
    assert backend.injected == [(3, 13, 0, 0)] * 2


def test_a_pretended_msr_reads_zero_and_drops_writes(cpu, backend):
    cpu.registers[1] = 0x8B
    msr = Msr(cpu, backend)
    cpu.registers[0] = 5
    assert msr.write()
    assert msr.read()
    assert (cpu.registers[0], cpu.registers[2]) == (0, 0)


def test_wrmsr_writes_edx_eax(cpu, backend):
    cpu.registers[0], cpu.registers[1], cpu.registers[2] = 0xFFFF_FFFF_0000_0001, 0x174, 2
    assert Msr(cpu, backend).write()
    assert cpu.msrs[0x174] == 0x2_0000_0001


def test_rdtsc_reads_the_counter(cpu, backend):
    Msr(cpu, backend).read_tsc()
    assert (cpu.registers[2], cpu.registers[0]) == (0x1122_3344, 0x5566_7788)


class Requests:
    def __init__(self, vector):
        self.vector = vector
        self.acknowledged = 0

    def acknowledge(self):
        self.acknowledged += 1
        return self.vector


def test_an_interrupt_is_acknowledged_when_the_guest_can_take_it(backend):
    requests = Requests(0x20)
    interrupts = Interrupts(backend, requests, lambda: 1)
    backend.ready = False
    interrupts.pin_raised()
    assert (backend.windows, requests.acknowledged) == ([True], 0)
    backend.ready = True
    interrupts.window_open()
    assert (backend.windows, requests.acknowledged) == ([True, False], 1)
    assert backend.injected == [(0, 0x20, None, 0)]


def test_a_request_withdrawn_before_its_window_is_not_acknowledged(backend):
    requests = Requests(0x20)
    level = [1]
    interrupts = Interrupts(backend, requests, lambda: level[0])
    backend.ready = False
    interrupts.pin_raised()
    level[0] = 0
    backend.ready = True
    interrupts.window_open()
    assert (requests.acknowledged, backend.injected) == (0, [])


def test_no_interrupt_controller_means_no_vector(backend):
    Interrupts(backend, Requests(-1), lambda: 1).pin_raised()
    assert backend.injected == []
