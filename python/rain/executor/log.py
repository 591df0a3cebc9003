"""Where a call's output is in all that this process has written, which goes through two pipes to the governor."""

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
# for when this process dies in it; and a number that is odd while the governor is between taking and counting. Those
# of standard error come after those of standard output.
_TAKEN, _BEGUN, _MOVING = range(3)
_SLOTS = 3

# How many bytes were written to standard output, and to standard error.
Positions = tuple[int, int]


class Log:
    """Finds out how many bytes this process and its children have written to standard output and error."""

    __slots__ = ("_fds", "_slots", "_unread")

    def __init__(self, page: int, outputs: tuple[int, int]) -> None:
        """`page`: a descriptor, which is closed; `outputs`: those of the pipes, of which copies are kept."""
        self._slots = memoryview(mmap.mmap(page, _PAGE_BYTES)).cast("Q")
        os.close(page)
        self._fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in outputs]
        self._unread = array.array("i", [0])

    def positions(self) -> Positions:
        """How many bytes were written so far."""
        return self._position(0, 0), self._position(1, _SLOTS)

    def _position(self, pipe: int, first: int) -> int:
        slots = self._slots
        unread = self._unread
        while True:
            moving = slots[first + _MOVING]
            taken = slots[first + _TAKEN]
            fcntl.ioctl(self._fds[pipe], termios.FIONREAD, unread, True)
            # If the governor took some meanwhile, they may be counted twice or not at all.
            if moving == slots[first + _MOVING] and not moving & 1:
                return taken + unread[0]

    def begin(self) -> Positions:
        """A call begins; returns the positions."""
        positions = self.positions()
        self._slots[_BEGUN], self._slots[_SLOTS + _BEGUN] = positions
        return positions


def open_log() -> Log | None:
    """The log; None where nobody counts, as the process was not started by a governor."""
    page = os.environ.pop(PAGE_VARIABLE, None)
    if page is None:
        return None
    try:
        return Log(int(page), (1, 2))
    except (OSError, ValueError):
        return None
