"""Sessions: graphs of tasks and objects, and everything that is done with them."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from ..common.columns import from_column, to_column
from ..common.data_instance import DataInstance
from ..common.errors import CancelledException, PickleException, RainException, SessionException, TaskException
from . import active
from .connection import Request, RequestError, deadline_after
from .data import DataObject
from .fetching import Fetching
from .forgotten import about_known, check_known, is_forgotten
from .function_table import FunctionTable, HiddenObject
from .kind import NO_LIMITS, Kind, OutputSpec, check_cpus, check_name, check_options
from .locking import Mutex
from .submit import Batch
from .submitting import Submitting
from .task import Task
from .waiting import Item, as_completed, as_items, completed

if TYPE_CHECKING:
    from .capture import Capture
    from .client import Client
    from .plain import PlainFunction, PlainOptions
    from .remote import Remote
    from .task_function import TaskFunction

_PLACE = re.compile(r"^task \d+\b.* failed on (governor \d+)$", re.DOTALL)


class Session(Submitting):
    """A graph of tasks and data objects, built and submitted in one or more steps.

    Sessions are made by :meth:`Client.new_session`. In a ``with`` block a session is the active one, to which new tasks
    and objects go, and it is closed at the end of the block.
    """

    # Until it is made.
    _closed = True

    def __init__(self, client: Client, session_id: int, name: str) -> None:
        self.client = client
        self.session_id = session_id
        self.name = name
        self._failed = False
        self._submitting = Mutex()
        # Tasks that are not submitted, and the others by id, without those that are forgotten.
        self._new_tasks: list[Task] = []
        self._submitted: dict[int, Task] = {}
        # How many ids were given away.
        self._submitted_tasks = 0
        self._submitted_objects = 0
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._kind_ids: dict[Kind, int] = {}
        self._kind_count = 0
        self._functions = FunctionTable()
        # Options for plain functions that were used last, and the same ones checked.
        self._plain_options: tuple[Any, PlainOptions | None] = (None, None)
        # Another one for each submit.
        self._batch = object()
        # Large functions that were called again since the last submit, and what they were at the first call.
        self._taken_once: dict[Remote, Capture] = {}
        # The client's executor processes that the kinds of this session were sent for.
        self._generation = ""
        # Of what is not submitted: constants, kept objects, tasks and objects that have a spec.
        self._constants: list[DataObject] = []
        self._kept: list[DataObject] = []
        self._specified: list[Any] = []
        # The batch that is being submitted, and whether its thread was interrupted and has left it.
        self._unsettled: Batch | None = None
        self._interrupted = False
        # Objects that are kept only until the rest of a graph, which needs them, is submitted.
        self._held: set[int] = set()
        # Whether calls of executors are among its tasks; and those whose results tasks refer to that are not submitted.
        self._has_calls = False
        self._referred: set[Task] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def task_count(self) -> int:
        """The number of tasks that are not submitted."""
        return len(self._new_tasks)

    @property
    def dataobj_count(self) -> int:
        """The number of data objects that are not submitted: constants and outputs of tasks."""
        constants = sum(not isinstance(constant, HiddenObject) for constant in self._constants)
        return constants + sum(task._kind.n_outputs for task in self._new_tasks)

    @property
    def _tasks(self) -> list[Task]:
        """All tasks that are not forgotten, in the order of their ids."""
        return [*self._submitted.values(), *self._new_tasks]

    def submit(self) -> None:
        """Send what was added since the last submit to the server, where it starts to run.

        A submit that is refused changes nothing: its tasks and objects are still there, not submitted. A graph of more
        than some 32 MiB goes in several submits; if one of these is refused or interrupted, those before it are
        submitted, and the rest is still there.
        """
        self._submit_all()

    def _submit_all(self, calls: int = 0, refused: Callable[[RainException], None] | None = None) -> None:
        self._check_open()
        while self._taken_once:
            remote, captured = self._taken_once.popitem()
            remote._check_taken_once(captured)
        self._locked(self._submit, calls, refused)

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

    def _withdraw(self, tasks: list[Task]) -> None:
        """Take out tasks that were made last and not submitted, with the hidden constants that only they read."""
        hidden = {id(item) for task in tasks for item in task._inputs[len(task._shown_inputs) :]}
        self._submitting.run(self._take_out, set(map(id, tasks)), hidden)

    def _take_out(self, gone: set[int], hidden: set[int]) -> None:
        # Other threads may add to the ends of these lists.
        count = len(self._new_tasks)
        self._new_tasks[:count] = [task for task in self._new_tasks[:count] if id(task) not in gone]
        count = len(self._kept)
        self._kept[:count] = [
            item for item in self._kept[:count] if id(item._task) not in gone and id(item) not in hidden
        ]
        count = len(self._constants)
        self._constants[:count] = [item for item in self._constants[:count] if id(item) not in hidden]
        self._batch = object()

    def wait(self, items: Iterable[Item], progress: bool = False, timeout: float | None = None) -> None:
        """Wait until all of some tasks and objects are finished.

        Args:
            items: The tasks and objects.
            progress: Show a progress bar (needs the package tqdm).
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.
        """
        deadline = deadline_after(timeout)
        listed = as_items(items, "wait for")
        if progress:
            self._watch(listed, deadline)
        # Also after watching: only this tells of tasks that were cancelled.
        about_known(listed, lambda known: self._request("wait", self._columns(known, "wait for"), deadline))

    def wait_some(self, items: Iterable[Item], timeout: float | None = None) -> list[Item]:
        """Wait until at least one of some tasks and objects is finished; returns those that are, in the given order.

        Args:
            items: The tasks and objects.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.
        """
        return self._wait_some(as_items(items, "wait for"), deadline_after(timeout))

    def _wait_some(self, listed: list[Item], deadline: float | None) -> list[Item]:
        if not listed:
            return []
        columns = self._columns(listed, "wait for")
        over = [item for item in listed if is_forgotten(item)]
        if over:
            return over
        try:
            reply = self._request("wait_some", columns, deadline)
        except RainException:
            if any(map(is_forgotten, listed)):
                return self._wait_some(listed, deadline)
            raise
        tasks, objects = (set(from_column(reply[name])) for name in ("tasks", "objects"))
        return [item for item in listed if (item._id in tasks if isinstance(item, Task) else item._oid in objects)]

    def wait_all(self, progress: bool = False, timeout: float | None = None) -> None:
        """Wait until every submitted task is finished.

        Args:
            progress: Show a progress bar (needs the package tqdm).
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.
        """
        deadline = deadline_after(timeout)
        self._check_open()
        if progress:
            self._watch(list(self._submitted.values()), deadline)
        self._request("wait_all", {}, deadline)

    def as_completed(
        self, items: Iterable[Item] | None = None, progress: bool = False, timeout: float | None = None
    ) -> Iterator[Item]:
        """Go through tasks and objects in the order in which they are finished.

        Args:
            items: The tasks and objects (default: all tasks that are submitted).
            progress: Show a progress bar (needs the package tqdm).
            timeout: Seconds from now on for all of them, after which :class:`~rain.client.RainTimeout` is raised.
        """
        self._check_open()
        chosen = list(self._submitted.values()) if items is None else as_items(items, "wait for")
        self._check_items(chosen, "wait for")
        return as_completed(chosen, progress, timeout)

    def cancel(self, tasks: Iterable[Task] | None = None) -> list[Task]:
        """Stop tasks, and all tasks that need what these would have made; the session goes on.

        Waiting for a cancelled task, or fetching its outputs, raises
        :class:`~rain.client.CancelledException`.

        Args:
            tasks: The tasks (default: all that are submitted).

        Returns:
            The tasks that were cancelled; those that had finished before are not among them.
        """
        self._check_open()
        listed: list[Item] = list(self._submitted.values()) if tasks is None else as_items(tasks, "cancel")
        for item in listed:
            if isinstance(item, DataObject):
                raise RainException(f"Only tasks can be cancelled, not {item!r}")
        self._check_items(listed, "cancel")
        if not listed:
            return []
        reply = about_known(
            listed, lambda known: self._request("cancel", {"tasks": self._columns(known, "cancel")["tasks"]})
        )
        # Calls of an executor may be forgotten meanwhile.
        found = map(self._submitted.get, from_column(reply["tasks"]) if reply else ())
        return [task for task in found if task is not None]

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> list[Task]:
        """Make a task for each item of an iterable; several iterables give a function as many arguments.

        Args:
            function: A remote function; or any other function, which gets values (of data objects: loaded ones) and no
                context, and whose result is pickled.
            iterables: The arguments.
            options: For functions that are not remote: ``cpus``, ``name``, ``env``, ``retries``, ``timeout`` and
                ``priority``.

        Returns:
            The tasks, which are not submitted.
        """
        from .remote import Remote

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
        return remote._calls_in(self, calls)

    def fetch(self, dataobj: DataObject, timeout: float | None = None) -> DataInstance:
        """The content of an object that is kept; waits until it is finished.

        Args:
            dataobj: The object.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.
        """
        return self._fetch(dataobj, deadline_after(timeout))

    def _fetch(self, dataobj: DataObject, deadline: float | None) -> DataInstance:
        self._check_items([dataobj], "fetch")
        fetching = Fetching(dataobj, self.client._connection)
        while True:
            instance = fetching.take(self._request("fetch", fetching.body, deadline), deadline)
            if instance is not None:
                return instance

    def unkeep(self, dataobjs: Iterable[DataObject]) -> None:
        """Free objects that are kept and submitted."""
        listed = as_items(dataobjs, "unkeep")
        self._check_items(listed, "unkeep")
        for dataobj in listed:
            if not isinstance(dataobj, DataObject):
                raise RainException(f"Only data objects can be freed; use unkeep_outputs() of {dataobj!r}")
            if not dataobj._kept:
                raise RainException(f"{dataobj!r} is not kept")
        body = {"session": self.session_id, "objects": to_column(dataobj._oid for dataobj in listed)}
        request = self.client._connection.prepare("unkeep", body)
        try:
            self._call(request)
            self._set_freed(listed)
        except RainException:
            raise
        except BaseException:
            # They are free if the server gets to know of it.
            if request.sent:
                self._set_freed(listed)
            raise

    @staticmethod
    def _set_freed(dataobjs: Iterable[Any]) -> None:
        for dataobj in dataobjs:
            dataobj._kept = False

    def update(self, items: Iterable[Item]) -> None:
        """Get the current ``info`` of tasks and objects from the server."""
        listed = as_items(items, "update")
        for item in listed:
            check_known(item)
        reply = self._request("info", self._columns(listed, "update"))
        tasks = {info["id"]: info for info in reply["tasks"]}
        objects = {info["id"]: info for info in reply["objects"]}
        for item in listed:
            item._set_info(tasks[item._id] if isinstance(item, Task) else objects[item._oid])

    def close(self) -> None:
        """Close the session: running tasks are stopped, objects are dropped. It cannot be used again."""
        if self._closed:
            return
        connection = self.client._connection
        request = connection.prepare("close_session", {"session": self.session_id})
        try:
            self._closed = True
            active.forget(self)
            connection.call(request)
        except (RainException, RequestError):
            # Whatever went wrong, the session is gone with the connection.
            return
        except BaseException:
            self._closed = True
            active.forget(self)
            if not request.sent:
                connection.post("close_session", {"session": self.session_id})
            raise

    @contextlib.contextmanager
    def bind_only(self) -> Iterator[Session]:
        """Make the session the active one for a ``with`` block, and do not close it afterwards."""
        self._check_open()
        binding = active.Binding(self)
        try:
            try:
                active.bind(binding)
                yield self
                active.unbind(binding)
            except BaseException:
                active.unbind(binding)
                raise
        except BaseException:
            # Here after an interrupt in the lines above.
            active.unbind(binding)
            raise

    def __enter__(self) -> Session:
        self._check_open()
        binding = active.Binding(self)
        try:
            active.bind(binding)
            return self
        except BaseException:
            active.unbind(binding)
            raise

    def __exit__(self, *exception: object) -> None:
        binding = None
        try:
            binding = active.last_binding(self)
            self._leave(binding)
        except BaseException:
            self._leave(binding or active.last_binding(self))
            raise

    def _leave(self, binding: active.Binding | None) -> None:
        if binding is not None:
            active.unbind(binding)
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
        connection, session_id = self.client._connection, self.session_id

        def close(reply: dict[str, Any], error: Exception | None) -> None:
            connection.post("close_session", {"session": session_id})

        self._closed = True
        if self._submitted_tasks and not connection.closed:
            connection.start_request("wait_all", {"session": session_id}, close)
        else:
            close({}, None)

    def __reduce__(self) -> Any:
        raise PickleException(f"A session cannot be sent to a task: {self!r}")

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Session {self.session_id}{name}{' closed' if self._closed else ''}>"

    def svg(self) -> str:
        """The graph of the session as a picture in SVG; for graphs of some hundred tasks at most."""
        from .drawing import Picture

        return Picture(self).svg()

    def dot(self) -> str:
        """The graph of the session in the language of graphviz."""
        from .drawing import Picture

        return Picture(self).dot()

    def _repr_html_(self) -> str:
        from .drawing import session_html

        return session_html(self)

    def _kind(
        self,
        task_type: str,
        outputs: tuple[OutputSpec, ...],
        *,
        cpus: int = 1,
        name: str | None = None,
        input_labels: tuple[str, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Kind:
        """The kind of task with these properties, the same one for all tasks of the session that have them."""
        limits = check_options(options) if options else NO_LIMITS
        key = (task_type, outputs, cpus, name, input_labels, limits)
        try:
            kind = self._kinds.get(key)
        except TypeError:
            # Something that cannot be compared with what is right.
            kind = None
        if kind is None:
            kind = Kind(
                task_type,
                outputs,
                cpus=check_cpus(cpus),
                name=check_name(name),
                input_labels=input_labels,
                limits=limits,
            )
            self._kinds[key] = kind
        return kind

    def _plain_function(self, function: Callable[..., Any], options: Mapping[str, Any]) -> PlainFunction:
        """A plain function as it is now, for calls with some options; the same dictionary has the same options."""
        from .plain import PlainFunction, PlainOptions

        known, checked = self._plain_options
        if known is not options or checked is None:
            checked = PlainOptions.of(options)
            self._plain_options = (options, checked)
        return PlainFunction(function, checked)

    def _let_go(self, constants: Iterable[HiddenObject]) -> None:
        """Have the server forget kept constants, without waiting for its answer."""
        freed = list(constants)
        for item in freed:
            item._kept = False
            item._is_forgotten = True
        column = to_column(item._oid for item in freed)
        self.client._connection.post("forget", {"session": self.session_id, "tasks": b"", "objects": column})

    def _request(self, operation: str, body: dict[str, Any], deadline: float | None = None) -> dict[str, Any]:
        self._check_open()
        return self._call(self.client._connection.prepare(operation, {"session": self.session_id, **body}), deadline)

    def _call(self, request: Request, deadline: float | None = None) -> dict[str, Any]:
        try:
            return self.client._connection.call(request, deadline)
        except RequestError as error:
            raise self._exception(error.error) from None

    def _start_request(
        self, operation: str, body: dict[str, Any], taker: Callable[[dict[str, Any], RainException | None], None]
    ) -> None:
        """Send a request whose reply is handed to a function, in another thread."""
        self._check_open()
        request = {"session": self.session_id, **body}
        self.client._start_request(operation, request, partial(self._take, taker))

    def _start_requests(
        self,
        operation: str,
        asked: Iterable[tuple[dict[str, Any], Callable[[dict[str, Any], RainException | None], None]]],
    ) -> None:
        """The same with several requests, which are sent together; their bodies have the session."""
        self._check_open()
        requests = [(body, partial(self._take, taker)) for body, taker in asked]
        self.client._connection.start_requests(operation, requests)

    def _take(
        self,
        taker: Callable[[dict[str, Any], RainException | None], None],
        reply: dict[str, Any],
        error: Exception | None,
    ) -> None:
        if isinstance(error, RequestError):
            error = self._exception(error.error)
        assert error is None or isinstance(error, RainException)
        taker(reply, error)

    def _watch(self, items: list[Item], deadline: float | None) -> None:
        """Wait until all of some tasks and objects are finished, with a progress bar."""
        self._check_items(items, "wait for")
        for _ in completed(self, items, True, deadline):
            pass

    def _task(self, number: int) -> Task | None:
        """The task with an id, also that of a submit that was refused; None if it is forgotten."""
        task = self._submitted.get(number)
        new = number - self._submitted_tasks
        return self._new_tasks[new] if task is None and 0 <= new < len(self._new_tasks) else task

    def _exception(self, error: dict[str, Any]) -> RainException:
        message = error.get("message") or "unknown error"
        number = error.get("task")
        task = self._task(number) if number is not None else None
        if error.get("kind") in ("task", "session"):
            self._failed = True
        if error.get("kind") == "task":
            debug = error.get("debug") or ""
            named = task.describe() if task is not None else f"task {number}"
            # The server names the task too, but not where it was made.
            where, found, rest = message.partition(": ")
            place = _PLACE.search(where)
            if found and place is not None:
                text = f"{named[0].upper()}{named[1:]} failed on {place.group(1)}:\n{rest}"
            else:
                text = f"{named[0].upper()}{named[1:]} failed:\n{message}"
            if debug:
                text = f"{text.rstrip()}\n\nDebug:\n{debug}"
            return TaskException(text, task, message, debug)
        if task is not None:
            message = f"{message} ({task.describe()})"
        if error.get("kind") == "cancelled":
            return CancelledException(message)
        return SessionException(message) if error.get("kind") == "session" else RainException(message)

    def _columns(self, items: Iterable[Item], action: str) -> dict[str, bytes]:
        listed = as_items(items, action)
        self._check_items(listed, action)
        tasks = [item._id for item in listed if isinstance(item, Task)]
        objects = [item._oid for item in listed if isinstance(item, DataObject)]
        return {"tasks": to_column(tasks), "objects": to_column(objects)}

    def _check_items(self, items: Iterable[Any], action: str) -> None:
        self._check_open()
        for item in items:
            if not isinstance(item, (Task, DataObject)):
                raise RainException(f"Cannot {action} {item!r}: it is neither a task nor a data object")
            if item._session is not self:
                raise RainException(f"Cannot {action} {item!r}: it belongs to {item._session!r}, not to {self!r}")
            if item._oid < 0:
                raise RainException(f"Cannot {action} {item!r}: it is not submitted")

    def _check_open(self) -> None:
        if self._closed:
            self.client._connection.check_process()
            raise SessionException(f"{self!r} cannot be used any more")
        if self._interrupted:
            self._locked(self._settle_later)

    def _locked(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function while no other thread submits or takes back something."""
        # In a forked child, a thread that is not there may have had the lock.
        self.client._connection.check_open()
        self._submitting.run(function, *args)
