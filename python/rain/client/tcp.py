"""TCP connections that find out when the other machine is gone."""

from __future__ import annotations

import contextlib
import socket

# After so long without a word, the system asks whether the other side is still there, so often and at these intervals.
IDLE_SECONDS = 10
PROBE_SECONDS = 5
PROBES = 4
# So long what was sent may stay without an answer of the other system.
UNANSWERED_SECONDS = IDLE_SECONDS + PROBES * PROBE_SECONDS


def connect_tcp(host: str, port: int, timeout: float) -> socket.socket:
    """Connect, within so many seconds, and break the connection about 30 seconds after the other side has vanished.

    Raises:
        OSError: There is no connection.
        ValueError: This cannot be the name of a host.
    """
    connection = socket.create_connection((host, port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = {
        "TCP_KEEPIDLE": IDLE_SECONDS,
        "TCP_KEEPINTVL": PROBE_SECONDS,
        "TCP_KEEPCNT": PROBES,
        "TCP_USER_TIMEOUT": UNANSWERED_SECONDS * 1000,
    }
    # Where one cannot be set, the system's own times hold, which are hours.
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection
