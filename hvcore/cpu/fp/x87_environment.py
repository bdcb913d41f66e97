"""FSTENV FLDENV FSAVE FRSTOR and FXSAVE FXRSTOR: images of the x87 in memory (SDM vol. 1 §8.1.10, §10.5).

Not modelled: an image in what is no memory; it raises #GP(0).
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import faults, mmu, operands
    from cython.cimports.hvcore.cpu.fp import softfloat, x87_registers
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu import faults, mmu, operands
    from hvcore.cpu.constants import *
    from hvcore.cpu.fp import softfloat, x87_registers


# The environment, and all of the x87


def tag_word(c):
    """The full tag word: two bits for a register."""
    tags: u32 = 0
    i: u32
    tag: u32
    for i in range(8):
        tag = 3
        if (c.fp_used >> i) & 1:
            softfloat.load80(c, 0, c.fp_se[i], c.fp_sig[i])
            tag = (
                1
                if c.v_kind[0] == softfloat.ZERO
                else 0
                if c.v_kind[0] == softfloat.FINITE and not c.v_denormal[0]
                else 2
            )
        tags |= tag << (2 * i)
    return tags


def store_environment(c, seg, off, mask, size):
    """The environment in one of its four formats (SDM vol. 1 figures 8-9 to 8-12); it has been checked."""
    n: u64 = 1 << size
    fill: u32 = 0xFFFF0000 if size == 2 else 0
    real: u32 = not c.protected or (c.flags & F_VM) != 0
    ip: u64 = c.fp_ip
    dp: u64 = c.fp_dp
    third: u64
    fifth: u64
    words: u64
    if real:
        ip = (ip + (c.fp_cs << 4)) & M32
        dp = (dp + (c.fp_ds << 4)) & M32
    if size == 2:
        words = c.fp_opcode
        third = ((ip >> 16) << 12) | words if real else c.fp_cs | (words << 16)
        fifth = (dp >> 16) << 12 if real else c.fp_ds | fill
        if real:
            ip = (ip & 0xFFFF) | fill
            dp = (dp & 0xFFFF) | fill
    else:
        words = c.fp_opcode
        third = (((ip >> 16) & 15) << 12) | words if real else c.fp_cs
        fifth = ((dp >> 16) & 15) << 12 if real else c.fp_ds
    mmu.write(c, seg, off, c.fp_control | fill, size)
    mmu.write(c, seg, (off + n) & mask, x87_registers.status_word(c) | fill, size)
    mmu.write(c, seg, (off + 2 * n) & mask, tag_word(c) | fill, size)
    mmu.write(c, seg, (off + 3 * n) & mask, ip & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 4 * n) & mask, third & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 5 * n) & mask, dp & SIZE_MASK[size], size)
    mmu.write(c, seg, (off + 6 * n) & mask, fifth & SIZE_MASK[size], size)


def load_environment(c, seg, off, mask, size):
    """Load what `store_environment` stored; the reads have been tried."""
    n: u64 = 1 << size
    real: u32 = not c.protected or (c.flags & F_VM) != 0
    tags: u32 = mmu.read(c, seg, (off + 2 * n) & mask, 1)
    third: u64 = mmu.read(c, seg, (off + 4 * n) & mask, size)
    fifth: u64 = mmu.read(c, seg, (off + 6 * n) & mask, size)
    i: u32
    c.fp_ip = mmu.read(c, seg, (off + 3 * n) & mask, size)
    c.fp_dp = mmu.read(c, seg, (off + 5 * n) & mask, size)
    if real:
        c.fp_ip = (c.fp_ip & 0xFFFF) | (((third >> 12) & 0xFFFF) << 16)
        c.fp_dp = (c.fp_dp & 0xFFFF) | (((fifth >> 12) & 0xFFFF) << 16)
        c.fp_cs = 0
        c.fp_ds = 0
        c.fp_opcode = third & 0x7FF
    else:
        c.fp_cs = third & 0xFFFF
        c.fp_ds = fifth & 0xFFFF
        c.fp_opcode = (third >> 16) & 0x7FF if size == 2 else 0
    c.fp_used = 0
    for i in range(8):
        if (tags >> (2 * i)) & 3 != 3:
            c.fp_used |= 1 << i
    c.fp_control = (mmu.read(c, seg, off, 1) & 0x1F3F) | 0x40
    mmu.update_blocks(c)
    x87_registers.set_status_word(c, cython.cast(u32, mmu.read(c, seg, (off + n) & mask, 1)))


def environment(c, o):
    """FLDENV FNSTENV FRSTOR FNSAVE."""
    size: u32 = 1 if o.size < 2 else 2
    mask: u64 = SIZE_MASK[o.addr]
    off: u64 = operands.address(c, o)
    n: u64 = 7 << size
    total: u64 = n
    i: u32
    r: u32
    if o.sub == 5:
        total += 80
    if c.emulating:
        faults.exception(c, VEC_GP, 0)
        return
    if o.reg == 6:
        if not mmu.check_write(c, o.seg, off, total):
            return
        store_environment(c, o.seg, off, mask, size)
        if o.sub == 5:
            for i in range(8):
                r = (c.fp_top + i) & 7
                mmu.write(c, o.seg, (off + n + 10 * i) & mask, c.fp_sig[r], 3)
                mmu.write(c, o.seg, (off + n + 10 * i + 8) & mask, c.fp_se[r], 1)
        if c.fault:
            return
        if o.sub == 5:
            x87_registers.initialise(c)
        else:
            c.fp_control |= 0x3F
            x87_registers.summarise(c)
        return
    for i in range(cython.cast(u32, total >> 1)):
        mmu.read(c, o.seg, (off + 2 * i) & mask, 1)
        if c.fault:
            return
    load_environment(c, o.seg, off, mask, size)
    if o.sub == 5:
        for i in range(8):
            r = (c.fp_top + i) & 7
            c.fp_sig[r] = mmu.read(c, o.seg, (off + n + 10 * i) & mask, 3)
            c.fp_se[r] = mmu.read(c, o.seg, (off + n + 10 * i + 8) & mask, 1)


# The x87 and SSE together


def fxsave(c, o):
    """FXSAVE (SDM vol. 1 §10.5.1)."""
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
    if not mmu.check_write(c, seg, off, 512):
        return
    mmu.write(c, seg, off, c.fp_control, 1)
    mmu.write(c, seg, off + 2, x87_registers.status_word(c), 1)
    mmu.write(c, seg, off + 4, c.fp_used, 1)
    mmu.write(c, seg, off + 6, c.fp_opcode, 1)
    mmu.write(c, seg, off + 8, c.fp_ip & M32, 2)
    mmu.write(c, seg, off + 12, c.fp_cs, 2)
    mmu.write(c, seg, off + 16, c.fp_dp & M32, 2)
    mmu.write(c, seg, off + 20, c.fp_ds, 2)
    if c.has_sse:
        mmu.write(c, seg, off + 24, c.mxcsr, 2)
        mmu.write(c, seg, off + 28, 0xFFFF, 2)
    for i in range(8):
        r = (c.fp_top + i) & 7
        mmu.write(c, seg, off + 32 + 16 * i, c.fp_sig[r], 3)
        mmu.write(c, seg, off + 40 + 16 * i, c.fp_se[r], 3)
    if xmm:
        for i in range(16):
            mmu.write(c, seg, off + 160 + 8 * i, c.xmm[i], 3)


def fxrstor(c, o):
    """FXRSTOR."""
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
    for i in range(64):
        mmu.read(c, seg, off + 8 * i, 3)
        if c.fault:
            return
    if c.has_sse:
        value = mmu.read(c, seg, off + 24, 2)
        if value > 0xFFFF:
            faults.exception(c, VEC_GP, 0)
            return
        c.mxcsr = value
    c.fp_control = (mmu.read(c, seg, off, 1) & 0x1F3F) | 0x40
    mmu.update_blocks(c)
    c.fp_used = mmu.read(c, seg, off + 4, 0)
    c.fp_opcode = mmu.read(c, seg, off + 6, 1) & 0x7FF
    c.fp_ip = mmu.read(c, seg, off + 8, 2)
    c.fp_cs = mmu.read(c, seg, off + 12, 1)
    c.fp_dp = mmu.read(c, seg, off + 16, 2)
    c.fp_ds = mmu.read(c, seg, off + 20, 1)
    x87_registers.set_status_word(c, cython.cast(u32, mmu.read(c, seg, off + 2, 1)))
    for i in range(8):
        r = (c.fp_top + i) & 7
        c.fp_sig[r] = mmu.read(c, seg, off + 32 + 16 * i, 3)
        c.fp_se[r] = mmu.read(c, seg, off + 40 + 16 * i, 1)
    if c.has_sse and c.cr4 & CR4_OSFXSR:
        for i in range(16):
            c.xmm[i] = mmu.read(c, seg, off + 160 + 8 * i, 3)


def save_or_restore(c, o):
    """FXSAVE and FXRSTOR."""
    if not c.has_fxsr:
        faults.exception_plain(c, VEC_UD)
    elif o.sub:
        fxrstor(c, o)
    else:
        fxsave(c, o)
