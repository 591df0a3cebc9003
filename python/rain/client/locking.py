"""Locks and the like that a KeyboardInterrupt between any two byte codes leaves in order.

At the end of ``with lock:``, as of ``try: … finally: lock.release()``, there is a byte code at which an interrupt
leaves the lock taken for ever. The classes here know who has them: whoever is interrupted can look, and give back
what it has.
"""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING, Any, Callable, TypeVar

T = TypeVar("T")


class Mutex(_thread.RLock):  # type: ignore[misc]
    """A lock that one thread at a time has, as often as it likes; best used through :meth:`run`.

    ``with`` is for threads that are never interrupted: all but the main one.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # All locks that a threading.Condition takes have this.
        _is_owned: Callable[[], bool]

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function with the lock."""
        __tracebackhide__ = True
        outer = self._is_owned()
        try:
            with self:
                return function(*args)
        except BaseException:
            while not outer and self._is_owned():
                self.release()
            raise


class Role:
    """Something that one at a time may do, and that nobody waits for."""

    __slots__ = ("_holder",)

    def __init__(self) -> None:
        self._holder: dict[None, object] = {}

    @property
    def free(self) -> bool:
        """Whether nobody has it."""
        return not self._holder

    def take(self, who: object) -> bool:
        """Take the role if it is free; whether `who` has it now, or had it before."""
        # One step for all threads: it is checked and taken, or it is not.
        return self._holder.setdefault(None, who) is who

    def leave(self, who: object) -> None:
        """Give the role back if `who` has it."""
        if self._holder.get(None) is who:
            self._holder.clear()


class Latch:
    """Is opened once; any number of threads wait for that."""

    __slots__ = ("_bells", "_open")

    def __init__(self) -> None:
        self._open = False
        self._bells: list[Bell] = []

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is open; False if that has not happened within so many seconds."""
        __tracebackhide__ = True
        if not self._open:
            bell = Bell()
            self._bells.append(bell)
            # It may have been opened before there was something to ring.
            if not self._open:
                bell.wait(seconds)
        return self._open

    def open(self) -> None:
        """Let all threads go on."""
        self._open = True
        for bell in list(self._bells):
            bell.ring()


class Bell:
    """Wakes one thread that waits for it, also if it was rung before that thread came to wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the bell is rung; False if that has not happened within so many seconds."""
        __tracebackhide__ = True
        return self._lock.acquire(timeout=-1 if seconds is None else min(max(seconds, 0), threading.TIMEOUT_MAX))

    def ring(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        try:
            self._lock.release()
        except RuntimeError:
            # It was rung already.
            return
