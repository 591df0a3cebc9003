"""Frames of the protocol through a socket, in both directions.

Any number of threads may send. One at a time reads. A KeyboardInterrupt between any two byte codes, in any of them,
loses nothing: each step that changes what was sent or received is one call of a function written in C, after which
there is nothing more to note down.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque

from ..common import lending
from ..common.errors import RainTimeout
from .locking import Role

MAX_FRAME = 256 << 20
_FRAMES_AT_ONCE = 16
_READ_SIZE = 1 << 16
_READ_SIZE_MAX = 1 << 20
# The system takes no larger times; whoever waits longer waits again.
_WAIT_MS_MAX = 86_400_000

# What has been received and not taken: pieces, and how many bytes at their beginning were taken.
Unread = tuple[list[bytes], int]


class FrameTooLarge(Exception):
    """The other side announces a frame that is larger than any can be."""


class Frame:
    """A frame to send."""

    __slots__ = ("_queued", "_sent", "data")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self._queued: list[None] = []
        # How many bytes each call of the system has taken.
        self._sent: list[int] = []

    @property
    def queued(self) -> bool:
        """Whether the frame is sent: from here on it is, whatever happens to the thread that wanted it."""
        return bool(self._queued)


class Frames:
    """A connected socket that carries frames."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        self.socket = connection
        self._outgoing: deque[Frame] = deque()
        self._sender = Role()
        self._unread: Unread = ([], 0)
        # Whether a task that waits for the other side lends its cpus meanwhile.
        self.lends = True

    @property
    def unsent(self) -> bool:
        """Whether there are frames, or the rest of one, to be sent by whoever has the time."""
        return bool(self._outgoing)

    def put(self, frame: Frame) -> None:
        """Queue a frame; it is sent with the next :meth:`flush`."""
        # In one step, so that it is certain whether this has happened.
        frame._queued.extend(map(self._outgoing.append, (frame,)))

    def flush(self, who: object, deadline: float | None = None) -> None:
        """Send what is queued, unless another thread is doing that.

        Raises:
            RainTimeout: Not all of it could be sent until the deadline, a time of :func:`time.monotonic`.
            OSError: The connection is broken.
        """
        __tracebackhide__ = True
        try:
            try:
                # Looked at again after each turn: who queues something while another one sends leaves it to that one.
                while self._outgoing and self._sender.take(who):
                    self._send_queued(deadline)
                    self._sender.leave(who)
            except BaseException:
                self._sender.leave(who)
                raise
        except BaseException:
            # Here after an interrupt in the lines above.
            self._sender.leave(who)
            raise

    def _send_queued(self, deadline: float | None) -> None:
        __tracebackhide__ = True
        while self._outgoing:
            frame = self._outgoing[0]
            rest = len(frame.data)
            if frame._sent:
                rest -= sum(frame._sent)
            while rest > 0:
                views = [memoryview(frame.data)[-rest:]]
                if len(self._outgoing) > 1:
                    # One call of the system for several frames.
                    views += [memoryview(later.data) for later in list(self._outgoing)[1:_FRAMES_AT_ONCE]]
                try:
                    # In one step: an interrupt between sending and counting would send it again.
                    frame._sent.extend(map(self.socket.sendmsg, (views,), ((),), (socket.MSG_DONTWAIT,)))
                except BlockingIOError:
                    self._wait(select.POLLOUT, deadline)
                rest = len(frame.data) - sum(frame._sent)
            if rest < 0:
                # So much of the next one went along. After an interrupt this is done again, to the same effect.
                self._outgoing[1]._sent = [-rest]
            self._outgoing.popleft()

    def read(self, deadline: float | None = None) -> tuple[memoryview, Unread]:
        """The body of the next frame, and what is to be given to :meth:`take` when something was done with it.

        Raises:
            RainTimeout: It has not come until the deadline, a time of :func:`time.monotonic`.
            FrameTooLarge: It is larger than a frame can be.
            EOFError: The other side has closed the connection.
            OSError: The connection is broken.
        """
        __tracebackhide__ = True
        data, start = self._gather(4, deadline)
        size = int.from_bytes(data[start : start + 4], "little")
        if size > MAX_FRAME:
            raise FrameTooLarge(size)
        data, start = self._gather(4 + size, deadline)
        end = start + 4 + size
        return memoryview(data)[start + 4 : end], ([data], end) if end < len(data) else ([], 0)

    def take(self, unread: Unread) -> None:
        """Go on to the frame after the one that was read. Until then, it is read again."""
        self._unread = unread

    def _gather(self, count: int, deadline: float | None) -> tuple[bytes, int]:
        """Receive until there are so many bytes that nobody has taken; they, with more, and where they begin."""
        __tracebackhide__ = True
        pieces, start = self._unread
        arrived = sum(map(len, pieces)) - start
        while arrived < count:
            size = min(max(count - arrived, _READ_SIZE), _READ_SIZE_MAX)
            if deadline is None:
                if self.lends and lending.waiting is not None:
                    lending.wait_readable(self.socket)
                # In one step: an interrupt between receiving and storing would lose what came.
                pieces.extend(map(self.socket.recv, (size,)))
            else:
                try:
                    pieces.extend(map(self.socket.recv, (size,), (socket.MSG_DONTWAIT,)))
                except BlockingIOError:
                    self._wait(select.POLLIN, deadline)
                    continue
            if not pieces[-1]:
                raise EOFError
            arrived += len(pieces[-1])
        if len(pieces) > 1:
            data = b"".join(pieces)[start:]
            self._unread = ([data], 0)
            return data, 0
        return pieces[0], start

    def _wait(self, event: int, deadline: float | None) -> None:
        """Wait until something can be sent or received."""
        waiting = select.poll()
        try:
            waiting.register(self.socket, event)
        except ValueError:
            # Another thread has closed the socket.
            raise OSError("it was closed") from None
        if deadline is None:
            waiting.poll()
            return
        milliseconds = min(max(deadline - time.monotonic(), 0) * 1000, _WAIT_MS_MAX)
        if event == select.POLLIN and self.lends and lending.waiting is not None:
            has_happened = lending.wait_readable(self.socket, milliseconds)
        else:
            has_happened = bool(waiting.poll(milliseconds))
        if not has_happened and time.monotonic() >= deadline:
            raise RainTimeout("The server has not answered in time")

    def close(self) -> None:
        """End the connection, for the other side and for all threads that use it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def forked(self) -> None:
        """In a child: let go of the socket, on which the parent goes on."""
        self._outgoing = deque()
        self._sender = Role()
        self.socket.close()
