"""Remote functions in the executor: loaded once by content, with what is known of their inputs and outputs."""

from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
from typing import Any, Callable

import msgspec.msgpack

from ..common.errors import RainException
from ..common.ids import DataType

CACHED_FUNCTIONS = 256

_loaded: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()


class Function:
    """A kind of task whose method is a Python function."""

    __slots__ = (
        "call",
        "cpus",
        "encode",
        "env",
        "name",
        "outputs",
        "parameters",
        "plain",
        "simple",
        "task_type",
        "to_load",
    )

    def __init__(self, kind: dict[str, Any]) -> None:
        options = msgspec.msgpack.decode(kind["config"])
        self.task_type: str = kind["type"]
        self.cpus: int = kind.get("cpus", 1)
        self.name: str = options["name"]
        self.outputs: list[tuple[str, DataType, str | None]] = [
            (label, DataType.from_wire(data_type), content_type) for label, data_type, content_type in kind["outputs"]
        ]
        self.to_load: bool = options["load"]
        self.encode: list[str | None] | None = options["encode"]
        self.parameters: list[Any] | None = options["parameters"]
        self.env: dict[str, str] | None = options.get("env")
        self.plain: str | None = options.get("plain")
        # One blob that is returned as it is.
        self.simple = len(self.outputs) == 1 and self.outputs[0][1] is DataType.BLOB and self.encode is None
        try:
            self.call = _load(options)
        except RainException as error:
            if self.plain != "outcome":
                raise
            # What became of the call, and not a failure of its task.
            self.call = _raising(error)


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a remote function is for other functions that were pickled with it: the function itself."""
    return function


def _raising(error: RainException) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise error.with_traceback(None)

    return function


def _load(options: dict[str, Any]) -> Callable[..., Any]:
    code: bytes = options["function"]
    function = _loaded.get(code)
    if function is not None:
        _loaded.move_to_end(code)
        return function
    # The modules of the client's script are found as the client found them.
    sys.path += [entry for entry in options["path"] if entry not in sys.path and os.path.exists(entry)]
    try:
        loaded: Callable[..., Any] = pickle.loads(code)
    # Also SystemExit of a module that it is imported from.
    except BaseException as error:
        raise RainException(
            f"Remote function {options['name']}() cannot be loaded: {type(error).__name__}: {error} "
            f"(executor: {sys.executable}, Python {sys.version.split()[0]})"
        ) from error
    _loaded[code] = loaded
    if len(_loaded) > CACHED_FUNCTIONS:
        _loaded.popitem(last=False)
    return loaded
