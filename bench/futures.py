"""Futures: `rain.client.Executor` beside the pools of Python's own library, with functions that do nothing.

Round trip: `submit(f, 1).result()`, one after the other. Gathered: many submits, then all results. Map: all results of
`map()` over numbers, each as an item of its own (chunksize 1), and in chunks as a `Pool` chooses them, which all are
given. All have two processes, which are warm. CPU of the executor processes for a chain of calls of which each gets the
future of the one before. Client: what a call costs there of a function, a method of a class of a script, a new lambda
and a new partial. Futures as arguments, large values and small sessions are in files of their own.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor as AnyExecutor
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Callable

import future_graphs
import large_values
import small_sessions
from measure import Row, Server, Size, cpu_seconds, process_tree, row, running_server, seconds

PROCESSES = 2


def same(number: int) -> int:
    return number


# What a user's script has: it travels by value.
SCRIPT = """
def same(number):
    return number

class Holder:
    def __init__(self, number):
        self.number = number

    def same(self, number):
        return number
"""


def round_trip(executor: AnyExecutor, count: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for number in range(count):
        executor.submit(same, number).result()
    return (time.perf_counter() - start) / count * 1e6


def gathered(executor: AnyExecutor, count: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    futures = [executor.submit(same, number) for number in range(count)]
    assert sum(future.result() for future in futures) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def mapped(executor: AnyExecutor, count: int, chunksize: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    assert sum(executor.map(same, range(count), chunksize=chunksize)) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def pool_round_trip(pool: Any, count: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for number in range(count):
        pool.apply_async(same, (number,)).get()
    return (time.perf_counter() - start) / count * 1e6


def pool_gathered(pool: Any, count: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    results = [pool.apply_async(same, (number,)) for number in range(count)]
    assert sum(result.get() for result in results) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def pool_mapped(pool: Any, count: int, chunksize: int | None) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    assert sum(pool.map(same, range(count), chunksize=chunksize)) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def executors_cpu(executor: AnyExecutor, count: int, engine: int) -> float:
    """Microseconds of CPU that executor processes spend on a hop of a chain of futures."""
    processes = {pid for pid in process_tree(engine) if is_executor(pid)}
    before = cpu_seconds(processes)
    future_graphs.chain(executor, count, waits=False)
    return (cpu_seconds(processes) - before) / count * 1e6


def is_executor(pid: int) -> bool:
    return b"rain.executor" in Path(f"/proc/{pid}/cmdline").read_bytes()


def at_client(executor: AnyExecutor, make: Callable[[int], Callable[[], Any]], count: int) -> float:
    """Microseconds that a submit takes."""
    calls = [make(number) for number in range(count)]
    start = time.perf_counter()
    futures = [executor.submit(call) for call in calls]
    taken = time.perf_counter() - start
    assert len([future.result() for future in futures]) == count
    return taken / count * 1e6


def built(server: Server, function: Callable[[int], int], count: int) -> float:
    """Microseconds to make a task of a call, in the form of a graph."""
    with server.client() as client, client.new_session() as session:
        session.map(function, [1])
        taken = seconds(lambda: session.map(function, range(count)))
        session.discard()
        return taken / count * 1e6


def measure(size: Size) -> Iterator[Row]:
    """Rain first, then the others."""
    count, many = size.of(3000, 100), size.of(10_000, 100)
    script: dict[str, Any] = {"__name__": "__main__"}
    exec(SCRIPT, script)
    auto = max(1, -(-many // (4 * PROCESSES)))
    context = multiprocessing.get_context("spawn")
    with running_server() as server, server.client() as client, client.executor() as executor:
        with ProcessPoolExecutor(PROCESSES, mp_context=context) as processes, context.Pool(PROCESSES) as pool:
            for warm in (executor, processes):
                gathered(warm, 200)
            pool_gathered(pool, 200)
            others: list[tuple[str, AnyExecutor]] = [("Rain", executor), ("ProcessPoolExecutor", processes)]
            runs = range(size.runs)
            for name, one in others:
                yield row(f"round trip, {name}", "µs/call", None, [round_trip(one, count) for _ in runs])
            yield row("round trip, Pool", "µs/call", None, [pool_round_trip(pool, count) for _ in runs])
            for name, one in others:
                wanted = 25.0 if one is executor else None
                yield row(f"{many:,} submits gathered, {name}", "µs/call", wanted, [gathered(one, many) for _ in runs])
            yield row(f"{many:,} submits gathered, Pool", "µs/call", None, [pool_gathered(pool, many) for _ in runs])
            for how, chunksize in (("chunksize 1", 1), ("chunks", auto)):
                for name, one in others:
                    times = [mapped(one, many, chunksize) for _ in runs]
                    wanted = 15.0 if one is executor and chunksize == 1 else None
                    yield row(f"map {many:,}, {how}, {name}", "µs/call", wanted, times)
                times = [pool_mapped(pool, many, 1 if chunksize == 1 else None) for _ in runs]
                yield row(f"map {many:,}, {how}, Pool", "µs/call", None, times)
            yield from future_graphs.measure(size, others)
            yield from large_values.measure(size, others, server)
        yield from small_sessions.measure(size, server)
        cpu = [executors_cpu(executor, count, server.pid) for _ in runs]
        yield row(f"CPU of executors, chain of {count:,}", "µs/hop", None, cpu)
        yield row("task of a function", "µs/task", None, [built(server, script["same"], many) for _ in runs])
        method = script["Holder"](1).same
        yield row("task of a method", "µs/task", None, [built(server, method, many) for _ in runs])
        callables: list[tuple[str, Callable[[int], Callable[[], Any]]]] = [
            ("a function", lambda number: os.getpid),
            ("a new lambda", lambda number: lambda: number),
            ("a new partial", lambda number: functools.partial(same, number)),
        ]
        for what, make in callables:
            times = [at_client(executor, make, count) for _ in runs]
            yield row(f"submit of {what}", "µs/call", None, times)
