"""Symbolic links inside of a directory that becomes an object."""

from __future__ import annotations

import os


def roots_of(path: str) -> tuple[str, ...]:
    """The absolute paths by which links lead into a directory: as it is named, and without links above it."""
    return tuple({os.path.abspath(path), os.path.realpath(path)})


def link_inside(target: str, roots: tuple[str, ...], name: str) -> str:
    """Where the link at the relative path ``name`` is to lead to; relative, if ``target`` is in the directory."""
    for root in roots:
        rest = target[len(root) + 1 :]
        if (target == root or target.startswith(root + "/")) and ".." not in rest.split("/"):
            return "../" * name.count("/") + rest or "."
    return target


def keep_links_inside(path: str) -> None:
    """Make absolute links into a directory relative, before it goes to another place."""
    roots = roots_of(path)
    for parent, directories, files in os.walk(path):
        for entry in directories + files:
            link = os.path.join(parent, entry)
            if not os.path.islink(link):
                continue
            target = os.readlink(link)
            inside = link_inside(target, roots, os.path.relpath(link, path))
            if inside != target:
                os.unlink(link)
                os.symlink(inside, link)
