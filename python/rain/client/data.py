"""Data objects as a client sees them, and constants."""

from __future__ import annotations

import os
from collections.abc import Generator
from copy import deepcopy
from typing import Any

from ..common.attributes import ObjectInfo, ObjectSpec, read_user
from ..common.content_type import check_content_type, encode_value, text_encoding
from ..common.data_instance import DataInstance
from ..common.errors import RainException, UsageError
from ..common.ids import ID, DataType
from . import waiting
from .active import active_session
from .connection import deadline_after
from .contents import REMEMBERED_BYTES
from .drawing import attributes_html
from .graph import Anything, Graph, ObjectItem
from .kind import OutputSpec


class Kept:
    """Whether something is kept: as a value, and as the result of a call of it."""

    __slots__ = ("_kept",)

    def __init__(self, kept: bool) -> None:
        self._kept = kept

    def __bool__(self) -> bool:
        return self._kept

    def __call__(self) -> bool:
        return self._kept

    def __eq__(self, other: object) -> bool:
        return self._kept == bool(other) if isinstance(other, (bool, Kept)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._kept)

    def __repr__(self) -> str:
        return repr(self._kept)


_KEPT, _NOT_KEPT = Kept(True), Kept(False)


class DataObject(ObjectItem, Anything):  # type: ignore[misc] # (a subclass of Any)
    """A data object in the graph of a session: an output of a task or a constant."""

    __slots__ = (
        "__weakref__",
        "_content",
        "_content_type",
        "_data_type",
        "_index",
        "_info",
        "_kept",
        "_label",
        "_number",
        "_session",
        "_spec",
        "_state",
        "_task",
    )

    def __init__(
        self,
        session: Graph,
        label: str,
        data_type: DataType,
        content_type: str | None,
        *,
        task: Any = None,
        index: int = 0,
        content: bytes | None = None,
    ) -> None:
        self._session = session
        self._label = label
        self._data_type = data_type
        self._content_type = content_type
        self._task = task
        self._index = index
        self._content = content
        # Of a constant: its id, -1 before the submit.
        self._number = -1
        self._kept = False
        self._spec: ObjectSpec | None = None
        self._info: ObjectInfo | None = None
        self._state: str | None = None

    @staticmethod
    def _output(task: Any, index: int, output: OutputSpec) -> DataObject:
        made = DataObject(
            task._session,
            output.label,
            output.data_type,
            output.content_type,
            task=task,
            index=index,
        )
        made._kept = task._keeps_output
        return made

    @staticmethod
    def _constant(content: bytes, label: str, data_type: DataType, content_type: str | None) -> DataObject:
        session = active_session()
        if not isinstance(label, str):
            raise UsageError(f"A label is a string, not {type(label).__name__}: {label!r}")
        constant = DataObject(session, label, data_type, content_type, content=content)
        session._constants.append(constant)
        return constant

    @property
    def _oid(self) -> int:
        """The number of the object in its session, -1 before the submit."""
        task = self._task
        if task is None:
            return self._number
        first = task._oid
        return first + self._index if first >= 0 else -1

    @property
    def session(self) -> Any:
        """The session the object belongs to."""
        return self._session

    @property
    def id(self) -> ID | None:
        """The identifier of the object; None before the submit."""
        return ID(self._session.session_id, self._oid) if self._oid >= 0 else None

    @property
    def label(self) -> str | None:
        """The label of the object at the task that makes it."""
        return self._label or None

    @property
    def task(self) -> Any:
        """The task that makes the object; None for a constant."""
        return self._task

    @property
    def data_type(self) -> DataType:
        """Whether the object is a blob or a directory."""
        return self._data_type

    @property
    def content_type(self) -> str | None:
        """The actual content type if it is known, else the one from the graph."""
        return (self._info.content_type if self._info is not None else None) or self._content_type

    @property
    def spec(self) -> ObjectSpec:
        """The specification of the object; ``spec.user`` may be filled before the submit."""
        if self._spec is None:
            spec = ObjectSpec(None, self.label, self._content_type, self._data_type)
            if self._oid < 0:
                self._session._specified.append(self)
            # In this order: after an interrupt, what has a specification is surely in the list.
            self._spec = spec
            if self._oid >= 0:
                self._finish_spec()
        return self._spec

    @property
    def info(self) -> ObjectInfo:
        """What is known of the content, as of the last :meth:`update` or :meth:`fetch`."""
        if self._info is None:
            self._info = ObjectInfo()
        return self._info

    @property
    def state(self) -> str | None:
        """``"unfinished"``, ``"finished"`` or ``"removed"``, as of the last :meth:`update`; None before the submit.

        What a wait or a fetch has told of the object, or of the task that makes it, counts as well.
        """
        if self._oid < 0:
            return None
        if self._state in (None, "unfinished"):
            is_made = self._task is None or self._task.state == "finished"
            return "finished" if is_made else "unfinished"
        return self._state

    def _set_state(self, state: str) -> None:
        """The client has been told something of the object, without the rest of its info."""
        self._state = state
        task = self._task
        if state in ("finished", "removed") and task is not None and task.state in ("waiting", "running"):
            task._set_state("finished")

    @property
    def is_kept(self) -> Kept:
        """Whether the object is to be kept until it is freed; it can be written with ``()`` or without."""
        return _KEPT if self._kept else _NOT_KEPT

    def keep(self) -> None:
        """Keep the object when it is made, until :meth:`unkeep` or the end of the session. Only before the submit.

        Raises:
            RainException: The object was submitted.
        """
        if self._oid >= 0:
            raise RainException(f"keep() is possible only before the submit: {self!r}")
        if not self._kept:
            # In this order: what is kept is surely in the list.
            self._session._kept.append(self)
            self._kept = True

    def unkeep(self) -> None:
        """Free the object; tasks that were submitted still get it.

        Raises:
            RainException: The object is not kept.
        """
        __tracebackhide__ = True
        if not self._kept:
            raise RainException(f"{self!r} is not kept")
        if self._oid < 0:
            self._kept = False
        else:
            waiting.unkeep(self._session, [self])

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the object is finished.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: The object is not submitted.
            TaskException: A task of the session has failed.
            CancelledException: It was cancelled, or a task that it needs.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        waiting.wait(self._session, [self], deadline_after(timeout))

    def fetch(self, timeout: float | None = None) -> DataInstance:
        """The content of the object; waits until it is finished. The object must be kept.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: The object is not kept, or not submitted.
            TaskException: A task of the session has failed.
            CancelledException: It was cancelled, or a task that it needs.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        return waiting.fetch(self._session, self, deadline_after(timeout))

    def __await__(self) -> Generator[Any, None, DataInstance]:
        """In asyncio: fetch the object without blocking the event loop; the result is its content."""
        __tracebackhide__ = True
        return waiting.fetch_async(self._session, self).__await__()

    def update(self) -> None:
        """Get the current :attr:`info` from the server.

        Raises:
            RainException: The object is not submitted.
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        waiting.update(self._session, [self])

    def __repr__(self) -> str:
        number = f" {self._oid}" if self._oid >= 0 else ""
        label = f" {self._label!r}" if self._label else ""
        source = "constant" if self._task is None else f"of {self._task.describe()}"
        return f"<object{number}{label} {source}>"

    def _repr_html_(self) -> str:
        return attributes_html(repr(self).strip("<>"), self)

    def __reduce__(self) -> Any:
        raise RainException(f"A data object can only be passed to tasks as an argument: {self!r}")

    def _finish_spec(self) -> None:
        if self._spec is None or self._spec._frozen:
            return
        self._spec.id = ID(self._session.session_id, self._oid)
        self._spec.freeze()

    def _set_info(self, info: dict[str, Any]) -> None:
        user, fault = read_user(info.get("user"))
        self._set_state(info.get("state", ""))
        self._info = ObjectInfo(
            error=info.get("error") or "",
            size=info.get("size"),
            content_type=info.get("content_type"),
            debug="\n".join(filter(None, (info.get("debug"), fault))),
            user=user,
        )
        if self._state != "unfinished":
            self._info.freeze()


