"""FSTENV FLDENV FSAVE FRSTOR and FXSAVE FXRSTOR: images of the x87 in memory (SDM vol. 1 §8.1.10, §10.5).

Not modelled: an image in MMIO; it raises #GP(0).
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import softfloat, sse_operands, x87_registers
    from cython.cimports.hvcore.cpu.state import (
        CR0_EM, CR0_TS, CR4_OSFXSR, F_VM, M32, SIZE_MASK, VEC_GP, VEC_NM, VEC_UD, u32, u64,
    )
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import (
        CR0_EM, CR0_TS, CR4_OSFXSR, F_VM, M32, SIZE_MASK, VEC_GP, VEC_NM, VEC_UD, u32, u64,
    )
    from hvcore.cpu.constants import enums
    from hvcore.cpu.fp import softfloat, sse_operands, x87_registers

    globals().update(enums("fp/x87_environment.pxd"))
# fmt: on


# The environment, and all of the x87


def tag_word(c):
    """The full tag word: two bits for a register."""
    tags: u32 = 0
    tag: u32
    i: u32
    for i in range(8):
        tag = x87_registers.TAG_EMPTY
        if (c.fp_used >> i) & 1:
            softfloat.load80(c, 0, c.fp_se[i], c.fp_sig[i])
            tag = x87_registers.TAG_SPECIAL
            if c.v_kind[0] == softfloat.ZERO:
                tag = x87_registers.TAG_ZERO
            elif c.v_kind[0] == softfloat.FINITE and not c.v_denormal[0]:
                tag = x87_registers.TAG_VALID
        tags |= tag << (2 * i)
    return tags


def has_linear_pointers(c):
    """Whether the environment has linear addresses: in real and virtual-8086 mode; else selectors and offsets."""
    return not c.protected or (c.flags & F_VM) != 0


def store_environment(c, seg, off, mask, size):
    """Store the environment in one of its four formats (SDM vol. 1 figures 8-9 to 8-12), which cannot fault.

    It is seven words of 1 << `size` bytes. Of linear addresses the lower half has a word of its own, and the other
    stands in the word that else is the selector's.
    """
    n: u64 = 1 << size
    fill: u32 = 0xFFFF0000 if size == 2 else 0
    opcode: u64 = c.fp_opcode
    ip: u64 = c.fp_ip
    dp: u64 = c.fp_dp
    code: u64
    data: u64
    if has_linear_pointers(c):
        ip = (ip + (c.fp_cs << 4)) & M32
        dp = (dp + (c.fp_ds << 4)) & M32
        code = ((ip >> 16) << 12) | opcode
        data = (dp >> 16) << 12
        ip = (ip & 0xFFFF) | fill
        dp = (dp & 0xFFFF) | fill
    elif size == 2:
        code = c.fp_cs | (opcode << 16)
        data = c.fp_ds | fill
    else:
        code = c.fp_cs
        data = c.fp_ds
    mmu.write(c, seg, off, c.fp_control | fill, size)
    mmu.write(c, seg, (off + n) & mask, x87_registers.status_word(c) | fill, size)
    mmu.write(c, seg, (off + 2 * n) & mask, tag_word(c) | fill, size)
    mmu.write(c, seg, (off + 3 * n) & mask, ip & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 4 * n) & mask, code & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 5 * n) & mask, dp & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 6 * n) & mask, data & SIZE_MASK[size], size)


def load_environment(c, seg, off, mask, size):
    """Load what `store_environment` stored; the reads have been tried."""
    n: u64 = 1 << size
    tags: u32 = mmu.read(c, seg, (off + 2 * n) & mask, 1)
    code: u64 = mmu.read(c, seg, (off + 4 * n) & mask, size)
    data: u64 = mmu.read(c, seg, (off + 6 * n) & mask, size)
    c.fp_ip = mmu.read(c, seg, (off + 3 * n) & mask, size)
    c.fp_dp = mmu.read(c, seg, (off + 5 * n) & mask, size)
    if has_linear_pointers(c):
        c.fp_ip = (c.fp_ip & 0xFFFF) | (((code >> 12) & 0xFFFF) << 16)
        c.fp_dp = (c.fp_dp & 0xFFFF) | (((data >> 12) & 0xFFFF) << 16)
        c.fp_cs = 0
        c.fp_ds = 0
        c.fp_opcode = code & OPCODE_BITS
    else:
        c.fp_cs = code & 0xFFFF
        c.fp_ds = data & 0xFFFF
        c.fp_opcode = (code >> 16) & OPCODE_BITS if size == 2 else 0
    x87_registers.put_tags(c, tags)
    x87_registers.put_control(c, cython.cast(u32, mmu.read(c, seg, off, 1)))
    mmu.update_blocks(c)
    x87_registers.set_status_word(c, cython.cast(u32, mmu.read(c, seg, (off + n) & mask, 1)))


def environment(c, o, whole):
    """FLDENV and FNSTENV; `whole`: FRSTOR and FNSAVE. They reach memory or the registers as a whole, or fault."""
    size: u32 = 1 if o.size < 2 else 2
    mask: u64 = SIZE_MASK[o.addr]
    off: u64 = operands.address(c, o)
    registers: u64 = 7 << size  # where they begin, in the images of FRSTOR and FNSAVE
    total: u64 = registers + (8 * 10 if whole else 0)
    i: u32
    r: u32
    if c.emulating:
        faults.exception(c, VEC_GP, 0)
        return
    if o.reg == 6:
        if not mmu.check_write(c, o.seg, off, total):
            return
        store_environment(c, o.seg, off, mask, size)
        if whole:
            for i in range(8):
                r = (c.fp_top + i) & 7
                mmu.write(c, o.seg, (off + registers + 10 * i) & mask, c.fp_sig[r], 3)
                mmu.write(c, o.seg, (off + registers + 10 * i + 8) & mask, c.fp_se[r], 1)
        if c.fault:
            return
        if whole:
            x87_registers.initialise(c)
        else:
            c.fp_control |= softfloat.EXCEPTIONS
            x87_registers.summarise(c)
        return
    for i in range(cython.cast(u32, total >> 1)):
        mmu.read(c, o.seg, (off + 2 * i) & mask, 1)
        if c.fault:
            return
    load_environment(c, o.seg, off, mask, size)
    if whole:
        for i in range(8):
            r = (c.fp_top + i) & 7
            c.fp_sig[r] = mmu.read(c, o.seg, (off + registers + 10 * i) & mask, 3)
            c.fp_se[r] = mmu.read(c, o.seg, (off + registers + 10 * i + 8) & mask, 1)


# The x87 and SSE together


def fxsave(c, o):
    """FXSAVE: the x87, and what the guest has enabled of SSE (SDM vol. 1 §10.5.1)."""
    off: u64 = operands.address(c, o)
    i: u32
    r: u32
    seg: u32 = o.seg
    xmm: u32 = c.has_sse and c.cr4 & CR4_OSFXSR
    if c.cr0 & (CR0_EM | CR0_TS):
        faults.exception_plain(c, VEC_NM)
        return
    if (c.base[seg] + off) & 15 or c.emulating:
        faults.exception(c, VEC_GP, 0)
        return
    if not mmu.check_write(c, seg, off, FX_SIZE):
        return
    mmu.write(c, seg, off + FX_CONTROL, c.fp_control, 1)
    mmu.write(c, seg, off + FX_STATUS, x87_registers.status_word(c), 1)
    mmu.write(c, seg, off + FX_TAGS, c.fp_used, 1)
    mmu.write(c, seg, off + FX_OPCODE, c.fp_opcode, 1)
    mmu.write(c, seg, off + FX_IP, c.fp_ip & M32, 2)
    mmu.write(c, seg, off + FX_CS, c.fp_cs, 2)
    mmu.write(c, seg, off + FX_DP, c.fp_dp & M32, 2)
    mmu.write(c, seg, off + FX_DS, c.fp_ds, 2)
    if c.has_sse:
        mmu.write(c, seg, off + FX_MXCSR, c.mxcsr, 2)
        mmu.write(c, seg, off + FX_MXCSR_MASK, sse_operands.MXCSR_MASK, 2)
    for i in range(8):
        r = (c.fp_top + i) & 7
        mmu.write(c, seg, off + FX_REGISTERS + 16 * i, c.fp_sig[r], 3)
        mmu.write(c, seg, off + FX_REGISTERS + 16 * i + 8, c.fp_se[r], 3)
    if xmm:
        for i in range(16):
            mmu.write(c, seg, off + FX_XMM + 8 * i, c.xmm[i], 3)


def fxrstor(c, o):
    """FXRSTOR: #GP(0) for reserved bits of MXCSR; else as FXSAVE stored it."""
    off: u64 = operands.address(c, o)
    i: u32
    r: u32
    value: u64 = 0
    seg: u32 = o.seg
    if c.cr0 & (CR0_EM | CR0_TS):
        faults.exception_plain(c, VEC_NM)
        return
    if (c.base[seg] + off) & 15 or c.emulating:
        faults.exception(c, VEC_GP, 0)
        return
    for i in range(FX_SIZE // 8):
        mmu.read(c, seg, off + 8 * i, 3)
        if c.fault:
            return
    if c.has_sse:
        value = mmu.read(c, seg, off + FX_MXCSR, 2)
        if value > sse_operands.MXCSR_MASK:
            faults.exception(c, VEC_GP, 0)
            return
        c.mxcsr = value
    x87_registers.put_control(c, cython.cast(u32, mmu.read(c, seg, off + FX_CONTROL, 1)))
    mmu.update_blocks(c)
    c.fp_used = mmu.read(c, seg, off + FX_TAGS, 0)
    c.fp_opcode = mmu.read(c, seg, off + FX_OPCODE, 1) & OPCODE_BITS
    c.fp_ip = mmu.read(c, seg, off + FX_IP, 2)
    c.fp_cs = mmu.read(c, seg, off + FX_CS, 1)
    c.fp_dp = mmu.read(c, seg, off + FX_DP, 2)
    c.fp_ds = mmu.read(c, seg, off + FX_DS, 1)
    x87_registers.set_status_word(c, cython.cast(u32, mmu.read(c, seg, off + FX_STATUS, 1)))
    for i in range(8):
        r = (c.fp_top + i) & 7
        c.fp_sig[r] = mmu.read(c, seg, off + FX_REGISTERS + 16 * i, 3)
        c.fp_se[r] = mmu.read(c, seg, off + FX_REGISTERS + 16 * i + 8, 1)
    if c.has_sse and c.cr4 & CR4_OSFXSR:
        for i in range(16):
            c.xmm[i] = mmu.read(c, seg, off + FX_XMM + 8 * i, 3)


def save_or_restore(c, o):
    """FXSAVE and FXRSTOR."""
    if not c.has_fxsr:
        faults.exception_plain(c, VEC_UD)
    elif o.sub:
        fxrstor(c, o)
    else:
        fxsave(c, o)
