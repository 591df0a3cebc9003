"""Tasks that start other tasks and wait for them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from real_server import RainServer, running_server

from rain.client import Client, TaskException, remote

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 100.0


@pytest.fixture(scope="module", params=[1, 2])
def small(request: pytest.FixtureRequest) -> Iterator[RainServer]:
    """A server with one or two cpus."""
    with running_server(f"--local-governors=[{request.param}]", "--no-pin") as server:
        yield server


def fib(port: int, number: int) -> int:
    """A number of Fibonacci, the slow way."""
    if number < 2:
        return number
    with Client("localhost", port) as client, client.executor() as executor:
        one, two = (executor.submit(fib, port, number - back) for back in (1, 2))
        return int(one.result(PATIENCE) + two.result(PATIENCE))


def chain(port: int, depth: int) -> int:
    """A task in a task in a task; not with futures."""
    if depth == 0:
        return 0

    @remote(auto_encode="json")
    def inner(ctx: Any) -> int:
        return chain(port, depth - 1)

    with Client("localhost", port) as client, client.new_session() as session:
        task = inner()
        task.output.keep()
        session.submit()
        session.wait_all()
        return 1 + int(task.output.fetch().load())


def test_recursion(small: RainServer) -> None:
    with Client("localhost", small.port) as client, client.executor() as executor:
        assert executor.submit(fib, small.port, 6).result(PATIENCE) == 8
        assert executor.submit(chain, small.port, 10).result(PATIENCE) == 10


def test_as_many_nested_calls_as_cpus_and_more(small: RainServer) -> None:
    results: list[list[int]] = []

    def work() -> None:
        with Client("localhost", small.port) as client, client.executor() as executor:
            results.append(list(executor.map(chain, [small.port] * 3, [2] * 3)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [[2, 2, 2]] * 2


def test_a_task_that_looks_again_and_again_hangs_nobody(small: RainServer) -> None:
    def ask(port: int) -> int:
        with Client("localhost", port) as client, client.executor() as executor:
            future = executor.submit(abs, -1)
            while not future.done():
                pass
            return int(future.result())

    with Client("localhost", small.port) as client, client.executor() as executor:
        assert executor.submit(ask, small.port).result(PATIENCE) == 1


def test_limits_and_cancels_of_calls_that_wait(small: RainServer, tmp_path: Path) -> None:
    def forever(mark: str) -> None:
        Path(mark).touch()
        time.sleep(1000)

    def outer(port: int, mark: str) -> None:
        with Client("localhost", port) as client, client.executor() as executor:
            executor.submit(forever, mark).result()

    port = small.port
    with Client("localhost", port) as client:

        @remote(timeout=3)
        def limited(ctx: Any) -> None:
            outer(port, str(tmp_path / "limited"))

        with client.new_session() as session:
            limited()
            session.submit()
            with pytest.raises(TaskException, match="longer than its timeout of 3 s"):
                session.wait_all()
        with client.new_session() as session:
            task = remote()(lambda ctx: outer(port, str(tmp_path / "cancelled")))()
            session.submit()
            end = time.monotonic() + PATIENCE
            while not (tmp_path / "cancelled").exists():
                assert time.monotonic() < end
                time.sleep(0.01)
            task.cancel()
        # The cpus are free, those of the inner tasks, too.
        with client.executor() as executor:
            assert list(executor.map(abs, range(4))) == [0, 1, 2, 3]


def test_a_call_that_dies_while_it_waits(small: RainServer) -> None:
    def die(port: int) -> None:
        import os

        threading.Timer(1, os._exit, [5]).start()
        with Client("localhost", port) as client, client.executor() as executor:
            executor.submit(time.sleep, 1000).result()

    port = small.port
    with Client("localhost", port) as client:
        with client.new_session() as session:
            remote()(lambda ctx: die(port))()
            session.submit()
            with pytest.raises(TaskException, match="exited with status 5"):
                session.wait_all()
        with client.executor() as executor:
            assert executor.submit(abs, -3).result(PATIENCE) == 3


def test_wide_calls_lend_all_their_cpus() -> None:
    with running_server("--local-governors=[2]", "--no-pin") as server, Client("localhost", server.port) as client:

        def outer(port: int) -> int:
            with Client("localhost", port) as inner, inner.executor(cpus=2) as executor:
                return int(executor.submit(abs, -2).result(PATIENCE))

        with client.executor(cpus=2) as executor:
            assert list(executor.map(outer, [server.port] * 3)) == [2, 2, 2]
