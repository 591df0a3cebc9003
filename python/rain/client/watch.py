"""Whether something that was pickled is certainly still what it was.

Pickling a function takes longer than a call. Most functions refer to what cannot change: numbers, strings, modules, and
functions and classes of which the same is true. For these it is enough to see that each name still means the same
object. Small values that can change, such as a list, are pickled again and compared, which is quick for a small value.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
import weakref
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Callable

from ..common.by_value import global_names
from ..common.pickling import has_own_modules, names_script
from ..common.reference import PROTOCOL, is_by_reference
from .sendable import Sendable

# What can change is compared by its pickle up to this size, all of it together.
COMPARED_BYTES = 64 << 10

_FIXED_TYPES = frozenset(
    (int, float, complex, bool, str, bytes, range, type(None), type(Ellipsis), type(NotImplemented))
)
# Where the descriptors of classes come from that are made by Python's own decorators.
_PYTHONS_MODULES = frozenset(("builtins", "functools", "enum", "abc", "types", "collections", "_collections"))
_MISSING = object()
# The flag of classes that were made by Python code; and what is small enough to be compared by identity, bytes.
_HEAP_TYPE = 1 << 9
_WAYS_TO_PICKLE = ("__reduce_ex__", "__reduce__", "__getattribute__", "__getstate__")
_SMALL_BYTES = 1 << 10


class Uncertain(Exception):
    """It cannot be told whether a value has changed."""


class Watch:
    """What a callable consisted of when it was pickled.

    It keeps alive nothing that can be large: functions and classes are referred to weakly, and other values that can
    change are compared by their pickles.

    Args:
        called: What was pickled.
        functions: The functions that were pickled by value with it.
        classes: The classes that were pickled by value with it.

    Raises:
        Uncertain: Something in it can change unseen.
    """

    __slots__ = ("_called", "_classes", "_functions")

    def __init__(self, called: Callable[..., Any], functions: list[FunctionType], classes: list[type]) -> None:
        values = _Values([*functions, *classes])
        self._functions = [
            (weakref.ref(function), function.__code__, function.__defaults__, *_function_state(function, values))
            for function in functions
        ]
        self._classes = [_ClassState(cls, values) for cls in classes]
        self._called: _Snapshot | _PlainInstance | None = None
        if not values.is_watched(called):
            self._called = _PlainInstance.of(called, classes) or values.snapshot(called)

    @property
    def can_change(self) -> bool:
        """Whether there is anything in it that can become another one: all but a function that refers to nothing."""
        if self._called is not None or self._classes or len(self._functions) != 1:
            return True
        _, _, _, fixed, watched, rest = self._functions[0]
        return bool(fixed or watched) or rest is not None

    def changed(self, called: Callable[..., Any]) -> bool:
        """Whether any of it may have changed; `called` is what was pickled."""
        # Once for each call of a remote function, hence in one piece.
        for reference, code, defaults, fixed, watched, rest in self._functions:
            function = reference()
            if function is None or function.__code__ is not code or function.__defaults__ is not defaults:
                return True
            get = function.__globals__.get
            for name, value in fixed:
                if get(name, _MISSING) is not value:
                    return True
            for name, expected in watched:
                if get(name, _MISSING) is not expected():
                    return True
            if rest is not None and rest.changed(function):
                return True
        for cls in self._classes:
            if cls.changed():
                return True
        return self._called is not None and not self._called.is_of(called)


class _Snapshot:
    """A value that can change, as a pickle."""

    __slots__ = ("_data", "_dump")

    def __init__(self, value: Any, by_name: bool) -> None:
        self._dump: Callable[[Any], bytes] = _dump_quickly
        try:
            self._data = _dump_quickly(value) if by_name else b""
        except Exception:
            self._data = b""
        if not self._data or names_script(self._data):
            self._dump = _dump_with_identities
            try:
                self._data = _dump_with_identities(value)
            except Exception:
                raise Uncertain from None

    def __len__(self) -> int:
        return len(self._data)

    def is_of(self, value: Any) -> bool:
        """Whether a value has the same pickle."""
        try:
            return self._dump(value) == self._data
        except Exception:
            return False


class _PlainInstance:
    """An object of a watched class that has nothing but small values that cannot change, or a method of it.

    It is compared without pickling it: only other values in its dictionary can make another pickle.
    """

    __slots__ = ("_class", "_count", "_function", "_items")

    _class: weakref.ref[type]
    _function: weakref.ref[Any] | None
    _items: list[tuple[str, Any]]
    _count: int

    @classmethod
    def of(cls, called: Any, classes: list[type]) -> _PlainInstance | None:
        """What is called as one of these, if it is that simple."""
        instance = called.__self__ if type(called) is MethodType else called
        kind = type(instance)
        if kind not in classes or not is_pickled_by_its_dictionary(kind):
            return None
        state = vars(instance)
        if not all(map(_is_small, state.values())):
            return None
        made = cls()
        made._class = weakref.ref(kind)
        made._function = weakref.ref(called.__func__) if instance is not called else None
        made._items = list(state.items())
        made._count = len(state)
        return made

    def is_of(self, called: Any) -> bool:
        """Whether a callable surely has the same pickle."""
        if self._function is None:
            instance = called
        else:
            if type(called) is not MethodType or called.__func__ is not self._function():
                return False
            instance = called.__self__
        if type(instance) is not self._class():
            return False
        state = instance.__dict__
        if len(state) != self._count:
            return False
        get = state.get
        for name, value in self._items:  # noqa: SIM110
            if get(name, _MISSING) is not value:
                return False
        return True


def is_pickled_by_its_dictionary(cls: type) -> bool:
    """Whether a class leaves it to `object` how its objects are pickled, and these have no state beside `__dict__`."""
    return (
        all(getattr(cls, name, None) is getattr(object, name, None) for name in _WAYS_TO_PICKLE)
        and not any(hasattr(cls, name) for name in ("__getnewargs__", "__getnewargs_ex__", "__getattr__"))
        and cls not in copyreg.dispatch_table
        and cls.__dictoffset__ != 0
        # None of its bases is one of Python's own types, nor has slots.
        and all(base.__flags__ & _HEAP_TYPE and not base.__dict__.get("__slots__") for base in cls.__mro__[:-1])
    )


def _is_small(value: Any) -> bool:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value) <= _SMALL_BYTES
    return kind in _FIXED_TYPES and (kind is not int or value.bit_length() <= 64)


def _dump_quickly(value: Any) -> bytes:
    return pickle.dumps(value, protocol=PROTOCOL)


def _dump_with_identities(value: Any) -> bytes:
    buffer = io.BytesIO()
    _IdentityPickler(buffer, protocol=PROTOCOL).dump(value)
    return buffer.getvalue()


class _IdentityPickler(pickle.Pickler):
    """Makes pickles for comparing only: functions and classes that have no name for others are told by identity."""

    def reducer_override(self, obj: Any) -> Any:
        """The identity of a function, of a class or of what a remote function was made of."""
        if isinstance(obj, (FunctionType, type, Sendable)) and not is_by_reference(obj):
            return _is_identity, (id(obj.function if isinstance(obj, Sendable) else obj),)
        return NotImplemented


def _is_identity(number: int) -> None:
    """Stands in pickles that are never loaded."""


class _Values:
    """Tells values that cannot change from those that can."""

    def __init__(self, watched: list[Any]) -> None:
        self._watched = set(map(id, watched))
        self._room = COMPARED_BYTES
        # Whether pickles name functions and classes that travel by value, other than those of the script.
        self._by_name = not has_own_modules() and not any(map(_has_name, watched))

    def is_watched(self, value: Any) -> bool:
        """Whether a value is a function or class that is watched itself."""
        return id(value) in self._watched

    def snapshot(self, value: Any) -> _Snapshot:
        """A value that can change."""
        snapshot = _Snapshot(value, self._by_name)
        self._room -= len(snapshot)
        if self._room < 0:
            raise Uncertain
        return snapshot


def _has_name(item: Any) -> bool:
    return item.__module__ not in ("__main__", "__mp_main__") and "<locals>" not in item.__qualname__


def _is_fixed(value: Any) -> bool:
    """Whether a value that is not watched itself cannot change, nor anything in it."""
    kind = type(value)
    if kind in _FIXED_TYPES or value is _MISSING:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(_is_fixed, value))
    if isinstance(value, ModuleType):
        return sys.modules.get(value.__name__) is value
    if kind is BuiltinFunctionType:
        return value.__self__ is None or isinstance(value.__self__, ModuleType)
    # It travels by reference: those by value are watched.
    return isinstance(value, (FunctionType, type)) and is_by_reference(value)


class _Names:
    """What names meant."""

    __slots__ = ("_fixed", "_references", "_snapshots")

    def __init__(self, names: Mapping[str, Any], values: _Values) -> None:
        self._fixed: list[tuple[str, Any]] = []
        self._references: list[tuple[str, weakref.ref[Any]]] = []
        self._snapshots: list[tuple[str, _Snapshot]] = []
        for name, value in names.items():
            if values.is_watched(value):
                self._references.append((name, weakref.ref(value)))
            elif _is_fixed(value):
                self._fixed.append((name, value))
            else:
                self._snapshots.append((name, values.snapshot(value)))

    def changed(self, names: Mapping[str, Any]) -> bool:
        """Whether one of them may mean something else."""
        get = names.get
        for name, value in self._fixed:
            if get(name, _MISSING) is not value:
                return True
        for name, reference in self._references:
            if get(name, _MISSING) is not reference():
                return True
        for name, snapshot in self._snapshots:  # noqa: SIM110
            if not snapshot.is_of(get(name, _MISSING)):
                return True
        return False


def _function_state(
    function: FunctionType, values: _Values
) -> tuple[list[tuple[str, Any]], list[tuple[str, weakref.ref[Any]]], _FunctionRest | None]:
    """The globals of a function that cannot change, those that are watched themselves, and the rest if there is one."""
    names = {name: function.__globals__.get(name, _MISSING) for name in global_names(function.__code__)}
    watched = [(name, weakref.ref(value)) for name, value in names.items() if values.is_watched(value)]
    fixed = [(name, value) for name, value in names.items() if not values.is_watched(value) and _is_fixed(value)]
    for name, _ in (*watched, *fixed):
        del names[name]
    rest = names or function.__closure__ or function.__dict__ or not _has_fixed_defaults(function)
    return fixed, watched, _FunctionRest(function, names, values) if rest else None


class _FunctionRest:
    __slots__ = ("_attributes", "_cells", "_count", "_defaults", "_globals")

    def __init__(self, function: FunctionType, names: dict[str, Any], values: _Values) -> None:
        self._globals = _Names(names, values) if names else None
        self._cells = _Names(_cells(function), values) if function.__closure__ else None
        self._count = len(function.__dict__)
        self._attributes = _Names(dict(function.__dict__), values) if self._count else None
        fixed = _has_fixed_defaults(function)
        self._defaults = None if fixed else values.snapshot((function.__defaults__, function.__kwdefaults__))

    def changed(self, function: FunctionType) -> bool:
        if self._globals is not None and self._globals.changed(function.__globals__):
            return True
        if self._cells is not None and self._cells.changed(_cells(function)):
            return True
        if len(function.__dict__) != self._count:
            return True
        if self._attributes is not None and self._attributes.changed(function.__dict__):
            return True
        defaults = self._defaults
        return defaults is not None and not defaults.is_of((function.__defaults__, function.__kwdefaults__))


def _has_fixed_defaults(function: FunctionType) -> bool:
    return not function.__kwdefaults__ and _is_fixed(function.__defaults__)


def _cells(function: FunctionType) -> dict[str, Any]:
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            cells[name] = _MISSING
    return cells


class _ClassState:
    __slots__ = ("_cls", "_count", "_names", "_parts")

    def __init__(self, cls: type, values: _Values) -> None:
        self._cls = weakref.ref(cls)
        self._count = len(cls.__dict__)
        parts = {name: value for name, value in cls.__dict__.items() if _is_part(name, value)}
        self._parts = list(parts.items())
        self._names = _Names({name: value for name, value in cls.__dict__.items() if name not in parts}, values)

    def changed(self) -> bool:
        cls = self._cls()
        if cls is None or len(cls.__dict__) != self._count:
            return True
        get = cls.__dict__.get
        for name, part in self._parts:
            if get(name) is not part:
                return True
        return self._names.changed(cls.__dict__)


def _is_part(name: str, value: Any) -> bool:
    """Whether an attribute of a class does not change while it is the same object: what Python makes, and descriptors.

    The functions in descriptors are watched themselves.
    """
    if isinstance(value, (FunctionType, type)):
        return False
    kind = type(value)
    is_pythons = kind.__module__ in _PYTHONS_MODULES and hasattr(kind, "__get__")
    return is_pythons or name[0] == name[-1] == "_" or name == "_abc_impl"
