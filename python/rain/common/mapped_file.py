"""A file that is read through a memory mapping."""

from __future__ import annotations

import mmap
import os

from .errors import RainException


class MappedFile:
    """A read-only file: mapped when it is first looked at, copied into bytes at most once."""

    __slots__ = ("_bytes", "_view", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._view: memoryview | None = None
        self._bytes: bytes | None = None

    def view(self) -> memoryview:
        """The content of the file, without a copy."""
        if self._view is None:
            try:
                fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise RainException(f"The data in {self.path} cannot be read: {error.strerror}") from None
            try:
                size = os.fstat(fd).st_size
                self._view = memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b"")
            finally:
                os.close(fd)
        return self._view

    def bytes(self) -> bytes:
        """The content of the file as bytes."""
        if self._bytes is None:
            self._bytes = bytes(self.view())
        return self._bytes
