"""Functions and classes by value: cloudpickle, with what Rain wants to be different.

- Code keeps the name of its file, which new versions of cloudpickle leave out, so that tracebacks show it.
- A class that exists in the process that loads it is left as it is. cloudpickle sets all its attributes again, and so
  would give a client, with each result, methods that see copies of its globals.
- What :func:`functools.lru_cache` has made, cached properties, and dictionaries of weak references.
"""

from __future__ import annotations

import functools
import io
import weakref
from collections import ChainMap
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any, Callable

import cloudpickle
import cloudpickle.cloudpickle as _cloudpickle

from .identity import IdentityMap
from .reference import PROTOCOL, is_by_reference

# Up to release 2.2, cloudpickle has the reducers of classes in a module of their own.
_reducers: Any = getattr(cloudpickle, "cloudpickle_fast", _cloudpickle)
_set_state: Callable[[type, Any], None] = _reducers._class_setstate

# Where the functions are that its pickles call.
_CLOUDPICKLE = frozenset(("cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast"))

_CachedFunction = type(functools.lru_cache(lambda: None))

# Classes that have all their attributes: this process has made them, or they were loaded.
_complete: IdentityMap[bool] = IdentityMap()


def dump_by_value(value: Any) -> bytes:
    """Pickle a value with all functions and classes in it that are not found under their name elsewhere."""
    buffer = io.BytesIO()
    ByValuePickler(buffer).dump(value)
    return buffer.getvalue()


def global_names(code: CodeType) -> Iterable[str]:
    """The names of the globals that a function and the functions inside of it use."""
    names: Iterable[str] = _cloudpickle._extract_code_globals(code)
    return names


def set_class_state(cls: type, state: Any) -> None:
    """Give a class that was just made its attributes; called by pickles."""
    if _complete.get(cls) is None:
        _set_state(cls, state)
        _complete.set(cls, True)


def make_cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """What :func:`functools.lru_cache` makes of a function; called by pickles."""
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_code(code: CodeType) -> Any:
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if item == "<dynamic-code>" else item for item in arguments)


def _reduce_cached(cached: Any) -> Any:
    if is_by_reference(cached):
        return cached.__qualname__
    parameters = cached.cache_parameters()
    # lru_cache() sets the other attributes itself.
    own = {name: value for name, value in cached.__dict__.items() if name not in ("__wrapped__", "cache_parameters")}
    return make_cached, (cached.__wrapped__, parameters["maxsize"], parameters["typed"]), own


def _reduce_cached_property(cached: functools.cached_property[Any]) -> Any:
    # Without the lock that it has before Python 3.12.
    return type(cached), (cached.func,), {"attrname": cached.attrname, "__doc__": cached.__doc__}


def _reduce_weak_dictionary(items: Any) -> Any:
    return type(items), (dict(items),)


class ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    """Pickles anything that can be: functions and classes by reference where that is enough, else by value."""

    dispatch_table = ChainMap(
        {
            CodeType: _reduce_code,
            _CachedFunction: _reduce_cached,
            functools.cached_property: _reduce_cached_property,
            weakref.WeakKeyDictionary: _reduce_weak_dictionary,
            weakref.WeakValueDictionary: _reduce_weak_dictionary,
        },
        cloudpickle.Pickler.dispatch_table,
    )

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=PROTOCOL)

    def reducer_override(self, obj: Any) -> Any:
        """How functions and classes are pickled; NotImplemented for what has the usual way."""
        if isinstance(obj, FunctionType):
            if obj.__module__ in _CLOUDPICKLE or is_by_reference(obj):
                return NotImplemented
            return self.reduce_function(obj)
        if isinstance(obj, type):
            reduced = super().reducer_override(obj)
            if reduced is NotImplemented and not is_by_reference(obj):
                reduced = _reducers._dynamic_class_reduce(obj)
            # Built-in types have a short form.
            return self.reduce_class(obj, reduced) if isinstance(reduced, tuple) and len(reduced) == 6 else reduced
        return self.reduce_instance(obj)

    def reduce_instance(self, obj: Any) -> Any:
        """How anything that is no function and no class is pickled; NotImplemented for the usual way."""
        return NotImplemented

    def reduce_function(self, function: FunctionType) -> Any:
        """How a function is pickled by value."""
        return self._dynamic_function_reduce(function)

    def reduce_class(self, cls: type, reduced: tuple[Any, ...]) -> Any:
        """How a class is pickled by value; `reduced` is cloudpickle's way."""
        _complete.set(cls, True)
        return (*reduced[:5], set_class_state)
