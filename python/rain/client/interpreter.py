"""How a governor starts this interpreter so that it finds the package that the client has."""

from __future__ import annotations

import contextlib
import os
import sys

# What an executor imports, beside the standard library.
_NEEDED = ("rain", "msgspec", "cloudpickle")


def interpreter() -> str:
    """The path of the interpreter, and in a line each the directories that it has to be told of.

    Those are where the package and what it needs were found, if this is by ``PYTHONPATH`` or by something else that
    only this process has.
    """
    from importlib.machinery import PathFinder

    found = []
    for name in _NEEDED:
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.origin is not None:
            found.append(os.path.dirname(os.path.dirname(os.path.abspath(spec.origin))))
    missing = [folder for folder in dict.fromkeys(found) if "\n" not in folder and ":" not in folder]
    if missing:
        itself = _folders_of_interpreter()
        missing = [folder for folder in missing if folder not in itself]
    return "\n".join([sys.executable, *missing])


def _folders_of_interpreter() -> set[str]:
    """Where the interpreter looks for packages without being told."""
    site = sys.modules.get("site")
    if site is None:
        return set()
    folders = [*site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    found = set()
    for folder in folders:
        found.add(os.path.abspath(folder))
        # Files in them may name further ones.
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if name.endswith(".pth"):
                    with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
                        lines = [line.strip() for line in file]
                    found.update(os.path.abspath(os.path.join(folder, line)) for line in lines if line)
    return found
