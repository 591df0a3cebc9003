"""Python's own tests of executors, with the one of Rain: they are in the package `test` of its standard library."""

from __future__ import annotations

import importlib
import unittest
from typing import Any

import pytest
from real_cluster import wait_until

from rain.client import Client, Executor


def _tests(module: str, name: str) -> type:
    """A class of tests without an executor; where the package `test` is not installed, one that is skipped."""
    # A package from Python 3.12 on, and a module before.
    for place in (f"test.test_concurrent_futures.{module}", "test.test_concurrent_futures"):
        try:
            found: type = getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
        return found

    class Missing:
        def test_missing(self) -> None:
            pytest.skip(f"this Python has no test.test_concurrent_futures, where {name} is")

    return Missing


class _WithRain(unittest.TestCase):
    worker_count = 4
    executor_type = Executor
    client: Client
    executor: Executor

    @pytest.fixture(autouse=True)
    def _of_a_server(self, client: Client) -> None:
        self.client = client

    def setUp(self) -> None:
        self.executor = self.client.executor()

    def tearDown(self) -> None:
        self.executor.shutdown(wait=True)


_Executor: Any = _tests("executor", "ExecutorTest")
_Shutdown: Any = _tests("test_shutdown", "ExecutorShutdownTest")
_Wait: Any = _tests("test_wait", "WaitTests")
_AsCompleted: Any = _tests("test_as_completed", "AsCompletedTests")


class TestExecutor(_Executor, _WithRain):
    test_max_workers_negative = unittest.skip("the number of workers is the server's")(lambda self: None)


class TestShutdown(_Shutdown, _WithRain):
    # They start interpreters that make executors of the standard library by their names; test_futures_at_exit.py has
    # the same with Rain.
    test_interpreter_shutdown = test_submit_after_interpreter_shutdown = test_hang_gh83386 = test_hang_gh94440 = (
        unittest.skip("it makes an executor of the standard library")(lambda self: None)
    )

    def setUp(self) -> None:
        """Have the first call begin before others are made: test_cancel_futures relies on it."""
        super().setUp()
        submit = self.executor.submit
        begun: list[Any] = []

        def submit_and_begin(*args: Any, **kwargs: Any) -> Any:
            future = submit(*args, **kwargs)
            if not begun:
                begun.append(future)
                wait_until(lambda: future.running() or future.done())
            return future

        self.executor.submit = submit_and_begin  # type: ignore[method-assign]


class TestWait(_Wait, _WithRain):
    pass


class TestAsCompleted(_AsCompleted, _WithRain):
    pass
