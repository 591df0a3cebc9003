"""The tasks that every governor knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

import msgspec

from ..common.content_type import check_content_type
from ..common.errors import UsageError
from ..common.given import finite_number, named
from ..common.ids import DataType
from .active import active_session, session_for
from .data import DataObject
from .execute import Execute
from .graph import Graph
from .kind import ONE_BLOB, Kind, OutputSpec, TaskOptions
from .output import Output, changed_output
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
OutputOption = Union[str, Output, None]
_encode = msgspec.msgpack.Encoder().encode
_PLAIN_NOOP = Kind("buildin/noop", ONE_BLOB)
_PLAIN_CONCAT = Kind("buildin/concat", ONE_BLOB)


class Noop(Task):
    """Does nothing: reads its inputs and makes empty blobs. For tests and measurements.

    Args:
        inputs: Data objects to wait for.
        outputs: The number of outputs, or their labels.
        cpus: How many cpus the task needs.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
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
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
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
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/concat"

    def __init__(
        self,
        dataobjs: Iterable[TaskInput],
        *,
        content_type: str | None = None,
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        inputs = as_inputs(session, dataobjs)
        for item in inputs:
            _check_data_type(item, DataType.BLOB, "Concat")
        if content_type is None and name is None and output is None and cpus == 1 and not options:
            kind = _PLAIN_CONCAT
        else:
            kind = _one_output(session, self.TASK_TYPE, DataType.BLOB, content_type, output, cpus, name, options)
        self._place(session, kind, inputs, None)


class Load(Task):
    """Makes a blob from a file in the file system of the governor.

    Args:
        path: The absolute path of the file.
        content_type: The content type of the blob.
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/load"

    def __init__(
        self,
        path: OuterPath,
        *,
        content_type: str | None = None,
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        config = _encode({"path": check_absolute(path, "Load")})
        self._place(
            session,
            _one_output(session, self.TASK_TYPE, DataType.BLOB, content_type, output, cpus, name, options),
            (),
            config,
        )


class LoadDir(Task):
    """Makes a directory object from a directory in the file system of the governor.

    Args:
        path: The absolute path of the directory.
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/load_dir"

    def __init__(
        self,
        path: OuterPath,
        *,
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        config = _encode({"path": check_absolute(path, "LoadDir")})
        kind = _one_output(session, self.TASK_TYPE, DataType.DIRECTORY, None, output, cpus, name, options)
        self._place(session, kind, (), config)


class Store(Task):
    """Saves an object to the file system of the governor.

    Args:
        dataobj: The object.
        path: The absolute path to save it to.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/store"

    def __init__(
        self,
        dataobj: TaskInput,
        path: OuterPath,
        *,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        config = _encode({"path": check_absolute(path, "Store")})
        kind = session._kind(self.TASK_TYPE, (), cpus=cpus, name=name, options=options)
        self._place(session, kind, as_inputs(session, (dataobj,)), config)


class Sleep(Task):
    """Passes its input on after a delay.

    Args:
        dataobj: The object to pass on.
        timeout: The delay in seconds.
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        priority: See :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/sleep"

    def __init__(
        self,
        dataobj: TaskInput,
        timeout: float,
        *,
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        priority: int = 0,
    ) -> None:
        session = active_session() if session is None else session_for(session)
        inputs = as_inputs(session, (dataobj,))
        seconds = finite_number(timeout)
        if seconds is None or seconds < 0:
            raise UsageError(
                f"Sleep takes a number of seconds, not {timeout!r}: Sleep(object, seconds), with 0 or more"
            )
        options: TaskOptions = {"priority": priority} if priority else {}
        kind = _one_output(
            session, self.TASK_TYPE, inputs[0]._data_type, inputs[0]._content_type, output, cpus, name, options
        )
        self._place(session, kind, inputs, _encode({"seconds": seconds}))


class MakeDirectory(Task):
    """Makes a directory from objects.

    Args:
        paths_objects: Pairs of a relative path and the object to put there, or a dictionary; directories on the way
            are made. At the path "." (or "") a directory can be, whose entries the new one has beside the others.
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = "buildin/make_directory"

    def __init__(
        self,
        paths_objects: Iterable[tuple[Path, TaskInput]] | Mapping[str, TaskInput] | TaskInput,
        *,
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        given: Any = paths_objects
        if isinstance(given, (Task, DataObject)):
            given = [(".", given)]
        elif isinstance(given, Mapping):
            given = given.items()
        try:
            pairs = [(path, item) for path, item in given]
        except (TypeError, ValueError):
            raise UsageError(
                f"MakeDirectory takes a list of pairs (path, data object), or a dictionary, not {named(paths_objects)}"
            ) from None
        paths = [check_relative(path, "an object in MakeDirectory", itself=True) for path, _ in pairs]
        check_disjoint([path for path in paths if path != "."], "MakeDirectory")
        if paths.count(".") > 1:
            raise UsageError("MakeDirectory: two objects are to be the directory itself, which has the path '.'")
        inputs = as_inputs(session, [item for _, item in pairs])
        for path, item in zip(paths, inputs):
            if path == ".":
                _check_data_type(item, DataType.DIRECTORY, "The path '.' in MakeDirectory")
        kind = _one_output(session, self.TASK_TYPE, DataType.DIRECTORY, None, output, cpus, name, options)
        self._place(session, kind, inputs, _encode({"paths": paths}))


class SliceDirectory(Task):
    """Takes a file or, if the path ends with "/", a directory out of a directory.

    Args:
        dataobj: The directory.
        path: Where the file or directory is in it.
        content_type: The content type of the file.
        output: An Output, or a label: what the output is called, and its content type.
        cpus: How many cpus the task counts for.
        name: A name for people.
        session: The session that the task goes to (default: the active one).
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
        output: OutputOption = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        session = active_session() if session is None else session_for(session)
        inputs = as_inputs(session, (dataobj,))
        _check_data_type(inputs[0], DataType.DIRECTORY, "SliceDirectory")
        path = check_relative(path, "SliceDirectory")
        data_type = DataType.DIRECTORY if path.endswith("/") else DataType.BLOB
        kind = _one_output(session, self.TASK_TYPE, data_type, content_type, output, cpus, name, options)
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
    output: OutputOption,
    cpus: int,
    name: str | None,
    options: TaskOptions,
) -> Kind:
    content_type = check_content_type(content_type)
    if content_type and data_type is DataType.DIRECTORY:
        raise UsageError(f"A directory has no content type: {content_type!r}")
    spec = OutputSpec("output", data_type, content_type)
    if output is not None:
        spec = changed_output(spec, output)
    return session._kind(task_type, (spec,), cpus=cpus, name=name, options=options)


def _check_data_type(item: Any, data_type: DataType, where: str) -> None:
    if item._data_type is not data_type:
        raise UsageError(f"{where} takes {_NAMES[data_type]}, not {_NAMES[item._data_type]}: {item!r}")


_NAMES = {DataType.BLOB: "a blob", DataType.DIRECTORY: "a directory"}
