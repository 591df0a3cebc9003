"""Callables that came in parts: what many have in common with the function, and the values that tell them apart as the
first arguments of each call (`rain.client.taken_apart`)."""

from __future__ import annotations

from types import CellType, FunctionType
from typing import Any, Callable


def put_together(loaded: Any, parts: list[Any]) -> Callable[..., Any]:
    """What takes the values and the arguments of a callable and calls it.

    Args:
        loaded: A function without its values, or a class.
        parts: ``["function", cells, defaults]``, how many values of either sort there are; or
            ``["method", name, *attributes]``.
    """
    return _function(loaded, *parts[1:]) if parts[0] == "function" else _method(loaded, *parts[1:])


def _function(loaded: FunctionType, cells: int, defaults: int) -> Callable[..., Any]:
    code, names, name = loaded.__code__, loaded.__globals__, loaded.__name__
    count = cells + defaults

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = args[cells:count] if defaults else None
        return FunctionType(code, names, name, given, tuple(map(CellType, args[:cells])))(*args[count:], **kwargs)

    return call


def _method(cls: Any, name: str, *attributes: str) -> Callable[..., Any]:
    function, count = getattr(cls, name), len(attributes)

    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        instance = cls.__new__(cls)
        vars(instance).update(zip(attributes, args))
        return function(instance, *args[count:], **kwargs)

    return call
