"""Where the client finds its modules, and which executor processes may therefore run its functions.

Executors find modules as the client does: its search path travels with each kind of task. Processes that have imported
modules through one search path are used for no other one.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import NamedTuple


class SearchPath(NamedTuple):
    """The module search path at one moment."""

    # As `sys.path` has it.
    given: list[str]
    # With absolute paths, in the same order; bytes where a path is not UTF-8.
    entries: tuple[str | bytes, ...]
    # The current directory, if an entry depends on it.
    directory: str | None
    digest: str

    def is_current(self) -> bool:
        """Whether modules are still looked for in the same places."""
        return self.given == sys.path and (self.directory is None or self.directory == _current_directory())


_last: SearchPath | None = None


def search_path() -> SearchPath:
    """The module search path of this process."""
    global _last
    last = _last
    if last is not None and last.is_current():
        return last
    given = list(sys.path)
    # The import system passes over what is no string.
    names = [entry for entry in given if isinstance(entry, str)]
    directory = _current_directory() if not all(map(os.path.isabs, names)) else None
    absolute = [_absolute(entry, directory) for entry in names if directory or os.path.isabs(entry)]
    entries = tuple(map(_wire, absolute))
    digest = hashlib.blake2b(b"\0".join(map(os.fsencode, absolute)), digest_size=12).hexdigest()
    _last = SearchPath(given, entries, directory, digest)
    return _last


def _absolute(entry: str, directory: str | None) -> str:
    if directory is None or os.path.isabs(entry):
        return entry
    return os.path.join(directory, entry) if entry else directory


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        # It was removed, so nothing is found there.
        return ""


def _wire(path: str) -> str | bytes:
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
