"""One call of a remote function: from the message of the governor to the one that answers it."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec

from ..common.content_type import encode_pieces, is_subtype, text_encoding
from ..common.data_instance import DataInstance
from ..common.errors import RainException
from ..common.given import plain_number
from ..common.ids import ID, DataType
from ..common.labeled_list import LabeledList
from ..common.mapped_file import MappedFile
from .context import Context
from .functions import Function
from .plain import InputFailed, result_of, run_plain, value_of
from .workdir import Workdir, remove, size_of

INLINE_OUTPUT = 64 << 10
# Contents of all outputs together in the answer to a call.
INLINE_OUTPUTS = 4 << 20
# How many left files are named.
NAMED_MAX = 5

# First bytes of configurations: of maps of MessagePack, up to those of arrays, and of pickles.
_MAP = 0x81
_ARRAY = 0x90
_PICKLE = 0x80

_decode = msgspec.msgpack.Decoder().decode


class ToldError(RainException):
    """The function has put an error into ``ctx.info`` or into the ``info`` of what it returns: the task has failed."""


class InputFiles:
    """The large input that was used last: often the next task reads it too."""

    __slots__ = ("_file", "_key")

    def __init__(self) -> None:
        self._key = ("", 0, 0)
        self._file: MappedFile | None = None

    def get(self, path: str, session_id: int, object_id: int) -> MappedFile:
        """The file at a path, with its mapping and its copy if it is the one used last."""
        key = (path, session_id, object_id)
        if self._file is None or self._key != key:
            self._key = key
            self._file = MappedFile(path)
        return self._file

    def clear(self) -> None:
        """Let go of the file."""
        self._file = None

    def is_empty(self) -> bool:
        """Whether there is no file."""
        return self._file is None


class Call:
    """A call of a remote function."""

    __slots__ = (
        "config",
        "context",
        "extra",
        "files",
        "function",
        "inline_bytes",
        "inputs",
        "instances",
        "passed_on",
        "session_id",
        "task_id",
        "users",
        "workdir",
    )

    def __init__(
        self,
        function: Function,
        ids: list[int],
        config: bytes | None,
        inputs: list[Any],
        extra: dict[str, Any],
        workdir: Workdir,
        files: InputFiles,
    ) -> None:
        self.function = function
        self.session_id, self.task_id = ids
        self.config = config
        self.inputs = inputs
        self.extra = extra
        self.workdir = workdir
        self.files = files
        self.instances: list[DataInstance | None] | None = None
        # Inputs under other content types, and their numbers.
        self.passed_on: tuple[tuple[DataInstance, int], ...] = ()
        # What the client has put into spec.user of inputs, by their numbers, as JSON.
        self.users: dict[int, str] | None = None
        self.inline_bytes = 0
        self.context = Context(self)

    def close(self) -> None:
        """The call has been answered: let go of its inputs, though the function may have kept its context."""
        self.instances = None
        self.passed_on = ()
        del self.context

    def run(self) -> list[Any]:
        """Call the function; returns the outputs as the protocol has them."""
        if self.function.env:
            with environment(self.function.env):
                return self._run()
        return self._run()

    def _run(self) -> list[Any]:
        if self.function.plain is not None:
            return [(self._source(*run_plain(self)), None, None)]
        args, kwargs = self.arguments()
        result = self.function.call(self.context, *args, **kwargs)
        told = self.context._info
        if told is not None and told.error:
            raise ToldError(str(told.error))
        if self.function.simple and type(result) is bytes and len(result) <= INLINE_OUTPUT:
            return [(result, None, None)]
        taken = [self._output(value, number) for number, value in enumerate(self._results(result))]
        paths = [source for source, _, _ in taken if type(source) is str]
        if len(set(paths)) != len(paths):
            raise RainException(f"{self.function.name}() returned the same staged file for two outputs")
        if self.context._staged:
            self.drop_staged(paths)
        return taken

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Load the function; returns positional and keyword arguments, with data where data objects were passed."""
        config: bytes | memoryview | None = self.config
        if config and _MAP <= config[0] < _ARRAY:
            config = self._open(config)
        else:
            self.function.prepare()
        if not config:
            return [], {}
        return self._unpickle(config) if config[0] == _PICKLE else (self._decode(config), {})

    def _open(self, config: bytes | memoryview) -> bytes | memoryview | None:
        """Load the function, and return the arguments, where one of them has come in a way of its own.

        The configuration is a map then: ``args`` and ``function`` are bytes, or the number of the input that has them.
        These inputs come after those that the user has given. ``users`` has the ``spec.user`` of inputs as JSON.
        """
        options = _decode(config)
        if "users" in options:
            self.users = options["users"]
        given = self.inputs
        numbers = [item for item in (options.get("args"), options.get("function")) if type(item) is int]
        if numbers:
            self.inputs = given[: min(numbers)]
        args: bytes | memoryview | int | None = options.get("args")
        if type(args) is int:
            args = _content(given[args])
        assert not isinstance(args, int)
        code = options.get("function")
        if code is not None:
            take = (lambda: _content(given[code])) if type(code) is int else (lambda: code)
            self.function.prepare_with(take, options.get("digest"))
        elif args and _MAP <= args[0] < _ARRAY:
            return self._open(args)
        else:
            self.function.prepare()
        return args

    def _decode(self, config: bytes | memoryview) -> list[Any]:
        args: list[Any]
        args, positions, *outcomes = _decode(config)
        for number, position in enumerate(positions):
            args[position] = self.argument(number, position)
        for position in outcomes[0] if outcomes else ():
            args[position] = result_of(args[position])
        return args

    def drop_staged(self, but: list[str]) -> None:
        """Remove what was staged and not returned."""
        for path in self.context._staged or ():
            if path not in but:
                remove(path)

    def tell_of_left(self, names: list[str]) -> None:
        """Name what the function has left in its directory, unless it has taken outputs from there."""
        if self.context._staged:
            return
        more = ", ..." if len(names) > NAMED_MAX else ""
        named = ", ".join(map(repr, sorted(names)[:NAMED_MAX]))
        self.context.debug(f"removed with the directory of the task, as they are no outputs of it: {named}{more}")

    def info(self) -> dict[str, Any]:
        """What the function left for the client beside its outputs."""
        context = self.context
        info = {}
        # What was written, and what was put into `info` beside that.
        told = context._info.debug if context._info is not None else ""
        if context._debug is not None or told:
            text = "\n".join([*(context._debug or ()), *([str(told).strip("\n")] if told else ())])
            if context._debug_left_out:
                text += f"\n[{context._debug_left_out} more characters are left out]"
            info["debug"] = text.encode(errors="backslashreplace").decode()
        if context._info is not None and context._info.user:
            info["user"] = _to_json(context._info.user, "ctx.info.user")
        return info

    def argument(self, number: int, parameter: int) -> Any:
        """What the function gets for an input that is passed for a parameter."""
        instance = self._instance(number)
        function = self.function
        if function.plain is not None and instance.data_type is DataType.BLOB:
            return value_of(instance)
        load = function.to_load
        if function.parameters is not None:
            setting = function.parameters[min(parameter, len(function.parameters) - 1)]
            if setting is not None:
                load = load or setting[0]
                self._check_argument(instance, setting)
        return instance.load() if load and instance.data_type is DataType.BLOB else instance

    def _check_argument(self, instance: DataInstance, setting: list[Any]) -> None:
        wanted = setting[1]
        if wanted and not instance.content_type:
            instance.content_type = wanted
        elif not is_subtype(instance.content_type, wanted):
            raise RainException(
                f"{self.function.name}() takes content type {wanted!r}, but an input has {instance.content_type!r}"
            )

    def _instance(self, number: int) -> DataInstance:
        if self.instances is None:
            self.instances = [None] * len(self.inputs)
        instance = self.instances[number]
        if instance is None:
            source, content_type, data_type, size, object_id, user = self.inputs[number]
            object_data_type = DataType.DIRECTORY if data_type else DataType.BLOB
            data, file, directory = None, None, None
            if type(source) is bytes:
                data = source
            elif data_type:
                directory = source
            else:
                file = self.files.get(source, self.session_id, object_id)
            instance = DataInstance(
                data,
                content_type=content_type,
                data_type=object_data_type,
                file=file,
                directory=directory,
                size=size,
                id=ID(self.session_id, object_id),
                user_json=user,
                spec_user_json=self.users.get(number) if self.users else None,
            )
            self.instances[number] = instance
        return instance

    def _unpickle(self, config: bytes | memoryview) -> tuple[list[Any], dict[str, Any]]:
        loader = _ArgumentUnpickler(io.BytesIO(config) if isinstance(config, bytes) else _Reader(config), self)
        try:
            count, names = loader.load()
            args = [loader.load() for _ in range(count)]
            return args, {name: loader.load() for name in names}
        except (RainException, InputFailed):
            raise
        # Also what a class of the client's raises to leave.
        except BaseException as error:
            raise RainException(
                f"The arguments of {self.function.name}() cannot be unpickled: {type(error).__name__}: {error}"
            ) from error

    def pass_on(self, real: str, content_type: str | None) -> DataInstance | None:
        """The input whose content is at a path, to return it; None if there is none.

        Args:
            real: The path, without links.
            content_type: The content type that it is to have; None for its own.
        """
        for number, given in enumerate(self.inputs):
            if type(given[0]) is str and os.path.realpath(given[0]) == real:
                instance = self._instance(number)
                if content_type is None or content_type == instance.content_type:
                    return instance
                other = DataInstance(file=instance._file, content_type=content_type, size=given[3], id=instance.id)
                self.passed_on = (*self.passed_on, (other, number))
                return other
        return None

    def _results(self, result: Any) -> list[Any]:
        function = self.function
        outputs = function.outputs
        count = len(outputs)
        if count == 1 and (function.encode is not None or not isinstance(result, (tuple, list, dict))):
            return [result]
        if count == 0 and result is None:
            return []
        if isinstance(result, dict):
            labels = [label for label, _, _ in outputs]
            if sorted(map(str, result)) != sorted(labels):
                raise RainException(
                    f"{function.name}() returned a dictionary with {sorted(map(str, result))}, "
                    f"but its outputs are labelled {labels}{_hint(count, result)}"
                )
            return [result[label] for label in labels]
        if not isinstance(result, (tuple, list)):
            raise RainException(f"{function.name}() returned {_kind_of(result)}, but it has {_count(count)}")
        if len(result) != count:
            raise RainException(
                f"{function.name}() returned {len(result)} values, but it has {_count(count)}{_hint(count, result)}"
            )
        if isinstance(result, LabeledList) and all(result.labels):
            return self._results(dict(result.items()))
        return list(result)

    def _output(self, value: Any, number: int) -> tuple[Any, str | None, str | None]:
        label, data_type, content_type = self.function.outputs[number]
        what = f"Output {label!r} of {self.function.name}()" if label else f"Output {number} of {self.function.name}()"
        user = None
        if isinstance(value, DataInstance):
            if value.data_type is not data_type:
                raise RainException(f"{what} is a {data_type.value}, but a {value.data_type.value} was returned")
            if not is_subtype(value.content_type, content_type) and value.content_type:
                raise RainException(
                    f"{what} has content type {content_type!r}, but data of type {value.content_type!r} was returned"
                )
            if value._info is not None:
                if value._info.error:
                    raise ToldError(f"{what}: {value._info.error}")
                if value._info.user:
                    user = _to_json(value._info.user, f"info.user of {what}")
            return self._instance_source(value), value.content_type or None, user
        if data_type is not DataType.BLOB:
            raise RainException(f"{what} is a directory, but {_kind_of(value)} was returned; use ctx.stage_directory()")
        encode = self.function.encode[number] if self.function.encode is not None else None
        dynamic = None
        if encode is not None:
            return self._source(*encode_pieces(value, encode)), encode, user
        if isinstance(value, str):
            dynamic = content_type or "text"
            data: bytes | bytearray | memoryview = value.encode(text_encoding(dynamic))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data = value
        else:
            raise RainException(
                f"{what}: {_kind_of(value)} was returned; return bytes, str, a DataInstance, or use Output(encode=...)"
                ", as in @remote(outputs=Output(encode='pickle'))"
            )
        return self._source(data), dynamic, user

    def _instance_source(self, value: DataInstance) -> int | str | bytes:
        for number, instance in enumerate(self.instances or ()):
            if instance is value:
                return number
        for instance, number in self.passed_on:
            if instance is value:
                return number
        if value.path is not None and value.path in (self.context._staged or ()):
            return value.path
        if value.data_type is DataType.BLOB:
            return self._source(value.get_view())
        from ..common.archive import unpack_directory

        path = self.workdir.new_path()
        unpack_directory(value.get_bytes(), path)
        return path

    def _source(self, *pieces: bytes | bytearray | memoryview) -> str | bytes:
        size = size_of(pieces)
        self.inline_bytes += size
        if size > INLINE_OUTPUT or self.inline_bytes > INLINE_OUTPUTS:
            self.inline_bytes -= size
            return self.workdir.write(pieces)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


