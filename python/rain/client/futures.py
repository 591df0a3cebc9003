"""A :class:`concurrent.futures.Executor` over a session: functions in, futures with their results out."""

from __future__ import annotations

import concurrent.futures
import functools
import pickle
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..common.columns import to_column
from ..common.errors import CancelledException, RainException, TaskException
from ..executor.plain import result_of
from .arguments import Deferred
from .client import Client
from .fetching import Fetching
from .session import Session

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .kind import TaskOptions
    from .task import Task

T = TypeVar("T")

# So many results are freed on the server with one request.
FREE_AT_ONCE = 256
# So many large results come from governors at the same time.
FETCHED_AT_ONCE = 4


class BrokenExecutor(RainException, concurrent.futures.BrokenExecutor):
    """The session of an executor has failed: a process that ran a call died, or a call took too long."""


class RemoteTraceback(RainException):
    """The cause of an exception that was raised in a call: the traceback there."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class ExecutorShutdown(RainException, RuntimeError):
    """The executor was shut down and takes no more calls."""


class TaskFuture(concurrent.futures.Future[T], Deferred):
    """The result of a call that :meth:`Executor.submit` has sent.

    It is a :class:`concurrent.futures.Future`: the result is fetched once and stays here. As an argument of another
    call it stands for its result, also before that is there. Once it is done, it can be pickled.
    """

    def __init__(self, task: Task, executor: Executor | None) -> None:
        super().__init__()
        self.task = task
        self._executor = executor

    def cancel(self) -> bool:
        """Stop the call, also while it runs; False if it has finished."""
        executor = self._executor
        if not super().cancel():
            return False
        if executor is not None:
            executor._cancel(self)
        return True

    def as_argument(self) -> tuple[Any, ...]:
        """How it travels as an argument of another call."""
        if not self.done() and self.task.output._kept:
            return result_of, (self.task.output,)
        error = self.exception()
        if error is None:
            return _same, (self.result(),)
        return result_of, ((None, error, str(error.__cause__ or error).strip()),)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.done() or self.cancelled():
            raise RainException(f"A future can be pickled when it has a result: {self!r}")
        return _finished, (None if self.exception() else self.result(), self.exception())


class Executor(concurrent.futures.Executor):
    """Runs plain Python functions on Rain, with the interface of :class:`concurrent.futures.Executor`.

    >>> with Executor() as executor:                        # a private server on this machine
    ...     print(list(executor.map(pow, [2, 3], [5, 2])))
    [32, 9]

    Functions need not know of Rain: they get values and return a value. Futures, and data objects of the executor's
    session, may stand among the arguments. A call that raises is no failure of the session: the exception comes with
    the future.

    Args:
        target: A client, for which a session is made; or a session, which is left open in the end; None starts a
            private server.
        cpus: How many cpus a call needs.
        name: A name for people (default: that of the function).
        env: Variables of the environment that are set during a call.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`. A call is run again
            when its process died or it took too long, not when it raised.
    """

    def __init__(
        self,
        target: Client | Session | None = None,
        *,
        cpus: int = 1,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        if not (target is None or isinstance(target, (Client, Session))):
            raise RainException(f"An executor works on a client or a session, not on {target!r}")
        self._options = {"outcome": True, "cpus": cpus, "name": name, "env": env, **options}
        # What is wrong with them is said here and not at the first call.
        from .plain import plain_function

        plain_function(_same, self._options)
        self._own_client: Client | None = None
        self._owns_session = not isinstance(target, Session)
        if isinstance(target, Session):
            self.session = target
        else:
            if target is None:
                target = self._own_client = Client()
            self.session = target.new_session(name or "executor")
        self._lock = threading.RLock()
        self._pending: set[TaskFuture[Any]] = set()
        self._finished: list[int] = []
        self._broken: RainException | None = None
        self._shut = False
        self._fetchers: concurrent.futures.ThreadPoolExecutor | None = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Call a function on Rain; returns a future at once."""
        with self._lock:
            return self._start(fn, [(args, kwargs)])[0]

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Call a function for each item; the results in order. `chunksize` is accepted and has no effect."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            futures = self._start(fn, [(args, {}) for args in zip(*iterables)])
        return _results(futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the session ends when those that were taken are done."""
        with self._lock:
            self._shut = True
            pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            concurrent.futures.wait(pending)
        self._close_if_done()

    def __repr__(self) -> str:
        return f"<Executor over {self.session!r}, {len(self._pending)} calls pending>"

    def _start(self, fn: Callable[..., T], calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[TaskFuture[T]]:
        if self._shut:
            raise ExecutorShutdown("The executor was shut down and takes no more calls")
        if self._broken is not None:
            raise BrokenExecutor(f"The executor cannot be used any more: {self._broken}")
        session = self.session
        remote = session._plain_function(fn, self._options)
        tasks: list[Task] = []
        try:
            for args, kwargs in calls:
                task = remote._call_in(session, args, kwargs)
                tasks.append(task)
                task.output.keep()
            session.submit()
        except RainException:
            session._withdraw(tasks)
            raise
        futures = [TaskFuture[T](task, self) for task in tasks]
        self._pending.update(futures)
        for future in futures:
            self._fetch(future, Fetching(future.task.output, self.session.client._connection))
        return futures

    def _fetch(self, future: TaskFuture[Any], fetching: Fetching) -> None:
        """Ask for a result; the server answers when it is there."""
        try:
            self.session._start_request("fetch", fetching.body, functools.partial(self._take, future, fetching))
        except RainException as error:
            self._settle(future, None, error)

    def _threads(self) -> concurrent.futures.ThreadPoolExecutor:
        """For what takes long, while others hand out replies."""
        with self._lock:
            if self._fetchers is None:
                self._fetchers = concurrent.futures.ThreadPoolExecutor(FETCHED_AT_ONCE, "rain-fetch")
            return self._fetchers

    def _take(
        self,
        future: TaskFuture[Any],
        fetching: Fetching,
        reply: dict[str, Any],
        error: RainException | None,
        in_thread: bool = False,
    ) -> None:
        outcome = None
        if error is None:
            try:
                if fetching.takes_long(reply) and not in_thread:
                    self._threads().submit(self._take, future, fetching, reply, None, in_thread=True)
                    return
                instance = fetching.take(reply)
                if instance is None:
                    self._fetch(future, fetching)
                    return
                outcome = pickle.loads(instance.get_view())
            except RainException as caught:
                error = caught
            except Exception as caught:
                error = RainException(
                    f"The result of {future.task.describe()} cannot be unpickled: {type(caught).__name__}: {caught}"
                )
        self._settle(future, outcome, error)

    def _settle(self, future: TaskFuture[Any], outcome: Any, error: RainException | None) -> None:
        with self._lock:
            self._pending.discard(future)
            if error is not None and not isinstance(error, CancelledException) and self.session._failed:
                self._broken = self._broken or error
            self._free(future)
            future._executor = None
        if isinstance(error, CancelledException):
            concurrent.futures.Future.cancel(future)
        if future.set_running_or_notify_cancel():
            if error is not None:
                if self._broken is not None and not (isinstance(error, TaskException) and error.task is future.task):
                    error = BrokenExecutor(f"The executor's session has failed: {error}")
                future.set_exception(error)
            else:
                result, raised, traceback = outcome
                if raised is None:
                    future.set_result(result)
                else:
                    raised.__cause__ = RemoteTraceback(f"{traceback}\n\nThe call is {future.task.describe()}")
                    future.set_exception(raised)
        self._close_if_done()

    def _free(self, future: TaskFuture[Any]) -> None:
        """Let go of a result on the server, and of the arguments here."""
        task = future.task
        task._inputs = ()
        task._config = None
        if self.session.closed or self._broken is not None:
            return
        task.output._kept = False
        self._finished.append(task._oid)
        if len(self._finished) >= FREE_AT_ONCE or not self._pending:
            numbers, self._finished = self._finished, []
            self._tell("unkeep", {"objects": to_column(numbers)})

    def _cancel(self, future: TaskFuture[Any]) -> None:
        self._tell("cancel", {"tasks": to_column([future.task._id])})

    def _tell(self, operation: str, body: dict[str, Any]) -> None:
        """Send a request whose reply does not matter: when it fails, so do those that matter."""
        try:
            self.session._start_request(operation, body, lambda reply, error: None)
        except RainException:
            return

    def _close_if_done(self) -> None:
        with self._lock:
            if not self._shut or self._pending:
                return
            session, client = self.session, self._own_client
            self._own_client = None
            close_session, self._owns_session = self._owns_session, False
            if self._fetchers is not None:
                self._fetchers.shutdown(wait=False)
        # In whatever thread: a thread that hands out replies can also wait for one.
        if close_session:
            session.close()
        if client is not None:
            client.close()


def _results(futures: list[TaskFuture[T]], deadline: float | None) -> Iterator[T]:
    try:
        futures.reverse()
        while futures:
            # Popped, so that results can be freed as they are used.
            yield futures.pop().result(None if deadline is None else deadline - time.monotonic())
    finally:
        for future in futures:
            future.cancel()


def _same(value: Any) -> Any:
    return value


def _finished(result: Any, error: BaseException | None) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
    return future
