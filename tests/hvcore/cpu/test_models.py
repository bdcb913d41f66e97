"""What a processor's model lacks is not there: reset signature, CR4 bits and instructions."""

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import EVERYTHING
from hvcore.cpumodel import MODELS
from tests.hvcore.cpu.bench import EAX, EDX, Bench

CR4_TSD, CR4_PSE, CR4_PAE, CR4_PGE = 4, 0x10, 0x20, 0x80


def bench(model: str) -> Bench:
    flat = Bench(32, 2 << 20)
    flat.processor.set_model(MODELS[model].signature, MODELS[model].features)
    flat.reset()
    flat.processor.intercepts.exceptions = 1 << 6 | 1 << 13
    flat.processor.update_intercepts()
    return flat


@pytest.mark.parametrize("model", MODELS)
def test_reset_leaves_the_signature_in_edx(model: str) -> None:
    assert bench(model).processor.gpr(EDX) == MODELS[model].signature


@pytest.mark.parametrize(
    ("model", "writable"),
    [("486", 0), ("pentium", CR4_TSD | CR4_PSE), ("i686", CR4_TSD | CR4_PSE | CR4_PAE | CR4_PGE)],
)
def test_cr4_has_the_bits_of_the_models_features_and_no_other(model: str, writable: int) -> None:
    for bit in (CR4_TSD, CR4_PSE, CR4_PAE, CR4_PGE):
        flat = bench(model)
        flat.processor.set_gpr(EAX, bit)
        kind = flat.run(bytes.fromhex("0f22e0 f4"))  # MOV CR4, EAX
        if bit & writable:
            assert (kind, flat.processor.cr(4)) == (ExitKind.HLT, bit)
        else:
            assert (kind, flat.processor.exit.vector, flat.processor.exit.error_code) == (10, 13, 0)
            assert flat.processor.cr(4) == 0


@pytest.mark.parametrize(
    ("code", "since"),
    [
        ("0f31", "pentium"),  # RDTSC
        ("0f32", "pentium"),  # RDMSR
        ("0f30", "pentium"),  # WRMSR
        ("0fc70d00100000", "pentium"),  # CMPXCHG8B
        ("0f44c1", "i686"),  # CMOVZ
        ("0f440500100000", "i686"),
        ("0f33", "i686"),  # RDPMC
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_instructions_of_later_parts_are_undefined(model: str, code: str, since: str) -> None:
    flat = bench(model)
    kind = flat.run(bytes.fromhex(code + "f4"))
    undefined = kind == ExitKind.EXCEPTION and flat.processor.exit.vector == 6
    order = list(MODELS)
    assert undefined == (order.index(model) < order.index(since))


def test_another_model_forgets_what_was_decoded() -> None:
    flat = bench("i686")
    assert flat.run(bytes.fromhex("0f44c1 f4")) == ExitKind.HLT
    flat.processor.set_model(0x480, 0)
    flat.processor.rip = 0x7C00
    assert flat.run() == ExitKind.EXCEPTION
    flat.processor.set_model(0x633, EVERYTHING)
    flat.processor.rip = 0x7C00
    assert flat.run() == ExitKind.HLT