def _content(given: list[Any]) -> bytes | memoryview:
    """The content of an input that the user does not see; a large one is mapped."""
    source = given[0]
    return source if type(source) is bytes else MappedFile(source).view()


class _Reader:
    """Reads a buffer like a file, without copying it first."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._position = 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        start = self._position
        self._position += size
        return bytes(self._buffer[start : self._position])

    def readinto(self, target: Any) -> int:
        """Fill a buffer with the next bytes."""
        start = self._position
        part = self._buffer[start : start + len(target)]
        target[: len(part)] = part
        self._position += len(part)
        return len(part)

    def readline(self) -> bytes:
        """The next line; only the oldest form of pickles has lines."""
        raise RainException("This is not a pickle of a current protocol")


class _ArgumentUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO | _Reader, call: Call) -> None:
        super().__init__(file)
        self._call = call

    def persistent_load(self, pid: tuple[int, int]) -> Any:
        return self._call.argument(*pid)


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment, and put back what was there before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _kind_of(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def _count(outputs: int) -> str:
    return "1 output" if outputs == 1 else f"{outputs} outputs"


def _hint(outputs: int, result: Any) -> str:
    """How a collection is returned as one value."""
    if outputs != 1:
        return ""
    return f"; to return the {type(result).__name__} as one value, use @remote(outputs=Output(encode='pickle'))"


def _to_json(value: Any, what: str) -> str:
    if not isinstance(value, dict):
        raise RainException(f"{what} is a dictionary, not {_kind_of(value)}")
    try:
        return msgspec.json.encode(value, enc_hook=plain_number).decode()
    except (TypeError, ValueError) as error:
        raise RainException(f"{what} is not JSON-serializable: {error}") from None
