"""Forked children: their copies of the parent's clients say that they cannot be used, and leave the parent's alone.

A connection belongs to one process. A child that reads from it takes replies away from its parent, and one that sends
on it, or shuts it down, breaks the parent's sessions. So a child closes its descriptors of it, and does nothing else,
as soon as it begins.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

_PARENT = os.getpid()


class Forkable(Protocol):
    """Something that has to do with another process or another thread."""

    def _forked(self, why: str) -> None:
        """In a child: say from now on why this cannot be used; close descriptors, make locks anew, wait for nothing."""


_all: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch_forks(thing: Forkable) -> None:
    """Have an object told, for as long as it lives, that it is in a forked child."""
    _all.add(thing)


def _in_child() -> None:
    global _PARENT
    parent, _PARENT = _PARENT, os.getpid()
    why = (
        f"This process ({_PARENT}) was forked from process {parent}, to which the client belongs: "
        "make a new Client() here, or multiprocessing's processes with the start method 'spawn'"
    )
    for thing in list(_all):
        thing._forked(why)


os.register_at_fork(after_in_child=_in_child)
