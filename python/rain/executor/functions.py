"""Functions that tasks call, in the executor: loaded once for each kind of task, with what is known of their inputs."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import weakref
from collections import OrderedDict
from typing import Any, Callable

import msgspec.msgpack

from ..common.errors import RainException
from ..common.ids import DataType
from . import sources
from .main_module import Script
from .parts import put_together

# Functions that have come as objects, and are remembered, have so many bytes as pickles, all together.
LARGE_BYTES = 256 << 20
LARGE_FUNCTIONS = 64


class Function:
    """A kind of task whose method is a Python function."""

    __slots__ = (
        "__weakref__",
        "_code",
        "_large",
        "_own",
        "call",
        "cpus",
        "encode",
        "env",
        "name",
        "outputs",
        "parameters",
        "parts",
        "path",
        "plain",
        "priority",
        "session",
        "simple",
        "task_type",
        "to_load",
    )

    def __init__(self, kind: dict[str, Any], session: int = 0) -> None:
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
        self.parts: list[Any] | None = options.get("parts")
        # The client's module search path.
        self.path = [entry if isinstance(entry, str) else os.fsdecode(entry) for entry in options["path"]]
        self.priority: int = kind.get("priority", 0)
        self.session = session
        # One blob that is returned as it is.
        self.simple = len(self.outputs) == 1 and self.outputs[0][1] is DataType.BLOB and self.encode is None
        # What the current call is to call.
        self.call: Any = None
        # None: each call brings its function along.
        self._code: bytes | None = options["function"]
        self._own: tuple[Callable[..., Any], Script] | None = None
        # Large functions that have come with calls, by their digests.
        self._large: dict[bytes, tuple[Callable[..., Any], Script]] = {}
        sources.remember(options.get("sources", ()))

    def prepare(self) -> None:
        """Load the function of the kind, if it is not loaded, for the current call.

        Raises:
            RainException: It cannot be loaded.
        """
        own = self._own
        if own is not None:
            own[1].enter()
            return
        if self._code is None:
            raise RainException(f"A call of {self.name}() has come without its function")
        self._own = self._load(self._code)
        self.call = self._own[0]

    def prepare_with(self, take: Callable[[], bytes | memoryview], digest: bytes | None) -> None:
        """Load the function that has come with the current call; one with a digest is remembered.

        Raises:
            RainException: It cannot be loaded.
        """
        known = None if digest is None else self._large.get(digest)
        if known is None:
            code = take()
            known = self._load(code)
            if digest is not None:
                self._large[digest] = known
                _large.add(self, digest, len(code))
        elif digest is not None:
            known[1].enter()
            _large.use(self, digest)
        self.call = known[0]

    def let_go(self, digest: bytes) -> None:
        """Drop a large function; it comes again with the next call."""
        known = self._large.pop(digest, None)
        if known is not None and self.call is known[0]:
            self.call = None

    def _load(self, code: bytes | memoryview) -> tuple[Callable[..., Any], Script]:
        script = Script()
        script.enter()
        try:
            loaded: Callable[..., Any] = pickle.loads(code)
        # Also SystemExit of a module that it is imported from.
        except BaseException as error:
            raise RainException(
                f"Remote function {self.name}() cannot be loaded: {type(error).__name__}: {error} "
                f"(executor: {sys.executable}, Python {sys.version.split()[0]})"
            ) from error
        script.add(loaded)
        return put_together(loaded, self.parts) if self.parts else loaded, script


class _LargeFunctions:
    """Bounds what the large functions of all kinds take; those that were not called for longest go first."""

    def __init__(self) -> None:
        self._bytes = 0
        self._entries: OrderedDict[tuple[int, bytes], tuple[weakref.ref[Function], int]] = OrderedDict()

    def add(self, function: Function, digest: bytes, size: int) -> None:
        """A function was loaded."""
        key = (id(function), digest)
        self._entries[key] = weakref.ref(function, lambda reference: self._remove(key)), size
        self._bytes += size
        while len(self._entries) > 1 and (self._bytes > LARGE_BYTES or len(self._entries) > LARGE_FUNCTIONS):
            oldest = next(iter(self._entries))
            owner = self._entries[oldest][0]()
            self._remove(oldest)
            if owner is not None:
                owner.let_go(oldest[1])

    def use(self, function: Function, digest: bytes) -> None:
        """A function is called."""
        self._entries.move_to_end((id(function), digest))

    def _remove(self, key: tuple[int, bytes]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]


_large = _LargeFunctions()


def plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stands for a remote function in pickles: in an executor it is the function itself."""
    return function


def function_of(module: str, name: str) -> Callable[..., Any]:
    """The function of a remote function, which is found under a name in a module."""
    item: Any = importlib.import_module(module)
    for part in name.split("."):
        item = getattr(item, part)
    function: Callable[..., Any] = getattr(item, "function", item)
    return function
