"""Attributes of tasks and objects: the specification (``spec``) and what is known of the execution (``info``)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import RainException
from .ids import ID, DataType

if TYPE_CHECKING:
    from datetime import datetime


class Attributes:
    """Base of the attribute classes: named fields, and read-only once they are final."""

    __slots__ = ("_frozen", "user")
    _fields: tuple[str, ...] = ()

    user: Any

    def __init__(self, user: Mapping[str, Any] | None = None) -> None:
        self._frozen = False
        self.user = {} if user is None else user

    def freeze(self) -> None:
        """Refuse changes from now on."""
        self.user = MappingProxyType(self.user)
        self._frozen = True

    def __setattr__(self, name: str, value: Any) -> None:
        # The debug log may be added to at any time.
        if name not in ("_frozen", "debug") and getattr(self, "_frozen", False):
            raise RainException(f"{type(self).__name__}.{name} cannot be changed any more")
        if name == "user" and not isinstance(value, Mapping):
            raise RainException(f"{type(self).__name__}.user is a dictionary, not {type(value).__name__}: {value!r}")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields if getattr(self, name))
        return f"{type(self).__name__}({shown})"


class TaskSpecInput:
    """An input of a task in its specification: the object's ``id`` and the ``label`` of the input, if it has one."""

    __slots__ = ("id", "label")

    def __init__(self, id: ID | None, label: str | None = None) -> None:
        self.id = id
        self.label = label

    def __repr__(self) -> str:
        return f"TaskSpecInput(id={self.id!r}, label={self.label!r})"


class TaskSpec(Attributes):
    """What a task was defined to be.

    Attributes:
        id: The task's :class:`~rain.common.ID` (in the client: None before the submit).
        task_type: What it runs, ``EXECUTOR/METHOD``.
        config: Configuration for the task type.
        inputs: List of :class:`TaskSpecInput`.
        outputs: List of the IDs of its outputs.
        resources: Dictionary of what it needs to run, as ``{"cpus": 1}``.
        user: Dictionary for any JSON-serializable data.
    """

    __slots__ = ("config", "id", "inputs", "outputs", "resources", "task_type")
    _fields = ("id", "task_type", "config", "inputs", "outputs", "resources", "user")

    def __init__(
        self,
        id: ID | None,
        task_type: str,
        config: Any,
        inputs: list[TaskSpecInput],
        outputs: list[ID | None],
        resources: dict[str, int],
        user: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(user)
        self.id = id
        self.task_type = task_type
        self.config = config
        self.inputs = inputs
        self.outputs = outputs
        self.resources = resources


class TaskInfo(Attributes):
    """What is known of the execution of a task.

    Attributes:
        error: Error message; not empty if the task failed.
        start_time: When it was started.
        duration: How long it ran, in seconds.
        governor: The ID of the governor that executed it.
        debug: Messages for debugging.
        user: Dictionary for any JSON-serializable data.
    """

    __slots__ = ("debug", "duration", "error", "governor", "start_time")
    _fields = ("error", "start_time", "duration", "governor", "debug", "user")

    def __init__(
        self,
        error: str = "",
        start_time: datetime | None = None,
        duration: float | None = None,
        governor: int | None = None,
        debug: str = "",
        user: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(user)
        self.error = error
        self.start_time = start_time
        self.duration = duration
        self.governor = governor
        self.debug = debug


class ObjectSpec(Attributes):
    """What a data object was defined to be.

    Attributes:
        id: The object's :class:`~rain.common.ID` (in the client: None before the submit).
        label: Its label among the outputs of the task that makes it.
        content_type: The content type from the graph.
        data_type: ``"blob"`` or ``"dir"``, a :class:`~rain.common.DataType`.
        user: Dictionary for any JSON-serializable data.
    """

    __slots__ = ("content_type", "data_type", "id", "label")
    _fields = ("id", "label", "content_type", "data_type", "user")

    def __init__(
        self,
        id: ID | None,
        label: str | None = None,
        content_type: str | None = None,
        data_type: DataType = DataType.BLOB,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(user)
        self.id = id
        self.label = label
        self.content_type = content_type
        self.data_type = data_type


class ObjectInfo(Attributes):
    """What is known of the content of a data object.

    Attributes:
        error: Error message; not empty if the object could not be made.
        size: Its size in bytes (about that, for directories).
        content_type: The actual content type; a sub-type of the one in the spec.
        debug: Messages for debugging.
        user: Dictionary for any JSON-serializable data.
    """

    __slots__ = ("content_type", "debug", "error", "size")
    _fields = ("error", "size", "content_type", "debug", "user")

    def __init__(
        self,
        error: str = "",
        size: int | None = None,
        content_type: str | None = None,
        debug: str = "",
        user: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(user)
        self.error = error
        self.size = size
        self.content_type = content_type
        self.debug = debug
