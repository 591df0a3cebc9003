"""Directories as tar archives."""

from __future__ import annotations

import io
import os
import posixpath
import shutil
import stat
import tarfile
from typing import Any

from .errors import RainException
from .links import link_inside, roots_of

_BLOCK = 512
_NAME_BYTES_MAX = 100
_SIZE_MAX = 8**11 - 1
_MTIME_MAX = 8**11 - 1
_READ_SIZE = 1 << 20
# Links that lead to links, after which Linux gives up.
_LINKS_MAX = 40


def pack_directory(path: str) -> bytes:
    """A tar archive of the content of a directory, names relative to it, always in the same order.

    It has what :mod:`tarfile` would write, but for owners, parts of a second, and links by absolute paths into the
    directory, which become relative. For many small files, tarfile takes
    seven times as long.

    Raises:
        OSError: Something cannot be read.
        RainException: There is a device or a fifo.
    """
    buffer = io.BytesIO()
    write = buffer.write
    linked: dict[tuple[int, int], str] = {}
    # What is still to come of the directory, and of each of those inside of it that are being packed; the next is last.
    roots = roots_of(path)
    levels = [_listed(path)]
    prefixes = [""]
    while levels:
        if not levels[-1]:
            levels.pop()
            prefixes.pop()
            continue
        entry = levels[-1].pop()
        name = prefixes[-1] + entry.name
        status = entry.stat(follow_symlinks=False)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            first = linked.setdefault((status.st_ino, status.st_dev), name) if status.st_nlink > 1 else name
            if first is not name:
                write(_header(name, status, b"1", target=first))
            else:
                _pack_file(buffer, entry.path, _header(name, status, b"0", size=status.st_size), status.st_size)
        elif stat.S_ISDIR(mode):
            write(_header(name + "/", status, b"5"))
            levels.append(_listed(entry.path))
            prefixes.append(name + "/")
        elif stat.S_ISLNK(mode):
            write(_header(name, status, b"2", target=link_inside(os.readlink(entry.path), roots, name)))
        elif not stat.S_ISSOCK(mode):
            # What a socket is goes with the process that has made it; there is nothing to keep.
            raise RainException(f"{entry.path!r} is neither a file, a directory nor a link, and cannot be in an object")
    write(bytes(2 * _BLOCK))
    write(bytes(-buffer.tell() % tarfile.RECORDSIZE))
    return buffer.getvalue()


def _listed(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name, reverse=True)


def _pack_file(buffer: io.BytesIO, path: str, header: bytes, size: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        content = os.read(fd, min(size, _READ_SIZE))
        if len(content) == size:
            buffer.write(header + content + bytes(-size % _BLOCK))
            return
        buffer.write(header)
        rest = size
        while content:
            buffer.write(content)
            rest -= len(content)
            content = os.read(fd, min(rest, _READ_SIZE))
        if rest:
            raise OSError(f"{path!r} has become shorter while it was read: {size - rest} of {size} bytes")
        buffer.write(bytes(-size % _BLOCK))
    finally:
        os.close(fd)


def _header(name: str, status: os.stat_result, kind: bytes, *, size: int = 0, target: str = "") -> bytes:
    """The header of a member; what does not fit into it is in an extended one before it."""
    name_bytes = name.encode(errors="surrogateescape")
    target_bytes = target.encode(errors="surrogateescape") if target else b""
    mtime = int(status.st_mtime)
    records = b""
    if len(name_bytes) > _NAME_BYTES_MAX or not name_bytes.isascii():
        records += _record(b"path", name_bytes)
    if target_bytes and (len(target_bytes) > _NAME_BYTES_MAX or not target_bytes.isascii()):
        records += _record(b"linkpath", target_bytes)
    if size > _SIZE_MAX:
        records += _record(b"size", b"%d" % size)
    if not 0 <= mtime <= _MTIME_MAX:
        records += _record(b"mtime", b"%d" % mtime)
    extended = b""
    if records:
        if not _is_utf8(name_bytes + target_bytes):
            # As tarfile writes it: names are bytes of any kind.
            records = _record(b"hdrcharset", b"BINARY") + records
        extended = _block(b"././@PaxHeader", 0, len(records), 0, b"x", b"") + records + bytes(-len(records) % _BLOCK)
    return extended + _block(
        name_bytes[:_NAME_BYTES_MAX],
        status.st_mode & 0o7777,
        min(size, _SIZE_MAX),
        min(max(mtime, 0), _MTIME_MAX),
        kind,
        target_bytes[:_NAME_BYTES_MAX],
    )


def _block(name: bytes, mode: int, size: int, mtime: int, kind: bytes, target: bytes) -> bytes:
    """A header in the form of POSIX 1003.1-1990 (ustar), of an owner that is not told."""
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, mtime)
    # While it is summed up, the checksum itself is eight spaces.
    checksum = sum(name) + sum(fields) + 8 * 0x20 + kind[0] + sum(target) + _SUM_OF_MAGIC
    head = b"%b%b%06o\0 %b%b" % (name.ljust(_NAME_BYTES_MAX, b"\0"), fields, checksum, kind, target)
    return head.ljust(257, b"\0") + _MAGIC_TO_END


