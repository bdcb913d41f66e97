"""A machine that remembers what it was asked, and answers what it is told to."""

from collections.abc import Callable
from typing import Any

import attrs

from devmodel import DevmodelError
from devmodel.control import messages, probe
from devmodel.control.access import Access
from devmodel.control.messages import Answer, Info
from ioreq.messages import SegmentRegister, VcpuContext

REAL = SegmentRegister(0, 0, 0xFFFF, 0x93)
CODE = SegmentRegister(0xF000, 0xF0000, 0xFFFF, 0x9B)
DRIVES = [
    probe.Drive("ide0-hd0", "disk", 0, "/disk", 1 << 20),
    probe.Drive("ide1-cd0", "cdrom", 0, "/cd.iso", 1 << 21, readonly=True),
    probe.Drive("floppy0", "floppy", 0, None),
]


def context(**changes: Any) -> VcpuContext:
    registers = VcpuContext(
        gpr=[1, 2, 3, 4, 0x7C00, 6, 7, 8], rip=0x7C10, rflags=0x246, cr0=0x10, cr2=0, cr3=0, cr4=0, efer=0,
        segments=[REAL, CODE, *[REAL] * 6], gdtr=(0, 0), idtr=(0, 0x3FF),
    )  # fmt: skip
    return VcpuContext(**{name: getattr(registers, name) for name in registers.__struct_fields__} | changes)


@attrs.define
class FakeAccess:
    ram: bytearray = attrs.field(factory=lambda: bytearray(range(256)) * 256)
    registers: VcpuContext = attrs.field(factory=context)
    asked: list[messages.Command] = attrs.field(factory=list)
    paused: bool = False
    drives: list[probe.Drive] = attrs.field(factory=lambda: list(DRIVES))
    refuses: Callable[[messages.Command], str] = lambda _: ""

    async def ask(self, command: messages.Command) -> Answer:
        self.asked.append(command)
        if error := self.refuses(command):
            raise DevmodelError(error)
        match command:
            case Info():
                return Answer(
                    program="devmodel 1", machine="guest", pid=7, paused=self.paused, memory=1 << 16,
                    consoles=["tcp:127.0.0.1:4000", ""],
                )  # fmt: skip
            case probe.Pause() | probe.Continue():
                self.paused = isinstance(command, probe.Pause)
            case probe.Registers():
                return Answer(found=probe.Found(registers=self.registers))
            case probe.Peek(address=address, length=length):
                data = bytes(self.ram[address : address + length])
                return Answer(found=probe.Found(data=probe.text_of(data.ljust(length, b"\xff"))))
            case probe.Inp():
                return Answer(found=probe.Found(value=0x1C))
            case probe.State():
                return Answer(found=probe.Found(state={"imr": 255}))
            case probe.Drives():
                return Answer(found=probe.Found(drives=self.drives))
            case messages.Screen(png=png, ppm=ppm):
                return Answer(text="hello\n", png=probe.text_of(b"PICTURE") if png or ppm else "")
        return Answer(found=probe.Found())

    async def ask_all(self, command: messages.Command) -> list[Answer]:
        return [await self.ask(command)]


_: Access = FakeAccess()
