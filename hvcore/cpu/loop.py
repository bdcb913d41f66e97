"""The outer loop: what is pending, then the block at CS:EIP and those that follow it (`execute.step`), again.

A fault that `step` comes back with is delivered as an exception by `pending.handle_fault`, or stops for the backend.
"""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import breakpoints, debug, execute, pending
    from cython.cimports.hvcore.cpu.state import (
        BLOCKED_NMI, DR6_BS, EVENT_EXCEPTION, FAULT_EXCEPTION, FAULT_EXIT, F_RF, M32, M64, SHADOW_MOV_SS,
        SHADOW_STI, SPECIAL_DEBUG, SPECIAL_RESUME, SPECIAL_SHADOW, SPECIAL_TRAP, VEC_DB, u32, u64,
    )
else:
    from hvcore.cpu import breakpoints, debug, execute, pending
    from hvcore.cpu.constants import (
        BLOCKED_NMI, DR6_BS, EVENT_EXCEPTION, FAULT_EXCEPTION, FAULT_EXIT, F_RF, M32, M64, SHADOW_MOV_SS,
        SHADOW_STI, SPECIAL_DEBUG, SPECIAL_RESUME, SPECIAL_SHADOW, SPECIAL_TRAP, VEC_DB, u32, u64,
    )
# fmt: on


def debug_exception(c, hit):
    """#DB with these bits in DR6; 1 when the backend is to be told something."""
    debug.note_debug(c, hit)
    return pending.raise_event(c, VEC_DB, EVENT_EXCEPTION, 0, 0, 0)


def step_watched(c):
    """One instruction with everything that may follow from it: shadow, breakpoints, the single-step trap.

    Returns 1 when the backend is to be told something.
    """
    shadow: u32 = c.shadow
    trap: u32 = c.special & SPECIAL_TRAP
    resume: u64 = c.flags & F_RF
    hit: u32
    if c.special & SPECIAL_DEBUG and not shadow & SHADOW_MOV_SS:
        hit = breakpoints.here(c)
        if hit:
            return debug_exception(c, hit)
    c.flags &= F_RF ^ M64
    # SPECIAL_RESUME stays until behind the instruction: it keeps the step to that one.
    c.shadow = shadow & BLOCKED_NMI
    c.no_trap = 0
    if not shadow & SHADOW_MOV_SS:
        c.watch_hit = 0
    execute.step(c)
    if not c.flags & F_RF:  # which IRET may have set anew
        c.special &= SPECIAL_RESUME ^ M32
    if not c.shadow & (SHADOW_STI | SHADOW_MOV_SS):
        c.special &= SPECIAL_SHADOW ^ M32
    if c.fault == FAULT_EXIT:
        if shadow & (SHADOW_STI | SHADOW_MOV_SS):
            pending.start_shadow(c, shadow & (SHADOW_STI | SHADOW_MOV_SS))
        if resume:
            c.flags |= F_RF
            c.special |= SPECIAL_RESUME
    elif c.fault == FAULT_EXCEPTION and c.fault_kind == EVENT_EXCEPTION:
        trap = 0
        if c.fault_vector == VEC_DB:  # general detect, which tells of a held data breakpoint too
            debug.note_debug(c, c.debug_bits | c.watch_hit)
        c.watch_hit = 0
    if c.fault and pending.handle_fault(c):
        return 1
    if c.shadow & SHADOW_MOV_SS:  # traps wait for the next instruction (SDM vol. 3 §6.8.3)
        return 0
    hit = c.watch_hit
    c.watch_hit = 0
    if trap and not c.no_trap:
        hit |= DR6_BS
    return debug_exception(c, hit) if hit else 0


def run(c):
    """Run until the backend is to be told something; `c.info.kind` says what."""
    c.info.vectoring = 0
    c.info.nmi_unblocking = 0
    c.count_exits += 1
    while True:
        if c.special or c.icount >= c.stop_at or (c.on_interrupt and pending.intr_level(c)):
            if pending.attend(c) or step_watched(c):
                return
        else:
            execute.step(c)
            if c.fault and pending.handle_fault(c):
                return
