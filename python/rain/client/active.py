"""Which session new tasks and objects go to.

``with`` puts a session on a stack that belongs to the context (:mod:`contextvars`): each thread and each asyncio task
has its own, and what runs in a copy of a context sees the sessions that were bound there. Where none is bound, the
thread that has made a session the default one uses that; in others, any session can be meant that is bound somewhere
in this process or is the default one, so there has to be only one.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar

from ..common.errors import RainException, UsageError
from ..common.given import named
from .forking import watch_forks
from .graph import Graph


class Binding:
    """A session on a stack, for one ``with`` block."""

    __slots__ = ("session",)

    def __init__(self, session: Graph) -> None:
        self.session = session


_stack: ContextVar[tuple[Binding, ...]] = ContextVar("rain.client.active", default=())
# The bindings of all threads and contexts. Adding one and removing one are single steps, for all threads.
_bound: dict[Binding, None] = {}
# The default session, and the thread that has made it the default.
_default: tuple[Graph, int] | None = None


class _Fork:
    """In a forked child: why the sessions that were bound in its parent cannot be used."""

    why = ""

    def _forked(self, why: str) -> None:
        global _default
        self.why = why
        for session in [binding.session for binding in [*_bound, *_stack.get()]]:
            session._closed = True
        if _default is not None:
            _default[0]._closed = True
            _default = None
        _bound.clear()


_fork = _Fork()
watch_forks(_fork)


def session_for(session: Graph | None) -> Graph:
    """The session that was given, or else the active one.

    Raises:
        RainException: What was given is no session, or none is active.
    """
    if session is None:
        return active_session()
    if not isinstance(session, Graph):
        raise UsageError(f"session= is a session, not {named(session)}")
    session._check_open()
    return session


def is_active(session: Graph) -> bool:
    """Whether new tasks and objects would go to a session here."""
    try:
        return active_session() is session
    except RainException:
        return False


def active_session() -> Graph:
    """The session that new tasks and objects are put into.

    Raises:
        RainException: There is none, it was closed, or it cannot be known which one is meant.
    """
    stack = _stack.get()
    if not stack:
        return _session_elsewhere()
    session = stack[-1].session
    if session._closed:
        if _fork.why:
            raise RainException(_fork.why)
        raise RainException(f"There is no active session: {session!r}, which was bound here last, was closed")
    return session


def _session_elsewhere() -> Graph:
    """The session that is meant where none is bound."""
    default = _default
    if default is not None and default[1] == threading.get_ident():
        return default[0]
    meant = dict.fromkeys(binding.session for binding in list(_bound) if not binding.session._closed)
    if default is not None:
        meant[default[0]] = None
    if len(meant) == 1:
        return meant.popitem()[0]
    if meant:
        raise RainException(
            "There is no active session in this thread or asyncio task, and there are several elsewhere "
            f"({', '.join(map(repr, meant))}): say which one is meant with 'with session.bind_only():' here, or run "
            "this in the context where it is active (contextvars.copy_context().run)"
        )
    if _fork.why:
        raise RainException(_fork.why)
    raise RainException(
        "There is no active session; use 'with client.new_session() as session:' or client.new_session(default=True)"
    )


def bind(binding: Binding) -> None:
    """Put a session on the stack."""
    _stack.set((*_stack.get(), binding))
    _bound[binding] = None


def unbind(binding: Binding) -> None:
    """Take a session from the stack; nothing happens if it is not there, or not any more."""
    _bound.pop(binding, None)
    stack = _stack.get()
    if binding in stack:
        _stack.set(tuple(other for other in stack if other is not binding))


def last_binding(session: Graph) -> Binding | None:
    """The innermost binding of a session here, or else anywhere: a block may be left in another context."""
    found = [binding for binding in [*_bound, *_stack.get()] if binding.session is session]
    return found[-1] if found else None


def set_default(session: Graph) -> None:
    """Make a session the one that is active when none is bound."""
    global _default
    _default = session, threading.get_ident()


def forget(session: Graph) -> None:
    """A session was closed: it is not the default one any more."""
    global _default
    if _default is not None and _default[0] is session:
        _default = None
