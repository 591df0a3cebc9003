"""A file that is read into bytes, or through a memory mapping where it is large."""

from __future__ import annotations

import errno
import os

from .errors import RainException
from .large_bytes import LARGE, read_large
from .mapping import map_file

# Reading a smaller file is quicker than mapping it, and a process can have some 65,000 mappings only.
MAPPED_BYTES_MIN = 256 << 10
# A file that is gone has a mapping more for the first one who wants to write to it, from this size on.
PRIVATE_BYTES_MIN = 1 << 20


class MappedFile:
    """A read-only file: read when it is first looked at, as a mapping if it is large; copied into bytes at most once.

    Any number of threads may look at it, and any number of such files may be there: none has a descriptor between two
    calls. Once it was read, the content stays there also when the file is removed.
    """

    __slots__ = ("_bytes", "_part", "_private", "_view", "path")

    def __init__(self, path: str) -> None:
        self.path: str | None = path
        # Threads that are here at the same time may both set these; the contents are equal.
        self._view: memoryview | None = None
        self._bytes: bytes | None = None
        # Made by detach() for the first one who wants it.
        self._private: memoryview | None = None
        # The part that was read last.
        self._part: tuple[int, bytes] | None = None

    def detach(self) -> None:
        """Read or map the file and forget its path, where it need not stay."""
        self.view()
        if self._bytes is None and self.view().nbytes >= PRIVATE_BYTES_MIN:
            self._private = self.private()
        self.path = None

    def view(self) -> memoryview:
        """The content of the file, without a copy if it is large."""
        if self._view is None:
            self._load(MAPPED_BYTES_MIN)
            assert self._view is not None
        return self._view

    def private(self) -> memoryview | None:
        """A mapping of the file for the caller alone, which may write to it; None where there can be none.

        What is written there is seen by nobody else, and changes no file.
        """
        private, self._private = self._private, None
        if private is not None or self.path is None:
            return private
        try:
            with open(self.path, "rb", buffering=0) as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                return map_file(fd, size, writable=True) if size >= MAPPED_BYTES_MIN else None
        except OSError:
            return None

    def read(self, start: int, size: int) -> bytes:
        """A part of the content as bytes; the part that was read last is remembered."""
        part = self._part
        if part is None or part[0] != start or len(part[1]) != size:
            part = self._part = start, self._read_part(start, size)
        return part[1]

    def _read_part(self, start: int, size: int) -> bytes:
        if self.path is not None:
            try:
                with open(self.path, "rb", buffering=0) as file:
                    content = read_large(file.fileno(), size, start)
            except OSError:
                content = None
            if content is not None:
                return content
        return bytes(self.view()[start : start + size])

    def bytes(self) -> bytes:
        """The content of the file as bytes."""
        if self._bytes is None:
            if self._view is None:
                # One copy is enough for both, and reading is quicker than copying from a mapping.
                self._load(None)
            else:
                self._bytes = bytes(self._view)
            assert self._bytes is not None
        return self._bytes

    def _load(self, mapped_from: int | None) -> None:
        """Map the file if it has that many bytes, else read it."""
        path = self.path
        assert path is not None
        try:
            with open(path, "rb", buffering=0) as file:
                fd = file.fileno()
                size = os.fstat(fd).st_size
                view = _map(fd, size) if mapped_from is not None and size >= mapped_from else None
                if view is None:
                    content = _read(fd, size)
                    self._bytes = content
                    view = memoryview(content)
                self._view = view
        except OSError as error:
            hint = ""
            if error.errno in (errno.EMFILE, errno.ENFILE):
                hint = " (close some, or raise the limit: ulimit -n)"
            raise RainException(f"The data in {path} cannot be read: {error.strerror or error}{hint}") from None


def _map(fd: int, size: int) -> memoryview | None:
    """The file as a mapping; None where it has to be read instead."""
    try:
        return map_file(fd, size)
    except OSError as error:
        # There are as many mappings as a process can have.
        if error.errno == errno.ENOMEM:
            return None
        raise


def _read(fd: int, size: int) -> bytes:
    content = read_large(fd, size) if size >= LARGE else None
    if content is not None:
        return content
    pieces = []
    position = 0
    while position < size:
        pieces.append(os.pread(fd, size - position, position))
        if not pieces[-1]:
            raise OSError(f"it has become shorter while it was read: {position} of {size} bytes")
        position += len(pieces[-1])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
