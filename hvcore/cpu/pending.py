"""What is pending between two instructions: faults, injected events, windows, pins (SDM vol. 3 §6.9)."""

import cython

# fmt: off
if cython.compiled:
    from cython.cimports.hvcore.cpu import debug, events
    from cython.cimports.hvcore.cpu.state import (
        ACTIVE, BLOCKED_NMI, DOUBLE_FAULT, DR7_GD, EVENT_EXCEPTION, EVENT_NMI, EVENT_PRIVILEGED,
        EVENT_SOFTWARE, EXIT_BUDGET, EXIT_EXCEPTION, EXIT_EXTERNAL_INTERRUPT, EXIT_HLT, EXIT_INTERRUPT_WINDOW,
        EXIT_NMI, EXIT_NMI_WINDOW, EXIT_TRIPLE_FAULT, FAULT_EXIT, FAULT_NONE, FAULT_REPEAT, F_IF, F_RF,
        HALTED, LOAD_ACQUIRE, M32, M64, NO_PAGE, SHADOW_MOV_SS, SHADOW_STI, SHUTDOWN, SPECIAL_INJECT,
        SPECIAL_NMI, SPECIAL_RAISE, SPECIAL_RESUME, SPECIAL_SHADOW, SPECIAL_STOP, STAYS, TRIPLE_FAULT, VEC_DB,
        VEC_DF, VEC_NMI, VEC_PF, u32,
    )
else:
    from hvcore.cpu import debug, events
    from hvcore.cpu.constants import (
        ACTIVE, BLOCKED_NMI, DOUBLE_FAULT, DR7_GD, EVENT_EXCEPTION, EVENT_NMI, EVENT_PRIVILEGED,
        EVENT_SOFTWARE, EXIT_BUDGET, EXIT_EXCEPTION, EXIT_EXTERNAL_INTERRUPT, EXIT_HLT, EXIT_INTERRUPT_WINDOW,
        EXIT_NMI, EXIT_NMI_WINDOW, EXIT_TRIPLE_FAULT, FAULT_EXIT, FAULT_NONE, FAULT_REPEAT, F_IF, F_RF,
        HALTED, M32, M64, NO_PAGE, SHADOW_MOV_SS, SHADOW_STI, SHUTDOWN, SPECIAL_INJECT, SPECIAL_NMI,
        SPECIAL_RAISE, SPECIAL_RESUME, SPECIAL_SHADOW, SPECIAL_STOP, STAYS, TRIPLE_FAULT, VEC_DB, VEC_DF,
        VEC_NMI, VEC_PF, u32,
    )
# fmt: on


def intr_level(c):
    """The INTR pin."""
    if cython.compiled:
        return LOAD_ACQUIRE(c.pin)
    else:
        return c.pins[c.vcpu]


def start_shadow(c, which):
    """No interrupt is taken before the next instruction has completed (SDM vol. 3 §6.8.3)."""
    c.shadow |= which
    c.special |= SPECIAL_SHADOW


def wanted(c, vector, error):
    """Whether the backend wants to see this exception."""
    if vector == VEC_PF and (error & c.intercepts.page_fault_mask) != c.intercepts.page_fault_match:
        return not (c.intercepts.exceptions >> VEC_PF) & 1
    return (c.intercepts.exceptions >> (vector & 31)) & 1


def describe_exception(c, vector, kind, error, has_error, length):
    """The facts of an exception that the backend wants to see."""
    c.info.kind = EXIT_EXCEPTION
    c.info.event_kind = kind
    c.info.vector = vector
    c.info.error_code = error
    c.info.has_error_code = has_error
    c.info.instruction_length = length
    c.info.next_rip = (c.eip + length) & M32
    c.info.fault_address = c.fault_address if vector == VEC_PF else 0
    c.fault_address = NO_PAGE
    if vector == VEC_DB:
        c.info.debug_status = c.debug_bits
        c.info.data = c.debug_before
        c.debug_bits = 0


