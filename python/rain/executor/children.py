"""What tasks start: all of it ends with them, whatever process groups and sessions it made.

Orphans become children of this process (``PR_SET_CHILD_SUBREAPER``), so that everything that a task has started is
below it. A process that has no variable ``RAIN_TASK`` in its environment and leads, or is in, a session of its own is
meant to live on: ``env -u RAIN_TASK setsid PROGRAM``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Any, NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_TASK_VARIABLE = b"RAIN_TASK="
# For how long processes that were killed are not looked at, seconds.
_PAUSE = 0.0005
# How long to wait for their end, seconds; one may hang in the system.
_PATIENCE = 15.0
# How long it may take to execute a program that has begun to be, seconds.
_EXECUTION_TIME_MAX = 2.0


def adopt_orphans() -> bool:
    """Become the parent of all descendants whose parent ends; False if the system does not do this."""
    try:
        # The package ctypes takes ten times as long to import as what it is made of.
        import _ctypes

        calls: Any = _ctypes
        address = calls.dlsym(calls.dlopen(None, 0), "prctl")
        return bool(calls.call_function(address, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError, TypeError):
        return False


def has_children() -> bool:
    """Whether this process has any child, also one that has ended and nobody has asked for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Left(NamedTuple):
    """What a task has left behind.

    Attributes:
        reason: Why this process must not be used for another task; None if nothing lived.
        live_on: Whether there is something that is meant to, for which this process has to end by itself: the
            governor ends everything that is below one that it ends.
    """

    reason: str | None
    live_on: bool


def end_children() -> Left:
    """End what a task has left behind; helpers of `multiprocessing` stay as long as the session does."""
    _let_owners_reap()
    spared = _helpers()
    ended: set[int] = set()
    survivors: set[int] = set()
    frozen: set[int] = set()
    end = time.monotonic() + _PATIENCE
    while True:
        living, zombies = _descendants(spared)
        living -= survivors
        if not living and not zombies:
            break
        if time.monotonic() > end:
            return Left(f"processes of a task cannot be ended: {sorted(living | zombies)}", False)
        for pid in zombies:
            _reap(pid)
        for pid in living - frozen:
            if _lives_on(pid):
                survivors.add(pid)
            else:
                ended.add(pid)
                # It starts nothing while the others are looked for.
                _kill(pid, signal.SIGSTOP)
        if living <= frozen:
            for pid in living:
                _kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE)
        frozen = living
    if survivors:
        return Left(f"processes of a task live on: {sorted(survivors)}", True)
    return Left(f"a task has left {len(ended)} processes" if ended else None, False)


def _let_owners_reap() -> None:
    """Python's own objects for children that have ended learn of that."""
    for module, function in (("subprocess", "_cleanup"), ("multiprocessing.process", "active_children")):
        owner = sys.modules.get(module)
        if owner is not None:
            with contextlib.suppress(Exception):
                getattr(owner, function)()


def _helpers() -> set[int]:
    """Processes that `multiprocessing` starts once, and could not do without afterwards."""
    found = set()
    for module, helper, attribute in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        pid = getattr(getattr(sys.modules.get(module), helper, None), attribute, None)
        if isinstance(pid, int):
            found.add(pid)
    return found


def _descendants(spared: set[int]) -> tuple[set[int], set[int]]:
    """The processes below this one that live, without the spared ones; and its children that have ended."""
    children: dict[int, list[tuple[int, bool]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            status = _status(int(name))
            if status is not None:
                children.setdefault(status[1], []).append((int(name), status[0] in "ZX"))
    living: set[int] = set()
    zombies: set[int] = set()
    own = os.getpid()
    todo = [own]
    while todo:
        parent = todo.pop()
        for pid, has_ended in children.get(parent, ()):
            if not has_ended:
                todo.append(pid)
                living.add(pid)
            elif parent == own:
                # Others become children of this process when their parent ends.
                zombies.add(pid)
    return living - spared, zombies - spared


def _status(pid: int) -> tuple[str, int, int] | None:
    """State, parent and session of a process; None if there is none."""
    try:
        state, parent, _, session, *_ = _fields(pid)
    except (OSError, ValueError):
        return None
    return state.decode(), int(parent), int(session)


def _fields(pid: int) -> list[bytes]:
    """What the system tells of a process, from its state on, which is field 3 in proc(5)."""
    with open(f"/proc/{pid}/stat", "rb", 0) as file:
        # The name of the program, which comes before, may contain anything.
        return file.read(4096).rpartition(b")")[2].split()


def _lives_on(pid: int) -> bool:
    """Whether a process is meant to live on when its task is over."""
    status = _status(pid)
    if status is None or status[2] == os.getsid(0):
        return False
    variables = _environment(pid)
    return variables is not None and not any(entry.startswith(_TASK_VARIABLE) for entry in variables.split(b"\0"))


def _environment(pid: int) -> bytes | None:
    """The environment that a process's program was started with; None if it has ended, or this may not be read.

    A process that executes another program just then shows nothing, or a part: it is looked at again.
    """
    end = time.monotonic() + _EXECUTION_TIME_MAX
    while time.monotonic() < end:
        try:
            fields = _fields(pid)
            with open(f"/proc/{pid}/environ", "rb", 0) as file:
                variables = file.readall()
            # The environment starts and ends at fields 50 and 51 of proc(5), at 0 before it is there.
            first, last = int(fields[50 - 3]), int(fields[51 - 3])
        except (OSError, ValueError, IndexError):
            return None
        if fields[0] in (b"Z", b"X"):
            return None
        if last != 0 and len(variables) == last - first:
            return variables
        time.sleep(_PAUSE)
    return None


def _kill(pid: int, number: int) -> None:
    # Gone, or another user's.
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    # Somebody else may have been quicker.
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)
