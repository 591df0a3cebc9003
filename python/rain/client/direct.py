"""Fetching large content over connections of its own: from the governors that have it, or from the server."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ..common.large_bytes import new_bytes

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
        self._lock = threading.Lock()
        self._idle: dict[Place, list[tuple[float, ssl.SSLSocket]]] = {}
        self._shunned: dict[Place, float] = {}
        self._has_reached = False
        self._silent = 0
        self._closed = False

    def fetch(self, at: list[tuple[str | None, int]], session: int, number: int) -> tuple[dict[str, Any], Any] | None:
        """Fetch an object from one of these governors, or from the server.

        The result is what is known of it, and its bytes; None when it cannot be had in this way.
        """
        # Where governors are out of reach, no time is lost with each of them.
        governors = at if self._has_reached or self._silent < _SILENT_MAX else []
        places = [(host or self._server[0], port) for host, port in governors]
        for place in [*places, self._server]:
            if self._closed or self._shunned.get(place, 0.0) > time.monotonic():
                continue
            found = self._fetch_from(place, session, number)
            if found is not None:
                return found
        return None

    def close(self) -> None:
        """Drop all connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                connection.close()

    def _fetch_from(self, place: Place, session: int, number: int) -> tuple[dict[str, Any], Any] | None:
        connection = self._take_idle(place)
        is_new = connection is None
        try:
            if connection is None:
                connection = self._connect(place)
            found = _fetch(connection, session, number)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            if connection is not None:
                connection.close()
            # One that was idle may just have been given up by the governor.
            if not is_new:
                return self._fetch_from(place, session, number)
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
        with self._lock:
            idle = self._idle.get(place, [])
            while idle:
                since, connection = idle.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _keep(self, place: Place, connection: ssl.SSLSocket) -> None:
        with self._lock:
            idle = self._idle.setdefault(place, [])
            if not self._closed and len(idle) < _IDLE_MAX:
                idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _connect(self, place: Place) -> ssl.SSLSocket:
        with self._lock:
            if self._context is None:
                self._context = self._credentials.context(_PROTOCOL)
        tcp = socket.create_connection(place, timeout=_CONNECT_SECONDS)
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tcp.settimeout(_STALLED_SECONDS)
            name = _SERVER_NAME if place == self._server else _GOVERNOR_NAME
            connection = self._context.wrap_socket(tcp, server_hostname=name)
        except BaseException:
            tcp.close()
            raise
        if place == self._server:
            # It may have to bring the content first, from wherever that is.
            connection.settimeout(None)
        else:
            self._has_reached = True
        return connection

    def _shun(self, place: Place, *, silent: bool) -> None:
        self._shunned[place] = time.monotonic() + _SHUN_SECONDS
        self._silent += silent


def _fetch(connection: ssl.SSLSocket, session: int, number: int) -> tuple[dict[str, Any], Any] | None:
    """Ask for an object; None when it is not there."""
    request = msgspec.msgpack.encode(["fetch", 0, {"session": session, "object": number}])
    connection.sendall(len(request).to_bytes(4, "little") + request)
    length = int.from_bytes(_receive(connection, bytearray(4)), "little")
    if length > _HEADER_MAX:
        raise ValueError("not an answer")
    kind, _, header = msgspec.msgpack.decode(_receive(connection, bytearray(length)))
    if kind != "ok":
        return None
    content, room = new_bytes(header["length"])
    _receive(connection, room)
    return header, content


def _receive(connection: ssl.SSLSocket, room: bytearray | memoryview) -> bytearray | memoryview:
    """Fill all of the room."""
    view = memoryview(room)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise ConnectionResetError("the connection was closed")
        view = view[count:]
    return room