def raise_event(c, vector, kind, error, has_error, length):
    """Deliver an event and whatever its delivery raises; 1 when the backend is to be told something."""
    how: u32
    second: u32
    injected: u32 = c.injecting
    c.injecting = 0
    while True:
        if (
            not injected
            and (kind == EVENT_EXCEPTION or kind >= EVENT_PRIVILEGED)
            and wanted(c, vector, error)
        ):
            c.fault = FAULT_NONE
            describe_exception(c, vector, kind, error, has_error, length)
            return 1
        c.fault = FAULT_NONE
        if vector == VEC_PF and kind == EVENT_EXCEPTION and c.fault_address != NO_PAGE:
            c.cr2 = c.fault_address
            c.fault_address = NO_PAGE
        if vector == VEC_DB and (kind == EVENT_EXCEPTION or kind == EVENT_PRIVILEGED):
            c.debug[7] &= DR7_GD ^ M64
        if kind == EVENT_NMI:
            c.shadow |= BLOCKED_NMI
        events.deliver(c, vector, kind, error, has_error, length)
        injected = 0
        if vector == VEC_DB:
            c.debug_bits = 0
        if c.fault == FAULT_NONE:
            c.info.vectoring = 0
            c.info.nmi_unblocking = 0
            c.activity_now = ACTIVE
            c.shadow &= BLOCKED_NMI
            c.special &= SPECIAL_SHADOW ^ M32
            return 0
        c.info.vectoring = 1
        c.info.vectoring_kind = kind
        c.info.vectoring_vector = vector
        c.info.vectoring_error_code = error
        c.info.vectoring_has_error_code = has_error
        if c.fault == FAULT_EXIT:
            c.fault = FAULT_NONE
            c.info.instruction_length = length
            c.info.next_rip = (c.eip + length) & M32
            return 1
        second = c.fault_vector
        how = STAYS
        if kind == EVENT_EXCEPTION and not wanted(c, second, c.fault_error):
            how = events.combine(c, vector, second)
        if how != STAYS and second == VEC_PF:
            c.cr2 = c.fault_address
            c.fault_address = NO_PAGE
        if how == TRIPLE_FAULT:
            c.fault = FAULT_NONE
            c.activity_now = SHUTDOWN
            c.info.kind = EXIT_TRIPLE_FAULT
            return 1
        kind = EVENT_EXCEPTION
        vector = second
        error = c.fault_error
        has_error = c.fault_has_error
        if how == DOUBLE_FAULT:
            vector = VEC_DF
            error = 0
            has_error = 1


def attend(c):
    """Look at everything that may be pending between two instructions; 1 when the backend is to be told."""
    if c.special & SPECIAL_INJECT:
        c.special &= SPECIAL_INJECT ^ M32
        c.injecting = 1
        if raise_event(
            c, c.inject_vector, c.inject_kind, c.inject_error, c.inject_has_error, c.inject_length
        ):
            return 1
        if not c.special & SPECIAL_RAISE:
            return 0
    if c.special & SPECIAL_RAISE:
        while c.special & SPECIAL_RAISE:  # a task that was switched to may have a fault of its own
            c.special &= SPECIAL_RAISE ^ M32
            if raise_event(c, c.raise_vector, EVENT_EXCEPTION, c.raise_error, c.raise_has_error, 0):
                return 1
        return 0
    if c.special & SPECIAL_NMI and not c.shadow & (
        SHADOW_MOV_SS | (0 if c.intercepts.nmi_virtual else BLOCKED_NMI)
    ):
        c.special &= SPECIAL_NMI ^ M32
        if c.intercepts.nmi:
            c.info.kind = EXIT_NMI
            return 1
        return raise_event(c, VEC_NMI, EVENT_NMI, 0, 0, 0)
    if c.intercepts.nmi_window and not c.shadow:
        c.info.kind = EXIT_NMI_WINDOW
        return 1
    if c.intercepts.interrupt_window and c.flags & F_IF and not c.shadow & (SHADOW_STI | SHADOW_MOV_SS):
        c.info.kind = EXIT_INTERRUPT_WINDOW
        return 1
    if (
        c.on_interrupt
        and intr_level(c)
        and not (
            c.intercepts.interrupt_if and (c.shadow & (SHADOW_STI | SHADOW_MOV_SS) or not c.flags & F_IF)
        )
    ):
        c.info.kind = EXIT_EXTERNAL_INTERRUPT
        return 1
    if c.activity_now == HALTED:
        c.info.kind = EXIT_HLT
        c.special &= SPECIAL_STOP ^ M32
        return 1
    if c.activity_now == SHUTDOWN:
        c.info.kind = EXIT_TRIPLE_FAULT
        return 1
    if c.special & SPECIAL_STOP or c.icount >= c.stop_at:
        c.special &= SPECIAL_STOP ^ M32
        c.info.kind = EXIT_BUDGET
        return 1
    return 0


def handle_fault(c):
    """What an operation that did not complete came to; 1 when the backend is to be told."""
    if c.fault == FAULT_REPEAT:  # whatever comes between two iterations pushes RF (SDM vol. 3 §18.3.1.1)
        c.fault = FAULT_NONE
        c.flags |= F_RF
        c.special |= SPECIAL_RESUME
        return 0
    if c.fault == FAULT_EXIT:
        c.fault = FAULT_NONE
        return 1
    if c.fault_kind >= EVENT_SOFTWARE:
        if c.fault_kind == EVENT_PRIVILEGED:
            # One #DB tells of INT1 and of a data breakpoint that MOV SS held back.
            debug.note_debug(c, c.watch_hit)
            c.watch_hit = 0
        if raise_event(c, c.fault_vector, c.fault_kind, c.fault_error, c.fault_has_error, c.fault_length):
            return 1
        c.icount += 1
        c.no_trap = 1
        return 0
    return raise_event(c, c.fault_vector, EVENT_EXCEPTION, c.fault_error, c.fault_has_error, 0)
