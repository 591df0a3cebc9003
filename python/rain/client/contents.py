"""The contents of constants that were submitted: a session sends one again where a later submit needs it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

# Contents of one session that are remembered, bytes; and always the one that was used last.
REMEMBERED_BYTES = 64 << 20
# What remembering one takes beside its content, about.
_ENTRY_BYTES = 256


class Contents:
    """Constants that the server may have dropped, with their contents: those that were used last."""

    def __init__(self) -> None:
        # Those used last at the end.
        self._entries: OrderedDict[Any, _Entry] = OrderedDict()
        self._bytes = 0

    def add(self, constant: Any, content: bytes) -> None:
        """A constant was submitted."""
        if constant in self._entries:
            return
        self._entries[constant] = _Entry(content)
        self._bytes += _ENTRY_BYTES + len(content)
        while self._bytes > REMEMBERED_BYTES and len(self._entries) > 1:
            _, entry = self._entries.popitem(last=False)
            self._bytes -= _ENTRY_BYTES + len(entry.content)

    def find(self, constant: Any) -> _Entry | None:
        """What is remembered of a constant, which is used just now."""
        entry = self._entries.pop(constant, None)
        if entry is not None:
            self._entries[constant] = entry
        return entry

    def clear(self) -> None:
        """Forget all of them."""
        self._entries.clear()
        self._bytes = 0


class _Entry:
    __slots__ = ("again", "batch", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content
        # The constant by which the content is sent again, and with which submit.
        self.again: Any = None
        self.batch: object = None
