"""Results of calls on their way from the server to their futures."""

from __future__ import annotations

import pickle
import threading
from typing import Any, Callable, Protocol

from ..common.columns import from_column
from ..common.errors import RainException
from ..common.mapped_file import MappedFile
from ..common.pickle_buffers import load_file
from .connection import PART
from .fetching import Fetching
from .session import Session
from .task import Task

# A result of more bytes is unpickled in a thread of its own, so that other replies are not held up.
LONG_RESULT = 1 << 20


class CallFuture(Protocol):
    """What a future of a call is here."""

    # Of concurrent.futures.
    _condition: threading.Condition
    _waiters: list[Any]

    def _finish(self, outcome: tuple[bool, Any] | None, error: RainException | None) -> list[Callable[[Any], object]]:
        """Make the future done; returns the callbacks that are to be called for this."""


# A future, the size of its result, what has come of its call, or why that is not known.
Outcome = tuple[CallFuture, int, "tuple[bool, Any] | None", "RainException | None"]


class CallsOfExecutor(Protocol):
    """Whose results they are."""

    session: Session

    def settle(self, done: list[Outcome]) -> None:
        """Make futures done."""

    def task_of(self, future: CallFuture | None) -> Task | None:
        """The task of a call that is not done."""

    def wake(self) -> None:
        """Have a thread send calls that wait."""

    def in_thread(self, job: Callable[[], None]) -> None:
        """Do what takes long while others hand out replies."""


class Coming:
    """The results of calls on their way from the server to their futures.

    Args:
        calls: Whose calls they are.
        futures: By the numbers of the outputs.
    """

    __slots__ = ("_calls", "_futures")

    def __init__(self, calls: CallsOfExecutor, futures: dict[int, CallFuture]) -> None:
        self._calls = calls
        self._futures = futures

    def take(self, reply: dict[str, Any], error: RainException | None) -> None:
        """Take what the server says of some of them, in the thread that hands out replies; it may say it twice."""
        calls, pop = self._calls, self._futures.pop
        if error is not None:
            futures = [pop(number) for number in list(self._futures)]
            calls.settle([(future, 0, None, error) for future in futures])
            # Those that wait are not sent any more, either.
            calls.wake()
            return
        done: list[Outcome] = []
        for number, content in reply.get("results", ()):
            future = pop(number, None)
            if future is not None:
                done.append((future, len(content), *_outcome_of(calls, future, content)))
        for column, why in reply.get("errors", ()):
            failed = [pop(number, None) for number in from_column(column)]
            made = calls.session._exception(why)
            done += [(future, 0, None, made) for future in failed if future is not None]
        for number in from_column(reply.get("large", b"")):
            future = pop(number, None)
            task = calls.task_of(future)
            if future is not None and task is not None:
                _Large(calls, future, task).ask()
        if self._futures and PART not in reply:
            untold = RainException("The server has not said what has become of the call")
            done += [(pop(number), 0, None, untold) for number in list(self._futures)]
        if done:
            calls.settle(done)


def _outcome_of(
    calls: CallsOfExecutor, future: CallFuture, content: bytes | bytearray | MappedFile
) -> tuple[tuple[bool, Any] | None, RainException | None]:
    """The outcome of a call from its content, or why there is none."""
    try:
        return load_file(content) if isinstance(content, MappedFile) else pickle.loads(content), None
    # What a class of the user's raises when it is unpickled is the outcome of this call alone.
    except BaseException as caught:
        task = calls.task_of(future)
        described = task.describe() if task is not None else "a call"
        why = f"The result of {described} cannot be unpickled: {type(caught).__name__}: {caught}"
        return None, RainException(why)


class _Large:
    """A large result on its way, which is fetched by itself."""

    __slots__ = ("_calls", "_fetching", "_future")

    def __init__(self, calls: CallsOfExecutor, future: CallFuture, task: Task) -> None:
        self._calls = calls
        self._future: CallFuture | None = future
        self._fetching = Fetching(task.output, calls.session.client._connection)

    def ask(self) -> None:
        """Ask for the result, or for more of it."""
        try:
            self._calls.session._start_request("fetch", self._fetching.body, self._take)
        except RainException as error:
            self._settle(0, None, error)

    def _take(self, reply: dict[str, Any], error: RainException | None) -> None:
        """Take the answer, in the thread that hands out replies."""
        if error is not None:
            self._settle(0, None, error)
        elif Fetching.takes_long(reply) or reply["size"] > LONG_RESULT:
            self._calls.in_thread(lambda: self._load(reply))
        else:
            self._load(reply)

    def _load(self, reply: dict[str, Any]) -> None:
        future = self._future
        if future is None:
            return
        try:
            content = self._fetching.take_content(reply)
        except RainException as caught:
            self._settle(0, None, caught.with_traceback(None))
            return
        if content is None:
            self.ask()
        else:
            self._settle(reply.get("size", 0), *_outcome_of(self._calls, future, content))

    def _settle(self, size: int, outcome: tuple[bool, Any] | None, error: RainException | None) -> None:
        future, self._future = self._future, None
        if future is not None:
            self._calls.settle([(future, size, outcome, error)])
