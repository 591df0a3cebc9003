"""How what makes tasks of a function travels when it is used in another function: as its function."""

from __future__ import annotations

from typing import Any, Callable

from ..common.reference import is_by_reference
from ..executor.functions import function_of, plain_function


class Sendable:
    """Something that makes tasks of a function, and that in executors is the function itself.

    In this process it is pickled and copied as functions are: by its name, and as itself.
    """

    function: Callable[..., Any]
    __module__: str
    __qualname__: str

    def reduce_to_function(self) -> tuple[Any, ...]:
        """How it is pickled for executors, in the form of ``__reduce__``."""
        if is_by_reference(self):
            return function_of, (self.__module__, self.__qualname__)
        return plain_function, (self.function,)

    def __reduce__(self) -> str:
        return self.__qualname__

    def __copy__(self) -> Sendable:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Sendable:
        return self
