"""Files that are read or mapped: by many threads, and many files at once."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rain.common import RainException, mapped_file, mapping
from rain.common.mapped_file import MAPPED_BYTES_MIN, MappedFile

SIZES = [0, 1, 70_000, MAPPED_BYTES_MIN - 1, MAPPED_BYTES_MIN, MAPPED_BYTES_MIN + 4097]


def content(size: int) -> bytes:
    return (b"0123456789" * (size // 10 + 1))[:size]


def write(path: Path, size: int) -> str:
    path.write_bytes(content(size))
    return str(path)


def mappings(path: str) -> int:
    return Path("/proc/self/maps").read_text().count(path)


def descriptors(path: str) -> int:
    found = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            found += os.readlink(entry.path).startswith(path)
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("first", ["view", "bytes", "detach"])
@pytest.mark.parametrize("size", SIZES)
def test_content(tmp_path: Path, size: int, first: str) -> None:
    path = write(tmp_path / "file", size)
    file = MappedFile(path)
    getattr(file, first)()
    assert descriptors(path) == 0
    assert mappings(path) == (1 if size >= MAPPED_BYTES_MIN and first != "bytes" else 0)
    os.unlink(path)
    assert file.view() == content(size) == file.bytes()
    assert file.view().readonly
    assert file.bytes() is file.bytes()
    assert file.path == (None if first == "detach" else path)
    part = file.view()[size // 2 :]
    del file
    gc.collect()
    # A part of a mapping keeps it.
    assert part == content(size)[size // 2 :]
    del part
    gc.collect()
    assert mappings(path) == 0


def test_without_the_calls_for_mappings_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_find_calls", lambda: None)
    path = write(tmp_path / "file", MAPPED_BYTES_MIN)
    file = MappedFile(path)
    file.detach()
    assert mappings(path) == 1 and file.bytes() == content(MAPPED_BYTES_MIN)


def test_more_mappings_than_a_process_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, size: int) -> memoryview:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(mapped_file, "map_file", refuse)
    path = write(tmp_path / "file", MAPPED_BYTES_MIN)
    file = MappedFile(path)
    assert file.view() == content(MAPPED_BYTES_MIN) and mappings(path) == 0


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(RainException, match=f"The data in {missing} cannot be read: No such file"):
        MappedFile(missing).view()
    path = write(tmp_path / "file", 1000)

    def read_less(fd: int, count: int, position: int) -> bytes:
        return b"" if position else b"x" * 10

    monkeypatch.setattr(os, "pread", read_less)
    with pytest.raises(RainException, match="become shorter while it was read: 10 of 1000 bytes"):
        MappedFile(path).view()


def test_threads_never_see_another_file(tmp_path: Path) -> None:
    """With a descriptor that threads share, one closes it while another is about to read, and its number is reused."""
    wanted, other = write(tmp_path / "wanted", MAPPED_BYTES_MIN), write(tmp_path / "other", 2 * MAPPED_BYTES_MIN)
    ended = threading.Event()
    wrong: list[object] = []

    def open_others() -> None:
        while not ended.is_set():
            os.close(os.open(other, os.O_RDONLY))

    def look(file: MappedFile, barrier: threading.Barrier, copied: bool) -> None:
        barrier.wait(30)
        try:
            seen = file.bytes() if copied else file.view()
            if len(seen) != MAPPED_BYTES_MIN:
                wrong.append(len(seen))
        except Exception as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    noise = threading.Thread(target=open_others)
    noise.start()
    try:
        for _ in range(300):
            file, barrier = MappedFile(wanted), threading.Barrier(3)
            threads = [threading.Thread(target=look, args=(file, barrier, number == 0)) for number in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    finally:
        ended.set()
        noise.join(30)
        sys.setswitchinterval(interval)
    assert wrong == []


MANY = """
import resource, sys
from rain.common import RainException
from rain.common.mapped_file import MappedFile
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
paths = sys.argv[1:]
files = [MappedFile(path) for _ in range(100) for path in paths]
for file in files:
    file.detach()
assert all(len(file.view()) == len(file.bytes()) > 70_000 for file in files)
taken = []
try:
    while True:
        taken.append(open(paths[0], "rb"))
except OSError:
    pass
try:
    MappedFile(paths[0]).view()
except RainException as error:
    print(error)
"""


def test_more_files_than_descriptors(tmp_path: Path) -> None:
    paths = [write(tmp_path / "small", 70_001), write(tmp_path / "large", MAPPED_BYTES_MIN)]
    ran = subprocess.run([sys.executable, "-c", MANY, *paths], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.strip() == (
        f"The data in {paths[0]} cannot be read: Too many open files (close some, or raise the limit: ulimit -n)"
    ), ran.stderr
