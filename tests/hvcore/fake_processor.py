"""A processor that does what a test says: the attributes of the real one, and a script of exits."""

from collections.abc import Callable
from typing import Any

import attrs

from hvcore.cpu.exitinfo import Emulate, ExitInfo, ExitKind
from hvcore.cpu.intercepts import Intercepts
from hvcore.cpu.processor import Processor


@attrs.define
class Segment:
    selector: int
    base: int
    limit: int
    attributes: int


def power_on_segments() -> list[Segment]:
    data = [Segment(0, 0, 0xFFFF, 0x93) for _ in range(6)]
    data[1] = Segment(0xF000, 0xFFFF0000, 0xFFFF, 0x9B)
    return [*data, Segment(0, 0, 0xFFFF, 0x82), Segment(0, 0, 0xFFFF, 0x8B)]


def _is_data(member: Any) -> bool:
    return hasattr(type(member), "__set__") and not callable(member)


def intercepted(intercepts: Intercepts) -> set[str]:
    """The names of what is on, or has a bit set."""
    data = {name for name in dir(intercepts) if not name.startswith("_") and name != "clear"}
    return {name for name in data if getattr(intercepts, name)}


class FakeProcessor(Processor):
    """`script` holds (kind, fields of ExitInfo) or callables; run() plays one a call.

    It is a `Processor`, since what is compiled takes nothing else, and has nothing of it.
    """

    # Attributes of the instance, in the place of the real one's registers.
    locals().update(
        {
            name: None
            for cls in Processor.__mro__[:-1]
            for name, member in vars(cls).items()
            if _is_data(member) and name != "intercepts"
        }
    )

    def __init__(self, memory: Any = None, pins: Any = None, vcpu: int = 0) -> None:
        self.memory = memory
        self.pins = pins
        self.exit = ExitInfo()
        self.intercepts = Intercepts()
        self.watched = False
        self.iterations = 0
        self.script: list[tuple[int, dict[str, Any]] | Callable[[], tuple[int, dict[str, Any]]]] = []
        self.injected: list[tuple[int, int, int | None, int]] = []
        self.invalidated: list[tuple[int, int]] = []
        self.budgets: list[int] = []
        self.emulations: list[Any] = []
        self.supplied: list[int] = []
        self.writes: list[tuple[int, int, int]] = []
        self.updates = 0
        self.sampled = 0
        self.stopped = 0
        self.changed = 0
        self.tsc = 0x1122334455667788
        self.faults: list[tuple[int, int | None]] = []
        self.task_switches = True
        self.tsc_offset = 0
        self.unmapped: set[int] = set()
        self.pause_left = 0
        self.pdptes_in_memory = 0
        self.flushes = 0
        self.set_model(0x633, 0xFFFFFFFF)
        self.reset()

    def set_model(self, signature: int, features: int, extended: int = 0) -> None:
        self.signature, self.features, self.extended = signature, features, extended

    def reset(self) -> None:
        self.registers = [0] * 16
        self.registers[2] = self.signature
        self.rip, self.rflags, self.efer = 0xFFF0, 2, 0
        self.controls = {0: 0x60000010, 2: 0, 3: 0, 4: 0, 8: 0}
        self.pdptes = [0] * 4
        self.debug = dict.fromkeys(range(8), 0) | {6: 0xFFFF0FF0, 7: 0x400}
        self.segments = power_on_segments()
        self.gdtr = self.idtr = (0, 0xFFFF)
        self.interruptibility = self.activity = 0
        self.msrs = {0x174: 0, 0x175: 0, 0x176: 0, 0x10: 5, 0x277: 0x0007_0406_0007_0406}

    def end_iteration(self) -> None:
        self.iterations += 1

    def gpr(self, i: int) -> int:
        return self.registers[i]

    def set_gpr(self, i: int, value: int) -> None:
        self.registers[i] = value

    def cr(self, i: int) -> int:
        return self.controls[i]

    def set_cr(self, i: int, value: int) -> None:
        self.controls[i] = value

    def pdpte(self, i: int) -> int:
        return self.pdptes[i]

    def set_pdpte(self, i: int, value: int) -> None:
        self.pdptes[i] = value

    def load_pdptes(self) -> bool:
        return True

    def dr(self, i: int) -> int:
        return self.debug[i]

    def set_dr(self, i: int, value: int) -> None:
        self.debug[i] = value

    def set_debug_status(self, bits: int) -> None:
        self.debug[6] = self.debug[6] & ~0xF | bits

    def segment(self, i: int) -> Segment:
        return self.segments[i]

    def set_segment(self, i: int, selector: int, base: int, limit: int, attributes: int) -> None:
        self.segments[i] = Segment(selector, base, limit, attributes)

    def set_gdtr(self, base: int, limit: int) -> None:
        self.gdtr = (base, limit)

    def set_idtr(self, base: int, limit: int) -> None:
        self.idtr = (base, limit)

    @property
    def cpl(self) -> int:
        return self.segments[2].attributes >> 5 & 3

    def msr(self, index: int) -> int | None:
        return self.msrs.get(index)

    def set_msr(self, index: int, value: int) -> bool:
        if index not in self.msrs:
            return False
        self.msrs[index] = value
        return True

    def inject(self, kind: int, vector: int, error: int | None, length: int) -> None:
        self.injected.append((kind, vector, error, length))

    def flush_tlb(self) -> None:
        self.flushes += 1

    def task_switch(self, *switch: Any) -> bool:
        self.switched = switch
        return self.task_switches

    def update_intercepts(self) -> None:
        self.updates += 1

    def sample_pins(self) -> None:
        self.sampled += 1

    def memory_changed(self) -> None:
        self.changed += 1

    def stop(self) -> None:
        self.stopped += 1

    def skip(self, next_rip: int) -> bool:
        self.rip = next_rip & 0xFFFFFFFF
        self.interruptibility &= 8
        return bool(self.rflags & 0x100)

    def skip_by(self, length: int) -> bool:
        return self.skip(self.rip + length)

    def invalidate_code(self, address: int, length: int) -> None:
        self.invalidated.append((address, length))

    def run(self, budget: int) -> int:
        self.budgets.append(budget)
        step = self.script.pop(0)
        kind, fields = step() if callable(step) else step
        self.exit.vectoring = False
        self.exit.kind = kind
        for name, value in fields.items():
            setattr(self.exit, name, value)
        return kind

    def raise_exception(self, vector: int, error: int | None) -> None:
        self.faults.append((vector, error))

    def segment_linear(self, segment: int, offset: int, size: int, write: bool) -> int:
        state = self.segments[segment]
        if offset + size - 1 > state.limit:
            self.faults.append((12 if segment == 2 else 13, 0))
            return -1
        return state.base + offset

    def translate(self, linear: int, write: bool, user: bool) -> int:
        if linear & ~0xFFF in self.unmapped:
            self.faults.append((14, 0))
            return -1
        return linear

    def emulate_begin(self) -> None:
        self.writes = []

    def emulate(self) -> int:
        if not self.emulations:
            return Emulate.DONE
        step = self.emulations.pop(0)
        if isinstance(step, int):
            return step
        kind, address, size, value = step
        if kind == "read":
            self.exit.guest_physical, self.exit.size = address, size
            return Emulate.READ
        self.writes.append((address, size, value))
        return self.emulate()

    def emulate_supply(self, value: int) -> None:
        self.supplied.append(value)

    def emulated_writes(self) -> list[tuple[int, int, int]]:
        return self.writes


IO = ExitKind.IO


def io(
    port: int, size: int, *, read: bool, length: int = 1, rip: int = 0x1000, **fields: Any
) -> tuple[int, dict[str, Any]]:
    """An I/O exit; plain unless fields say otherwise."""
    plain = {
        "string": False,
        "rep": False,
        "immediate": False,
        "address_size": 2,
        "segment": 3,
        "instruction_length": length,
        "next_rip": rip + length,
        "linear_address": 0,
    }
    return IO, {**plain, "port": port, "size": size, "read": read, **fields}


class Handlers:
    """The common layer, recorded: every call by name with its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answer = True

    def __getattr__(self, name: str) -> Callable[..., bool]:
        def called(*args: Any) -> bool:
            self.calls.append((name, *args))
            return self.answer

        return called
