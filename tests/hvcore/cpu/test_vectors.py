"""Every instruction form against vectors captured from a Harris 80286 in real mode.

What a 386 does otherwise is skipped by the reasons that the vectors' index gives, and no others.
"""

from functools import lru_cache
from pathlib import Path
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

    def prepare(self, vector: moo.Vector) -> None:
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

    def run(self, vector: moo.Vector) -> None:
        p = self.processor
        self.prepare(vector)
        assert p.run(2000) == ExitKind.HLT
        p.rip = (p.rip + 1) & 0xFFFF

    def first_exception(self, vector: moo.Vector) -> int | None:
        """The vector of the exception that the instruction raises, its registers left as they are then."""
        p = self.processor
        self.prepare(vector)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.update_intercepts()
        kind = p.run(2000)
        p.intercepts.exceptions = 0
        p.update_intercepts()
        if kind == ExitKind.EXCEPTION and p.rip == vector.initial.registers["ip"]:
            return p.exit.vector
        return None

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


def test_every_vector_of_every_pack_is_run_or_skipped_for_one_of_them() -> None:
    packs = {name for name, _ in FORMS}
    assert {path.name for path in (moo.folder() or Path()).glob("*.moo.gz")} == packs
    for name in sorted(packs):
        vectors = pack(name)
        forms = {form["form"]: form for other, form in FORMS if other == name}
        assert set(vectors) == set(forms)
        for form, rows in vectors.items():
            assert [row.index for row in rows] == list(range(forms[form]["tests"]))
            assert differing(forms[form]) <= {row.index for row in rows}
            assert len(differing(forms[form])) < forms[form]["tests"] // 2


def skipped(reason: str) -> list[moo.Vector]:
    found = []
    for name, form in FORMS:
        indices = form.get("differs_386", {}).get(reason, [])
        if indices:
            rows = pack(name)[form["form"]]
            found += [rows[i] for i in indices]
    return found[::SAMPLE]


def test_lock_before_what_cannot_be_locked_is_undefined(bench: Bench) -> None:
    for vector in skipped("lock"):
        assert bench.first_exception(vector) == 6, vector.name


def test_an_operand_outside_the_stack_segment_is_a_stack_fault(bench: Bench) -> None:
    for vector in skipped("ss13"):
        expected = 6 if vector.name.startswith("lock") else 12  # one is both
        assert bench.first_exception(vector) == expected, vector.name


def test_a_string_operand_beyond_its_segment_leaves_the_registers_at_the_start_of_its_iteration(
    bench: Bench,
) -> None:
    for vector in skipped("str13"):
        assert bench.first_exception(vector) in {12, 13}, vector.name
        before = vector.initial.registers
        items = (before["cx"] - (bench.processor.gpr(1) & 0xFFFF)) & 0xFFFF
        step = -2 if before["flags"] & 0x400 else 2
        for number, name in ((6, "si"), (7, "di")):
            moved = ((bench.processor.gpr(number) & 0xFFFF) - before[name]) & 0xFFFF
            assert moved in {0, (items * step) & 0xFFFF}, vector.name


def test_an_instruction_of_up_to_15_bytes_executes(bench: Bench) -> None:
    for vector in skipped("len"):
        assert 10 < len(vector.code) - 1 <= 15
        assert bench.first_exception(vector) is None, vector.name


def test_fs_and_gs_exist(bench: Bench) -> None:
    for vector in skipped("fsgs"):
        assert bench.first_exception(vector) is None, vector.name


def test_a_far_return_checks_each_of_its_pops(bench: Bench) -> None:
    for vector in skipped("stkwrap"):
        assert bench.first_exception(vector) in {None, 12}, vector.name
