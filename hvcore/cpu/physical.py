"""Guest-physical memory: which slot an address lies in, its bytes on the host, and what is no memory.

A *host offset* is that of a byte in the file that holds all guest memory (`hvcore.memory`).
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import codecache
    from cython.cimports.hvcore.cpu.state import (
        EXIT_GUEST_PHYSICAL, FAULT_EXIT, M64, MMIO_MAX, s64, u16, u32, u64,
    )
    from cython.cimports.libc.string import memmove, memset
else:
    from hvcore.cpu import codecache
    from hvcore.cpu.constants import EXIT_GUEST_PHYSICAL, FAULT_EXIT, M64, MMIO_MAX, s64, u16, u32, u64
# fmt: on


def locate(c, phys):
    """Which slot a guest-physical address lies in, or -1: it is no memory."""
    i: u32
    for i in range(c.slots_used):
        if c.slots[i].first <= phys <= c.slots[i].last:
            return i
    return -1


def host_load(c, at, n):
    """`n` bytes (1, 2, 4 or 8) at a host offset."""
    if cython.compiled:
        if n == 4:
            return cython.cast(cython.pointer(u32), c.host + at)[0]
        elif n == 2:
            return cython.cast(cython.pointer(u16), c.host + at)[0]
        elif n == 1:
            return c.host[at]
        return cython.cast(cython.pointer(u64), c.host + at)[0]
    else:
        return int.from_bytes(c.host[at : at + n], "little")


def host_store(c, at, value, n):
    """Store the low `n` bytes (1, 2, 4 or 8) of `value` at a host offset."""
    if cython.compiled:
        if n == 4:
            cython.cast(cython.pointer(u32), c.host + at)[0] = value
        elif n == 2:
            cython.cast(cython.pointer(u16), c.host + at)[0] = value
        elif n == 1:
            c.host[at] = value
        else:
            cython.cast(cython.pointer(u64), c.host + at)[0] = value
    else:
        c.host[at : at + n] = (value & ((1 << 8 * n) - 1)).to_bytes(n, "little")


def host_copy(c, to, source, count, n):
    """Copy `count` items of `n` bytes upwards, one after the other: an overlap repeats what was copied."""
    i: u64
    if to >= source + count * n or to <= source:
        if cython.compiled:
            memmove(c.host + to, c.host + source, count * n)
        else:
            c.host[to : to + count * n] = bytes(c.host[source : source + count * n])
        return
    for i in range(count):
        host_store(c, to + i * n, host_load(c, source + i * n, n), n)


def host_copy_down(c, to, source, count, n):
    """The same downwards, from the last item to the first; `to` and `source` are where the first lies."""
    i: u64
    if to >= source or to + count * n <= source:
        if cython.compiled:
            memmove(c.host + to, c.host + source, count * n)
        else:
            c.host[to : to + count * n] = bytes(c.host[source : source + count * n])
        return
    for i in range(count):
        host_store(c, to + (count - 1 - i) * n, host_load(c, source + (count - 1 - i) * n, n), n)


def host_fill(c, to, value, count, n):
    """Store `count` items of `n` bytes."""
    i: u64
    if cython.compiled and n == 1:
        memset(c.host + to, cython.cast(cython.int, value & 0xFF), count)
        return
    for i in range(count):
        host_store(c, to + i * n, value, n)


def load(c, phys, lin, n):
    """Read what lies in one page."""
    i: s64 = locate(c, phys)
    if i < 0:
        return mmio_read(c, phys, lin, n)
    return host_load(c, c.slots[i].read + phys - c.slots[i].first, n)


def store(c, phys, lin, value, n):
    """Write what lies in one page; code decoded from these bytes is forgotten."""
    i: s64 = locate(c, phys)
    at: u64
    if i < 0:
        mmio_write(c, phys, lin, value, n)
        return
    if c.slots[i].write < 0:
        return
    at = c.slots[i].write + phys - c.slots[i].first
    if c.page_code[at >> 12] & codecache.chunk_bits(at, at + n - 1):
        codecache.drop_page(c, at >> 12, at, at + n - 1)
    host_store(c, at, value, n)


def mmio_read(c, phys, lin, n):
    """Read what is no memory: stop for the backend, or while emulating use what it supplied."""
    i: u32 = c.mmio_used
    if c.emulating and i < c.mmio_supplied and c.mmio_address[i] == phys and c.mmio_size[i] == n:
        c.mmio_used += 1
        return c.mmio_data[i]
    stop_for_device(c, phys, lin, n, 0, 0)
    return 0


def mmio_write(c, phys, lin, value, n):
    """Write what is no memory: stop for the backend, or while emulating keep it for the caller."""
    i: u32 = c.mmio_writes
    value &= M64 >> (64 - 8 * n)
    if c.emulating and i < MMIO_MAX:
        c.mmio_write_address[i] = phys
        c.mmio_write_size[i] = n
        c.mmio_write_data[i] = value
        c.mmio_writes += 1
        return
    stop_for_device(c, phys, lin, n, 1, value)


def stop_for_device(c, phys, lin, n, write, value):
    """Stop for the backend, which has a device read or written."""
    c.fault = FAULT_EXIT
    c.info.kind = EXIT_GUEST_PHYSICAL
    c.info.guest_physical = phys
    c.info.linear_address = lin
    c.info.linear_valid = 1
    c.info.read = not write
    c.info.write = write
    c.info.fetch = 0
    c.info.table = 0
    c.info.size = n
    c.info.data = value
