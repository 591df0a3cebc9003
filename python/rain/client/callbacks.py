"""Callbacks of futures, run in threads of their own: they may wait for other futures, and nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Callable

# A callback that runs for longer does not hold up the others.
PATIENCE_SECONDS = 0.1
# So many callbacks may be running for long at the same time.
THREADS_MAX = 32
# How long a thread stays when there is nothing to do.
LINGER_SECONDS = 1.0

Callback = Callable[[Any], object]


class Callbacks:
    """Runs callbacks one after the other; while one takes long, another thread goes on with the rest.

    `idle` is called when none is left. Threads are started when they are needed.
    """

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Any, list[Callback]]] = deque()
        self._threads: set[threading.Thread] = set()
        # The thread whose callbacks are one after the other, and since when it runs the current ones.
        self._turn: threading.Thread | None = None
        self._since = 0.0
        self._running = 0

    def add(self, future: Any, callbacks: list[Callback]) -> None:
        """Have callbacks of a future called, in their order."""
        with self._changed:
            self._waiting.append((future, callbacks))
            self._ensure_spare()
            self._changed.notify()
            if self._threads:
                return
            # No thread can be started while the interpreter ends.
            self._waiting.pop()
        call_all(future, callbacks)

    def is_idle(self) -> bool:
        """Whether every callback was called and has returned."""
        with self._changed:
            return not self._waiting and not self._running

    def is_own(self, thread: threading.Thread) -> bool:
        """Whether a thread runs callbacks of this one."""
        return thread in self._threads

    def _ensure_spare(self) -> None:
        """Have a thread that runs nothing, if one can be started."""
        if self._running < len(self._threads) or len(self._threads) == THREADS_MAX:
            return
        thread = threading.Thread(target=self._run, name="rain-callbacks", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)

    def _run(self) -> None:
        thread = threading.current_thread()
        while True:
            with self._changed:
                if not self._await_turn():
                    self._threads.discard(thread)
                    return
                future, callbacks = self._waiting.popleft()
                self._turn, self._since = thread, time.monotonic()
                self._running += 1
                if self._waiting:
                    self._ensure_spare()
            call_all(future, callbacks)
            # Nothing is kept alive while the thread waits.
            del future, callbacks
            with self._changed:
                self._running -= 1
                if self._turn is thread:
                    self._turn = None
                idle = not self._waiting and not self._running
            if idle:
                self._idle()

    def _await_turn(self) -> bool:
        """Wait until there is something to call and nobody else does; False when there was nothing for long."""
        deadline = time.monotonic() + LINGER_SECONDS
        while True:
            now = time.monotonic()
            if not self._waiting:
                if now >= deadline:
                    return False
                self._changed.wait(deadline - now)
            elif self._turn is not None and now < self._since + PATIENCE_SECONDS:
                self._changed.wait(self._since + PATIENCE_SECONDS - now)
            else:
                return True


def call_all(future: Any, callbacks: Iterable[Callback]) -> None:
    """Call callbacks of a future; what they raise, SystemExit too, is logged as concurrent.futures does."""
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:
            import logging

            logging.getLogger("concurrent.futures").exception("exception calling callback for %r", future)
