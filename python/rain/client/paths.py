"""Checks of the paths in definitions of tasks."""

from __future__ import annotations

import os
from typing import Any

from ..common.errors import UsageError


def check_relative(given: Any, what: str, *, itself: bool = False) -> str:
    """Check a path that must stay in a directory of Rain's; there, names are UTF-8.

    Args:
        given: The path.
        what: What it is the path of, for messages.
        itself: Whether it may be that directory itself: "" or ".".
    """
    if itself and isinstance(given, (str, os.PathLike)) and os.fspath(given) in ("", ".", "./"):
        return "."
    _check_utf8(given, what)
    path = _as_string(given, what)
    if os.path.isabs(path):
        raise UsageError(f"The path of {what} must be relative: {path!r}")
    if ".." in path.split("/"):
        raise UsageError(f"The path of {what} must not leave its directory: {path!r}")
    if os.path.normpath(path) == ".":
        raise UsageError(f"The path of {what} does not name anything: {path!r}")
    return path


def check_absolute(given: Any, what: str) -> str | bytes:
    """Check a path in the file system of a governor; returns bytes where it cannot be text.

    Text may have what :func:`os.fsdecode` makes of such bytes.
    """
    try:
        path = os.fsencode(given)
    except (TypeError, UnicodeEncodeError):
        return _as_string(given, what)
    try:
        text = _as_string(path.decode(), what)
    except UnicodeDecodeError:
        text = os.fsdecode(path)
        if b"\0" in path:
            raise UsageError(f"The path of {what} is not usable: {given!r}") from None
    if not os.path.isabs(text):
        raise UsageError(
            f"The path of {what} must be absolute: {text!r}: governors work elsewhere, each task in an empty directory;"
            " give an absolute path of theirs, or send what the client has as blob(...) or directory(...)"
        )
    return text if is_utf8(text) else path


def check_disjoint(paths: list[str], what: str) -> None:
    """Check that no path is used twice or lies below another one."""
    used: set[str] = set()
    for path in map(os.path.normpath, paths):
        if path in used:
            raise UsageError(f"Path {path!r} is used twice in {what}")
        used.add(path)
    for path in used:
        parent = os.path.dirname(path)
        while parent:
            if parent in used:
                raise UsageError(f"Path {path!r} lies below {parent!r} in {what}")
            parent = os.path.dirname(parent)


def _check_utf8(given: Any, what: str) -> None:
    try:
        name = os.fsencode(given)
        name.decode()
    except UnicodeError:
        raise UsageError(
            f"The path of {what} is not UTF-8: {given!r}. In a task's directory only such names can be given; put what "
            "has another one into a directory that is passed as a whole, and rename it in the task"
        ) from None
    except TypeError:
        # What is no path is told with other words.
        return


def _as_string(path: Any, what: str) -> str:
    try:
        path = os.fspath(path)
    except TypeError:
        raise UsageError(f"The path of {what} is a string, not {type(path).__name__}: {path!r}") from None
    if not isinstance(path, str) or not path or "\0" in path or not is_utf8(path):
        raise UsageError(f"The path of {what} is not usable: {path!r}")
    return path


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded: the names of some files cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
