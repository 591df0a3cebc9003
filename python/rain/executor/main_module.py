"""What stands for the client's script in an executor: the module ``__main__``.

Functions and classes of a script travel by value. In the script they are found in ``__main__``, and code that pickles
them by name, such as :mod:`multiprocessing`, looks for them there. While a call runs, it finds those that have come
with its function and its arguments.
"""

from __future__ import annotations

import functools
import importlib.util
import pickle
import sys
from collections.abc import Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

_REDUCTION = "multiprocessing.reduction"

# The module that has started this process. Its functions run, so it has to stay.
_started = sys.modules["__main__"]


class Script:
    """The functions and classes of a client's script that have come with one function."""

    __slots__ = ("_classes", "_names")

    def __init__(self) -> None:
        # By the numbers that cloudpickle gives them.
        self._classes: dict[str, type] = {}
        self._names: list[dict[str, Any]] = []

    def enter(self) -> None:
        """Let ``__main__`` be this script, for one call.

        Pickles that are loaded from now on find the classes that have come with the function, and none that other
        functions or calls have brought: those may be of another state of the script.
        """
        global _current
        _current = self
        module = sys.modules.get("cloudpickle.cloudpickle")
        if module is not None:
            module._DYNAMIC_CLASS_TRACKER_BY_ID = dict(self._classes)  # type: ignore[attr-defined]

    def add(self, loaded: Any) -> None:
        """Take up a callable that was loaded after :meth:`enter`, and what was loaded with it."""
        self._classes = dict(_loaded_classes())
        function = _function_of(loaded)
        if function is not None and function.__globals__.get("__name__") == "__main__":
            self._names = [function.__globals__]
            if function.__qualname__.isidentifier():
                self._names.append({function.__qualname__: loaded})

    def find(self, name: str) -> Any:
        """What a name means in the script.

        Raises:
            AttributeError: It has not come with the function.
        """
        # Not its file: processes that multiprocessing starts would run the script from there.
        for names in self._names if not name.startswith("__") else ():
            if name in names:
                return names[name]
        for cls in _loaded_classes().values():
            if cls.__module__ == "__main__" and cls.__qualname__ == name:
                return cls
        raise AttributeError(f"module '__main__' has no attribute {name!r}")


_current = Script()


def _loaded_classes() -> dict[str, type]:
    """The classes that pickles find now, by the numbers that cloudpickle gives them."""
    module = sys.modules.get("cloudpickle.cloudpickle")
    classes: dict[str, type] = getattr(module, "_DYNAMIC_CLASS_TRACKER_BY_ID", {})
    return classes


def _function_of(loaded: Any) -> FunctionType | None:
    """The Python function that a callable leads to."""
    for _ in range(10):
        if isinstance(loaded, FunctionType):
            return loaded
        if isinstance(loaded, functools.partial):
            loaded = loaded.func
        elif isinstance(loaded, MethodType):
            loaded = loaded.__func__
        elif hasattr(loaded, "__wrapped__"):
            loaded = loaded.__wrapped__
        elif isinstance(loaded, type):
            loaded = next((item for item in vars(loaded).values() if isinstance(item, FunctionType)), None)
        else:
            made = (vars(cls).get("__call__") for cls in type(loaded).__mro__)
            loaded = next(filter(None, made), None)
    return None


def install() -> None:
    """Put a stand-in in the place of the module that has started this process."""
    module = ModuleType("__main__", "Stands for the script of a client.")
    # A function of this name in a module answers for attributes that are not there.
    module.__dict__["__getattr__"] = lambda name: _current.find(name)
    sys.modules["__main__"] = module
    finder: Any = _ReductionFinder()
    sys.meta_path.insert(0, finder)


# The base classes for these, in `importlib.abc`, take 10 ms to import, with half of the library.
class _ReductionFinder:
    """Teaches multiprocessing, when it is imported, to pickle functions and classes of the script."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's own specification, with a loader that adds something."""
        if fullname != _REDUCTION:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = _ReductionLoader(spec.loader)
            spec.loader = loader
        return spec


class _ReductionLoader:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> ModuleType | None:
        """As the module's own loader does it."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own loader does it; then its pickler gets the new way."""
        self._loader.exec_module(module)
        _teach(module)


def _teach(module: Any) -> None:
    module.ForkingPickler.reducer_override = _reduce


def _reduce(pickler: Any, item: Any) -> Any:
    """How multiprocessing pickles: functions and classes of the script by value, all else in its own way."""
    if not isinstance(item, (FunctionType, type)) or item.__module__ != "__main__":
        return NotImplemented
    from ..common.by_value import dump_by_value

    name = item.__qualname__
    try:
        data = dump_by_value(item)
    except Exception:
        # It uses what only processes have that were forked from this one.
        data = b""
    return _find_or_load, (name, id(item), data)


def _find_or_load(name: str, number: int, data: bytes) -> Any:
    """A function or class of the script, in a process of multiprocessing: the same object, if that was inherited."""
    try:
        found = _current.find(name)
    except AttributeError:
        found = None
    if found is not None and (id(found) == number or not data):
        return found
    reduction = sys.modules.get(_REDUCTION)
    if reduction is not None:
        # In a process that was started afresh: for the results that go back.
        _teach(reduction)
    return pickle.loads(data)
