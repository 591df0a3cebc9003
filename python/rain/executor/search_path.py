"""The module search path of the client, so that modules are found as the client finds them."""

from __future__ import annotations

import os
import sys

# What this process was started with: the package itself must be found, whatever the client has. The directory in which
# the process was started is no place for modules.
_own = [entry for entry in sys.path if entry not in ("", os.getcwd())]
_used: list[str | bytes] = []


def use(path: list[str | bytes]) -> None:
    """Look for modules in the client's order, and then where this process would.

    `path` has bytes where an entry is not UTF-8.
    """
    global _used
    if path == _used:
        return
    entries = [entry if isinstance(entry, str) else os.fsdecode(entry) for entry in path]
    sys.path[:] = entries + [entry for entry in _own if entry not in entries]
    _used = list(path)
