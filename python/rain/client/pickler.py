"""Pickling of functions and arguments, with data objects anywhere in them."""

from __future__ import annotations

import io
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Callable

import cloudpickle

from .arguments import Deferred
from .data import DataObject
from .task import Task

if TYPE_CHECKING:
    from .session import Session

PICKLE_PROTOCOL = 5


class Pickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    """Pickles anything; data objects are handed to a function."""

    def __init__(self, file: io.BytesIO, found: Callable[[Any], Any], session: Session | None = None) -> None:
        super().__init__(file, protocol=PICKLE_PROTOCOL)
        self._found = found
        self._session = session

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, (DataObject, Task)):
            return self._found(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Deferred):
            return obj.as_argument(self._session)
        if isinstance(obj, GeneratorType):
            return list, (list(obj),)
        return super().reducer_override(obj)
