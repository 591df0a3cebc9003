"""Sessions: graphs of tasks and objects, and everything that is done with them."""

from __future__ import annotations

import contextlib
import threading
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Union

from ..common.content_type import merge_content_types
from ..common.data_instance import DataInstance
from ..common.errors import RainException, SessionException, TaskException
from ..common.ids import ID, DataType
from ..common.mapped_file import MappedFile
from . import active
from .connection import RequestError
from .data import DataObject
from .kind import Kind, OutputSpec, check_cpus, check_name
from .submit import Batch, upload_pieces
from .task import Task

if TYPE_CHECKING:
    from .client import Client
    from .remote import Remote

FETCH_PIECE = 64 << 20

Item = Union[Task, DataObject]


class Session:
    """A graph of tasks and data objects, built and submitted in one or more steps.

    Sessions are made by :meth:`Client.new_session`. In a ``with`` block a session is the active one, to which new tasks
    and objects go, and it is closed at the end of the block.
    """

    def __init__(self, client: Client, session_id: int, name: str) -> None:
        self.client = client
        self.session_id = session_id
        self.name = name
        self._closed = False
        self._submitting = threading.RLock()
        # All tasks, by id; those from _submitted_tasks on are not submitted.
        self._tasks: list[Task] = []
        self._submitted_tasks = 0
        self._submitted_objects = 0
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._kind_ids: dict[Kind, int] = {}
        self._functions: dict[Remote, Kind] = {}
        # Of what is not submitted: constants, kept objects, tasks whose outputs were looked at, what has a spec.
        self._constants: list[DataObject] = []
        self._kept: list[DataObject] = []
        self._shown: list[Task] = []
        self._specified: list[Any] = []

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def task_count(self) -> int:
        """The number of tasks that are not submitted."""
        return len(self._tasks) - self._submitted_tasks

    @property
    def dataobj_count(self) -> int:
        """The number of data objects that are not submitted: constants and outputs of tasks."""
        tasks = self._tasks[self._submitted_tasks :]
        return len(self._constants) + sum(task._kind.n_outputs for task in tasks)

    def submit(self) -> None:
        """Send what was added since the last submit to the server, where it starts to run.

        A submit that is refused changes nothing: its tasks and objects are still there, not submitted.
        """
        self._check_open()
        with self._submitting:
            batch = Batch(self)
            try:
                for object_id, content in batch.uploads:
                    for piece in upload_pieces(object_id, content):
                        self._request("upload", piece)
            except BaseException:
                batch.undo()
                raise
            try:
                self._request("submit", batch.body)
            except RainException:
                batch.undo()
                raise
            except BaseException:
                # Interrupted while waiting for the reply; the request itself is on its way.
                batch.commit()
                raise
            batch.commit()

    def discard(self) -> None:
        """Drop all tasks and objects that are not submitted, as after a submit that was refused."""
        with self._submitting:
            del self._tasks[self._submitted_tasks :]
            for pending in (self._constants, self._kept, self._shown, self._specified):
                pending.clear()

    def wait(self, items: Iterable[Item]) -> None:
        """Wait until all of some tasks and objects are finished."""
        self._request("wait", self._columns(items, "wait for"))

    def wait_some(self, items: Iterable[Item]) -> list[Item]:
        """Wait until at least one of some tasks and objects is finished; returns those that are, in the given order."""
        listed = list(items)
        if not listed:
            return []
        reply = self._request("wait_some", self._columns(listed, "wait for"))
        tasks, objects = (set(array("I", reply[name])) for name in ("tasks", "objects"))
        return [item for item in listed if (item._id in tasks if isinstance(item, Task) else item._oid in objects)]

    def wait_all(self) -> None:
        """Wait until every submitted task is finished."""
        self._request("wait_all", {})

    def fetch(self, dataobj: DataObject) -> DataInstance:
        """The content of an object that is kept; waits until it is finished."""
        self._check_items([dataobj], "fetch")
        if not dataobj._kept:
            raise RainException(f"Only kept objects can be fetched; call keep() before the submit: {dataobj!r}")
        # The path of a directory ends with the object; its archive is here for good.
        is_blob = dataobj._data_type is DataType.BLOB
        body = {"object": dataobj._oid, "map": is_blob and self.client.local, "offset": 0, "limit": FETCH_PIECE}
        reply = self._request("fetch", body)
        size = reply["size"]
        data: bytes | memoryview
        if "path" in reply:
            data = MappedFile(reply["path"]).view()
        else:
            data = reply["data"]
            if len(data) < size:
                data = self._fetch_rest(body, bytearray(data), size)
        content_type = merge_content_types(dataobj._content_type, reply.get("content_type"))
        dataobj._set_info({"state": "finished", "size": size, "content_type": content_type, **reply.get("info", {})})
        return DataInstance(
            data,
            content_type=content_type,
            data_type=DataType.from_wire(reply["data_type"]),
            size=size,
            id=ID(self.session_id, dataobj._oid),
            spec=dataobj.spec,
            info=dataobj.info,
        )

    def unkeep(self, dataobjs: Iterable[DataObject]) -> None:
        """Free objects that are kept and submitted."""
        listed = list(dataobjs)
        self._check_items(listed, "unkeep")
        for dataobj in listed:
            if not dataobj._kept:
                raise RainException(f"{dataobj!r} is not kept")
        self._request("unkeep", {"objects": array("I", [dataobj._oid for dataobj in listed]).tobytes()})
        for dataobj in listed:
            dataobj._kept = False

    def update(self, items: Iterable[Item]) -> None:
        """Get the current ``info`` of tasks and objects from the server."""
        listed = list(items)
        reply = self._request("info", self._columns(listed, "update"))
        tasks = {info["id"]: info for info in reply["tasks"]}
        objects = {info["id"]: info for info in reply["objects"]}
        for item in listed:
            item._set_info(tasks[item._id] if isinstance(item, Task) else objects[item._oid])

    def close(self) -> None:
        """Close the session: running tasks are stopped, objects are dropped. It cannot be used again."""
        if self._closed:
            return
        self._closed = True
        active.forget(self)
        # Whatever goes wrong here, the session is gone with the connection.
        with contextlib.suppress(RainException, RequestError):
            self.client._request("close_session", {"session": self.session_id})

    @contextlib.contextmanager
    def bind_only(self) -> Iterator[Session]:
        """Make the session the active one for a ``with`` block, and do not close it afterwards."""
        self._check_open()
        active.bind(self)
        try:
            yield self
        finally:
            active.unbind(self)

    def __enter__(self) -> Session:
        self._check_open()
        active.bind(self)
        return self

    def __exit__(self, *exception: object) -> None:
        active.unbind(self)
        self.close()

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
    ) -> Kind:
        """The kind of task with these properties, the same one for all tasks of the session that have them."""
        key = (task_type, outputs, cpus, name, input_labels)
        kind = self._kinds.get(key)
        if kind is None:
            kind = Kind(task_type, outputs, cpus=check_cpus(cpus), name=check_name(name), input_labels=input_labels)
            self._kinds[key] = kind
        return kind

    def _request(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check_open()
        try:
            return self.client._request(operation, {"session": self.session_id, **body})
        except RequestError as error:
            raise self._exception(error.error) from None

    def _exception(self, error: dict[str, Any]) -> RainException:
        message = error.get("message") or "unknown error"
        number = error.get("task")
        task = self._tasks[number] if number is not None and number < len(self._tasks) else None
        if error.get("kind") == "task":
            debug = error.get("debug") or ""
            named = task.describe() if task is not None else f"task {number}"
            text = f"{named[0].upper()}{named[1:]} failed:\n{message}"
            if debug:
                text = f"{text.rstrip()}\n\nDebug:\n{debug}"
            return TaskException(text, task, message, debug)
        if task is not None:
            message = f"{message} ({task.describe()})"
        return SessionException(message) if error.get("kind") == "session" else RainException(message)

    def _columns(self, items: Iterable[Item], action: str) -> dict[str, bytes]:
        listed = list(items)
        self._check_items(listed, action)
        tasks = [item._id for item in listed if isinstance(item, Task)]
        objects = [item._oid for item in listed if isinstance(item, DataObject)]
        return {"tasks": array("I", tasks).tobytes(), "objects": array("I", objects).tobytes()}

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
            raise SessionException(f"{self!r} cannot be used any more")

    def _fetch_rest(self, body: dict[str, Any], data: bytearray, size: int) -> bytes:
        while len(data) < size:
            piece = self._request("fetch", {**body, "map": False, "offset": len(data)})["data"]
            if not piece:
                raise RainException(f"The server sent {len(data)} of {size} bytes of an object")
            data += piece
        return bytes(data)
