"""Directories as tar archives."""

from __future__ import annotations

import io
import os
import shutil
import tarfile

from .errors import RainException


def pack_directory(path: str) -> bytes:
    """A tar archive of the content of a directory, names relative to it, always in the same order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(path)):
            archive.add(os.path.join(path, name), arcname=name)
    return buffer.getvalue()


def unpack_directory(data: bytes, path: str) -> None:
    """Make a directory from a tar archive; nothing in it may lead outside."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            # What is in it is checked here; newer Pythons warn where nobody says so.
            archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
            members = archive.getmembers()
            for member in members:
                _check_member(member)
            os.makedirs(path, exist_ok=True)
            for member in members:
                member.mode |= 0o700 if member.isdir() else 0o200
                member.uid, member.gid = os.getuid(), os.getgid()
                archive.extract(member, path, set_attrs=not member.issym())
    except tarfile.TarError as error:
        raise RainException(f"The archive of a directory cannot be read: {error}") from None


def copy_directory(source: str, path: str) -> None:
    """A copy of a read-only directory that its owner may write to."""
    shutil.copytree(source, path, symlinks=True, dirs_exist_ok=True)
    for root, _, files in os.walk(path):
        os.chmod(root, os.stat(root).st_mode | 0o700)
        for name in files:
            file = os.path.join(root, name)
            if not os.path.islink(file):
                os.chmod(file, os.stat(file).st_mode | 0o200)


def _check_member(member: tarfile.TarInfo) -> None:
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise RainException(f"The archive of a directory has a special file: {member.name!r}")
    _check_inside(member.name, member.name)
    if member.issym():
        _check_inside(os.path.join(os.path.dirname(member.name), member.linkname), member.name)
    elif member.islnk():
        _check_inside(member.linkname, member.name)


def _check_inside(target: str, name: str) -> None:
    normal = os.path.normpath(target)
    if os.path.isabs(target) or normal == ".." or normal.startswith("../"):
        raise RainException(f"The archive of a directory has a path that leaves it: {name!r}")
