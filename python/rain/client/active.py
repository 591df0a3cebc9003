"""Which session new tasks and objects go to.

``with`` puts a session on a stack. Each thread has its own, so that threads do not disturb each other; in a thread
that has bound none, the session bound last in any thread is active, and after that the default session.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..common.errors import RainException

if TYPE_CHECKING:
    from .session import Session


class _ThreadStack(threading.local):
    def __init__(self) -> None:
        self.sessions: list[Session] = []


_here = _ThreadStack()
_bound: list[Session] = []
_default: Session | None = None


def active_session() -> Session:
    """The session that new tasks and objects are put into."""
    stack = _here.sessions
    if stack:
        return stack[-1]
    if _bound:
        return _bound[-1]
    if _default is not None:
        return _default
    raise RainException(
        "There is no active session; use 'with client.new_session() as session:' or client.new_session(default=True)"
    )


def bind(session: Session) -> None:
    """Put a session on the stack."""
    _here.sessions.append(session)
    _bound.append(session)


def unbind(session: Session) -> None:
    """Take a session from the stack, where it was put last."""
    for stack in (_here.sessions, _bound):
        for index in range(len(stack) - 1, -1, -1):
            if stack[index] is session:
                del stack[index]
                break


def set_default(session: Session) -> None:
    """Make a session the one that is active when none is bound."""
    global _default
    _default = session


def forget(session: Session) -> None:
    """Remove a session that was closed wherever it stands."""
    global _default
    for stack in (_here.sessions, _bound):
        stack[:] = [other for other in stack if other is not session]
    if _default is session:
        _default = None
