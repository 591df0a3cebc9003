"""The directory of an executor: a clean working directory for each task, and room for its outputs."""

from __future__ import annotations

import errno
import os
import time

from ..common.errors import RainException

TIMESTAMP_RESOLUTION = 50_000_000


class Workdir:
    """Keeps the current directory of the process at an empty directory, and names files for outputs."""

    _current: str
    _fd: int
    # When the directory was changed last, and whether a later change would surely show.
    _changed: int
    _settled: bool

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._count = 0
        self._enter()

    def renew(self) -> None:
        """After a task: be in an empty directory again, the same one if it still is empty."""
        os.fchdir(self._fd)
        status = os.fstat(self._fd)
        # Time stamps have a resolution of some milliseconds: within that, a change need not show.
        if self._settled and status.st_mtime_ns == self._changed and status.st_nlink:
            return
        # A task may have removed it.
        if status.st_nlink and not os.listdir(self._fd):
            self._changed = status.st_mtime_ns
            self._settled = time.time_ns() - self._changed > TIMESTAMP_RESOLUTION
            return
        old = self._current
        os.close(self._fd)
        os.chdir(self._path)
        self._enter()
        remove(old)

    def new_path(self) -> str:
        """A path for an output, which nothing has yet."""
        self._count += 1
        return os.path.join(self._path, f"out-{self._count}")

    def write(self, data: bytes | bytearray | memoryview) -> str:
        """Write an output into a new file; returns its path."""
        path = self.new_path()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[os.write(fd, rest) :]
        except OSError as error:
            os.unlink(path)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise RainException(
                    f"No space left for an output of {len(data)} bytes in the working directory {self._path}"
                ) from None
            raise RainException(f"An output cannot be written to {self._path}: {error.strerror}") from None
        finally:
            os.close(fd)
        return path

    def _enter(self) -> None:
        self._count += 1
        self._current = os.path.join(self._path, f"task-{self._count}")
        os.mkdir(self._current, 0o700)
        self._changed = 0
        self._settled = False
        self._fd = os.open(self._current, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchdir(self._fd)


def remove(path: str) -> None:
    """Remove a file or a directory, also where a task took away the right to."""
    import shutil

    if not os.path.isdir(path) or os.path.islink(path):
        if os.path.lexists(path):
            os.unlink(path)
        return
    for root, _, _ in os.walk(path):
        os.chmod(root, 0o700)
    # What cannot be removed now goes with the directory of the executor.
    shutil.rmtree(path, ignore_errors=True)
