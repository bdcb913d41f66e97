"""CPUID, MSRs and interrupt delivery."""

import pytest

from hvcore.cpumodel import MODELS, PROCESSOR, Feature
from hvcore.exits.cpuid import Cpuid
from hvcore.exits.interrupts import Interrupts
from hvcore.exits.msr import Msr
from tests.hvcore.fake_processor import FakeProcessor


class Backend:
    def __init__(self):
        self.injected = []
        self.windows = []
        self.ready = True
        self.nmi_windows = []
        self.shadow = 0

    def event_pending(self):
        return bool(self.injected)

    def interrupt_shadow(self):
        return self.shadow

    def request_nmi_window(self, wanted):
        self.nmi_windows.append(wanted)

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
        ("pentium2", 2, 0x652, 0x183_FBFF),
        ("pentium3", 2, 0x683, 0x383_FBFF),
        ("qemu32", 4, 0x663, 0x781_ABFD),
        ("i686", 0x16, 0x6FB, 0xFFFF_FFFF),
    ],
)
def test_a_model_has_its_signature_and_no_feature_that_came_later(cpu, model, highest, signature, named):
    assert cpuid(cpu, 0, model)[0] == highest
    assert cpuid(cpu, 1, model) == (signature, 0x800 if model == "i686" else 0, 0, named & PROCESSOR)
    highest = {"i686": 0x8000_0007, "qemu32": 0x8000_0004}
    if model in highest:
        assert cpuid(cpu, 0x8000_0000, model)[0] == highest[model]
    else:  # no extended leaves: as the highest basic one
        assert cpuid(cpu, 0x8000_0000, model) == cpuid(cpu, MODELS[model].max_basic, model)


def test_no_execute_is_advertised_where_efer_is(cpu):
    assert cpuid(cpu, 0x8000_0001) == (0, 0, 0, 1 << 20)
    assert cpuid(cpu, 0x8000_0001, "qemu32") == (0, 0, 0, 0)


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


# MSRs of the common layer


class Msrs:
    """What a guest sees of a model's MSRs; a refused access reads or writes as None and False."""

    def __init__(self, cpu, backend, model="i686"):
        self.cpu, self.backend = cpu, backend
        self.policy = Msr(cpu, backend, MODELS[model])

    def read(self, index):
        self.cpu.registers[1] = index
        if not self.policy.read():
            assert self.backend.injected.pop() == (3, 13, 0, 0)
            return None
        return self.cpu.registers[2] << 32 | self.cpu.registers[0]

    def write(self, index, value):
        self.cpu.registers[1], self.cpu.registers[0], self.cpu.registers[2] = (
            index,
            value & 0xFFFF_FFFF,
            value >> 32,
        )
        done = self.policy.write()
        assert done or self.backend.injected.pop() == (3, 13, 0, 0)
        return done


@pytest.fixture
def msrs(cpu, backend):
    cpu.msrs = {}  # the processor has none: what is here is the common layer's
    return Msrs(cpu, backend)


def test_mtrr_are_clear_after_reset_and_hold_what_they_are_told(msrs):
    assert msrs.read(0xFE) == 0x508  # eight variable, fixed, write combining
    registers = [*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF]
    assert [msrs.read(index) for index in registers] == [0] * 28
    assert msrs.write(0x200, 0xF_C000_0006)
    assert msrs.write(0x201, 0xF_C000_0800)
    assert msrs.write(0x26F, 0x0605_0401_0006_0504)
    assert msrs.write(0x2FF, 0xC06)
    assert [msrs.read(index) for index in (0x200, 0x201, 0x26F, 0x2FF)] == [
        *(0xF_C000_0006, 0xF_C000_0800, 0x0605_0401_0006_0504, 0xC06)
    ]
    msrs.policy.reset()
    assert [msrs.read(index) for index in registers] == [0] * 28


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0xFE, 0x508),  # read-only
        (0x200, 2),  # no such type
        (0x200, 0x106),
        (0x200, 1 << 36),
        (0x201, 0x400),
        (0x201, 1 << 36 | 0x800),
        (0x250, 0x06),  # the other seven are fine, and this one too
        (0x250, 0x0706),
        (0x2FF, 0x806 | 1 << 12),
        (0x2FF, 0x803),
        (0x210, 0),
    ],
)
def test_reserved_bits_and_types_of_mtrr_fault(msrs, index, value):
    assert msrs.write(index, value) == (value == 0x06)
    assert msrs.read(index) == {0xFE: 0x508, 0x210: None}.get(index, 6 if value == 6 else 0)


def test_without_firmware_the_mtrr_are_as_one_leaves_them(msrs):
    msrs.policy.mtrr.set_up()
    assert msrs.read(0x2FF) == 0xC06
    assert (msrs.read(0x200), msrs.read(0x201)) == (0xC000_0000, 0xF_C000_0800)
    assert [msrs.read(index) & 0xFF for index in (0x250, 0x258, 0x259, 0x268, 0x26F)] == [6, 6, 0, 5, 5]
    for index in (0x200, 0x201, 0x250, 0x268, 0x2FF):
        assert msrs.write(index, msrs.read(index))  # and every value is one that may be written


