"""A file that is read through a memory mapping, or into bytes."""

from __future__ import annotations

import mmap
import os

from .errors import RainException
from .large_bytes import LARGE, read_large


class MappedFile:
    """A read-only file: mapped when it is first looked at, copied into bytes at most once.

    Once it was opened, the content stays there also when the file is removed.
    """

    __slots__ = ("_bytes", "_fd", "_view", "path")

    def __init__(self, path: str) -> None:
        self.path: str | None = path
        self._fd = -1
        self._view: memoryview | None = None
        self._bytes: bytes | None = None

    def open(self) -> int:
        """Open the file, if it is not open; returns the file descriptor."""
        if self._fd < 0:
            assert self.path is not None
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise RainException(f"The data in {self.path} cannot be read: {error.strerror}") from None
        return self._fd

    def detach(self) -> None:
        """Open the file and forget its path, where it need not stay."""
        self.open()
        self.path = None

    def view(self) -> memoryview:
        """The content of the file, without a copy."""
        if self._view is None:
            fd = self.open()
            size = os.fstat(fd).st_size
            self._view = memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b"")
            self._close()
        return self._view

    def bytes(self) -> bytes:
        """The content of the file as bytes."""
        if self._bytes is None:
            if self._view is None:
                fd = self.open()
                size = os.fstat(fd).st_size
                if size >= LARGE:
                    self._bytes = read_large(fd, size)
            if self._bytes is None:
                self._bytes = bytes(self.view())
            elif self._view is None:
                # One copy is enough for both.
                self._view = memoryview(self._bytes)
                self._close()
        return self._bytes

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self._close()
