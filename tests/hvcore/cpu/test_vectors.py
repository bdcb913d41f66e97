"""Every instruction form against vectors captured from a Harris 80286 in real mode.

What a 386 does otherwise is skipped by the reasons that the vectors' index gives, and no others.
"""

from functools import lru_cache
from typing import Any

import pytest

from hvcore.cpu.exitinfo import ExitKind
from hvcore.cpu.processor import COMPILED, Processor
from hvcore.memory import GuestMemory
from tests.hvcore.cpu import moo

FORMS = moo.forms()
DEFINED = 0x0FD5
SEGMENTS = {"es": 0, "cs": 1, "ss": 2, "ds": 3}
GENERAL = {"ax": 0, "cx": 1, "dx": 2, "bx": 3, "sp": 4, "bp": 5, "si": 6, "di": 7}
SAMPLE = 1 if COMPILED else 30  # the uncompiled processor tries every 30th vector

pytestmark = pytest.mark.skipif(not FORMS, reason="the captured vectors are not beside this checkout")


@lru_cache(maxsize=1)
def pack(name: str) -> dict[str, list[moo.Vector]]:
    return moo.pack(name)


class Bench:
    """A bare processor with 2 MiB of memory and nobody behind its ports."""

    def __init__(self) -> None:
        self.memory = GuestMemory(2 << 20)
        self.memory.set_type(0xA0000, 0xBFFFF, "ram")
        pins = bytearray(4096)
        pins[0x200] = 1
        self.processor = Processor(self.memory, pins)
        self.processor.intercepts.io = False
        self.processor.update_intercepts()

    def run(self, vector: moo.Vector) -> None:
        p = self.processor
        p.reset()
        p.set_idtr(0, 0x3FF)
        for name, value in vector.initial.registers.items():
            if name in GENERAL:
                p.set_gpr(GENERAL[name], value)
            elif name in SEGMENTS:
                p.set_segment(SEGMENTS[name], value, value << 4, 0xFFFF, 0x93)
        p.rip = vector.initial.registers["ip"]
        p.rflags = vector.initial.registers["flags"] & 0x0FFF
        for address, value in vector.initial.ram:
            self.memory.host[address] = value
        p.invalidate_code(0, 2 << 20)
        assert p.run(2000) == ExitKind.HLT
        p.rip = (p.rip + 1) & 0xFFFF

    def differences(self, vector: moo.Vector, mask: int) -> dict[str, tuple[int, int]]:
        p = self.processor
        expected = {**vector.initial.registers, **vector.final.registers}
        actual = {name: p.gpr(number) & 0xFFFF for name, number in GENERAL.items()}
        actual |= {name: p.segment(number).selector for name, number in SEGMENTS.items()}
        actual["ip"] = p.rip
        actual["flags"] = p.rflags & mask
        expected["flags"] &= mask
        different = {
            name: (actual[name], expected[name]) for name in expected if actual[name] != expected[name]
        }
        masked = self.flags_in_memory(vector, expected)
        for address, value in vector.final.ram:
            keep = masked.get(address, 0xFF)
            keep = keep if address not in masked else (mask >> (8 * keep)) & 0xFF
            if (self.memory.host[address] ^ value) & keep:
                different[f"[{address:05x}]"] = (self.memory.host[address], value)
        return different

    @staticmethod
    def flags_in_memory(vector: moo.Vector, final: dict[str, int]) -> dict[int, int]:
        """Address to byte number, where FLAGS were pushed: undefined flags are undefined there too."""
        if vector.exception is not None:
            base = final["sp"] + 4
        elif vector.code[0] == 0x9C or vector.code[1:2] == b"\x9c":
            base = final["sp"]
        else:
            return {}
        return {(final["ss"] << 4) + ((base + i) & 0xFFFF): i for i in range(2)}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def differing(form: dict[str, Any]) -> set[int]:
    """Vectors on which a 386 differs from the 286, for a reason that the index names."""
    return {index for indices in form.get("differs_386", {}).values() for index in indices}


@pytest.mark.parametrize(("name", "form"), FORMS, ids=lambda v: v["form"] if isinstance(v, dict) else "")
def test_every_vector_of_a_form_ends_as_on_silicon(bench: Bench, name: str, form: dict[str, Any]) -> None:
    skip = differing(form)
    wrong = {}
    for vector in pack(name)[form["form"]][::SAMPLE]:
        if vector.index in skip:
            continue
        bench.run(vector)
        different = bench.differences(vector, form["flags_mask"] & DEFINED)
        if different:
            wrong[vector.index] = (vector.name, vector.code.hex(), different)
    assert wrong == {}


def test_the_reasons_for_skipping_are_the_known_ones() -> None:
    reasons = {reason for _, form in FORMS for reason in form.get("differs_386", {})}
    assert reasons == {"lock", "str13", "ss13", "stkwrap", "len", "fsgs"}