@pytest.mark.parametrize("model", ["486", "pentium", "qemu32"])
def test_a_model_without_mtrr_has_no_such_registers(cpu, backend, model):
    cpu.msrs = {}
    msrs = Msrs(cpu, backend, model)
    assert (msrs.read(0xFE), msrs.write(0x2FF, 0xC06)) == (None, False)
    assert msrs.policy.mtrr is None


def test_the_apic_base_says_that_there_is_none_and_stays_so(msrs):
    assert msrs.read(0x1B) == 0xFEE0_0100  # the bootstrap processor's, disabled
    assert msrs.write(0x1B, 0xFEE0_0900)
    assert msrs.read(0x1B) == 0xFEE0_0100
    assert not msrs.write(0x1B, 0xFEE0_0101)
    assert not msrs.write(0x1B, 1 << 36)


def test_machine_check_banks_are_empty_and_accept_what_empties_them(msrs):
    assert msrs.read(0x179) == 5
    for bank in range(5):
        control, status, address, misc = range(0x400 + 4 * bank, 0x404 + 4 * bank)
        assert msrs.write(control, 0xFFFF_FFFF_FFFF_FFFF)
        assert msrs.read(control) == 0xFFFF_FFFF_FFFF_FFFF
        for index in (status, address, misc):
            assert (msrs.read(index), msrs.write(index, 0), msrs.write(index, 1)) == (0, True, False)
    assert msrs.read(0x414) is None
    assert msrs.write(0x17A, 4)
    assert msrs.read(0x17A) == 4
    assert not msrs.write(0x17A, 8)
    assert msrs.read(0x17B) is None  # MCG_CTL, which MCG_CAP does not promise
    assert not msrs.write(0x179, 0)


def test_registers_come_with_their_family(cpu, backend):
    cpu.msrs = {}
    known = {}
    for model in MODELS:
        msrs = Msrs(cpu, backend, model)
        known[model] = {i for i in (0, 1, 0x17, 0x1B, 0x3B, 0x8B, 0x179, 0x1A0) if msrs.read(i) is not None}
    assert known["486"] == set()
    assert known["pentium"] == {0, 1}
    assert known["pentium2"] == known["pentium3"] == {0x17, 0x1B, 0x8B, 0x179}
    assert known["qemu32"] == {0x17, 0x1B, 0x8B}
    assert known["i686"] == {0x17, 0x1B, 0x3B, 0x8B, 0x179, 0x1A0}


def test_misc_enable_keeps_what_is_written_but_what_is_read_only(msrs):
    """SDM vol. 4 table 2-2: bits 7, 11 and 12 say what there is; RESET brings back what was there first."""
    assert msrs.read(0x1A0) == 0x1801  # fast strings; no branch trace store, no PEBS
    assert msrs.write(0x1A0, 0x4_0040_0000)
    assert msrs.read(0x1A0) == 0x4_0040_1800
    assert msrs.write(0x1A0, 0xFFFF_FFFF_FFFF_FFFF)
    assert msrs.read(0x1A0) == 0x4_00D5_1C09
    msrs.policy.reset()
    assert msrs.read(0x1A0) == 0x1801


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

    def acknowledge(self, pin):
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


NMI = (2, 2, None, 0)


def test_an_nmi_is_injected_at_once_or_waits_for_its_window(backend):
    interrupts = Interrupts(backend, Requests(0x20), lambda: 0)
    interrupts.nmi_raised()
    assert (backend.injected, backend.nmi_windows) == ([NMI], [])
    backend.injected.clear()
    backend.shadow = 8
    interrupts.nmi_raised()
    assert (backend.injected, backend.nmi_windows) == ([], [True])
    backend.shadow = 0
    interrupts.nmi_window_open()
    assert (backend.injected, backend.nmi_windows) == ([NMI], [True, False])
    backend.injected.clear()
    interrupts.nmi_window_open()
    assert backend.injected == []


def test_an_nmi_that_waits_goes_before_an_interrupt(backend):
    interrupts = Interrupts(backend, Requests(0x20), lambda: 1)
    backend.shadow = 2
    interrupts.nmi_raised()
    backend.shadow, backend.ready = 0, False
    interrupts.pin_raised()
    assert backend.injected == [NMI]
    assert backend.windows == [True]


def test_a_reset_forgets_an_nmi_that_waits(backend):
    interrupts = Interrupts(backend, Requests(0x20), lambda: 0)
    backend.shadow = 8
    interrupts.nmi_raised()
    interrupts.reset()
    backend.shadow = 0
    interrupts.pin_raised()
    assert backend.injected == []
