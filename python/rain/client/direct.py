"""Fetching large content over connections of its own: from the governors that have it, or from the server."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from ..common.errors import RainTimeout
from ..common.large_bytes import new_bytes
from .forking import watch_forks
from .tcp import connect_tcp

if TYPE_CHECKING:
    import ssl

    from .tls import Credentials

_PROTOCOL = "rain-content/1"
_GOVERNOR_NAME = "governor.rain"
_SERVER_NAME = "server.rain"
# A governor that does not answer in this time is most likely behind a firewall.
_CONNECT_SECONDS = 1.0
# Making the archive of a large directory takes a while.
_STALLED_SECONDS = 20.0
# The server may have to bring the content first, from wherever that is. Who has waited so long asks it again, in the
# way that does without a connection of its own.
_BROUGHT_SECONDS = 300.0
# So long nothing is asked of a governor that could not be reached.
_SHUN_SECONDS = 60.0
# After so many silent governors, and none that answers, nobody is asked any more.
_SILENT_MAX = 2
# Connections that are kept open to each place.
_IDLE_MAX = 2
# The other side gives up idle connections after a minute.
_IDLE_SECONDS = 30.0
_HEADER_MAX = 1 << 16

Place = tuple[str, int]
# What is known of an object, and its bytes.
Found = tuple[dict[str, Any], Any]


class DirectFetch:
    """Connections to governors and the server, each for one fetch at a time; any number of threads may fetch.

    Args:
        server: Host and port; also the host of governors on its machine.
        credentials: What they want to see.
    """

    def __init__(self, server: Place, credentials: Credentials) -> None:
        self._server = server
        self._credentials = credentials
        self._context: ssl.SSLContext | None = None
        self._connections: weakref.WeakSet[ssl.SSLSocket] = weakref.WeakSet()
        self._idle: dict[Place, deque[tuple[float, ssl.SSLSocket]]] = {}
        self._shunned: dict[Place, float] = {}
        self._has_reached = False
        self._silent = 0
        self._closed = False
        watch_forks(self)

    def fetch(
        self, at: list[tuple[str | None, int]], session: int, number: int, deadline: float | None = None
    ) -> Found | None:
        """Fetch an object from one of these governors, or from the server; None when it cannot be had in this way.

        Raises:
            RainTimeout: It has not come until the deadline, a time of :func:`time.monotonic`.
        """
        # Where governors are out of reach, no time is lost with each of them.
        governors = at if self._has_reached or self._silent < _SILENT_MAX else []
        places = [(host or self._server[0], port) for host, port in governors]
        for place in [*places, self._server]:
            if self._closed or self._shunned.get(place, 0.0) > time.monotonic():
                continue
            found = self._fetch_from(place, session, number, deadline)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Drop all connections."""
        self._closed = True
        for idle in list(self._idle.values()):
            while idle:
                with contextlib.suppress(IndexError):
                    idle.pop()[1].close()

    def _forked(self, why: str) -> None:
        self._closed = True
        self._idle = {}
        for connection in list(self._connections):
            connection.close()

    def _fetch_from(self, place: Place, session: int, number: int, deadline: float | None) -> Found | None:
        connection = self._take_idle(place)
        is_new = connection is None
        try:
            if connection is None:
                connection = self._connect(place, deadline)
            patience = _BROUGHT_SECONDS if place == self._server else _STALLED_SECONDS
            found = _fetch(connection, session, number, patience, deadline)
        except RainTimeout:
            if connection is not None:
                connection.close()
            raise
        except (OSError, ValueError, MemoryError, msgspec.DecodeError) as error:
            if connection is not None:
                connection.close()
            if deadline is not None:
                _seconds(0, deadline)
            # One that was idle may just have been given up by the governor.
            if not is_new:
                return self._fetch_from(place, session, number, deadline)
            self._shun(place, silent=connection is None and isinstance(error, socket.timeout))
            return None
        except BaseException:
            # Interrupted in the middle: what comes is not wanted any more.
            if connection is not None:
                connection.close()
            raise
        self._keep(place, connection)
        return found

    def _take_idle(self, place: Place) -> ssl.SSLSocket | None:
        idle = self._idle.get(place, ())
        while idle:
            try:
                since, connection = idle.pop()
            except IndexError:
                # Another thread has taken the last one.
                return None
            if time.monotonic() - since < _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    def _keep(self, place: Place, connection: ssl.SSLSocket) -> None:
        idle = self._idle.setdefault(place, deque())
        if len(idle) < _IDLE_MAX:
            idle.append((time.monotonic(), connection))
        else:
            connection.close()
        if self._closed:
            self.close()

    def _connect(self, place: Place, deadline: float | None) -> ssl.SSLSocket:
        if self._context is None:
            self._context = self._credentials.context(_PROTOCOL)
        tcp = connect_tcp(*place, _seconds(_CONNECT_SECONDS, deadline))
        try:
            tcp.settimeout(_seconds(_STALLED_SECONDS, deadline))
            name = _SERVER_NAME if place == self._server else _GOVERNOR_NAME
            connection = self._context.wrap_socket(tcp, server_hostname=name)
        except BaseException:
            tcp.close()
            raise
        self._connections.add(connection)
        if place != self._server:
            self._has_reached = True
        return connection

    def _shun(self, place: Place, *, silent: bool) -> None:
        self._shunned[place] = time.monotonic() + _SHUN_SECONDS
        self._silent += silent


def _fetch(
    connection: ssl.SSLSocket, session: int, number: int, patience: float, deadline: float | None
) -> Found | None:
    """Ask for an object; None when it is not there."""
    request = msgspec.msgpack.encode(["fetch", 0, {"session": session, "object": number}])
    connection.settimeout(_seconds(_STALLED_SECONDS, deadline))
    connection.sendall(len(request).to_bytes(4, "little") + request)
    length = int.from_bytes(_receive(connection, bytearray(4), patience, deadline), "little")
    if length > _HEADER_MAX:
        raise ValueError("not an answer")
    answer = msgspec.msgpack.decode(_receive(connection, bytearray(length), _STALLED_SECONDS, deadline))
    if not (isinstance(answer, list) and len(answer) == 3 and isinstance(answer[2], dict)):
        raise ValueError("not an answer")
    kind, _, header = answer
    if kind != "ok":
        return None
    size = header.get("length")
    # The whole was asked for, and how much that is has to be the same.
    if type(size) is not int or not 0 <= size < sys.maxsize or header.get("size") != size or "data_type" not in header:
        raise ValueError("not an answer")
    content, room = new_bytes(size)
    _receive(connection, room, _STALLED_SECONDS, deadline)
    return header, content


def _receive(
    connection: ssl.SSLSocket, room: bytearray | memoryview, patience: float, deadline: float | None
) -> bytearray | memoryview:
    """Fill all of the room; no longer than `patience` without a byte."""
    connection.settimeout(_seconds(patience, deadline))
    view = memoryview(room)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise ConnectionResetError("the connection was closed")
        view = view[count:]
        if deadline is not None:
            connection.settimeout(_seconds(patience, deadline))
    return room


def _seconds(most: float, deadline: float | None) -> float:
    """How long to wait for the next step; RainTimeout if it is too late for that."""
    if deadline is None:
        return most
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise RainTimeout("The content has not come in time")
    return min(most, rest)
