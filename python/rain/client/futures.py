"""A :class:`concurrent.futures.Executor` over a session: functions in, futures with their results out."""

from __future__ import annotations

import concurrent.futures
import itertools
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures._base import CANCELLED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..common import cause
from ..common.errors import CancelledException, PickleException, RainException, SessionException
from ..common.identity import IdentityMap
from ..executor.plain import Chunk, Failure, failure_of, result_of
from .base_client import BaseClient
from .calls import Calls
from .deferred import Deferred
from .future_errors import BrokenByCall, BrokenExecutor, ExecutorShutdown, RemoteException, RemoteTraceback
from .graph import Anything, Graph
from .kind import TaskOptions
from .plain import PlainFunction, PlainOptions, name_of
from .session import Session
from .taken_apart import NOTHING, take_apart
from .task import Task

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, Unpack

    P = ParamSpec("P")


__all__ = [
    "BrokenByCall",
    "BrokenExecutor",
    "Executor",
    "ExecutorShutdown",
    "RemoteException",
    "RemoteTraceback",
    "TaskFuture",
]

T = TypeVar("T")
# Positional and keyword arguments of a call.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class TaskFuture(concurrent.futures.Future[T], Deferred, Anything):  # type: ignore[misc] # (a subclass of Any)
    """The result of a call that :meth:`Executor.submit` has sent.

    It is a :class:`concurrent.futures.Future`: the result is fetched once and stays here. As an argument of another
    call it stands for its result, also before that is there. Once it is done, it can be pickled. Callbacks are called
    in threads of their own; they may wait for other futures.
    """

    _done_callbacks: list[Callable[[Any], object]]

    def __init__(self, calls: Calls, task: Task | None) -> None:
        super().__init__()
        # None if it could not be sent.
        self.task = task
        self._calls = calls
        self._failure: Failure | None = None
        # Threads that are in cancel() or stop(), and whether the server has said meanwhile that it is cancelled.
        self._cancelling = 0
        self._is_cancelled = False

    def cancel(self) -> bool:
        """Cancel the call, and all calls that need its result, if it has not begun; False if it runs or is done."""
        if self._state == PENDING and not self._cancel_there(waiting=True):
            return False
        return super().cancel()

    def stop(self) -> bool:
        """Cancel the call, and all calls that need its result, also while it runs; False if it is done."""
        if not self.done() and not self._cancel_there(waiting=False):
            return False
        return self._cancel()

    def running(self) -> bool:
        """Whether the call is being run now. This asks the server, which knows it of calls that are not quick."""
        if self._state == PENDING and self._calls.has_begun(self):
            with self._condition:
                if self._state == PENDING:
                    self._state = RUNNING
        return super().running()

    def result(self, timeout: float | None = None) -> T:
        """As that of :class:`concurrent.futures.Future`."""
        __tracebackhide__ = True
        if self._state == PENDING:
            self._calls.hurry(self.task)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As that of :class:`concurrent.futures.Future`."""
        __tracebackhide__ = True
        if self._state == PENDING:
            self._calls.hurry(self.task)
        return super().exception(timeout)

    def as_input(self, session: Graph) -> Task | None:
        """The call, if its result is on the server or will be."""
        task = self.task
        if task is not None and session is task._session and self._calls.refer(self, task):
            return task
        return None

    def as_argument(self, session: Graph | None) -> tuple[Any, ...]:
        """How it travels as an argument of another call: by reference, if its result is on the server."""
        task = self.task
        if task is not None and (self._calls.refer(self, task) if session is task._session else not self.done()):
            return result_of, (task.output,)
        try:
            error = self.exception()
        except concurrent.futures.CancelledError as cancelled:
            error = cancelled
        if error is None:
            return result_of, ((True, self.result()),)
        return result_of, ((False, self._failure or failure_of(error)),)

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.done() or self.cancelled():
            raise RainException(f"A future can be pickled when it has a result: {self!r}")
        return _finished, (None if self.exception() else self.result(), self.exception())

    def _cancel_there(self, waiting: bool) -> bool:
        """Have the server cancel the call; whether it has done so. Callbacks are called in this thread then."""
        with self._condition:
            self._cancelling += 1
        try:
            return bool(self._calls.cancel([self], waiting))
        finally:
            with self._condition:
                self._cancelling -= 1
            if self._is_cancelled:
                self._cancel()
                self._notify_cancelled()

    def _notify_cancelled(self) -> None:
        with self._condition:
            if self._state == CANCELLED:
                self.set_running_or_notify_cancel()

    def _cancel(self) -> bool:
        """What cancel() of the base class does, also with a call that was stopped while it ran."""
        with self._condition:
            if self._state == RUNNING:
                self._state = PENDING
        return super().cancel()

    def _finish(self, outcome: tuple[bool, Any] | None, error: RainException | None) -> list[Callable[[Any], object]]:
        """Make the future done; returns the callbacks that are to be called for this."""
        with self._condition:
            self._is_cancelled = isinstance(error, CancelledException)
            if self._state == CANCELLED or (self._is_cancelled and self._cancelling):
                # Callbacks are for cancel() to call.
                self._notify_cancelled()
                return []
            callbacks, self._done_callbacks = self._done_callbacks, []
            if self._is_cancelled:
                self._cancel()
                self._notify_cancelled()
            elif error is not None:
                self.set_exception(error)
            elif outcome is not None and outcome[0]:
                self.set_result(outcome[1])
            elif outcome is not None:
                self._failure = outcome[1]
                self.set_exception(_rebuilt(outcome[1], self.task))
            return callbacks


class Executor(concurrent.futures.Executor):
    """Runs plain Python functions on Rain, with the interface of :class:`concurrent.futures.Executor`.

    >>> with Executor() as executor:                        # a private server on this machine
    ...     print(list(executor.map(pow, [2, 3], [5, 2])))
    [32, 9]

    Functions need not know of Rain: they get values and return a value. Futures, and data objects of the executor's
    session, may stand among the arguments. A call that raises is no failure of the session: the exception comes with
    the future.

    An executor that nobody refers to any more is shut down when its calls are done, and at the end of the interpreter
    pending calls are finished.

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
        target: BaseClient | Session | None = None,
        *,
        cpus: int = 1,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        if not (target is None or isinstance(target, (BaseClient, Session))):
            raise RainException(f"An executor works on a client or a session, not on {target!r}")
        self._options = {"outcome": True, "cpus": cpus, "name": name, "env": env, **options}
        # Checks the options now and not at the first call.
        PlainOptions.of(self._options)
        # What makes the calls of functions, without references to these; and the one that is in use.
        self._functions: IdentityMap[PlainFunction] = IdentityMap()
        self._used: PlainFunction | None = None
        own_client = None
        if isinstance(target, Session):
            self.session = target
        else:
            if target is None:
                target = own_client = BaseClient()
            self.session = target.new_session(name or "executor")
        try:
            self._calls = Calls(self.session, not isinstance(target, Session), own_client)
        except RuntimeError:
            if not isinstance(target, Session):
                self.session.close()
            if own_client is not None:
                own_client.close()
            raise
        weakref.finalize(self, self._calls.shut_down).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskFuture[T]:
        """Call a function on Rain; returns a future at once.

        What cannot be pickled is an outcome of the call, as all else that goes wrong with it.
        """
        return self._start(fn, [(args, kwargs)])[0]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call a function for each item; the results in order.

        Args:
            fn: The function.
            iterables: As many arguments as it takes.
            timeout: Seconds from now on for all results together.
            chunksize: So many calls are one task, one after the other; worth while where a call takes microseconds.
            buffersize: So many tasks are submitted ahead of the result that was taken last (default: all).
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        calls: Iterator[Arguments] = ((args, {}) for args in zip(*iterables))
        if chunksize == 1:
            futures = deque(self._start(fn, itertools.islice(calls, buffersize)))
            # The results do not keep the executor.
            return _results(futures, deadline, weakref.ref(self), fn, calls, buffersize)
        chunk = Chunk(fn, name_of(fn))
        chunks = _chunks(zip(*iterables), chunksize)
        tasks = deque(self._start(chunk, itertools.islice(chunks, buffersize)))
        return _flat(_results(tasks, deadline, weakref.ref(self), chunk, chunks, buffersize))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, stop: bool = False) -> None:
        """Take no more calls; the session ends when those that were taken are done.

        Args:
            wait: Return when all calls are done, their callbacks have returned, and the session is closed.
            cancel_futures: Cancel calls that have not begun.
            stop: Cancel all calls, also those that run.
        """
        self._calls.shut_down()
        if cancel_futures or stop:
            for future in self._calls.cancel(self._calls.pending, waiting=not stop):
                future._cancel()
        if wait:
            self._calls.wait()

    def __repr__(self) -> str:
        return f"<Executor over {self.session!r}, {len(self._calls.pending)} calls pending>"

    def _start(self, fn: Callable[..., T], given: Iterable[Arguments]) -> list[TaskFuture[T]]:
        # Not with the lock under which tasks are submitted: it may wait for other calls.
        given = list(given)
        if not given:
            return []
        self._calls.check()
        return self.session._submitting.run(self._make, fn, given)

    def _make(self, fn: Callable[..., T], given: list[Arguments]) -> list[TaskFuture[T]]:
        """Make calls, which are sent now or soon."""
        session, calls, outbox = self.session, self._calls, self.session._outbox
        calls.check()
        futures: list[TaskFuture[T]] = []
        made: dict[TaskFuture[Any], Task] = {}
        try:
            make = self._maker(fn)
            for args, kwargs in given:
                task = make(args, kwargs)
                if isinstance(task, PickleException):
                    futures.append(TaskFuture(calls, None))
                    futures[-1].set_exception(task)
                else:
                    futures.append(TaskFuture(calls, task))
                    made[futures[-1]] = task
            if made:
                calls.add(made)
                outbox.add(calls, made)
                if outbox.is_due(session, made):
                    outbox.send(session)
            elif len(session._new_tasks) == len(outbox.waiting):
                # Of calls that could not be made.
                session._referred.clear()
            self._let_go()
        except BaseException as error:
            self._let_go()
            # After a Ctrl-C, a task may have been made that nobody has, and tasks may be submitted all the same.
            calls.drop([future for future, task in made.items() if task._oid < 0 and future not in outbox.waiting])
            known = {id(task) for _, task in outbox.waiting.values()}
            new = [task for task in session._new_tasks if id(task) not in known and _is_call(task)]
            if new:
                session._withdraw(new)
            calls.wake()
            if isinstance(error, SessionException) and session._failed:
                raise BrokenExecutor(f"The executor cannot be used any more: {error}") from None
            raise
        return futures

    def _let_go(self) -> None:
        """Keep nothing of the function that was called."""
        function, self._used = self._used, None
        if function is not None:
            function.function = NOTHING.function
            function.give(NOTHING)

    def _function(self, fn: Callable[..., Any]) -> PlainFunction:
        """What makes calls of a function, as it is now; the one of an earlier call, if that was of the same code."""
        taken = take_apart(fn)
        function = self._functions.get(taken.function)
        if function is not None and function.is_of(taken):
            self._used = function
            function.function = taken.function
            function.give(taken)
            return function
        function = self._used = self.session._plain_function(fn, self._options)
        self._functions.set(taken.function, function)
        return function

    def _maker(self, fn: Callable[..., Any]) -> Callable[..., Task | PickleException]:
        """What makes calls of a function, as it is now, from positional and keyword arguments."""
        session = self.session
        try:
            function = self._function(fn)
            sent = function._now(session)
        except PickleException as error:
            refused = _without_frames(error)
            return lambda args, kwargs: refused
        if session._outbox.waiting and sent.kind not in session._kind_ids:
            # The server may have something against the new kind, and is asked about it alone.
            session._outbox.send(session)
            sent = function._now(session)

        def make(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task | PickleException:
            try:
                return function._call_with(session, sent, args, kwargs)
            except PickleException as error:
                return _without_frames(error)

        return make


def _is_call(task: Task) -> bool:
    """Whether a task is a call of an executor: no others have outcomes, and these are submitted by who makes them."""
    return task._keeps_output


def _results(
    futures: deque[TaskFuture[T]],
    deadline: float | None,
    executor: weakref.ref[Executor],
    fn: Callable[..., T],
    calls: Iterator[Arguments],
    buffersize: int | None,
) -> Iterator[T]:
    try:
        while True:
            if buffersize is not None:
                _submit_more(futures, executor(), fn, itertools.islice(calls, buffersize - len(futures)))
            if not futures:
                return
            yield _take_first(futures, deadline)
    except GeneratorExit:
        # Nobody waits here, and it may come from the garbage collector.
        for future in futures:
            future._calls.cancel_unwanted(future)
        raise
    except BaseException:
        # There is none if an interrupt came when the last result was taken.
        if futures:
            for future in futures[0]._calls.cancel(futures, waiting=True):
                future._cancel()
        raise


def _chunks(calls: Iterator[tuple[Any, ...]], size: int) -> Iterator[Arguments]:
    while True:
        chunk = list(itertools.islice(calls, size))
        if not chunk:
            return
        yield (chunk,), {}


def _flat(chunks: Iterator[tuple[list[T], Failure | None]]) -> Iterator[T]:
    try:
        for results, failure in chunks:
            yield from results
            if failure is not None:
                raise _rebuilt(failure, None)
    finally:
        # The calls that are left are cancelled.
        chunks.close()  # type: ignore[attr-defined]


def _submit_more(
    futures: deque[TaskFuture[T]], executor: Executor | None, fn: Callable[..., T], calls: Iterator[Arguments]
) -> None:
    if executor is not None:
        futures.extend(executor._start(fn, calls))


def _take_first(futures: deque[TaskFuture[T]], deadline: float | None) -> T:
    # Taken out when it is done, so that the result is not kept; one that does not come in time is cancelled.
    result = futures[0].result(None if deadline is None else deadline - time.monotonic())
    futures.popleft()
    return result


def _rebuilt(failure: Failure, task: Task | None) -> BaseException:
    """The exception that a call has raised."""
    error = cause.load(failure.pickled)
    if error is None:
        error = RemoteException(failure.name, failure.text)
    call = f"\n\nThe call is {task.describe()}" if task is not None else ""
    error.__cause__ = RemoteTraceback(f"{failure.traceback}{call}")
    return error


def _without_frames(error: PickleException) -> PickleException:
    """An exception without its tracebacks, whose frames refer to arguments."""
    chain: BaseException | None = error
    while chain is not None and chain.__traceback__ is not None:
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    return error


def _finished(result: Any, error: BaseException | None) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
    return future
