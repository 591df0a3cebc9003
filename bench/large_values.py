"""Rows of `futures`: large results to the client, one future that many calls read, and a pickled array in a task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Executor as AnyExecutor
from typing import Any

from measure import Row, Server, Size, row
from rain.client import Output, remote

READERS = 64


def make_bytes(size: int) -> bytes:
    return bytes(size)


def length(data: bytes) -> int:
    return len(data)


@remote(outputs=Output(encode="pickle"))
def make_array(ctx: Any, size: int) -> Any:
    import numpy

    return numpy.arange(size // 8, dtype="int64")


@remote()
def load_array(ctx: Any, data: Any) -> bytes:
    from time import perf_counter

    import numpy  # noqa: F401 (not a part of what is measured)

    start = perf_counter()
    array = data.load()
    taken = perf_counter() - start
    assert array[-1] == len(array) - 1
    return str(taken).encode()


def make_value(size: int) -> Any:
    import numpy

    return numpy.arange(size // 8, dtype="int64")


def last(array: Any) -> int:
    return int(array[-1])


def result(executor: AnyExecutor, size: int) -> float:
    """Seconds until the client has a result."""
    start = time.perf_counter()
    assert len(executor.submit(make_bytes, size).result()) == size
    return time.perf_counter() - start


def read_by_many(executor: AnyExecutor, size: int) -> float:
    """Seconds until as many calls have read one result of another call."""
    made: Any = executor.submit(make_bytes, size)
    start = time.perf_counter()
    futures = [executor.submit(length, made) for _ in range(READERS)]
    assert sum(future.result() for future in futures) == size * READERS
    return time.perf_counter() - start


def passed_on(executor: AnyExecutor, size: int) -> float:
    """Seconds to make an array in one call and read it in another."""
    start = time.perf_counter()
    made: Any = executor.submit(make_value, size)
    assert executor.submit(last, made).result() == size // 8 - 1
    return time.perf_counter() - start


def loaded(server: Server, size: int) -> float:
    """Milliseconds that `load()` takes in a task."""
    with server.client() as client, client.new_session() as session:
        with session.bind_only():
            array = make_array(size)
            task = load_array(array)
        task.output.keep()
        session.submit()
        return float(session.fetch(task).get_bytes()) * 1e3


def measure(size: Size, executors: list[tuple[str, AnyExecutor]], server: Server) -> Iterator[Row]:
    """Rows for each of some executors, which are warm, and for tasks on a server."""
    large, shared, array = size.of(256 << 20, 1 << 20), size.of(64 << 20, 1 << 20), size.of(190_000_000, 1 << 20)
    runs = range(size.runs)
    for name, executor in executors:
        is_pool = name != "Rain"
        times = [result(executor, large) for _ in runs]
        yield row(f"{large >> 20} MiB of bytes to the client, {name}", "s", None if is_pool else 0.12, times)
        if not is_pool:
            times = [read_by_many(executor, shared) for _ in runs]
            yield row(f"{shared >> 20} MiB read by {READERS} calls, {name}", "s", 0.1, times)
            times = [passed_on(executor, array) for _ in runs]
            yield row(f"array of {array // 1_000_000} MB made, and read by a call, {name}", "s", None, times)
    yield row(f"load() of a pickled array, {array // 1_000_000} MB", "ms", 2.0, [loaded(server, array) for _ in runs])
