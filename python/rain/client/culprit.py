"""Finds out what it is in a value that cannot be pickled, once it could not be."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any, Callable

from ..common.by_value import global_names
from ..common.reference import is_by_reference

# How long and how deep to look; what was found until then is named.
SECONDS = 1.0
DEEPEST = 20


def culprit(value: Any, where: str, pickle_it: Callable[[Any], Any]) -> str:
    """Where in a value that `pickle_it` refuses the part is that it refuses alone.

    Args:
        value: What cannot be pickled.
        where: What it is, in words.
        pickle_it: Pickles a part, and raises if that is not possible.
    """
    end = time.monotonic() + SECONDS
    at = ""
    for _ in range(DEEPEST):
        for part_where, part_at, part in _parts(value, where, at):
            if time.monotonic() > end:
                break
            if not _is_refused(part, pickle_it):
                continue
            where, at, value = part_where, part_at, part
            break
        else:
            break
        if time.monotonic() > end:
            break
    return f"{where}, at {at}" if at else where


def _is_refused(part: Any, pickle_it: Callable[[Any], Any]) -> bool:
    try:
        pickle_it(part)
    except Exception:
        return True
    return False


def _parts(value: Any, where: str, at: str) -> Iterator[tuple[str, str, Any]]:
    """What a value consists of, each with the words for it and the way to it from there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield where, f"{at}[{key!r:.80}]", item
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield where, f"{at}[{number}]", item
    elif isinstance(value, FunctionType):
        if not is_by_reference(value):
            yield from _parts_of_function(value)
    elif isinstance(value, MethodType):
        yield where, f"{at}.__self__", value.__self__
        yield from _parts(value.__func__, where, at)
    elif isinstance(value, functools.partial):
        yield where, f"{at}.func", value.func
        yield where, f"{at}.args", value.args
        yield where, f"{at}.keywords", value.keywords
    elif isinstance(value, type):
        for name, item in vars(value).items() if not is_by_reference(value) else ():
            if not name.startswith("__"):
                yield f"the attribute {name!r} of class {value.__qualname__}", "", item
    else:
        function = getattr(value, "function", None) or getattr(value, "__wrapped__", None)
        if isinstance(function, FunctionType):
            yield from _parts(function, where, at)
        for name, item in (getattr(value, "__dict__", None) or {}).items():
            yield where, f"{at}.{name}", item
        yield f"the class {type(value).__qualname__}", "", type(value)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, str, Any]]:
    name = f"{function.__name__}()"
    for variable in global_names(function.__code__):
        if variable in function.__globals__:
            yield f"the global variable {variable!r} of {name}", "", function.__globals__[variable]
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield f"the variable {variable!r} around {name}", "", cell.cell_contents
        except ValueError:
            continue
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"default {number} of {name}", "", default
    for parameter, default in (function.__kwdefaults__ or {}).items():
        yield f"the default of {parameter!r} of {name}", "", default
    for attribute, item in function.__dict__.items():
        yield f"the attribute {attribute!r} of {name}", "", item
