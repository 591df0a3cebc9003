"""Files mapped into memory for reading, without a descriptor that stays open for each.

Before Python 3.13, a :class:`mmap.mmap` of a file keeps a descriptor for as long as it lives. Here the file is mapped
over the memory of an anonymous one, which has no descriptor, and is unmapped with it.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Any

_MAP_FIXED = 0x10

_calls: tuple[Any, Any] | None = None


def map_file(fd: int, size: int, writable: bool = False) -> memoryview:
    """The first `size` bytes of an open file, more than 0; `fd` may be closed afterwards.

    `writable`: the mapping is private, and may be written to, which changes no file.

    Raises:
        OSError: The file cannot be mapped.
    """
    access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
    if sys.version_info >= (3, 13):
        return memoryview(mmap.mmap(fd, size, access=access, trackfd=False))
    calls = _find_calls()
    if calls is None:
        return memoryview(mmap.mmap(fd, size, access=access))
    address_of, map_over = calls
    rights = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
    memory = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=rights))
    error = map_over(address_of(memory), size, fd, writable)
    if error:
        raise OSError(error, os.strerror(error))
    return memory


def _find_calls() -> tuple[Any, Any] | None:
    """Where a buffer is in memory; and mapping a file there. None where the system has no such calls."""
    global _calls
    if _calls is None:
        if sys.implementation.name != "cpython" or not sys.platform.startswith("linux"):
            return None
        try:
            import ctypes

            system_mmap = ctypes.CDLL(None, use_errno=True).mmap
        except (ImportError, AttributeError, OSError):
            return None
        system_mmap.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_long,
        )
        system_mmap.restype = ctypes.c_void_p
        failed = ctypes.c_void_p(-1).value

        class Buffer(ctypes.Structure):
            """A ``Py_buffer``."""

            _fields_ = (
                ("start", ctypes.c_void_p),
                ("object", ctypes.py_object),
                ("length", ctypes.c_ssize_t),
                ("item_size", ctypes.c_ssize_t),
                ("is_read_only", ctypes.c_int),
                ("dimensions", ctypes.c_int),
                ("format", ctypes.c_char_p),
                ("shape", ctypes.c_void_p),
                ("strides", ctypes.c_void_p),
                ("suboffsets", ctypes.c_void_p),
                ("internal", ctypes.c_void_p),
            )

        get_buffer, release_buffer = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
        get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(Buffer), ctypes.c_int)
        get_buffer.restype = ctypes.c_int
        release_buffer.argtypes = (ctypes.POINTER(Buffer),)
        release_buffer.restype = None

        def address_of(memory: memoryview) -> int:
            buffer = Buffer()
            get_buffer(memory, buffer, 0)
            start: int = buffer.start
            release_buffer(buffer)
            return start

        def map_over(address: int, size: int, fd: int, writable: bool) -> int:
            rights = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
            flags = mmap.MAP_PRIVATE if writable else mmap.MAP_SHARED
            mapped = system_mmap(address, size, rights, flags | _MAP_FIXED, fd, 0)
            return ctypes.get_errno() if mapped == failed else 0

        _calls = (address_of, map_over)
    return _calls
