"""Python functions: calls of a `@remote` function that does nothing.

Independent calls: time to build, submit, run and wait_all, divided by the number of calls. Chain: the same for calls of
which each gets the result of the one before, divided by the number of hops. The executors (Python processes) are warm:
one call has gone to the server before. The function returns one byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from measure import Row, Server, Size, row, running_server
from rain.client import remote


@remote()
def nothing(ctx: Any) -> bytes:
    return b"x"


@remote()
def passed_on(ctx: Any, data: Any) -> bytes:
    return b"x"


def calls(server: Server, count: int) -> float:
    """Microseconds a call."""
    with server.client() as client, client.new_session("calls") as session:
        start = time.perf_counter()
        for _ in range(count):
            nothing()
        session.submit()
        session.wait_all()
        return (time.perf_counter() - start) / count * 1e6


def chain(server: Server, count: int) -> float:
    """Microseconds a hop."""
    with server.client() as client, client.new_session("chain") as session:
        start = time.perf_counter()
        task = passed_on(b"x")
        for _ in range(count - 1):
            task = passed_on(task)
        session.submit()
        session.wait_all()
        return (time.perf_counter() - start) / count * 1e6


def measure(size: Size) -> Iterator[Row]:
    """Independent calls, and a chain."""
    with running_server() as server:
        count = size.of(10_000, 100)
        calls(server, 100)
        times = [calls(server, count) for _ in range(size.runs)]
        yield row(f"@remote no-op, {count:,} calls", "µs/call", 50, times)
        count = size.of(1000, 100)
        chain(server, 100)
        times = [chain(server, count) for _ in range(size.runs)]
        yield row(f"chain of {count:,} @remote calls", "µs/hop", 120, times)
