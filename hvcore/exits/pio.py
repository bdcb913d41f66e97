# cython: annotation_typing=False, boundscheck=True, wraparound=True
"""The I/O exit handler: IN, OUT, INS, OUTS (SDM vol. 1 chapter 19).

A repeated string instruction becomes as few requests as the ABI allows: all items that share a page of RAM go
in one, with a pointer to the RAM. The instruction is left at its RIP between them, as real hardware does, so
that interrupts get in and a fault in the middle leaves counts and indexes exact.
"""

import contextlib
from collections.abc import Callable
from typing import Final

import cython

from hvcore.cpu.processor import Processor
from hvcore.errors import HvError
from hvcore.exits.requests import Requests
from hvcore.exits.strings import ADDRESS_MASKS, PAGE, advance, items_in_run
from hvcore.hvm import RFLAGS_DF, Register
from hvcore.memory import GuestMemory
from hvcore.routing import CONFIG_ADDRESS, CONFIG_LAST

CLEAR_ERROR: Final = 0xF0
"""The coprocessor error register (82371SB data sheet): a write clears IRQ 13 and asserts IGNNE#."""
_CLEAR_ERROR = cython.declare(cython.ulonglong, CLEAR_ERROR)
_RAX = cython.declare(cython.int, Register.RAX)  # C numbers where this is compiled
_ALL = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)


class PortIo:
    """One vCPU's port accesses."""

    def __init__(self, processor: Processor, memory: GuestMemory, requests: Requests) -> None:
        self._processor = processor
        self._memory = memory
        self._requests = requests
        self.clear_error: Callable[[], None] = lambda: None
        """What a write to port F0h does beside going to whoever has claimed it."""

    def read(self, port: int, size: int) -> None:
        """IN to AL, AX or EAX (which clears the high half of RAX)."""
        value = self._requests.read_port(port, size)
        if size < 4:
            value |= self._processor.gpr(_RAX) & (_ALL << 8 * size & _ALL)
        self._processor.set_gpr(_RAX, value)

    def write(self, port: int, size: int) -> None:
        """OUT from AL, AX or EAX."""
        if port == _CLEAR_ERROR:
            self.clear_error()
        self._requests.write_port(port, size, self._processor.gpr(_RAX) & _ALL >> 64 - 8 * size)

    def string(self, port: int, size: int, read: bool, rep: bool, segment: int, address_size: int) -> bool:
        """One run of INS or OUTS. True when the instruction is finished."""
        processor = self._processor
        mask = ADDRESS_MASKS[address_size]
        count = processor.gpr(Register.RCX) & mask if rep else 1
        if not count:
            return True
        register = Register.RDI if read else Register.RSI
        offset = processor.gpr(register) & mask
        linear = processor.segment_linear(segment, offset, size, read)
        if linear < 0:
            return False
        user = processor.cpl == 3
        address = processor.translate(linear, read, user)
        if address < 0:
            return False
        descending = bool(processor.rflags & RFLAGS_DF)
        run = 1
        if not processor.watched:
            run = items_in_run(processor, segment, offset, linear, size, count, mask, descending)
        done = -1
        plain = self._memory.type_of(address) == "ram" and not CONFIG_ADDRESS <= port <= CONFIG_LAST
        if plain and (linear & PAGE - 1) + size <= PAGE:
            done = self._requests.port_block(port, size, run, read, descending, address)
            if done < 0 and read:
                done = run
                self._fill_with_ones(address, size, run, descending)
            elif done < 0:
                done = run  # nobody listens, so the data are dropped
            if read:
                first = address - (done - 1) * size if descending else address
                processor.invalidate_code(first, done * size)
        else:
            if not self._one(port, size, read, linear, user):
                return False
            done = 1
        advance(processor, register, -done * size if descending else done * size, mask)
        if rep:
            advance(processor, Register.RCX, -done, mask)
        if done == count:
            return True
        processor.end_iteration()
        return False

    def _fill_with_ones(self, address: int, size: int, count: int, descending: bool) -> None:
        first = address - (count - 1) * size if descending else address
        self._write(first, b"\xff" * (count * size))

    def _one(self, port: int, size: int, read: bool, linear: int, user: bool) -> bool:
        """Move one item by value: it crosses a page, or is not in plain RAM. False: page fault."""
        pieces: list[tuple[int, int]] = []  # address, bytes
        left = size
        while left:
            address = self._processor.translate(linear, read, user)
            if address < 0:
                return False
            length = min(left, PAGE - (linear & PAGE - 1))
            pieces.append((address, length))
            linear += length
            left -= length
        if read:
            data = self._requests.read_port(port, size).to_bytes(size, "little")
            for address, length in pieces:
                self._store(address, data[:length])
                data = data[length:]
        else:
            self._requests.write_port(
                port, size, int.from_bytes(b"".join(self._load(*piece) for piece in pieces), "little")
            )
        return True

    def _store(self, address: int, data: bytes) -> None:
        if self._memory.type_of(address) == "mmio":
            self._requests.write_memory(address, len(data), int.from_bytes(data, "little"))
        else:
            self._write(address, data)
            self._processor.invalidate_code(address, len(data))

    def _load(self, address: int, length: int) -> bytes:
        if self._memory.type_of(address) == "mmio":
            return self._requests.read_memory(address, length).to_bytes(length, "little")
        try:
            return self._memory.read(address, length)
        except HvError:  # the device model that answered before has taken the memory away, as in `_write`
            return b"\xff" * length

    def _write(self, address: int, data: bytes) -> None:
        """Write what was memory when the instruction began; the device model that answered may have changed that."""
        with contextlib.suppress(HvError):
            self._memory.write(address, data)
