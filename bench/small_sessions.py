"""Rows of `futures`: the graph API in small steps, one task at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from measure import Row, Server, Size, row
from rain.client import remote


@remote()
def nothing(ctx: Any) -> bytes:
    return b""


def round_trips(server: Server, count: int) -> float:
    """Microseconds to submit a task, fetch its output and free it."""
    with server.client() as client, client.new_session() as session, session.bind_only():
        start = time.perf_counter()
        for _ in range(count):
            output = nothing().output
            output.keep()
            session.submit()
            output.fetch()
            output.unkeep()
        return (time.perf_counter() - start) / count * 1e6


def sessions(server: Server, count: int) -> float:
    """Microseconds for a session with one task."""
    with server.client() as client:
        start = time.perf_counter()
        for _ in range(count):
            with client.new_session() as session:
                nothing()
                session.submit()
                session.wait_all()
        return (time.perf_counter() - start) / count * 1e6


def measure(size: Size, server: Server) -> Iterator[Row]:
    """Rows for a server."""
    trips, many = size.of(20_000, 100), size.of(3000, 50)
    runs = range(size.runs)
    yield row("submit one task, fetch, unkeep", "µs/task", 70.0, [round_trips(server, trips) for _ in runs])
    yield row("session with one task", "µs/session", 120.0, [sessions(server, many) for _ in runs])
