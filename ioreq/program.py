"""How both programs begin: from the first moment Ctrl-C ends them without a traceback."""

import signal
from importlib import import_module


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
