"""How both programs begin, so that Ctrl-C ends them without a traceback; and what a host has no more of, in words."""

import errno
import os
import signal
from importlib import import_module
from typing import Final

LIMITS: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
}
"""What a system call says where a limit is reached, of the process (ulimit), its user or the host."""
NO_THREAD: Final = "can't start new thread"
"""Python's words for EAGAIN of a thread."""


def denied(error: BaseException) -> str | None:
    """Return what a limit has denied us, for the user; None for an error of any other kind."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MemoryError):
        return os.strerror(errno.ENOMEM)
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        return NO_THREAD
    if isinstance(error, OSError) and error.errno in LIMITS:
        what = os.strerror(error.errno)
        return what if error.filename is None else f"{what}: {error.filename}"
    return None


def start(module: str) -> int:
    """Import a program's module, run its `main` and return the exit status.

    Importing takes long enough to be interrupted. Until `main` runs, and when it has returned, Ctrl-C ends the
    process as it does any that knows nothing of it, unless whoever started us has it ignored.
    """
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = import_module(module)
    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return int(program.main())
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
