"""The tasks that every governor knows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Union

import msgspec

from ..common.content_type import check_content_type
from ..common.errors import RainException
from ..common.ids import DataType
from .active import active_session
from .execute import Execute
from .graph import Graph
from .kind import ONE_BLOB, Kind, OutputSpec, TaskOptions, finite_number
from .paths import check_absolute, check_disjoint, check_relative
from .task import OutputDefinition, Task, TaskInput, as_inputs, output_specs

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "Concat",
    "Execute",
    "Load",
    "LoadDir",
    "MakeDirectory",
    "Noop",
    "SliceDirectory",
    "Sleep",
    "Store",
    "concat",
    "execute",
    "load",
    "load_dir",
    "make_directory",
    "noop",
    "sleep",
    "slice_directory",
    "store",
]

Path = Union[str, "os.PathLike[str]"]
# A path outside of Rain, where names need not be text.
OuterPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
_encode = msgspec.msgpack.Encoder().encode
_ONE_DIRECTORY = (OutputSpec("output", DataType.DIRECTORY),)
_PLAIN_NOOP = Kind("buildin/noop", ONE_BLOB)
_PLAIN_CONCAT = Kind("buildin/concat", ONE_BLOB)


class Noop(Task):
    """Does nothing: reads its inputs and makes empty blobs. For tests and measurements.

    Args:
        inputs: Data objects to wait for.
        outputs: The number of outputs, or their labels.
        cpus: How many cpus the task needs.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/noop"

    def __init__(
        self,
        inputs: Iterable[TaskInput] = (),
        outputs: OutputDefinition = 1,
        *,
        cpus: int = 1,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session()
        if outputs == 1 and cpus == 1 and name is None and not options:
            kind = _PLAIN_NOOP
        else:
            kind = session._kind(self.TASK_TYPE, output_specs(outputs), cpus=cpus, name=name, options=options)
        self._place(session, kind, as_inputs(session, inputs) if inputs else (), None)


class Concat(Task):
    """Concatenates blobs.

    Args:
        dataobjs: The blobs, in order.
        content_type: The content type of the result.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/concat"

    def __init__(
        self,
        dataobjs: Iterable[TaskInput],
        *,
        content_type: str | None = None,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session()
        inputs = as_inputs(session, dataobjs)
        for item in inputs:
            _check_data_type(item, DataType.BLOB, "Concat")
        if content_type is None and name is None and not options:
            kind = _PLAIN_CONCAT
        else:
            kind = _one_output(session, self.TASK_TYPE, DataType.BLOB, content_type, name, options)
        self._place(session, kind, inputs, None)


class Load(Task):
    """Makes a blob from a file in the file system of the governor.

    Args:
        path: The absolute path of the file.
        content_type: The content type of the blob.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/load"

    def __init__(
        self,
        path: OuterPath,
        *,
        content_type: str | None = None,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session()
        config = _encode({"path": check_absolute(path, "Load")})
        self._place(
            session, _one_output(session, self.TASK_TYPE, DataType.BLOB, content_type, name, options), (), config
        )


class LoadDir(Task):
    """Makes a directory object from a directory in the file system of the governor.

    Args:
        path: The absolute path of the directory.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/load_dir"

    def __init__(self, path: OuterPath, *, name: str | None = None, **options: Unpack[TaskOptions]) -> None:
        session = active_session()
        config = _encode({"path": check_absolute(path, "LoadDir")})
        self._place(session, session._kind(self.TASK_TYPE, _ONE_DIRECTORY, name=name, options=options), (), config)


class Store(Task):
    """Saves an object to the file system of the governor.

    Args:
        dataobj: The object.
        path: The absolute path to save it to.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/store"

    def __init__(
        self, dataobj: TaskInput, path: OuterPath, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> None:
        session = active_session()
        config = _encode({"path": check_absolute(path, "Store")})
        kind = session._kind(self.TASK_TYPE, (), name=name, options=options)
        self._place(session, kind, as_inputs(session, (dataobj,)), config)


class Sleep(Task):
    """Passes its input on after a delay.

    Args:
        dataobj: The object to pass on.
        timeout: The delay in seconds.
        name: A name for people.
        priority: See :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/sleep"

    def __init__(self, dataobj: TaskInput, timeout: float, *, name: str | None = None, priority: int = 0) -> None:
        session = active_session()
        inputs = as_inputs(session, (dataobj,))
        seconds = finite_number(timeout)
        if seconds is None or seconds < 0:
            raise RainException(f"Sleep takes a number of seconds, not {timeout!r}")
        options: TaskOptions = {"priority": priority} if priority else {}
        kind = _one_output(session, self.TASK_TYPE, inputs[0]._data_type, inputs[0]._content_type, name, options)
        self._place(session, kind, inputs, _encode({"seconds": seconds}))


class MakeDirectory(Task):
    """Makes a directory from objects.

    Args:
        paths_objects: Pairs of a relative path and the object to put there; directories on the way are made.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/make_directory"

    def __init__(
        self,
        paths_objects: Iterable[tuple[Path, TaskInput]],
        *,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session()
        try:
            pairs = [(path, item) for path, item in paths_objects]
        except (TypeError, ValueError):
            raise RainException("MakeDirectory takes a list of pairs (path, data object)") from None
        paths = [check_relative(path, "an object in MakeDirectory") for path, _ in pairs]
        check_disjoint(paths, "MakeDirectory")
        inputs = as_inputs(session, [item for _, item in pairs])
        kind = session._kind(self.TASK_TYPE, _ONE_DIRECTORY, name=name, options=options)
        self._place(session, kind, inputs, _encode({"paths": paths}))


class SliceDirectory(Task):
    """Takes a file or, if the path ends with "/", a directory out of a directory.

    Args:
        dataobj: The directory.
        path: Where the file or directory is in it.
        content_type: The content type of the file.
        name: A name for people.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/slice_directory"

    def __init__(
        self,
        dataobj: TaskInput,
        path: str,
        *,
        content_type: str | None = None,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session()
        inputs = as_inputs(session, (dataobj,))
        _check_data_type(inputs[0], DataType.DIRECTORY, "SliceDirectory")
        path = check_relative(path, "SliceDirectory")
        data_type = DataType.DIRECTORY if path.endswith("/") else DataType.BLOB
        kind = _one_output(session, self.TASK_TYPE, data_type, content_type, name, options)
        self._place(session, kind, inputs, _encode({"path": path}))


concat = Concat
execute = Execute
load = Load
load_dir = LoadDir
make_directory = MakeDirectory
noop = Noop
sleep = Sleep
slice_directory = SliceDirectory
store = Store


def _one_output(
    session: Graph,
    task_type: str,
    data_type: DataType,
    content_type: str | None,
    name: str | None,
    options: TaskOptions,
) -> Kind:
    output = OutputSpec("output", data_type, check_content_type(content_type))
    if content_type and data_type is DataType.DIRECTORY:
        raise RainException(f"A directory has no content type: {content_type!r}")
    return session._kind(task_type, (output,), name=name, options=options)


def _check_data_type(item: Any, data_type: DataType, where: str) -> None:
    if item._data_type is not data_type:
        raise RainException(f"{where} takes {_NAMES[data_type]}, not {_NAMES[item._data_type]}: {item!r}")


_NAMES = {DataType.BLOB: "a blob", DataType.DIRECTORY: "a directory"}
