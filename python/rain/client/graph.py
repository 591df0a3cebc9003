"""What a session consists of: its tasks and objects, and the requests about them.

Tasks, objects and functions put themselves into it, and know nothing of what else can be done with a session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Union

from ..common import cause
from ..common.attributes import ObjectInfo, ObjectSpec
from ..common.columns import to_column
from ..common.errors import CancelledException, RainException, SessionException, TaskException
from ..common.ids import DataType
from .connection import Connection, Request, RequestError
from .contents import Contents
from .kind import NO_LIMITS, Kind, OutputSpec, check_cpus, check_name, check_options
from .locking import Mutex

_PLACE = re.compile(r"^task \d+\b.* failed on governor (\d+)$", re.DOTALL)


if TYPE_CHECKING:
    # A task or an object may be given for any parameter of a remote function, which gets what is in it.
    Anything = Any
else:
    Anything = object


class TaskItem:
    """What the rest of a graph knows of a task; see :class:`~rain.client.Task`."""

    __slots__ = ()

    # How many of the inputs, at their end, the client has added itself; and whether the outputs are kept in any case.
    _hidden: int = 0
    _keeps_output: bool = False
    _session: Graph
    _kind: Kind
    _inputs: tuple[Any, ...]
    _config: bytes | None
    # The id of the first output, -1 before the submit; and the task's own id, from the submit on.
    _oid: int
    _id: int

    def _let_go(self) -> None:
        """Keep no outputs any more because of `_keeps_output`."""

    def describe(self) -> str:
        """The task in words."""
        raise NotImplementedError

    @property
    def state(self) -> str | None:
        """What the task is doing, as far as the client was told."""
        raise NotImplementedError

    def _set_state(self, state: str) -> None:
        raise NotImplementedError

    def _set_info(self, info: dict[str, Any]) -> None:
        raise NotImplementedError


class ObjectItem:
    """What the rest of a graph knows of a data object; see :class:`~rain.client.DataObject`."""

    __slots__ = ()

    _session: Graph
    _task: Any
    _index: int
    _kept: bool
    _content: bytes | None
    _number: int
    _data_type: DataType
    _content_type: str | None

    @property
    def _oid(self) -> int:
        """The number of the object in its session, -1 before the submit."""
        raise NotImplementedError

    @property
    def spec(self) -> ObjectSpec:
        """The specification of the object."""
        raise NotImplementedError

    @property
    def info(self) -> ObjectInfo:
        """What is known of the content."""
        raise NotImplementedError

    @property
    def state(self) -> str | None:
        """Whether the object is made, as far as the client was told."""
        raise NotImplementedError

    def _set_state(self, state: str) -> None:
        raise NotImplementedError

    def _set_info(self, info: dict[str, Any]) -> None:
        raise NotImplementedError


Item = Union[TaskItem, ObjectItem]


class Graph:
    """Tasks and data objects of one session.

    Args:
        client: Whose session it is.
        session_id: The server's number for it.
        name: A name for people.
    """

    # Until it is made.
    _closed = True
    # What is kept here of functions: how they get to executors, options for plain ones that were used last, and large
    # ones that were called again since the last submit, with what they were at the first call.
    _functions: Any
    _plain_options: tuple[Any, Any]
    _taken_once: dict[Any, Any]

    def __init__(self, client: Any, session_id: int, name: str) -> None:
        self.client: Any = client
        self.session_id = session_id
        self.name = name
        self._failed = False
        self._submitting = Mutex()
        # Tasks that are not submitted, and the others by id, without those that are forgotten.
        self._new_tasks: list[Any] = []
        self._submitted: dict[int, Any] = {}
        # How many ids were given away.
        self._submitted_tasks = 0
        self._submitted_objects = 0
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._kind_ids: dict[Kind, int] = {}
        self._kind_count = 0
        # Another one for each submit.
        self._batch = object()
        # The client's executor processes that the kinds of this session were sent for.
        self._generation = ""
        # Pending items: constants; kept objects; tasks and objects whose `spec` was created.
        self._constants: list[Any] = []
        self._kept: list[Any] = []
        self._specified: list[Any] = []
        # Constants that were submitted and are not kept; and objects whose spec.user is set, with that as JSON.
        self._contents = Contents()
        self._object_users: dict[Any, str] = {}
        # Tasks whose ids are below this are over, as far as it is known here.
        self._finished_tasks = 0
        # What tasks below this number have written was shown.
        self._followed = 0
        # Whether calls of executors are among its tasks; and those whose results tasks refer to that are not submitted.
        self._has_calls = False
        self._referred: set[Any] = set()
        # Objects that are kept only until the rest of a graph, which needs them, is submitted.
        self._held: set[int] = set()
        self._closed = False

    @property
    def _connection(self) -> Connection:
        return self.client._connection  # type: ignore[no-any-return]

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def _tasks(self) -> list[Any]:
        """All tasks that are not forgotten, in the order of their ids."""
        return [*self._submitted.values(), *self._new_tasks]

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Session {self.session_id}{name}{' closed' if self._closed else ''}>"

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
            # The key cannot be hashed; the constructor below reports what is wrong with it.
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

    def _let_go(self, constants: Iterable[Any]) -> None:
        """Have the server forget kept constants, without waiting for its answer."""
        freed = list(constants)
        for item in freed:
            item._kept = False
            item._is_forgotten = True
        column = to_column(item._oid for item in freed)
        self._connection.post("forget", {"session": self.session_id, "tasks": b"", "objects": column})

    def _request(self, operation: str, body: dict[str, Any], deadline: float | None = None) -> dict[str, Any]:
        __tracebackhide__ = True
        self._check_open()
        return self._call(self._connection.prepare(operation, {"session": self.session_id, **body}), deadline)

    def _call(self, request: Request, deadline: float | None = None) -> dict[str, Any]:
        __tracebackhide__ = True
        try:
            return self._connection.call(request, deadline)
        except RequestError as error:
            made = self._exception(error.error)
            raise made from made.__cause__

    def _start_request(
        self, operation: str, body: dict[str, Any], taker: Callable[[dict[str, Any], RainException | None], None]
    ) -> None:
        """Send a request whose reply is handed to a function, in another thread."""
        self._check_open()
        request = {"session": self.session_id, **body}
        self._connection.start_request(operation, request, partial(self._take, taker))

    def _start_requests(
        self,
        operation: str,
        asked: Iterable[tuple[dict[str, Any], Callable[[dict[str, Any], RainException | None], None]]],
    ) -> None:
        """The same with several requests, which are sent together; their bodies have the session."""
        self._check_open()
        requests = [(body, partial(self._take, taker)) for body, taker in asked]
        self._connection.start_requests(operation, requests)

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

    def _task(self, number: int) -> Any:
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
            debug, pickled = cause.split(error.get("debug") or "")
            named = task.describe() if task is not None else f"task {number}"
            # The server names the task too, but not where it was made.
            where, found, rest = message.partition(": ")
            place = _PLACE.search(where)
            tried = task._kind.limits.retries if task is not None else 0
            failed = f"failed {tried + 1} times (retries={tried}), the last time" if tried else "failed"
            governor = int(place.group(1)) if found and place is not None else None
            what = message if governor is None else rest
            on = "" if governor is None else f" on governor {governor}"
            text = f"{named[0].upper()}{named[1:]} {failed}{on}:\n{what}"
            if debug:
                text = f"{text.rstrip()}\n\nDebug:\n{debug}"
            if task is not None:
                task._set_info({"state": "failed", "error": message, "debug": debug, "governor": governor})
            origin = cause.load(pickled) or cause.shown(what)
            return TaskException(text, task, message, debug, governor=governor, cause=origin)
        if task is not None and error.get("kind") == "cancelled":
            # The server names the task in its way, and says what became of it.
            _, _, what = message.rpartition(") ")
            named = task.describe()
            return CancelledException(f"{named[0].upper()}{named[1:]} {what or 'was cancelled'}")
        if task is not None:
            message = f"{message} ({task.describe()})"
        if error.get("kind") == "cancelled":
            return CancelledException(message)
        return SessionException(message) if error.get("kind") == "session" else RainException(message)

    def _columns(self, items: Iterable[Any], action: str) -> dict[str, bytes]:
        __tracebackhide__ = True
        listed = as_items(items, action)
        self._check_items(listed, action)
        tasks = [item._id for item in listed if isinstance(item, TaskItem)]
        objects = [item._oid for item in listed if isinstance(item, ObjectItem)]
        return {"tasks": to_column(tasks), "objects": to_column(objects)}

    def _check_items(self, items: Iterable[Any], action: str) -> None:
        __tracebackhide__ = True
        self._check_open()
        for item in items:
            if not isinstance(item, (TaskItem, ObjectItem)):
                raise RainException(f"Cannot {action} {item!r}: it is neither a task nor a data object")
            if item._session is not self:
                raise RainException(f"Cannot {action} {item!r}: it belongs to {item._session!r}, not to {self!r}")
            if item._oid < 0:
                raise RainException(f"Cannot {action} {item!r}: it is not submitted; call session.submit() first")

    def _check_open(self) -> None:
        __tracebackhide__ = True
        if self._closed:
            self._connection.check_process()
            raise SessionException(f"{self!r} cannot be used any more")
        self._check_settled()

    def _check_settled(self) -> None:
        """Before anything is done with the session: whatever was interrupted is put in order."""

    def _locked(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function while no other thread submits or takes back something."""
        __tracebackhide__ = True
        # In a forked child, a thread that is not there may have had the lock.
        self._connection.check_open()
        self._submitting.run(function, *args)


def as_items(items: Any, action: str) -> list[Any]:
    """A list of tasks and objects from what a user gave."""
    if isinstance(items, (TaskItem, ObjectItem)):
        return [items]
    try:
        return list(items)
    except TypeError:
        raise RainException(
            f"Cannot {action} {items!r}: a list of tasks and data objects is needed, not {type(items).__name__}"
        ) from None
