"""What a model advertises works, and what it does not is not there: CR4 bits, MSRs and instructions."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import EVERYTHING
from hvcore.cpumodel import MODELS, Extended, Feature
from hvcore.exits.cpuid import CLFLUSH_LINE, leaves
from tests.hvcore.cpu.bench import EAX, ECX, EDX, Bench


def bench(model: str) -> Bench:
    flat = Bench(32, 2 << 20)
    flat.processor.set_model(MODELS[model].signature, MODELS[model].features, MODELS[model].extended)
    flat.reset()
    flat.processor.intercepts.exceptions = 1 << 6 | 1 << 13
    flat.processor.update_intercepts()
    return flat


@pytest.mark.parametrize("model", MODELS)
def test_reset_leaves_the_signature_in_edx(model: str) -> None:
    assert bench(model).processor.gpr(EDX) == MODELS[model].signature


CR4 = {
    Feature.VME: 0x3,  # VME and PVI
    Feature.TSC: 0x4,
    Feature.DE: 0x8,
    Feature.PSE: 0x10,
    Feature.PAE: 0x20,
    Feature.MCE: 0x40,
    Feature.PGE: 0x80,
    Feature.FXSR: 0x200,
    Feature.SSE: 0x400,
}


@pytest.mark.parametrize("model", MODELS)
def test_cr4_has_the_bits_of_the_models_features_and_no_other(model: str) -> None:
    writable = sum(bits for feature, bits in CR4.items() if MODELS[model].features & feature)
    for bit in range(32):
        flat = bench(model)
        flat.processor.set_gpr(EAX, 1 << bit)
        kind = flat.run(bytes.fromhex("0f22e0 f4"))  # MOV CR4, EAX
        if writable >> bit & 1:
            assert (kind, flat.processor.cr(4)) == (ExitKind.HLT, 1 << bit)
        else:
            assert (kind, flat.processor.exit.vector, flat.processor.exit.error_code) == (10, 13, 0)
            assert flat.processor.cr(4) == 0


def undefined(model: str, code: str) -> bool:
    """Whether one instruction, in a processor that may use SSE, is #UD."""
    flat = bench(model)
    flat.processor.set_cr(4, 0x600)
    flat.processor.set_gpr(ECX, 0x10)
    return flat.run(bytes.fromhex(code) + b"\xf4") == ExitKind.EXCEPTION and flat.processor.exit.vector == 6


INSTRUCTIONS = [
    ("0f31", Feature.TSC),  # RDTSC
    ("0f32", Feature.MSR),  # RDMSR
    ("0f30", Feature.MSR),  # WRMSR
    ("0fc70d00100000", Feature.CX8),  # CMPXCHG8B
    ("0f34", Feature.SEP),  # SYSENTER
    ("0f35", Feature.SEP),  # SYSEXIT
    ("0f44c1", Feature.CMOV),
    ("0f440500100000", Feature.CMOV),
    ("0f33", Feature.CMOV),  # RDPMC, which came with it
    ("0f1f00", Feature.CMOV),  # NOP of two bytes, and all of these too
    ("0f0d00", Feature.CMOV),
    ("dac1", Feature.CMOV),  # FCMOVB
    ("dbd9", Feature.CMOV),  # FCMOVNU
    ("dbe9", Feature.CMOV),  # FUCOMI
    ("dff1", Feature.CMOV),  # FCOMIP
    ("f390", Feature.FPU),  # PAUSE is a NOP of one byte
    ("dae9", Feature.FPU),  # FUCOMPP
    ("dbe3", Feature.FPU),  # FNINIT
    ("0ffcc1", Feature.MMX),  # PADDB
    ("0fae0500100000", Feature.FXSR),  # FXSAVE
    ("0f58c1", Feature.SSE),  # ADDPS
    ("0faef8", Feature.SSE),  # SFENCE
    ("660f58c1", Feature.SSE2),  # ADDPD
    ("0faef0", Feature.SSE2),  # MFENCE
    ("0fae3d00100000", Feature.CLFSH),  # CLFLUSH
]


@pytest.mark.parametrize(("code", "feature"), INSTRUCTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_an_instruction_is_there_with_its_feature_and_undefined_without(
    model: str, code: str, feature: int
) -> None:
    assert undefined(model, code) == (not MODELS[model].features & feature)


@pytest.mark.parametrize("code", ["0f01c8", "0f01c9", "0faa", "0fa6c8", "0f05"])
@pytest.mark.parametrize("model", MODELS)
def test_what_no_model_advertises_is_undefined_in_all(model: str, code: str) -> None:
    """MONITOR, MWAIT, RSM, XSTORE, SYSCALL: their bits in CPUID are clear."""
    assert undefined(model, code)


@pytest.mark.parametrize("model", MODELS)
def test_msrs_of_the_processor_come_with_their_feature(model: str) -> None:
    processor = bench(model).processor
    features = MODELS[model].features
    assert (processor.msr(0x10) is not None) == bool(features & Feature.TSC)
    for index in (0x174, 0x175, 0x176):
        assert (processor.msr(index) == 0) == bool(features & Feature.SEP)
    assert (processor.msr(0x277) == 0x0007040600070406) == bool(features & Feature.PAT)
    assert (processor.msr(0xC0000080) == 0) == bool(MODELS[model].extended & Extended.NX)
    if not features & Feature.SEP:
        assert not processor.set_msr(0x174, 8)


@pytest.mark.parametrize("model", MODELS)
def test_leaf_1_has_a_cache_line_with_clflush_and_nothing_else_in_ebx(model: str) -> None:
    _, ebx, ecx, edx = leaves(MODELS[model])[1]
    assert ebx == (CLFLUSH_LINE if edx & Feature.CLFSH else 0)
    assert ecx == 0  # no MONITOR, no SSE3, nobody's hypervisor
    assert not edx & Feature.APIC


@pytest.mark.parametrize("model", MODELS)
def test_every_leaf_up_to_the_highest_is_there(model: str) -> None:
    table = leaves(MODELS[model])
    assert set(range(MODELS[model].max_basic + 1)) <= set(table)
    if 0x80000000 in table:
        assert set(range(0x80000000, table[0x80000000][0] + 1)) <= set(table)
        assert max(table) == table[0x80000000][0]


def test_the_models_that_users_know() -> None:
    assert list(MODELS) == ["486", "pentium", "pentium2", "pentium3", "qemu32", "i686"]
    assert MODELS["i686"].features == 0x078BF9FF  # all of a Core 2's that need no APIC
    assert MODELS["qemu32"].features == 0x0781A9FD


def test_another_model_forgets_what_was_decoded() -> None:
    flat = bench("i686")
    assert flat.run(bytes.fromhex("0f44c1 f4")) == ExitKind.HLT
    flat.processor.set_model(0x480, 0)
    flat.processor.rip = 0x7C00
    assert flat.run() == ExitKind.EXCEPTION
    flat.processor.set_model(0x633, EVERYTHING)
    flat.processor.rip = 0x7C00
    assert flat.run() == ExitKind.HLT
