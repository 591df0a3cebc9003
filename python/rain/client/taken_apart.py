"""Callables taken apart: what many have in common, which goes to executors once, and the values that tell them apart.

A new lambda, partial or bound method for each call would otherwise be a new function each time, which is pickled,
sent, remembered and loaded for itself. Only values that cannot change and are small become arguments; where a callable
has others, it is taken as it is.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from types import CellType, FunctionType, MethodType
from typing import Any, Callable, NamedTuple

from ..common.reference import is_by_reference
from .arguments import PLAIN_TYPES

# Longer texts and bytes are no small values, and a callable with more values is taken as it is.
SMALL_BYTES = 1 << 10
VALUES_MAX = 16
# Functions without their values that are remembered.
FUNCTIONS = 64


class TakenApart(NamedTuple):
    """A callable.

    Attributes:
        function: What goes to executors once.
        parts: How the callable is made there of it and of the first arguments, as the executor reads it; None if it
            is the callable.
        args: These arguments, and those that a partial has.
        kwargs: Keyword arguments that a partial has.
    """

    function: Callable[..., Any]
    parts: tuple[Any, ...] | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


# In the place of one.
NOTHING = TakenApart(print, None, (), {})
# By the identity of their code; those that were used last at the end.
_functions: OrderedDict[int, FunctionType] = OrderedDict()


def take_apart(called: Callable[..., Any]) -> TakenApart:
    """Take a callable apart, as far as that is possible."""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    while type(called) is functools.partial and _are_small(called.args) and _are_small(called.keywords.values()):
        if called.__dict__:
            break
        args = (*called.args, *args)
        kwargs = {**called.keywords, **kwargs}
        called = called.func
    if isinstance(called, FunctionType):
        values = _values_of(called)
        if values is not None:
            cells, defaults = values
            parts = ("function", len(cells), len(defaults))
            return TakenApart(_without_values(called), parts, (*cells, *defaults, *args), kwargs)
    elif isinstance(called, MethodType):
        # Not before it is needed: it imports cloudpickle.
        from .watch import is_pickled_by_its_dictionary

        instance, name = called.__self__, called.__name__
        cls = type(instance)
        if getattr(cls, name, None) is called.__func__ and is_pickled_by_its_dictionary(cls):
            state = vars(instance)
            if name not in state and _are_small(state.values()):
                return TakenApart(cls, ("method", name, *state), (*state.values(), *args), kwargs)
    return TakenApart(called, None, args, kwargs)


def _are_small(values: Any) -> bool:
    if len(values) > VALUES_MAX:
        return False
    for value in values:
        if type(value) not in PLAIN_TYPES or (isinstance(value, (str, bytes)) and len(value) > SMALL_BYTES):
            return False
    return True


def _values_of(function: FunctionType) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """What an inner function or a lambda refers to, and its defaults; None if not all are small, or there are none."""
    if not (function.__closure__ or function.__defaults__) or function.__kwdefaults__ or function.__dict__:
        return None
    if "<" not in function.__qualname__ or is_by_reference(function):
        return None
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:
        # One that has no value yet.
        return None
    defaults = function.__defaults__ or ()
    return (cells, defaults) if _are_small((*cells, *defaults)) else None


def _without_values(function: FunctionType) -> FunctionType:
    """The function without what tells it apart from others of the same code: the same one for all of them."""
    code = function.__code__
    known = _functions.get(id(code))
    if known is not None and known.__code__ is code and known.__globals__ is function.__globals__:
        _functions.move_to_end(id(code))
        return known
    cells = tuple(CellType() for _ in code.co_freevars)
    made = FunctionType(code, function.__globals__, function.__name__, None, cells)
    made.__qualname__, made.__module__ = function.__qualname__, function.__module__
    _functions[id(code)] = made
    if len(_functions) > FUNCTIONS:
        _functions.popitem(last=False)
    return made
