"""An instruction raises an exception: what is to be delivered stands in `c.fault` and the fields beside it (state.pxd).

The caller returns at once, and so do its callers, with nothing changed that the guest can see.
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu.state import EVENT_EXCEPTION, FAULT_EXCEPTION
else:
    from hvcore.cpu.constants import EVENT_EXCEPTION, FAULT_EXCEPTION


def exception(c, vector, error):
    """Raise an exception that has an error code."""
    c.fault = FAULT_EXCEPTION
    c.fault_vector = vector
    c.fault_error = error
    c.fault_has_error = 1
    c.fault_kind = EVENT_EXCEPTION


def exception_plain(c, vector):
    """Raise an exception that has none."""
    c.fault = FAULT_EXCEPTION
    c.fault_vector = vector
    c.fault_error = 0
    c.fault_has_error = 0
    c.fault_kind = EVENT_EXCEPTION
