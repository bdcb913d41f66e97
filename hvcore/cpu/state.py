"""What the processor is made of: registers, caches and the facts of the moment, in one record.

`State` is the record that every function of the processor gets as its first argument, `c`. Its fields are
declared in `state.pxd`. Compiled they are C; uncompiled they are the attributes of a Python object, and every
arithmetic result is masked to its width by hand.

Conventions that hold in all files of this folder:

- A function that touches guest memory may fail. It then sets `c.fault` (FAULT_EXCEPTION: an exception is to
  be delivered; FAULT_EXIT: the backend is to be told; FAULT_REPEAT: the instruction is not finished) and its
  value means nothing. The caller looks at `c.fault` before it changes anything the guest can see.
- Sizes are 0, 1, 2, 3 for 8, 16, 32 and 64 bits.
- The status flags are lazy: `cc_op` says which kind of operation produced `cc_res` from `cc_a` and `cc_b`
  (see `flags.py`); all other flags stand in `flags`.
- Guest memory is addressed in three ways: *linear*, *guest-physical*, and by *host offset* into the file that
  holds it all (`hvcore.memory`).
"""

import cython

from hvcore.cpu import uncompiled
from hvcore.cpu.exitinfo import ExitInfo

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu.jit.host import ARENA, unmap_code
    from cython.cimports.hvcore.cpu.state import (
        BLOCK_BUCKETS, MAX_BLOCKS, MAX_BLOCK_OPS, MAX_OPS, Block, Op, State, s64, u64,
    )
    from cython.cimports.libc.stdlib import calloc, free
else:
    from hvcore.cpu.constants import BLOCK_BUCKETS, MAX_BLOCKS, MAX_BLOCK_OPS, MAX_OPS, s64, u64
# fmt: on


class State:
    """See the module; made by `hvcore.cpu.processor.Processor`."""

    def allocate(self, host_pages: u64) -> None:
        """Make the caches for `host_pages` pages of guest memory; raises `MemoryError`."""
        if cython.compiled:
            self.info = ExitInfo()
            self.ops = cython.cast(cython.pointer(Op), calloc(MAX_OPS + MAX_BLOCK_OPS, cython.sizeof(Op)))
            self.blocks = cython.cast(cython.pointer(Block), calloc(MAX_BLOCKS, cython.sizeof(Block)))
            self.buckets = cython.cast(cython.pointer(s64), calloc(BLOCK_BUCKETS, cython.sizeof(s64)))
            self.page_blocks = cython.cast(cython.pointer(s64), calloc(host_pages, cython.sizeof(s64)))
            self.page_code = cython.cast(cython.pointer(u64), calloc(host_pages, cython.sizeof(u64)))
            if not (self.ops and self.blocks and self.buckets and self.page_blocks and self.page_code):
                raise MemoryError
        else:
            uncompiled.allocate(self)
        self.host_pages = host_pages

    def __dealloc__(self) -> None:
        """Give the caches back."""
        if cython.compiled:
            free(self.ops)
            free(self.blocks)
            free(self.buckets)
            free(self.page_blocks)
            free(self.page_code)
            unmap_code(self.arena.code, self.arena.run, ARENA)
