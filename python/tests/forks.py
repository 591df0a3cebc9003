"""Forked children, for tests."""

from __future__ import annotations

import os
import signal
from typing import Callable


def in_child(function: Callable[[], object]) -> str:
    """What a function returns, or the exception that it raises, in a forked child; it hangs for 20 seconds at most."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os.close(reading)
            try:
                said = repr(function())
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writing, said.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    return said
