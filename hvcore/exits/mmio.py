"""The MMIO exit handler and its instruction decoder.

An access that no memory answers is emulated by executing its one instruction again in the processor, with the
device standing in for memory: `Processor.emulate` asks for what the instruction reads, and hands over what it
wrote. So every instruction works on a device, with the right flags and faults.
REP MOVS, STOS and LODS go as one request with a count where the other side is RAM (Xen's hvmemul_do_io):
the processor's own decoder says what stands at RIP.
"""

from collections.abc import Callable
from typing import Final

from hvcore.cpu.exitinfo import Emulate, ExitKind
from hvcore.cpu.processor import Processor
from hvcore.exits.requests import Requests
from hvcore.exits.strings import ADDRESS_MASKS, PAGE, advance, items_in_run
from hvcore.hvm import (
    CR0_PE,
    RFLAGS_DF,
    RIGHTS_DB,
    RIGHTS_L,
    EventKind,
    HvmBackend,
    Register,
    SegmentName,
    Vector,
)
from hvcore.memory import GuestMemory
from ioreq.layout import ONES

MOVS: Final = (0xA4, 0xA5)
STOS: Final = (0xAA, 0xAB)
LODS: Final = (0xAC, 0xAD)
PREFIXES: Final = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3})
MOST_ACCESSES: Final = 16
"""What `Processor.emulate` keeps; only a stack of many frames inside device memory wants more."""
FAULT: Final = -1
CROSSES: Final = -2


class Mmio:
    """One vCPU's accesses to device memory."""

    def __init__(
        self,
        processor: Processor,
        memory: GuestMemory,
        requests: Requests,
        backend: HvmBackend,
        crash: Callable[[str], None],
    ) -> None:
        self._processor = processor
        self._memory = memory
        self._requests = requests
        self._backend = backend
        self._crash = crash

    def access(self, address: int, code: bytes, fetch: bool) -> None:
        """Do what the instruction at RIP does; `code` is its bytes if the hardware recorded them."""
        if self._backend.event_pending():
            self._crash(f"an event's delivery touches {address:#x}, where there is no memory")
        elif fetch:
            # Ones, which are FF /7: undefined. Code is not run from device memory.
            self._backend.inject(EventKind.HARDWARE_EXCEPTION, Vector.UD, None, 0)
        else:
            self._requests.before_memory(address, 1)
            code = code or self._processor.instruction_bytes()
            if not (_is_repeated(code) and self._block(code)):
                self.emulate()

    def emulate(self) -> None:
        """Execute one instruction, or one repetition of a string instruction, on devices."""
        processor, requests = self._processor, self._requests
        exit_info = processor.exit
        processor.emulate_begin()
        reads = 0
        while (outcome := processor.emulate()) == Emulate.READ and reads < MOST_ACCESSES:
            reads += 1
            processor.emulate_supply(requests.read_memory(exit_info.guest_physical, exit_info.size))
        if outcome == Emulate.DONE:
            for address, size, value in processor.emulated_writes():
                requests.write_memory(address, size, value)
        elif outcome == Emulate.READ or (
            outcome == Emulate.OTHER and exit_info.kind == ExitKind.GUEST_PHYSICAL
        ):
            self._crash(f"one instruction touches devices more than {MOST_ACCESSES} times")
        # A fault is delivered, and any other stop met again, by the next entry.

    def _code_bits(self) -> int:
        rights = self._processor.segment(SegmentName.CS).attributes
        if rights & RIGHTS_L and self._processor.cr(0) & CR0_PE:
            return 64
        return 32 if rights & RIGHTS_DB else 16

    def _block(self, code: bytes) -> bool:
        """Try one request with a count for a repeated string instruction. False: nothing was done."""
        processor = self._processor
        instruction = processor.decode(code, self._code_bits())
        if instruction is None or not instruction.rep or processor.watched:
            return False
        opcode = instruction.opcode
        if opcode not in MOVS + STOS + LODS:
            return False
        size = instruction.operand_size if opcode & 1 else 1
        mask = ADDRESS_MASKS[instruction.address_size]
        count = processor.gpr(Register.RCX) & mask
        descending = bool(processor.rflags & RFLAGS_DF)
        source = destination = -1
        if opcode not in STOS:
            source, count = self._operand(
                instruction.segment, Register.RSI, size, count, mask, descending, write=False
            )
            if source < 0:
                return source == FAULT
        if opcode not in LODS:
            destination, count = self._operand(
                SegmentName.ES, Register.RDI, size, count, mask, descending, write=True
            )
            if destination < 0:
                return destination == FAULT
        if count < 2:
            return False
        done = self._copy(opcode, source, destination, size, count, descending)
        if done < 0:
            return False
        step = -done * size if descending else done * size
        if source >= 0:
            advance(processor, Register.RSI, step, mask)
        if destination >= 0:
            advance(processor, Register.RDI, step, mask)
        left = (processor.gpr(Register.RCX) - done) & mask
        advance(processor, Register.RCX, -done, mask)
        if not left:
            self._backend.skip_instruction(instruction.length)
        return True

    def _operand(
        self, segment: int, register: int, size: int, count: int, mask: int, descending: bool, *, write: bool
    ) -> tuple[int, int]:
        """Find the first item's guest-physical address and how many share its page.

        Or FAULT; or CROSSES, if it lies over the end of a page.
        """
        processor = self._processor
        offset = processor.gpr(register) & mask
        linear = processor.segment_linear(segment, offset, size, write)
        if linear < 0:
            return FAULT, 0
        if (linear & PAGE - 1) + size > PAGE:
            return CROSSES, 0
        address = processor.translate(linear, write, processor.cpl == 3)
        if address < 0:
            return FAULT, 0
        return address, items_in_run(processor, segment, offset, linear, size, count, mask, descending)

    def _copy(
        self,
        opcode: int,
        source: int,
        destination: int,
        size: int,
        count: int,
        descending: bool,
    ) -> int:
        """Send the request. Items done, or -1: not one request's work."""
        processor, requests = self._processor, self._requests
        if opcode in STOS:
            value = processor.gpr(Register.RAX) & ONES[size]
            return requests.memory_block(destination, size, count, False, descending, value, pointer=False)[0]
        if opcode in LODS:
            done, value = requests.memory_block(source, size, count, True, descending, 0, pointer=False)
            if done >= 0:
                kept = 0 if size >= 4 else processor.gpr(Register.RAX) & ~ONES[size]
                processor.set_gpr(Register.RAX, kept | value)
            return done
        type_of = self._memory.type_of
        if type_of(source) == "mmio" and type_of(destination) == "ram":
            done = requests.memory_block(source, size, count, True, descending, destination, pointer=True)[0]
            if done > 0:
                first = destination - (done - 1) * size if descending else destination
                processor.invalidate_code(first, done * size)
            return done
        if type_of(source) == "mmio" and type_of(destination) == "mmio":
            if requests.one_mover(source, destination):
                return requests.memory_block(
                    source, size, count, True, descending, destination, pointer=True
                )[0]
            return -1
        if type_of(destination) == "mmio" and type_of(source) == "ram":
            return requests.memory_block(destination, size, count, False, descending, source, pointer=True)[0]
        return -1


def _is_repeated(code: bytes) -> bool:
    """Tell whether a REP prefix stands among the prefixes: only then is it worth decoding."""
    for byte in code:
        if byte in {0xF2, 0xF3}:
            return True
        if byte not in PREFIXES and not 0x40 <= byte <= 0x4F:
            return False
    return False
