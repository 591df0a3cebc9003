"""Where a call's output is in all that this process has written, which goes through a pipe to the governor."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import termios

# The descriptor of a page that is shared with the governor, which counts in it.
PAGE_VARIABLE = "RAIN_EXECUTOR_LOG"

_PAGE_BYTES = 4096
# Numbers of 64 bits in the page: the bytes that the governor has taken out of the pipe; where the current call began,
# for when this process dies in it; and a number that is odd while the governor is between taking and counting.
_TAKEN, _BEGUN, _MOVING = range(3)


class Log:
    """Finds out how many bytes this process and its children have written to standard output and error."""

    __slots__ = ("_fd", "_slots", "_unread")

    def __init__(self, page: int, output: int) -> None:
        """`page`: a descriptor, which is closed; `output`: one of the pipe, of which a copy is kept."""
        self._slots = memoryview(mmap.mmap(page, _PAGE_BYTES)).cast("Q")
        os.close(page)
        self._fd = fcntl.fcntl(output, fcntl.F_DUPFD_CLOEXEC, 3)
        self._unread = array.array("i", [0])

    def position(self) -> int:
        """How many bytes were written so far."""
        slots = self._slots
        unread = self._unread
        while True:
            moving = slots[_MOVING]
            taken = slots[_TAKEN]
            fcntl.ioctl(self._fd, termios.FIONREAD, unread, True)
            # If the governor took some meanwhile, they may be counted twice or not at all.
            if moving == slots[_MOVING] and not moving & 1:
                return taken + unread[0]

    def begin(self) -> int:
        """A call begins; returns the position."""
        position = self._slots[_BEGUN] = self.position()
        return position


def open_log() -> Log | None:
    """The log; None where nobody counts, as the process was not started by a governor."""
    page = os.environ.pop(PAGE_VARIABLE, None)
    if page is None:
        return None
    try:
        return Log(int(page), 1)
    except (OSError, ValueError):
        return None
