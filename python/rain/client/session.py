"""Sessions: graphs of tasks and objects, and everything that is done with them."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union, overload

from ..common.data_instance import DataInstance
from ..common.errors import PickleException, RainException, RainWarning
from ..common.ids import DataType
from . import active as bindings
from . import waiting
from .connection import RequestError, deadline_after
from .data import DataObject, SentAgain
from .drawing import Picture, session_html
from .function_table import FunctionTable, HiddenObject
from .graph import as_items
from .plain import PlainFunction, PlainOptions
from .remote import Remote
from .submitting import Submitting
from .task import Task, as_object
from .task_function import TaskFunction
from .waiting import Completed
from .written import follow

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .kind import CallOptions

Item = Union[Task, DataObject]
A = TypeVar("A")
B = TypeVar("B")


def get_active_session() -> Session:
    """The session that new tasks and objects go to.

    Raises:
        RainException: There is none.
    """
    found = bindings.active_session()
    assert isinstance(found, Session)
    return found


class Session(Submitting):
    """A graph of tasks and data objects, built and submitted in one or more steps.

    Sessions are made by :meth:`Client.new_session`. In a ``with`` block a session is the active one, to which new tasks
    and objects go, and it is closed at the end of the block.
    """

    def __init__(self, client: Any, session_id: int, name: str) -> None:
        super().__init__(client, session_id, name)
        self._functions = FunctionTable()
        self._plain_options = (None, None)
        self._taken_once = {}
        self._closed = False

    @property
    def task_count(self) -> int:
        """The number of tasks that are not submitted."""
        return len(self._own_new_tasks())

    @property
    def dataobj_count(self) -> int:
        """The number of data objects that are not submitted: constants and outputs of tasks."""
        constants = sum(not isinstance(constant, (HiddenObject, SentAgain)) for constant in self._constants)
        outputs: int = sum(task._kind.n_outputs for task in self._own_new_tasks())
        return constants + outputs

    def _own_new_tasks(self) -> list[Task]:
        """Those that are not submitted, without calls of executors, which are on their way."""
        if not self._has_calls:
            return self._new_tasks
        return [task for task in self._new_tasks if not task._keeps_output]

    @property
    def tasks(self) -> list[Task]:
        """All tasks of the session, in the order in which they were made: those that are submitted first."""
        return self._tasks

    @property
    def active(self) -> bool:
        """Whether the session is the active one, to which new tasks and objects go."""
        return not self._closed and bindings.is_active(self)

    def set_as_default(self) -> None:
        """Use this session for tasks and objects that are made where no session is active."""
        self._check_open()
        bindings.set_default(self)

    def keep_all(self) -> None:
        """Keep all objects that are not submitted: constants, and outputs of tasks."""
        self._check_open()
        for constant in self._constants:
            if not isinstance(constant, (HiddenObject, SentAgain)):
                constant.keep()
        for task in self._new_tasks:
            task.keep_outputs()

    def make_graph(self) -> Picture:
        """The graph of the session as a picture: ``svg()``, ``dot()``, and shown as it is in notebooks."""
        return Picture(self)

    def submit(self) -> None:
        """Send what was added since the last submit to the server, where it starts to run.

        A submit that is refused changes nothing: its tasks and objects are still there, not submitted. A graph of more
        than some 32 MiB goes in several submits; if one of these is refused or interrupted, those before it are
        submitted, and the rest is still there.

        Raises:
            RainException: The server refuses it, or a value of ``spec.user`` is no JSON.
            TaskException: A task of the session has failed.
            ConnectionLost: The connection broke.
        """
        __tracebackhide__ = True
        self._check_open()
        while self._taken_once:
            remote, captured = self._taken_once.popitem()
            remote._check_taken_once(captured)
        self._locked(self._submit)

    def discard(self) -> None:
        """Drop all tasks and objects that are not submitted, as after a submit that was refused."""
        self._check_open()
        self._locked(self._discard)

    def _discard(self) -> None:
        for pending in (self._new_tasks, self._constants, self._kept, self._specified):
            pending.clear()
        self._batch = object()
        self._referred.clear()
        self._free_held()

    def wait(self, items: Iterable[Item], progress: bool = False, timeout: float | None = None) -> None:
        """Wait until all of some tasks and objects are finished.

        Args:
            items: The tasks and objects.
            progress: Show a progress bar (needs the package tqdm).
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: An item is not submitted, or not one of the session.
            TaskException: A task of the session has failed.
            CancelledException: It was cancelled, or a task that it needs.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        waiting.wait(self, items, deadline_after(timeout), progress)

    def wait_some(self, items: Iterable[Item], timeout: float | None = None) -> list[Item]:
        """Wait until at least one of some tasks and objects is finished; returns those that are, in the given order.

        Args:
            items: The tasks and objects.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: An item is not submitted, or not one of the session.
            TaskException: A task of the session has failed.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        return waiting.wait_some(self, as_items(items, "wait for"), deadline_after(timeout))

    def wait_all(self, progress: bool = False, timeout: float | None = None, output: bool = False) -> None:
        """Wait until every submitted task is finished.

        Args:
            progress: Show a progress bar (needs the package tqdm).
            output: Write what each task has written to standard output and error to those of this process, when it
                has ended; also what has ended before.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            TaskException: A task of the session has failed.
            SessionException: The session was closed.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        deadline = deadline_after(timeout)
        self._check_open()
        if progress:
            waiting.watch(self, list(self._submitted.values()), deadline)
        if output:
            follow(self, deadline)
        waiting.wait_all(self, deadline)

    def as_completed(
        self, items: Iterable[Item] | None = None, progress: bool = False, timeout: float | None = None
    ) -> Completed[Item]:
        """Go through tasks and objects in the order in which they are finished, with ``for`` or ``async for``.

        Args:
            items: The tasks and objects (default: all tasks that are submitted).
            progress: Show a progress bar (needs the package tqdm).
            timeout: Seconds from now on for all of them, after which :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: An item is not submitted, or not one of the session.
            TaskException: A task of the session has failed.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        self._check_open()
        chosen: list[Item] = list(self._submitted.values()) if items is None else as_items(items, "wait for")
        self._check_items(chosen, "wait for")
        return Completed(chosen, progress, timeout)

    def cancel(self, tasks: Iterable[Task] | None = None) -> list[Task]:
        """Stop tasks, and all tasks that need what these would have made; the session goes on.

        Waiting for a cancelled task, or fetching its outputs, raises
        :class:`~rain.client.CancelledException`.

        Args:
            tasks: The tasks (default: all that are submitted).

        Returns:
            The tasks that were cancelled; those that had finished before are not among them.

        Raises:
            RainException: One is not submitted, or not a task of the session.
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        return waiting.cancel(self, tasks)

    @overload
    def map(
        self, function: Callable[[A], Any], first: Iterable[A], /, *, keep: bool = ..., **options: Unpack[CallOptions]
    ) -> list[Task]: ...

    @overload
    def map(
        self,
        function: Callable[[A, B], Any],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *,
        keep: bool = ...,
        **options: Unpack[CallOptions],
    ) -> list[Task]: ...

    @overload
    def map(
        self,
        function: Callable[..., Any],
        first: Iterable[Any],
        second: Iterable[Any],
        third: Iterable[Any],
        /,
        *more: Iterable[Any],
        keep: bool = ...,
        **options: Unpack[CallOptions],
    ) -> list[Task]: ...

    def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], keep: bool = False, **options: Any
    ) -> list[Task]:
        """Make a task for each item of an iterable; several iterables give a function as many arguments.

        Args:
            function: A remote function; or any other function, which gets values (of data objects: loaded ones) and no
                context, and whose result is pickled.
            iterables: The arguments.
            keep: Keep the outputs, so that they can be fetched.
            options: For functions that are not remote: ``cpus``, ``name``, ``env``, ``retries``, ``timeout`` and
                ``priority``.

        Returns:
            The tasks, which are not submitted.

        Raises:
            UsageError: An option is wrong, or the function cannot be called so.
            PickleException: The function or an argument cannot be pickled.
        """
        __tracebackhide__ = True
        if isinstance(function, Remote):
            if options:
                raise RainException(
                    f"Options of {function!r} are given where it is made: remote({next(iter(options))}=…)"
                )
            remote: TaskFunction = function
        else:
            remote = self._plain_function(function, options)
        if not iterables:
            raise RainException("map() needs something to go through, after the function")
        try:
            calls = list(zip(*iterables))
        except TypeError as error:
            raise RainException(f"map() goes through iterables: {error}") from None
        self._check_open()
        tasks = remote._calls_in(self, calls)
        if keep:
            for task in tasks:
                task.keep_outputs()
        return tasks

    @overload
    def fetch(self, dataobj: Item, timeout: float | None = None) -> DataInstance: ...

    @overload
    def fetch(self, dataobj: Iterable[Item], timeout: float | None = None) -> list[DataInstance]: ...

    def fetch(self, dataobj: Item | Iterable[Item], timeout: float | None = None) -> DataInstance | list[DataInstance]:
        """The content of an object that is kept, or of several at once; waits until they are finished.

        Args:
            dataobj: The object, or a task with one output; or a list of them, which are asked for together.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: An object is not kept, or not submitted.
            TaskException: A task of the session has failed.
            CancelledException: A task that makes one of the objects was cancelled.
        """
        __tracebackhide__ = True
        deadline = deadline_after(timeout)
        if isinstance(dataobj, (Task, DataObject)):
            return waiting.fetch(self, as_object(dataobj), deadline)
        found = [as_object(item) if isinstance(item, Task) else item for item in as_items(dataobj, "fetch")]
        return waiting.fetch_all(self, found, deadline)

    def gather(self, items: Iterable[Item], timeout: float | None = None) -> list[Any]:
        """The values of objects or of the outputs of tasks; submits and keeps what is not submitted.

        Args:
            items: Objects, and tasks; of one that has not one output, there is a list of values.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Returns:
            Values in the order of the items: loaded where their content type says how, else bytes; directories as
            :class:`~rain.common.DataInstance`. What was not kept before is freed.

        Raises:
            RainException: An object was submitted before and is not kept.
            TaskException: A task of the session has failed.
            CancelledException: A task that makes one of the objects was cancelled.
        """
        __tracebackhide__ = True
        deadline = deadline_after(timeout)
        listed = as_items(items, "gather")
        objects = [list(item.outputs) if isinstance(item, Task) else [item] for item in listed]
        wanted = list(dict.fromkeys(item for group in objects for item in group))
        added = [item for item in wanted if isinstance(item, DataObject) and item._oid < 0 and not item._kept]
        for item in added:
            item.keep()
        if any(item._oid < 0 for item in wanted):
            self.submit()
        values = dict(zip(wanted, map(_value_of, waiting.fetch_all(self, wanted, deadline))))
        if added:
            self.unkeep(added)
        return [
            [values[part] for part in group] if isinstance(item, Task) and len(group) != 1 else values[group[0]]
            for item, group in zip(listed, objects)
        ]

    def unkeep(self, dataobjs: Iterable[DataObject]) -> None:
        """Free objects that are kept and submitted.

        Raises:
            RainException: One is not kept, or not submitted.
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        waiting.unkeep(self, dataobjs)

    def update(self, items: Iterable[Item] | None = None) -> None:
        """Get the current ``info`` of tasks and objects from the server.

        Args:
            items: The tasks and objects (default: all tasks that are submitted).

        Raises:
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        if items is None:
            self._check_open()
            items = list(self._submitted.values())
        waiting.update(self, items)

    def close(self) -> None:
        """Close the session: running tasks are stopped, objects are dropped. It cannot be used again."""
        if self._closed:
            return
        connection = self._connection
        request = connection.prepare("close_session", {"session": self.session_id})
        try:
            self._closed = True
            bindings.forget(self)
            self._contents.clear()
            connection.call(request)
        except (RainException, RequestError):
            # Whatever went wrong, the session is gone with the connection.
            return
        except BaseException:
            self._closed = True
            bindings.forget(self)
            if not request.sent:
                connection.post("close_session", {"session": self.session_id})
            raise

    @contextlib.contextmanager
    def bind_only(self) -> Iterator[Session]:
        """Make the session the active one for a ``with`` block, and do not close it afterwards."""
        self._check_open()
        binding = bindings.Binding(self)
        try:
            try:
                bindings.bind(binding)
                yield self
                bindings.unbind(binding)
            except BaseException:
                bindings.unbind(binding)
                raise
        except BaseException:
            # Here after an interrupt in the lines above.
            bindings.unbind(binding)
            raise

    def __enter__(self) -> Session:
        self._check_open()
        binding = bindings.Binding(self)
        try:
            bindings.bind(binding)
            return self
        except BaseException:
            bindings.unbind(binding)
            raise

    def __exit__(self, *exception: object) -> None:
        binding = None
        try:
            # Looked at first: what is closed has no tasks any more that could be submitted.
            forgotten = "" if any(exception) or self._closed else self._not_submitted()
            binding = bindings.last_binding(self)
            self._leave(binding)
        except BaseException:
            self._leave(binding or bindings.last_binding(self))
            raise
        if forgotten:
            warnings.warn(forgotten, RainWarning, stacklevel=2)

    def _not_submitted(self) -> str:
        """What a block has made in vain, in words; empty if there is nothing."""
        tasks = self._own_new_tasks()
        if not tasks:
            return ""
        first = tasks[0].describe()
        what = f"{first} was" if len(tasks) == 1 else f"{len(tasks)} tasks were"
        more = "" if len(tasks) == 1 else f" (the first: {first})"
        return (
            f"{what} never submitted, so nothing of it has run{more}: call session.submit() before the end of the "
            "block, or session.discard()"
        )

    async def __aenter__(self) -> Session:
        return self.__enter__()

    async def __aexit__(self, *exception: object) -> None:
        forgotten = "" if any(exception) or self._closed else self._not_submitted()
        binding = bindings.last_binding(self)
        if binding is not None:
            bindings.unbind(binding)
        # The server answers when what runs was stopped.
        await waiting.in_thread(self.close)
        if forgotten:
            warnings.warn(forgotten, RainWarning, stacklevel=2)

    def _leave(self, binding: bindings.Binding | None) -> None:
        if binding is not None:
            bindings.unbind(binding)
        self.close()

    def __del__(self) -> None:
        # An interrupted __init__ leaves a session without attributes.
        if getattr(self, "_closed", True) or sys.is_finalizing():
            return
        is_open, shown = not self.client.closed, repr(self)
        # First, as a warning may be an error.
        with contextlib.suppress(Exception):
            self._drop()
        if is_open:
            warnings.warn(f"{shown} was not closed; it is closed when its tasks are done", ResourceWarning, 2, self)

    def _drop(self) -> None:
        """Nobody can use the session any more: it is closed when its tasks are done."""
        connection, session_id = self._connection, self.session_id

        def close(reply: dict[str, Any], error: Exception | None) -> None:
            connection.post("close_session", {"session": session_id})

        self._closed = True
        if self._submitted_tasks and not connection.closed:
            connection.start_request("wait_all", {"session": session_id}, close)
        else:
            close({}, None)

    def __reduce__(self) -> Any:
        raise PickleException(f"A session cannot be sent to a task: {self!r}")

    def svg(self) -> str:
        """The graph of the session as a picture in SVG; for graphs of some hundred tasks at most."""
        return Picture(self).svg()

    def dot(self) -> str:
        """The graph of the session in the language of graphviz."""
        return Picture(self).dot()

    def _repr_html_(self) -> str:
        return session_html(self)

    def _plain_function(self, function: Callable[..., Any], options: Mapping[str, Any]) -> PlainFunction:
        """A plain function as it is now, for calls with some options; the same dictionary has the same options."""
        known, checked = self._plain_options
        if known is not options or checked is None:
            checked = PlainOptions.of(options)
            self._plain_options = (options, checked)
        return PlainFunction(function, checked)


def _value_of(instance: DataInstance) -> Any:
    """What :meth:`Session.gather` gives for a content."""
    if instance.data_type is not DataType.BLOB:
        return instance
    content_type = instance.content_type
    if not content_type or content_type.startswith(("mime/", "user/")):
        return instance.get_bytes()
    return instance.load()
