"""Clients in tasks: a task that waits for other tasks lends its cpus, so that these can run.

The executor that runs tasks sets what is here; elsewhere it stays None, and nothing happens.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

# How long a wait is just a wait, milliseconds.
_SHORT_MS = 1
# Between two looks at whether the process does something beside waiting, milliseconds: at first, and at most.
_LOOK_MS = 2
_LOOK_MS_MAX = 50
# How long that may go on, seconds: a task may ask again and again whether another one is done, and so be at work.
_LOOK_SECONDS = 1.0
# A process that uses less of a cpu than this does nothing but wait.
_IDLE_SHARE = 0.2

# A context in which the task that runs has lent its cpus; None in a process that runs no tasks.
waiting: Callable[[], AbstractContextManager[Any]] | None = None
# The priority of what the task that runs waits for: above its own, so that few tasks wait at the same time.
priority: Callable[[], int] | None = None


def wait_readable(connection: socket.socket, milliseconds: float | None = None) -> bool:
    """Wait until a socket can be read. A task that only waits for that lends its cpus meanwhile.

    Args:
        connection: The socket, of a connection to a server.
        milliseconds: How long to wait; None for ever.

    Returns:
        Whether it can be read; False when the time is over.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if waiting is None:
        return bool(poll.poll(milliseconds))
    end = None if milliseconds is None else time.monotonic() + milliseconds / 1000

    def wait(at_most: float) -> bool:
        left = at_most if end is None else min(at_most, (end - time.monotonic()) * 1000)
        return left > 0 and bool(poll.poll(left))

    if wait(_SHORT_MS):
        return True
    look = _LOOK_MS
    last = time.monotonic() + _LOOK_SECONDS
    while time.monotonic() < (last if end is None else min(last, end)):
        clock, cpu = time.monotonic(), time.process_time()
        if wait(look):
            return True
        # Another thread may be at work, in a task that starts others and goes on.
        if time.process_time() - cpu < _IDLE_SHARE * (time.monotonic() - clock):
            break
        look = min(2 * look, _LOOK_MS_MAX)
    with waiting():
        return bool(poll.poll(None if end is None else max((end - time.monotonic()) * 1000, 0)))
