"""Large contents as bytes, received straight into a new bytes object; very large ones get huge pages."""

from __future__ import annotations

import os
import sys
from typing import Any

# Below this size huge pages cost more than they save: a virtual machine is slow to give one that it has never used.
LARGE = 128 << 20

_HUGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14
# Where the content of bytes begins: their size without the final zero.
_HEADER = bytes.__basicsize__ - 1

_calls: tuple[Any, Any] | None = None


def new_bytes(size: int) -> tuple[bytes | bytearray, memoryview]:
    """A new object for so many bytes, and its memory, which is to be filled before anybody sees the object.

    The memory is good for as long as the object lives. Falls back to a bytearray where bytes cannot be allocated so.
    """
    calls = _find_calls()
    if calls is None or size == 0:
        content = bytearray(size)
        return content, memoryview(content)
    make, advise = calls
    made: bytes = make(None, size)
    start = id(made) + _HEADER
    if size >= LARGE:
        first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        length = (start + size - first) // _HUGE_PAGE * _HUGE_PAGE
        # Only advice: without it the same happens, slower.
        advise(first, length, _MADV_HUGEPAGE)
    import ctypes

    # Nobody else has the new object, so it may be written to.
    return made, memoryview((ctypes.c_char * size).from_address(start)).cast("B")


def read_large(fd: int, size: int, start: int = 0) -> bytes | None:
    """So many bytes of a file, straight into a new object; None where this way of reading is not supported."""
    content, room = new_bytes(size)
    if not isinstance(content, bytes):
        return None
    position = 0
    while position < size:
        count = os.preadv(fd, [room[position:]], start + position)
        if count == 0:
            return None
        position += count
    return content


def _find_calls() -> tuple[Any, Any] | None:
    global _calls
    if _calls is None:
        if sys.implementation.name != "cpython" or not sys.platform.startswith("linux"):
            return None
        try:
            import ctypes

            new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
            new_bytes.argtypes = (ctypes.c_char_p, ctypes.c_ssize_t)
            new_bytes.restype = ctypes.py_object
            advise = ctypes.CDLL(None).madvise
            advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            advise.restype = ctypes.c_int
        except (ImportError, AttributeError, OSError):
            return None
        _calls = (new_bytes, advise)
    return _calls
