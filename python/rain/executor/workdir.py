"""The directory of an executor: a clean working directory for each task, and room for its outputs."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Sequence

from ..common.errors import RainException

TIMESTAMP_RESOLUTION = 50_000_000


class Workdir:
    """Keeps the current directory of the process at an empty directory, and names files for outputs."""

    _current: str
    _fd: int
    # When the directory was changed last, and whether a later change would surely show.
    _changed: int
    _settled: bool
    # Whether nothing was in it after the last task.
    _is_empty: bool

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._count = 0
        self._enter()

    def left(self) -> list[str]:
        """After a task: the names of what it has left in its directory."""
        self._is_empty = False
        status = os.fstat(self._fd)
        # A task may have removed it.
        self._is_empty = status.st_nlink > 0
        # Time stamps have a resolution of some milliseconds: within that, a change need not show.
        if self._settled and status.st_mtime_ns == self._changed:
            return []
        names = os.listdir(self._fd) if self._is_empty else []
        if names:
            self._is_empty = False
        else:
            self._changed = status.st_mtime_ns
            self._settled = time.time_ns() - self._changed > TIMESTAMP_RESOLUTION
        return names

    def renew(self) -> None:
        """After :meth:`left`: be in an empty directory again, the same one if it still is empty."""
        os.fchdir(self._fd)
        if self._is_empty:
            return
        old = self._current
        os.close(self._fd)
        os.chdir(self.path)
        self._enter()
        remove(old)

    def descriptors(self) -> set[int]:
        """The descriptors that this has open."""
        return {self._fd}

    def new_path(self) -> str:
        """A path for an output, which nothing has yet."""
        self._count += 1
        return os.path.join(self.path, f"out-{self._count}")

    def write(self, pieces: Sequence[bytes | bytearray | memoryview]) -> str:
        """Write the pieces of an output into a new file; returns its path."""
        path = self.new_path()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for piece in pieces:
                rest = memoryview(piece).cast("B")
                while rest:
                    rest = rest[os.write(fd, rest) :]
        except OSError as error:
            os.unlink(path)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise RainException(
                    f"No space left for an output of {size_of(pieces)} bytes in the working directory {self.path}"
                ) from None
            raise RainException(f"An output cannot be written to {self.path}: {error.strerror}") from None
        finally:
            os.close(fd)
        return path

    def _enter(self) -> None:
        self._count += 1
        self._current = os.path.join(self.path, f"task-{self._count}")
        os.mkdir(self._current, 0o700)
        self._changed = 0
        self._settled = False
        self._is_empty = True
        self._fd = os.open(self._current, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._fd)


def size_of(pieces: Iterable[bytes | bytearray | memoryview]) -> int:
    """The bytes of an output in pieces."""
    return sum(piece.nbytes if isinstance(piece, memoryview) else len(piece) for piece in pieces)


def remove(path: str) -> None:
    """Remove a file or a directory, also where a task took away the right to, and however deep it is.

    What cannot be removed, such as a mounted file system, stays.
    """
    parent, name = os.path.split(path)
    try:
        top = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _remove_at(top, name)
    finally:
        os.close(top)


def _remove_at(top: int, name: str) -> None:
    """Remove what has a name in a directory.

    Neither paths nor the stack nor open directories grow with the depth of a tree: a directory in a directory is first
    moved up to the top, where its content is removed in the same way.
    """
    pending = [name]
    count = 0
    while pending:
        name = pending.pop()
        try:
            status = os.stat(name, dir_fd=top, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=top)
                continue
            _allow(status, name, top)
            directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
        except OSError:
            continue
        moved = []
        try:
            for inner in os.listdir(directory):
                try:
                    status = os.stat(inner, dir_fd=directory, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        _allow(status, inner, directory)
                        count += 1
                        place = f"removed-{os.getpid()}-{count}"
                        os.rename(inner, place, src_dir_fd=directory, dst_dir_fd=top)
                        moved.append(place)
                    else:
                        os.unlink(inner, dir_fd=directory)
                except OSError:
                    continue
        finally:
            os.close(directory)
        pending += moved
        try:
            os.rmdir(name, dir_fd=top)
        except OSError:
            continue


def _allow(status: os.stat_result, name: str, directory: int) -> None:
    """Take the right to change a directory, which is needed to move it, too."""
    if status.st_mode & 0o700 != 0o700:
        os.chmod(name, 0o700, dir_fd=directory)
