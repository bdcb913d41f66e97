"""Files that a user names, for both processes."""

import os
import stat
from typing import BinaryIO


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading; what is no file is refused, and not waited for (a FIFO that nobody writes).

    Raises:
        OSError: it cannot be opened, or is something else; `strerror` is for the user.

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(0, str(error)) from None  # a NUL byte
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "not a regular file")
    return os.fdopen(fd, "rb")
