"""Attributes of tasks and objects: the specification (``spec``) and what is known of the execution (``info``)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from .errors import RainException
from .ids import ID, DataType

if TYPE_CHECKING:
    from datetime import datetime


class FrozenException(RainException, TypeError):
    """What cannot be changed was to be changed."""


def _refuse_change(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise FrozenException("Attributes that are final cannot be changed; copy.deepcopy() makes a copy that can be")


class FrozenDict(dict[Any, Any]):
    """A dictionary that cannot be changed, nor anything in it; copies of it can."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = _refuse_change
    clear = pop = popitem = setdefault = update = _refuse_change

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    copy = __copy__

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _thawed(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen, (_thawed(self),)


class FrozenList(list[Any]):
    """A list that cannot be changed, nor anything in it; copies of it can."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse_change
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse_change

    def __copy__(self) -> list[Any]:
        return list(self)

    copy = __copy__

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _thawed(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return frozen, (_thawed(self),)


def frozen(value: Any) -> Any:
    """A value of the kind that JSON can hold, with all that is in it, so that nothing can be changed."""
    if isinstance(value, (FrozenDict, FrozenList)):
        return value
    if isinstance(value, Mapping):
        return FrozenDict((name, frozen(item)) for name, item in value.items())
    if isinstance(value, tuple):
        return tuple(map(frozen, value))
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, FrozenDict):
        return {name: _thawed(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_thawed, value))
    return [_thawed(item) for item in value] if isinstance(value, FrozenList) else value


def read_user(text: str | None, *, final: bool = True) -> tuple[dict[str, Any], str]:
    """What is in the text of ``user`` attributes; if it is not a JSON object: nothing, and what is wrong with it.

    Executors in any language write these attributes. A fault in them must not hide the content that they belong to.

    Args:
        text: What came; None or empty where there are no attributes.
        final: Whether the result is one that cannot be changed.
    """
    if not text:
        return {}, ""
    try:
        user = msgspec.json.decode(text)
        if isinstance(user, dict):
            return (frozen(user) if final else user), ""
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        why = f"they are not JSON that can be read: {error}"
    else:
        why = f"they are a JSON value of type {type(user).__name__}, and not an object"
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return {}, f"The user attributes that came with this were dropped, because {why}: {shown!a}"


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
        self.user = frozen(self.user)
        self._frozen = True

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("_frozen", *self._fields)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # What is final stays so in the copy: only `user` by itself becomes something that can be changed.
        clone = object.__new__(type(self))
        memo[id(self)] = clone
        clone.__setstate__({name: copy.deepcopy(value, memo) for name, value in self.__getstate__().items()})
        if self._frozen:
            object.__setattr__(clone, "user", frozen(clone.user))
        return clone

    def __setattr__(self, name: str, value: Any) -> None:
        # The debug log may be added to at any time.
        if name not in ("_frozen", "debug") and getattr(self, "_frozen", False):
            raise RainException(f"{type(self).__name__}.{name} cannot be changed any more")
        if name == "user" and not isinstance(value, Mapping):
            raise RainException(f"{type(self).__name__}.user is a dictionary, not {type(value).__name__}: {value!r}")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        values = ((name, getattr(self, name)) for name in self._fields)
        # Numbers are shown also when they are 0, which is the name of a governor.
        shown = (f"{name}={value!r}" for name, value in values if value is not None and (value or value == 0))
        return f"{type(self).__name__}({', '.join(shown)})"


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
        resources: Dictionary of what it needs to run, as ``{"cpus": 1}``; in a running task, what it was given.
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
        resources: dict[str, Any],
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
