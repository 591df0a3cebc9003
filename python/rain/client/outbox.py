"""Calls of executors on their way to the server: those that are made in quick succession go there together.

A call that is made while nothing is on its way is sent at once. Those that are made before the server has answered wait
for that answer, unless they become many, and are then sent in one submit; with it goes one request for the results of
all of them. Nobody waits for the answer of the server to a submit: what is wrong with it is the outcome of its calls.

Everything here is done with the lock under which tasks of the session are submitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Protocol

from ..common.errors import RainException
from .connection import Connection

if TYPE_CHECKING:
    from .task import Task

# So many calls do not wait for each other any longer, nor one with so many bytes of arguments.
CALLS_TOGETHER = 128
WAITING_BYTES = 4 << 10


class CallOwner(Protocol):
    """The calls of an executor."""

    def ask(self, futures: dict[int, Any]) -> None:
        """Ask for the results of calls that were submitted, by the numbers of their outputs; twice does no harm."""

    def refused(self, error: RainException) -> None:
        """A submit with calls was refused; called perhaps more than once."""

    def fail(self, futures: list[Any], error: RainException) -> None:
        """Calls could not be submitted."""

    def wake(self) -> None:
        """Have a thread call :meth:`Outbox.send`."""


class Sender(Protocol):
    """The session of an outbox, which does not refer to it: a session that nobody has goes at once."""

    _new_tasks: list[Any]

    @property
    def _connection(self) -> Connection: ...

    def _submit_calls(self, calls: list[Task], answered: Callable[[RainException | None], None]) -> None:
        """Submit calls; a function gets the answer of the server: None, or why they were refused."""

    def _withdraw(self, tasks: list[Task]) -> None:
        """Take tasks back that are not submitted."""


class Outbox:
    """The calls in a session that are not submitted."""

    def __init__(self) -> None:
        # Futures with their owners and tasks, in the order in which these were made.
        self.waiting: dict[Any, tuple[CallOwner, Task]] = {}
        # The submit that is on its way, by a name of its own.
        self._under_way: object | None = None

    def add(self, owner: CallOwner, made: Mapping[Any, Task]) -> None:
        """Take calls over, which were just made in the session."""
        # In one step: they wait all or none.
        self.waiting.update({future: (owner, task) for future, task in made.items()})

    def is_due(self, session: Sender, made: Mapping[Any, Task]) -> bool:
        """Whether calls that were just added are not to wait."""
        if self._under_way is None or len(self.waiting) >= CALLS_TOGETHER or session._connection.closed:
            return True
        if len(session._new_tasks) != len(self.waiting):
            return True
        return any(task._hidden or len(task._config or b"") > WAITING_BYTES for task in made.values())

    @property
    def is_under_way(self) -> bool:
        """Whether the server has not answered what was submitted last."""
        return self._under_way is not None

    def send(self, session: Sender) -> None:
        """Submit what waits, and ask for the results; also after an interrupt.

        Raises:
            RainException: It could not be submitted; the calls have failed.
        """
        if not self.waiting:
            return
        tasks = [task for _, task in self.waiting.values() if task._oid < 0]
        try:
            if tasks:
                self._under_way = under_way = object()
                owners = {owner for owner, _ in self.waiting.values()}

                def answered(error: RainException | None) -> None:
                    for owner in owners:
                        if error is not None:
                            owner.refused(error)
                    if self._under_way is under_way:
                        self._under_way = None
                        self._wake()

                session._submit_calls(tasks, answered)
            self.ask()
        except Exception as error:
            self._under_way = None
            self.ask()
            self._give_up(session, error if isinstance(error, RainException) else RainException(str(error)))
            raise
        except BaseException:
            self._under_way = None
            self._wake()
            raise

    def _wake(self) -> None:
        """Have what waits sent by a thread of one of its owners."""
        # Other threads may add to it.
        for owner, _ in list(self.waiting.values())[:1]:
            owner.wake()

    def ask(self) -> None:
        """Ask for the results of what was submitted."""
        if not self.waiting:
            return
        submitted: dict[CallOwner, dict[int, Any]] = {}
        asked = []
        for future, (owner, task) in self.waiting.items():
            if task._oid >= 0:
                submitted.setdefault(owner, {})[task._oid] = future
                asked.append(future)
        for owner, futures in submitted.items():
            owner.ask(futures)
        if len(asked) == len(self.waiting):
            self.waiting.clear()
            return
        for future in asked:
            self.waiting.pop(future, None)

    def _give_up(self, session: Sender, error: RainException) -> None:
        session._withdraw([task for _, task in self.waiting.values()])
        while self.waiting:
            future, (owner, _) = self.waiting.popitem()
            owner.fail([future], error)
