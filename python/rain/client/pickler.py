"""Pickling of functions and arguments for executors."""

from __future__ import annotations

import io
from types import FunctionType, GeneratorType
from typing import Any, Callable

from ..common.by_value import ByValuePickler
from ..common.errors import RainException
from ..common.reference import attribute
from ..executor.functions import function_of
from .data import DataObject
from .deferred import Deferred
from .graph import Graph
from .sendable import Sendable
from .task import Task


class _Pickler(ByValuePickler):
    # The session of the call; None where data objects cannot be referred to.
    _session: Graph | None = None

    def reduce_instance(self, obj: Any) -> Any:
        if isinstance(obj, Sendable):
            return obj.reduce_to_function()
        return obj.as_argument(self._session) if isinstance(obj, Deferred) else NotImplemented

    def reduce_function(self, function: FunctionType) -> Any:
        # A remote function stands in its module under the name of what it was made of.
        found = attribute(function.__module__, function.__qualname__) if function.__module__ else None
        if isinstance(found, Sendable) and found.function is function:
            return function_of, (function.__module__, function.__qualname__)
        return super().reduce_function(function)


class ArgumentPickler(_Pickler):
    """Pickles arguments; `found` says what stands for a data object among them."""

    def __init__(self, file: io.BytesIO, found: Callable[[Any], Any], session: Graph) -> None:
        super().__init__(file)
        self._found = found
        self._session = session

    def persistent_id(self, obj: Any) -> Any:
        """What stands for a data object; None for everything else."""
        if isinstance(obj, (DataObject, Task)):
            return self._found(obj)
        return None

    def reduce_instance(self, obj: Any) -> Any:
        """A generator is run to its end, and arrives as a list."""
        return (list, (list(obj),)) if isinstance(obj, GeneratorType) else super().reduce_instance(obj)


class FunctionPickler(_Pickler):
    """Pickles something that can be called, and notes which functions and classes go with it by value.

    Args:
        file: Where the pickle goes.
        called: What is pickled. If it is a function, its annotations and its documentation stay here.
        keep_defaults: Whether its defaults go along.
    """

    def __init__(self, file: io.BytesIO, called: Callable[..., Any], keep_defaults: bool) -> None:
        super().__init__(file)
        self._called = called
        self._keep_defaults = keep_defaults
        self.functions: list[FunctionType] = []
        self.classes: list[type] = []

    def reduce_instance(self, obj: Any) -> Any:
        """Data objects are refused: the server would not know that the task needs them."""
        if isinstance(obj, (DataObject, Task)):
            raise RainException(f"it uses a data object that is not passed as an argument: {obj!r}")
        return super().reduce_instance(obj)

    def reduce_function(self, function: FunctionType) -> Any:
        reduced = super().reduce_function(function)
        if reduced[0] is function_of:
            return reduced
        self.functions.append(function)
        if function is self._called:
            _, slots = reduced[2]
            slots.update(__annotations__={}, __doc__=None)
            if not self._keep_defaults:
                slots.update(__defaults__=None, __kwdefaults__=None)
        return reduced

    def reduce_class(self, cls: type, reduced: tuple[Any, ...]) -> Any:
        self.classes.append(cls)
        return super().reduce_class(cls, reduced)