class SentAgain(DataObject):
    """A constant that stands for one of an earlier submit, which users see in its place."""

    __slots__ = ("_origin",)

    _origin: DataObject


def sent_again(session: Graph, item: Any) -> DataObject:
    """A constant with the same content as one that was submitted and is not kept, for the next submit.

    Raises:
        UsageError: The client does not have the content: it comes from a task, or it was used too long ago.
    """
    entry = session._contents.find(item)
    if entry is None:
        why = "call keep() before the submit of what is needed in a later one"
        if getattr(item, "_task", item) is None:
            why = f"the client remembers the last {REMEMBERED_BYTES >> 20} MiB of constants; {why}"
        raise UsageError(f"{item!r} was submitted before and is not kept, so it cannot be an input any more: {why}")
    if entry.batch is not session._batch:
        again = SentAgain(session, item._label, item._data_type, item._content_type, content=entry.content)
        again._origin = item
        session._constants.append(again)
        if item._spec is not None and item._spec.user:
            again.spec.user.update(deepcopy(item._spec.user))
        entry.again, entry.batch = again, session._batch
    found: DataObject = entry.again
    return found


def blob(
    value: Any,
    label: str = "const",
    content_type: str | None = None,
    encode: str | None = None,
) -> DataObject:
    """Make a constant data object in the active session.

    Args:
        value: bytes, or a str (content type "text"), or any value if `encode` is given.
        label: The label of the object.
        content_type: What the bytes mean.
        encode: Serialize the value into this content type.

    Raises:
        UsageError: The value cannot be made into bytes in this way, or there is no such content type.
        RainException: No session is active.
    """
    content_type = check_content_type(content_type)
    encode = check_content_type(encode)
    if encode is not None:
        if content_type not in (None, encode):
            raise UsageError(f"A value encoded as {encode!r} cannot have the content type {content_type!r}")
        return DataObject._constant(encode_value(value, encode), label, DataType.BLOB, encode)
    if isinstance(value, str):
        content_type = content_type or "text"
        try:
            data = value.encode(text_encoding(content_type))
        except UnicodeEncodeError as error:
            raise UsageError(f"The text cannot be encoded as {content_type!r}: {error}") from None
    elif isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
    else:
        raise UsageError(
            f"blob() takes bytes or str, not {type(value).__name__}; for other values give encode=, or use pickled()"
        )
    return DataObject._constant(data, label, DataType.BLOB, content_type)


def pickled(value: Any, label: str = "const") -> DataObject:
    """Make a constant data object from any Python value: a short form of ``blob(value, encode="pickle")``.

    Raises:
        RainException: The value cannot be pickled, or no session is active.
    """
    return blob(value, label, encode="pickle")


def directory(path: str | os.PathLike[str], label: str = "const") -> DataObject:
    """Make a constant data object from a directory of this machine, with all that is in it.

    Raises:
        UsageError: There is no such directory, or it cannot be read.
        RainException: No session is active.
    """
    from ..common.archive import pack_directory

    try:
        path = os.fspath(path)
    except TypeError:
        raise UsageError(f"directory() takes a path, not {type(path).__name__}: {path!r}") from None
    if not os.path.isdir(path):
        raise UsageError(f"{path!r} is not a directory")
    try:
        data = pack_directory(path)
    except OSError as error:
        raise UsageError(f"Directory {path!r} cannot be read: {error}") from None
    return DataObject._constant(data, label, DataType.DIRECTORY, None)
