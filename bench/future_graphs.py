"""Rows of `futures`: calls that get the futures of others, programs, and calls of ever new callables.

A pool of processes takes no futures as arguments: there, the client waits for each result and passes it on, for a sum
level by level.
"""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Executor as AnyExecutor
from typing import Any, Callable

from measure import Row, Size, row


def plus_one(number: int) -> int:
    return number + 1


def add(left: int, right: int) -> int:
    return left + right


def run_true(number: int) -> int:
    return subprocess.run(["/bin/true"], check=True).returncode + number


class Holder:
    """What a bound method is of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def get(self) -> int:
        return self.number


def chain(executor: AnyExecutor, count: int, waits: bool) -> float:
    """Microseconds a hop of a chain."""
    start = time.perf_counter()
    value: Any = 0
    for _ in range(count):
        value = executor.submit(plus_one, value)
        if waits:
            value = value.result()
    assert (value if waits else value.result()) == count
    return (time.perf_counter() - start) / count * 1e6


def pairwise_sum(executor: AnyExecutor, leaves: int, waits: bool) -> float:
    """Microseconds a call of a sum of numbers that are calls, too."""
    start = time.perf_counter()
    level: list[Any] = [executor.submit(plus_one, number) for number in range(leaves)]
    calls = leaves
    while len(level) > 1:
        if waits:
            level = [future.result() for future in level]
        sums: list[Any] = [executor.submit(add, *pair) for pair in zip(level[::2], level[1::2])]
        calls += len(sums)
        level = sums
    assert level[0].result() == leaves * (leaves + 1) // 2
    return (time.perf_counter() - start) / calls * 1e6


def programs(executor: AnyExecutor, count: int) -> float:
    """Microseconds a call that starts a program."""
    start = time.perf_counter()
    assert sum(executor.map(run_true, range(count))) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def each_new(executor: AnyExecutor, make: Callable[[int], Callable[[], int]], count: int) -> float:
    """Microseconds a call of something that is called once, results included."""
    start = time.perf_counter()
    futures = [executor.submit(make(number)) for number in range(count)]
    assert sum(future.result() for future in futures) == count * (count - 1) // 2
    return (time.perf_counter() - start) / count * 1e6


def measure(size: Size, executors: list[tuple[str, AnyExecutor]]) -> Iterator[Row]:
    """Rows for each of some executors, which are warm."""
    hops, leaves, few, calls = size.of(1000, 50), size.of(4096, 64), size.of(1000, 20), size.of(3000, 100)
    # A power of two, so that all levels are even.
    leaves = 1 << (leaves.bit_length() - 1)
    runs = range(size.runs)
    for name, executor in executors:
        is_pool = name != "Rain"
        wanted = {} if is_pool else {"chain": 60.0, "sum": 50.0, "program": 600.0, "new": 40.0}
        how = "waiting in the client" if is_pool else "futures as arguments"
        times = [chain(executor, hops, is_pool) for _ in runs]
        yield row(f"chain of {hops:,}, {how}, {name}", "µs/hop", wanted.get("chain"), times)
        times = [pairwise_sum(executor, leaves, is_pool) for _ in runs]
        yield row(f"pairwise sum of {leaves:,}, {name}", "µs/call", wanted.get("sum"), times)
        times = [programs(executor, few) for _ in runs]
        yield row(f"/bin/true by subprocess, {name}", "µs/call", wanted.get("program"), times)
        times = [each_new(executor, lambda number: functools.partial(add, number, 0), calls) for _ in runs]
        yield row(f"{calls:,} new partials, {name}", "µs/call", wanted.get("new"), times)
        times = [each_new(executor, lambda number: Holder(number).get, calls) for _ in runs]
        yield row(f"{calls:,} new bound methods, {name}", "µs/call", wanted.get("new"), times)
        if not is_pool:
            times = [each_new(executor, lambda number: lambda: number, calls) for _ in runs]
            yield row(f"{calls:,} new lambdas, {name}", "µs/call", wanted.get("new"), times)
