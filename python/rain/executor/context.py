"""What a remote function is given to work with its task."""

from __future__ import annotations

import os
from typing import Any, Callable, Protocol

import msgspec

from ..common.attributes import TaskInfo, TaskSpec, TaskSpecInput
from ..common.content_type import check_content_type, encode_value, text_encoding
from ..common.data_instance import DataInstance
from ..common.errors import RainException
from ..common.ids import ID, DataType
from ..common.mapped_file import MappedFile
from .error_text import TEXT_CHARACTERS
from .functions import Function
from .workdir import Workdir

# A process runs tasks that are given the same; what the environment said of that when it began.
_GRANTED = os.environ.get("RAIN_RESOURCES")


class RunningCall(Protocol):
    """The call that a context belongs to."""

    function: Function
    session_id: int
    task_id: int
    inputs: list[Any]
    extra: dict[str, Any]
    workdir: Workdir

    def pass_on(self, real: str, content_type: str | None) -> DataInstance | None:
        """The input whose content is at a path, to return it; None if there is none."""


class Context:
    """The first argument of every remote function."""

    __slots__ = ("_call", "_debug", "_debug_left_out", "_debug_room", "_info", "_spec", "_staged")

    def __init__(self, call: RunningCall) -> None:
        self._call = call
        self._debug: list[str] | None = None
        self._debug_room = TEXT_CHARACTERS
        # Characters of messages for which there was no room.
        self._debug_left_out = 0
        self._info: TaskInfo | None = None
        self._spec: TaskSpec | None = None
        self._staged: list[str] | None = None

    @property
    def spec(self) -> TaskSpec:
        """The specification of the task; ``spec.user`` has what the client put there."""
        if self._spec is None:
            call = self._call
            user = call.extra.get("user")
            first = call.extra.get("outputs", 0)
            self._spec = TaskSpec(
                ID(call.session_id, call.task_id),
                call.function.task_type,
                None,
                [TaskSpecInput(ID(call.session_id, given[4])) for given in call.inputs],
                [ID(call.session_id, first + index) for index in range(len(call.function.outputs))],
                self.resources,
                msgspec.json.decode(user) if user else None,
            )
            self._spec.freeze()
        return self._spec

    @property
    def resources(self) -> dict[str, Any]:
        """What the task was given while it runs: amounts by name, and of resources whose parts are told apart the list
        of their labels, as ``{"cpus": 1, "memory": 4294967296, "gpus": [0]}``."""
        return msgspec.json.decode(_GRANTED) if _GRANTED else {"cpus": self._call.function.cpus}

    @property
    def info(self) -> TaskInfo:
        """What is known of the execution; ``info.user`` may be filled for the client."""
        if self._info is None:
            self._info = TaskInfo(governor=self._call.extra.get("governor"))
        return self._info

    @property
    def function(self) -> Callable[..., Any]:
        """The function that is running."""
        function: Callable[..., Any] = self._call.function.call
        return function

    def debug(self, message: Any, *args: Any) -> None:
        """Write a message to the debug stream of the task; arguments are put in as :meth:`str.format` does,
        or come after it."""
        text = str(message)
        if args:
            try:
                formatted = text.format(*args) if "{" in text else ""
            except (IndexError, KeyError, ValueError):
                formatted = ""
            # Where there are no places for them, they come after the message, as with print().
            text = formatted or " ".join((text, *map(str, args)))
        if self._debug is None:
            self._debug = []
        # Also where a task writes them in a loop without end.
        kept = text[: max(self._debug_room, 0)]
        if kept or not text:
            self._debug.append(kept)
        self._debug_left_out += len(text) - len(kept)
        self._debug_room -= len(kept) + 1

    def blob(self, value: Any = b"", *, content_type: str | None = None, encode: str | None = None) -> DataInstance:
        """Make a data instance to return: from bytes, a str, or any value with `encode`."""
        content_type = check_content_type(content_type)
        encode = check_content_type(encode)
        if encode is not None:
            if content_type not in (None, encode):
                raise RainException(f"A value encoded as {encode!r} cannot have the content type {content_type!r}")
            return DataInstance(encode_value(value, encode), content_type=encode)
        if isinstance(value, str):
            content_type = content_type or "text"
            value = value.encode(text_encoding(content_type))
        elif not isinstance(value, (bytes, bytearray, memoryview)):
            raise RainException(f"blob() takes bytes or str, or any value with encode=, not {type(value).__name__}")
        return DataInstance(value, content_type=content_type)

    def stage_file(self, path: str | os.PathLike[str], *, content_type: str | None = None) -> DataInstance:
        """Make a data instance to return from a file of the working directory, which is moved away.

        The file of an input stays, and the input is passed on. A file that is elsewhere is copied.
        """
        content_type = check_content_type(content_type)
        passed_on = self._call.pass_on(os.path.realpath(path), content_type)
        if passed_on is not None and passed_on.data_type is DataType.BLOB:
            return passed_on
        return DataInstance(file=MappedFile(self._stage(path, os.path.isfile, "file")), content_type=content_type)

    def stage_directory(self, path: str | os.PathLike[str]) -> DataInstance:
        """Make a data instance to return from a directory of the working directory, which is moved away.

        That of an input stays, and the input is passed on. One that is elsewhere is copied.
        """
        passed_on = self._call.pass_on(os.path.realpath(path), None)
        if passed_on is not None and passed_on.data_type is DataType.DIRECTORY:
            return passed_on
        source = os.fspath(path)
        if self._is_own(source) and os.path.isdir(source) and not os.path.islink(source):
            from ..common.links import keep_links_inside

            keep_links_inside(source)
        staged = self._stage(source, os.path.isdir, "directory")
        return DataInstance(directory=staged, data_type=DataType.DIRECTORY)

    def _is_own(self, path: str) -> bool:
        """Whether something is in the executor's directory, where it may be moved away."""
        return is_inside(os.path.realpath(path), os.path.realpath(self._call.workdir.path))

    def _stage(self, path: str | os.PathLike[str], exists: Callable[[str], bool], what: str) -> str:
        source = os.fspath(path)
        if os.path.islink(source) or not exists(source):
            raise RainException(f"There is no {what} {source!r} to stage")
        staged = self._call.workdir.new_path()
        if self._is_own(source):
            try:
                os.rename(source, staged)
            except OSError:
                # Something else is mounted there.
                _copy(source, staged)
        else:
            _copy(source, staged)
        if self._staged is None:
            self._staged = []
        self._staged.append(staged)
        return staged


def is_inside(path: str, directory: str) -> bool:
    """Whether a path leads into a directory; both are without links."""
    return path.startswith(directory + os.sep)


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        from ..common.archive import copy_directory

        copy_directory(source, target)
    else:
        import shutil

        shutil.copy(source, target)
        os.chmod(target, os.stat(target).st_mode | 0o200)