_MAGIC_TO_END = b"ustar\x0000".ljust(_BLOCK - 257, b"\0")
_SUM_OF_MAGIC = sum(_MAGIC_TO_END)


def _record(keyword: bytes, value: bytes) -> bytes:
    """A record of an extended header: its length, which counts itself, a keyword and a value."""
    length = len(keyword) + len(value) + 3
    total = length + len(b"%d" % length)
    if len(b"%d" % total) != len(b"%d" % length):
        total = length + len(b"%d" % total)
    return b"%d %b=%b\n" % (total, keyword, value)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def unpack_directory(data: bytes, path: str) -> None:
    """Make a directory from a tar archive, or add to one that is there; nothing in it may lead outside.

    Raises:
        RainException: It is no archive, or one with a special file or with a name or link that leads outside.
        OSError: Something cannot be written.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = [(_inner_name(member.name), member) for member in archive.getmembers()]
            _check_links(members)
            os.makedirs(path, exist_ok=True)
            unpacking = _Unpacking(archive, memoryview(data), path)
            for name, member in members:
                unpacking.add(name, member)
    except tarfile.TarError as error:
        raise RainException(f"The archive of a directory cannot be read: {error}") from None


class _Unpacking:
    """Puts members into a directory, never through a link."""

    def __init__(self, archive: tarfile.TarFile, data: memoryview, path: str) -> None:
        self._archive = archive
        self._data = data
        self._path = path
        # Names of what is known to be a directory, and not a link to one.
        self._directories = {""}

    def add(self, name: str, member: tarfile.TarInfo) -> None:
        path = os.path.join(self._path, name)
        parent = posixpath.dirname(name)
        self._make_directory(parent)
        if member.isdir():
            self._make_directory(name)
            os.chmod(path, member.mode & 0o7777 | 0o700)
            return
        if os.path.lexists(path):
            os.unlink(path)
        if member.issym():
            os.symlink(member.linkname, path)
        elif member.islnk():
            self._link(_inner_name(member.linkname), path)
        else:
            self._write(member, path)

    def _make_directory(self, name: str) -> None:
        if name in self._directories:
            return
        self._make_directory(posixpath.dirname(name))
        path = os.path.join(self._path, name)
        try:
            os.mkdir(path)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise RainException(
                    f"The archive of a directory puts something into {name!r}, which is no directory but a link or file"
                ) from None
        self._directories.add(name)

    def _link(self, source: str, path: str) -> None:
        self._make_directory(posixpath.dirname(source))
        source = os.path.join(self._path, source)
        try:
            os.link(source, path, follow_symlinks=False)
        except OSError:
            # Not all file systems have links.
            shutil.copy2(source, path, follow_symlinks=False)

    def _write(self, member: tarfile.TarInfo, path: str) -> None:
        content: Any = self._data[member.offset_data : member.offset_data + member.size]
        if member.issparse():
            file = self._archive.extractfile(member)
            content = memoryview(file.read() if file is not None else b"")
        if len(content) != member.size:
            raise RainException(f"The archive of a directory ends in the middle of {member.name!r}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while content:
                content = content[os.write(fd, content) :]
            os.fchmod(fd, member.mode & 0o7777 | 0o200)
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)


def copy_directory(source: str, path: str) -> None:
    """A copy of a read-only directory that its owner may write to."""
    shutil.copytree(source, path, symlinks=True, dirs_exist_ok=True)
    for root, _, files in os.walk(path):
        os.chmod(root, os.stat(root).st_mode | 0o700)
        for name in files:
            file = os.path.join(root, name)
            if not os.path.islink(file):
                os.chmod(file, os.stat(file).st_mode | 0o200)


def _inner_name(name: str) -> str:
    """The name of a member without parts that say nothing; an error if it leads outside."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise _leaves(name)
    return "/".join(parts)


def _check_links(members: list[tuple[str, tarfile.TarInfo]]) -> None:
    """Check what members are, and that no link leads outside, on whatever way through other links."""
    links = {name: member.linkname for name, member in members if member.issym()}
    for name, member in members:
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise RainException(f"The archive of a directory has a special file: {member.name!r}")
        if member.issym():
            _follow(name, links)
        elif member.islnk():
            _inner_name(member.linkname)


def _follow(name: str, links: dict[str, str]) -> None:
    """Go where a link leads, as the system would; an error if this is outside."""
    here: list[str] = []
    ahead = name.split("/")[::-1]
    followed = 0
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise _leaves(name)
            here.pop()
            continue
        here.append(part)
        target = links.get("/".join(here))
        if target is not None:
            if target.startswith("/"):
                raise _leaves(name)
            followed += 1
            if followed > _LINKS_MAX:
                # A circle, which leads nowhere.
                return
            here.pop()
            ahead += target.split("/")[::-1]


def _leaves(name: str) -> RainException:
    return RainException(f"The archive of a directory has a path that leaves it: {name!r}")
