"""Standard output and error of an executor, which know whether anything was written to them.

Most calls write nothing. To find that out without a call of the system is what makes it cheap to know where the output
of each call begins and ends.
"""

from __future__ import annotations

import errno
import io
from typing import Any, Callable


class Use:
    """Whether a stream was written to, and what makes its descriptor a good one again that a task has closed."""

    __slots__ = ("repair", "seen")

    def __init__(self, repair: Callable[[], None]) -> None:
        self.repair = repair
        self.seen = False


class _Raw(io.FileIO):
    """A descriptor that takes all that it is given: nothing above it writes the rest."""

    def __init__(self, fd: int, use: Use) -> None:
        super().__init__(fd, "w", closefd=True)
        self._use = use

    def write(self, data: Any) -> int:
        self._use.seen = True
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[super().write(rest) or 0 :]
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                self._use.repair()
        return size


class _Text(io.TextIOWrapper):
    def __init__(self, raw: _Raw, use: Use, errors: str, encoding: str) -> None:
        buffer: Any = raw
        super().__init__(buffer, encoding=encoding, errors=errors, line_buffering=True)
        self._use = use

    def write(self, text: str) -> int:
        self._use.seen = True
        return super().write(text)


def open_output(fd: int, use: Use, like: Any) -> Any:
    """A stream for a standard descriptor, which writes line by line, with the encoding of another one."""
    return _Text(_Raw(fd, use), use, like.errors or "strict", like.encoding or "utf-8")
