"""A table of what belongs to objects, told apart by identity and not kept alive by it."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class IdentityMap(Generic[T]):
    """Values by the identity of an object; an entry goes with its object.

    Unlike :class:`weakref.WeakKeyDictionary` it asks no object whether it equals another one, or for a hash.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, key: Any) -> T | None:
        """The value of an object; None if it has none."""
        entry = self._entries.get(id(key))
        return entry[1] if entry is not None and entry[0]() is key else None

    def set(self, key: Any, value: T) -> bool:
        """Give an object a value; False if nothing can be kept for it, as it has no weak references."""
        number = id(key)
        entries = self._entries

        def gone(reference: weakref.ref[Any]) -> None:
            # Another object may have the number by now.
            entry = entries.get(number)
            if entry is not None and entry[0] is reference:
                del entries[number]

        try:
            entries[number] = weakref.ref(key, gone), value
        except TypeError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._entries)
