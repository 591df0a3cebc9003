"""What a function is at one moment: its pickle, and what shows later whether it is still the same."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import linecache
import pickle
import sys
from collections import OrderedDict
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Callable

from ..common.errors import PickleException, RainException
from ..common.identity import IdentityMap
from ..common.reference import PROTOCOL, is_by_reference
from .sendable import Sendable

if TYPE_CHECKING:
    from .watch import Watch

# Source lines that go along with a function, for tracebacks; those past it are left out.
SOURCE_BYTES = 64 << 10
# After so many functions of a family, further ones are taken for ones that are called once.
MANY_VARIANTS = 16
# Families that are told apart at the same time.
FAMILIES = 256


class Capture:
    """A function, or anything else that can be called, as it was at one moment.

    Attributes:
        code: The pickle that executors load; None when a large one was taken.
        size: How many bytes the pickle has.
        digest: Tells different pickles apart.
        family: Functions with the same one differ in values only: the code, or the class of the callable.
        sources: Source lines, each ``[file, number of the first line, text]``.

    Args:
        called: The function.
        name: Its name in messages.
        keep_defaults: Whether its defaults are a part of it.
        once: It will hardly be called again, so nothing is remembered for later calls.

    Raises:
        PickleException: It cannot be pickled, or refers to data objects.
    """

    __slots__ = ("_watch", "code", "digest", "family", "size", "sources")

    code: bytes | None

    def __init__(self, called: Callable[..., Any], name: str, keep_defaults: bool, once: bool = False) -> None:
        self.family = _family(called)
        self.sources: list[tuple[str, int, str]] = []
        self._watch: Watch | _NameWatch | None
        if is_by_reference(called):
            reduced = called.reduce_to_function() if isinstance(called, Sendable) else None
            code = pickle.dumps(called if reduced is None else _Reduced(*reduced), protocol=PROTOCOL)
            self._watch = _NameWatch(called)
        else:
            code = self._pickle(called.function if isinstance(called, Sendable) else called, name, keep_defaults, once)
        self.code = code
        self.size = len(code)
        self.digest = hashlib.blake2b(code, digest_size=16).digest()

    def _pickle(self, called: Callable[..., Any], name: str, keep_defaults: bool, once: bool) -> bytes:
        # Not before they are needed: they import cloudpickle.
        from .pickler import FunctionPickler
        from .watch import Uncertain, Watch

        buffer = io.BytesIO()
        pickler = FunctionPickler(buffer, called, keep_defaults)
        try:
            pickler.dump(called)
        except RainException as error:
            raise PickleException(f"Remote function {name}() cannot be sent: {error}") from None
        except Exception as error:
            from .culprit import culprit

            where = culprit(
                called, "the function itself", lambda part: FunctionPickler(io.BytesIO(), called, True).dump(part)
            )
            raise PickleException(
                f"Remote function {name}() cannot be pickled: {type(error).__name__}: {error} ({where})"
            ) from error
        self._watch = None
        if not once:
            self.sources = source_lines(pickler.functions)
            with contextlib.suppress(Uncertain):
                self._watch = Watch(called, pickler.functions, pickler.classes)
        return buffer.getvalue()

    def take_code(self) -> bytes | None:
        """The pickle, which is not kept here any longer; None if it was taken before."""
        code, self.code = self.code, None
        return code

    @property
    def is_certain(self) -> bool:
        """Whether :meth:`is_of` can be true."""
        return self._watch is not None

    @property
    def can_change(self) -> bool:
        """Whether the function may become another one without being reloaded."""
        return self._watch is None or self._watch.can_change

    def is_of(self, called: Callable[..., Any]) -> bool:
        """Whether what was captured certainly is the same now."""
        return self._watch is not None and not self._watch.changed(called)


class _Reduced:
    """Pickles as the result of a call."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._function, self._arguments


class _NameWatch:
    """Whether a name in a module still means the same."""

    __slots__ = ("_module", "_names")

    can_change = False

    def __init__(self, called: Callable[..., Any]) -> None:
        self._module: str = called.__module__
        self._names = called.__qualname__.split(".")

    def changed(self, called: Callable[..., Any]) -> bool:
        """Whether it means something else."""
        item: Any = sys.modules.get(self._module)
        for name in self._names:
            item = getattr(item, name, None)
        return item is not called


def _family(called: Any) -> Any:
    while True:
        if isinstance(called, functools.partial):
            called = called.func
        elif isinstance(called, MethodType):
            called = called.__func__
        elif isinstance(called, Sendable):
            called = called.function
        elif hasattr(called, "__wrapped__") and not isinstance(called, (FunctionType, type)):
            called = called.__wrapped__
        else:
            break
    if isinstance(called, FunctionType):
        return called.__code__
    return called if isinstance(called, (BuiltinFunctionType, type)) else type(called)


def source_lines(functions: list[Any]) -> list[tuple[str, int, str]]:
    """The source lines of functions or code, as far as they are known and not too many."""
    sources = []
    room = SOURCE_BYTES
    for function in functions:
        code = getattr(function, "__code__", function)
        if not isinstance(code, CodeType):
            continue
        lines = linecache.getlines(code.co_filename, getattr(function, "__globals__", None))
        first = code.co_firstlineno
        text = "".join(lines[first - 1 : _last_line(code)])
        room -= len(text)
        if text and room >= 0:
            sources.append((code.co_filename, first, text))
    return sources


def _last_line(code: CodeType) -> int:
    """The number of the last line of a function, with the functions inside of it."""
    last = code.co_firstlineno
    for _, _, line in code.co_lines() if hasattr(code, "co_lines") else _lines(code):
        if line is not None and line > last:
            last = line
    for item in code.co_consts:
        if isinstance(item, CodeType):
            last = max(last, _last_line(item))
    return last


def _lines(code: CodeType) -> list[tuple[int, int, int]]:
    """Like `co_lines`, for Python 3.9."""
    import dis

    return [(start, start, line) for start, line in dis.findlinestarts(code)]


# What things that can be called were when they were captured last, and methods of objects by their function.
_captures: IdentityMap[Capture] = IdentityMap()
_methods: IdentityMap[dict[Any, Capture]] = IdentityMap()
# How many functions of a family were captured, by the identity of the family; those that came last.
_variants: OrderedDict[int, int] = OrderedDict()


def capture(called: Any, name: str) -> Capture:
    """What something that can be called is now.

    Raises:
        PickleException: It cannot be pickled, or refers to data objects.
    """
    if isinstance(called, MethodType):
        # The method itself is made anew each time that it is looked up.
        methods = _methods.get(called.__self__)
        if methods is None:
            methods = {}
            _methods.set(called.__self__, methods)
        known = methods.get(called.__func__)
    else:
        methods = None
        known = _captures.get(called)
    if known is not None and known.is_of(called):
        return known
    taken = Capture(called, name, True, once=known is None and _is_variant(called))
    if methods is None:
        _captures.set(called, taken)
    else:
        methods[called.__func__] = taken
    return taken


def _is_variant(called: Any) -> bool:
    """Whether many functions like this one were called, such as a lambda in a loop."""
    number = id(_family(called))
    count = _variants.pop(number, 0)
    _variants[number] = min(count + 1, MANY_VARIANTS)
    if len(_variants) > FAMILIES:
        _variants.popitem(last=False)
    return count == MANY_VARIANTS
