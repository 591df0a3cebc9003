"""The calls of an executor: their results are fetched and handed to futures, and then the server forgets the calls.

What it is to forget goes in groups, by a thread of each executor, so that neither callers nor the thread that hands out
replies wait for it. The same thread closes the session when the executor is shut down, or nobody refers to it any more,
and the last call is done; at the end of the interpreter all executors are waited for in this way.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any, Callable, TypeVar

from ..common.columns import from_column, to_column
from ..common.errors import CancelledException, RainException, TaskException
from .base_client import BaseClient
from .callbacks import Callbacks
from .coming import CallFuture, Coming, Outcome
from .forgotten import is_forgotten
from .forking import watch_forks
from .function_table import HiddenObject
from .future_errors import BrokenByCall, BrokenExecutor, ExecutorShutdown
from .locking import Latch, Mutex
from .session import Session
from .task import Task

# Calls whose results were taken are forgotten when they are so many, have so many bytes, or after so many seconds.
FREED_COUNT = 256
FREED_BYTES = 1 << 20
FREED_SECONDS = 0.1
# A result of more bytes stays on the server while its future is there, to be passed on to other calls without being
# sent again: so many bytes of those that were used last, and the last one of any size.
HELD_RESULT = 64 << 10
HELD_BYTES = 64 << 20
# So many results are fetched from governors, or unpickled, at the same time.
FETCHED_AT_ONCE = 4

SHUT = "The executor was shut down and takes no more calls: cannot schedule new futures after shutdown"
FORKED = "The executor belongs to the parent of this forked process; make a client and an executor here"
EXITING = "cannot schedule new futures after interpreter shutdown"


AnyFuture = TypeVar("AnyFuture", bound=CallFuture)


class Calls:
    """The calls of an executor that are not done, and results that are on the server though they are taken.

    Args:
        session: Where the calls are.
        owns_session: Whether to close it in the end.
        client: To be closed in the end.
    """

    def __init__(self, session: Session, owns_session: bool, client: BaseClient | None) -> None:
        self.session = session
        self.broken: RainException | None = None
        # Whether that is so because of a submit, and not of what has become of a call.
        self._is_refused = False
        # Why no more calls are taken.
        self.shut: str | None = None
        self._owns_session = owns_session
        self._client = client
        self._lock = Mutex()
        self._pending: dict[CallFuture, Task] = {}
        self._taken: list[Task] = []
        self._taken_bytes = 0
        # Constants that held arguments or functions of such calls.
        self._used: list[HiddenObject] = []
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._held_bytes = 0
        # Held results whose futures are gone.
        self._dropped: deque[_Held] = deque()
        # Calls that nobody waits for any more.
        self._unwanted: deque[CallFuture] = deque()
        self._callbacks = Callbacks(self._wake_if_shut)
        self._fetchers = _Fetchers()
        # Something may be put into it also by the garbage collector, at any point of any thread.
        self._events: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._over = Latch()
        session._has_calls = True
        self._thread = threading.Thread(target=self._run, name="rain-calls", daemon=True)
        _live.add(self)
        watch_forks(self)
        try:
            self._thread.start()
        except RuntimeError:
            _live.discard(self)
            raise

    def check(self) -> None:
        """Raise an exception if no calls are taken."""
        if self.broken is not None:
            raise BrokenExecutor(f"The executor cannot be used any more: {self.broken}")
        if _exiting:
            raise ExecutorShutdown(EXITING)
        if self.shut is not None:
            raise ExecutorShutdown(self.shut)

    def add(self, futures: Mapping[Any, Task]) -> None:
        """Take over futures whose tasks are about to be submitted."""
        # One step, for which no lock is needed.
        self._pending.update(futures)

    def drop(self, futures: list[Any]) -> None:
        """Forget futures that nobody has, and whose tasks will not be submitted."""
        for future in futures:
            self._pending.pop(future, None)
        self._wake_if_shut()

    def ask(self, futures: dict[int, Any]) -> None:
        """Ask for the results of calls that were submitted, by the numbers of their outputs; twice does no harm."""
        coming = Coming(self, futures)
        try:
            self.session._start_request("results", {"objects": to_column(futures)}, coming.take)
        except RainException as error:
            coming.take({}, error)

    def fail(self, futures: list[Any], error: RainException) -> None:
        """Calls could not be submitted."""
        self.settle([(future, 0, None, error) for future in futures])

    def hurry(self, task: Task | None) -> None:
        """Somebody waits for a call."""
        if task is not None and task._oid < 0:
            self._send_now()

    def _send_now(self) -> None:
        outbox = self.session._outbox
        if outbox.waiting and self.shut != FORKED:
            with contextlib.suppress(RainException):
                self.session._submitting.run(outbox.send, self.session)

    def wake(self) -> None:
        """Have the thread of the calls send those that wait. This does not block, and may come at any point."""
        self._events.put(None)

    @property
    def pending(self) -> list[Any]:
        """The futures that are not done."""
        # One step, for which no lock is needed.
        return list(self._pending)

    def cancel(self, futures: Iterable[AnyFuture], waiting: bool) -> list[AnyFuture]:
        """Cancel calls; with `waiting`, only those that have not begun. Returns those that were cancelled."""
        chosen = list(futures)
        self._send_now()
        while True:
            pending = dict(self._pending)
            tasks = {future: pending[future] for future in chosen if future in pending}
            by_id = {task._id: future for future, task in tasks.items() if task._oid >= 0 and not is_forgotten(task)}
            if not by_id:
                return []
            body = {"tasks": to_column(by_id), "waiting": waiting}
            try:
                reply = self.session._request("cancel", body)
            except RainException:
                # Some may have been forgotten after they were looked at. Else all have failed, or will right now.
                if any(is_forgotten(tasks[future]) for future in by_id.values()):
                    continue
                return []
            cancelled = set(from_column(reply["tasks"]))
            return [future for number, future in by_id.items() if number in cancelled]

    def cancel_unwanted(self, future: CallFuture) -> None:
        """Cancel a call that nobody waits for, if it has not begun. This does not block, and may come at any point."""
        self._unwanted.append(future)
        self._events.put(None)

    def has_begun(self, future: CallFuture) -> bool:
        """Whether the server knows that a call is running."""
        task = self._pending.get(future)
        if task is None:
            return False
        self._send_now()
        if task._oid < 0:
            return False
        body = {"tasks": to_column([task._id])}
        try:
            (info,) = self.session._request("info", body)["tasks"]
        except RainException:
            return False
        return bool(info["state"] == "running")

    def refer(self, future: CallFuture, task: Task) -> bool:
        """Whether the result of a call is on the server, or will be, until a task is submitted that refers to it.

        Asked while the lock of the session is held with which tasks are submitted.
        """
        if not self._lock.run(self._refer, future, task):
            return False
        self.session._referred.add(task)
        return True

    def _refer(self, future: CallFuture, task: Task) -> bool:
        if task._oid >= 0 and task._id in self._held:
            self._held.move_to_end(task._id)
            return True
        return future in self._pending and task._keeps_output

    def shut_down(self) -> None:
        """Close the session when the last call is done. This does not block, and may come at any point."""
        self.shut = self.shut or SHUT
        self._events.put(None)

    def wait(self) -> None:
        """After :meth:`shut_down`, wait until everything is over; but not in a callback, which is a part of it."""
        thread = threading.current_thread()
        if thread is not self._thread and not self._callbacks.is_own(thread):
            self._over.wait()

    def settle(self, done: list[Outcome]) -> None:
        """Make futures done."""
        with self._lock:
            known = []
            for future, size, outcome, error in done:
                task = self._pending.get(future)
                if task is None:
                    continue
                if error is not None and not isinstance(error, CancelledException) and self.session._failed:
                    self.broken = self.broken or error
                if task._oid >= 0:
                    self._take(future, task, size if outcome is not None and outcome[0] else 0)
                known.append((future, task, outcome, error))
        for future, task, outcome, error in known:
            callbacks = future._finish(outcome, error and self._broken_error(task, error))
            if callbacks:
                self._callbacks.add(future, callbacks)
        with self._lock:
            for future, _, _, _ in known:
                self._pending.pop(future, None)
        self._wake_if_shut()

    def refused(self, error: RainException) -> None:
        """A submit was refused that was not waited for: its calls fail, and so would all others."""
        if self.broken is None:
            self.broken = error
            self._is_refused = True

    def task_of(self, future: CallFuture | None) -> Task | None:
        """The task of a call that is not done."""
        return None if future is None else self._pending.get(future)

    def in_thread(self, job: Callable[[], None]) -> None:
        """Do what takes long while others hand out replies."""
        self._fetchers.run(job)

    def _broken_error(self, task: Task, error: RainException | None) -> RainException | None:
        if error is None or self.broken is None or isinstance(error, CancelledException):
            return error
        if isinstance(error, TaskException) and error.task is task:
            return BrokenByCall(str(error), error.task, error.error, error.debug)
        if self._is_refused:
            error = self.broken
        return BrokenExecutor(f"The executor's session has failed: {error}")

    def _take(self, future: CallFuture, task: Task, size: int) -> None:
        """The result of a call is here: let go of the arguments, and on the server of the call if it is not held."""
        if task._hidden:
            hidden = task._inputs[-task._hidden :]
            self._used += [item for item in hidden if isinstance(item, HiddenObject) and not item._kept]
        task._inputs = ()
        task._config = None
        if self.broken is not None or self.session.closed:
            self._forget(task)
        elif size > HELD_RESULT and self.shut is None:
            self._held[task._id] = _Held(future, self._drop, task, size)
            self._held_bytes += size
            while self._held_bytes > HELD_BYTES and len(self._held) > 1:
                _, held = self._held.popitem(last=False)
                self._held_bytes -= held.size
                self._free(held.task, held.size)
        else:
            self._free(task, size)

    def _free(self, task: Task, size: int) -> None:
        if not self._taken:
            # Sets the time from which on it is freed in any case.
            self._events.put(None)
        self._taken.append(task)
        self._taken_bytes += size
        if len(self._taken) == FREED_COUNT or self._taken_bytes >= FREED_BYTES:
            self._events.put(None)

    def _drop(self, held: _Held) -> None:
        """The future of a held result is gone; called by the garbage collector."""
        self._dropped.append(held)
        self._events.put(None)

    def _forget(self, task: Task) -> None:
        task._let_go()
        outputs = getattr(task, "_outputs", None)
        if outputs is not None:
            outputs[0]._kept = False
            # Which refers to the task.
            del task._outputs
        self.session._submitted.pop(task._id, None)

    def _wake_if_shut(self) -> None:
        if self.shut is not None:
            self._events.put(None)

    def _run(self) -> None:
        """Free what was taken, until everything is over."""
        due: float | None = None
        try:
            while not self._is_over():
                with contextlib.suppress(queue.Empty):
                    self._events.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
                self._send_waiting()
                self._cancel_unwanted()
                due = self._free_due(due)
        finally:
            try:
                self._close()
            finally:
                _live.discard(self)
                self._over.open()

    def _is_over(self) -> bool:
        if self.shut is None:
            return False
        # Nobody is making calls, and nobody will.
        with self.session._submitting, self._lock:
            return not self._pending and self._callbacks.is_idle()

    def _send_waiting(self) -> None:
        session, outbox = self.session, self.session._outbox
        # What is under way is answered, unless the connection has ended.
        if outbox.waiting and (not outbox.is_under_way or session._connection.closed):
            with session._submitting, contextlib.suppress(RainException):
                outbox.send(session)

    def _cancel_unwanted(self) -> None:
        with self._lock:
            unwanted = [self._unwanted.popleft() for _ in range(len(self._unwanted))]
            tasks = [(future, self._pending[future]) for future in unwanted if future in self._pending]
            numbers = [task._id for _, task in tasks if task._oid >= 0 and not is_forgotten(task)]
            # Those that are sent first.
            self._unwanted.extend(future for future, task in tasks if task._oid < 0)
        if numbers:
            self._tell("cancel", {"tasks": to_column(numbers), "waiting": True})

    def _free_due(self, due: float | None) -> float | None:
        """Free what was taken if that is due; returns when it will be."""
        with self._lock:
            while self._dropped:
                held = self._dropped.popleft()
                if self._held.pop(held.task._id, None) is not None:
                    self._held_bytes -= held.size
                    self._free(held.task, held.size)
            if not self._taken:
                return None
            now = time.monotonic()
            if due is None:
                due = now + FREED_SECONDS
            if now < due and len(self._taken) < FREED_COUNT and self._taken_bytes < FREED_BYTES:
                return due
        self._free_taken()
        # What is left is referred to by tasks that are not submitted.
        return now + FREED_SECONDS if self._taken else None

    def _free_taken(self) -> None:
        # Not while a submit is being made: it may refer to a result that is taken meanwhile.
        with self.session._submitting:
            with self._lock:
                tasks, constants = self._pop_taken()
            if tasks and self.broken is None:
                self._tell("forget", {"tasks": to_column(tasks), "objects": to_column(constants)})

    def _pop_taken(self) -> tuple[list[int], list[int]]:
        """The numbers of calls to forget, and of constants that only these have used."""
        referred = self.session._referred
        later = [task for task in self._taken if task in referred] if referred else []
        numbers = []
        while self._taken:
            # Nothing here keeps a task when it is not among those that were taken any more.
            if self._taken[-1] not in referred:
                numbers.append(self._taken[-1]._id)
                self._forget(self._taken[-1])
            self._taken.pop()
        self._taken = later
        self._taken_bytes = 0
        constants = []
        while self._used:
            constant = self._used.pop()
            if not constant._is_forgotten:
                constant._is_forgotten = True
                constants.append(constant._oid)
        return numbers, constants

    def _tell(self, operation: str, body: dict[str, Any]) -> None:
        """Send a request whose reply does not matter: when it fails, so do those that matter."""
        with contextlib.suppress(RainException):
            self.session._start_request(operation, body, lambda reply, error: None)

    def _close(self) -> None:
        self._fetchers.end()
        with self._lock:
            for held in self._held.values():
                self._free(held.task, held.size)
            self._held.clear()
        if self._owns_session:
            self.session.close()
        else:
            self._free_taken()
        if self._client is not None:
            self._client.close()

    def _forked(self, why: str) -> None:
        # The child has none of the threads, and the calls are the parent's.
        _live.discard(self)
        self._lock = Mutex()
        self.shut = FORKED
        self._over.open()
        for future in self._pending:
            # Another thread of the parent may have held the locks.
            future._condition = threading.Condition()
            future._waiters = []
            future._finish(None, ExecutorShutdown(FORKED))
        self._pending.clear()


class _Held(weakref.ref["CallFuture"]):
    """A result that stays on the server while its future is there."""

    __slots__ = ("size", "task")

    task: Task
    size: int

    def __new__(cls, future: CallFuture, dropped: Callable[[Any], None], task: Task, size: int) -> _Held:
        self = super().__new__(cls, future, dropped)
        self.task = task
        self.size = size
        return self

    def __init__(self, future: CallFuture, dropped: Callable[[Any], None], task: Task, size: int) -> None:
        super().__init__(future, dropped)  # type: ignore[call-arg]


class _Fetchers:
    """Some threads for jobs that take long, started when they are needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self._free = 0

    def run(self, job: Callable[[], None]) -> None:
        """Have a job done; in this thread if none can be started any more, as at the end of the interpreter."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
            elif len(self.threads) < FETCHED_AT_ONCE:
                thread = threading.Thread(target=self._work, name="rain-fetch", daemon=True)
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self.threads.append(thread)
        if self.threads:
            self._jobs.put(job)
        else:
            job()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()
            # Nothing is kept alive while the thread waits.
            del job
            with self._lock:
                self._free += 1

    def end(self) -> None:
        """End the threads when their jobs are done."""
        for _ in self.threads:
            self._jobs.put(None)


# Those that are not over.
_live: set[Calls] = set()
_exiting = False


def _finish() -> None:
    """At the end of the interpreter: all pending calls are finished, as concurrent.futures does."""
    global _exiting
    _exiting = True
    live = list(_live)
    for calls in live:
        calls.shut_down()
    for calls in live:
        calls.wait()


try:
    # Before the threads of concurrent.futures end, and long before atexit stops a private server.
    threading._register_atexit(_finish)  # type: ignore[attr-defined]
except RuntimeError:
    _exiting = True
