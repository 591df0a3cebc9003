"""Which functions and classes other processes find under their name, so that a reference to them is enough.

These are cloudpickle's rules, and one more: what was not imported through the module search path, such as a module that
exists in memory only, is not found elsewhere either.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Of pickles.
PROTOCOL = 5
# The script, also as multiprocessing names it in its processes.
_MAIN = ("__main__", "__mp_main__")

# Whether a package or top-level module is found: which module it was, with which search path, and the result.
_found: dict[str, tuple[ModuleType, list[str], bool]] = {}


def is_by_reference(item: Any) -> bool:
    """Whether a function, class or the like is found in its module, and that module by other processes."""
    module_name = getattr(item, "__module__", None)
    name = getattr(item, "__qualname__", None)
    return isinstance(module_name, str) and isinstance(name, str) and attribute(module_name, name) is item


def attribute(module_name: str, name: str) -> Any:
    """What other processes find under a dotted name in a module; None if they do not find the module or the name."""
    if module_name in _MAIN:
        return None
    module = sys.modules.get(module_name)
    if module is None or _is_registered_by_value(module_name) or not _is_found(module_name.partition(".")[0]):
        return None
    item: Any = module
    try:
        for part in name.split("."):
            item = getattr(item, part)
    except AttributeError:
        return None
    return item


def _is_registered_by_value(module_name: str) -> bool:
    """Whether the user has asked cloudpickle for the module's functions and classes by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    if cloudpickle is None:
        return False
    registered = cloudpickle.list_registry_pickle_by_value()
    while registered and module_name:
        if module_name in registered:
            return True
        module_name = module_name.rpartition(".")[0]
    return False


def _is_found(name: str) -> bool:
    """Whether the import of a top-level module would find the module that is imported here."""
    module = sys.modules.get(name)
    if module is None:
        return False
    known = _found.get(name)
    if known is not None and known[0] is module and known[1] == sys.path:
        return known[2]
    path = list(sys.path)
    found = _find(name, module)
    _found[name] = (module, path, found)
    return found


def _find(name: str, module: ModuleType) -> bool:
    if name in sys.builtin_module_names:
        return True
    spec = getattr(module, "__spec__", None)
    place = getattr(spec, "origin", None) or getattr(module, "__file__", None)
    folders = list(getattr(module, "__path__", None) or ())
    for finder in sys.meta_path:
        # What the script has made is here only.
        maker = finder if isinstance(finder, type) else type(finder)
        if maker.__module__ in _MAIN:
            continue
        try:
            found: ModuleSpec | None = finder.find_spec(name, None)
        except Exception:
            continue
        if found is not None:
            # A namespace package has no place, but folders.
            return found.origin == place if place else folders == list(found.submodule_search_locations or ())
    return False
