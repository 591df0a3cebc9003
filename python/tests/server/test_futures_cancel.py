"""cancel(), running(), map() and shutdown() of futures, as concurrent.futures documents them, and stop()."""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest
from gates import Gate
from real_server import running_server

from rain.client import Client, Executor

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 30


@pytest.fixture
def one_cpu() -> Iterator[Client]:
    with running_server("--local-governors=[1]") as server, Client("localhost", server.port) as client:
        yield client


def test_a_call_that_runs_is_not_cancelled(one_cpu: Client, gate: Gate, tmp_path: Path) -> None:
    with one_cpu.executor() as executor:
        running = executor.submit(gate, "first")
        gate.await_begin()
        waiting = executor.submit(gate, "second")
        needs_it = executor.submit(str.upper, waiting)
        after_first = executor.submit(str.upper, running)
        assert running.running() and not waiting.running() and not needs_it.running()
        assert not running.cancel() and not running.cancelled() and running.running()
        assert waiting.cancel() and waiting.cancelled() and waiting.cancel()
        assert not waiting.running()
        with pytest.raises(concurrent.futures.CancelledError):
            needs_it.result(PATIENCE_S)
        done, pending = concurrent.futures.wait([waiting, needs_it], PATIENCE_S)
        assert done == {waiting, needs_it} and not pending
        gate.open()
        assert after_first.result(PATIENCE_S) == "THROUGH" and running.result() == "through"
        assert not running.cancel() and not running.running()
        # A cancelled one as an argument.
        with pytest.raises(concurrent.futures.CancelledError):
            executor.submit(str, waiting).result(PATIENCE_S)
    assert gate.names() == ["first"]


def test_quick_calls_that_are_cancelled_have_not_run(one_cpu: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(number: int) -> int:
        with open(log, "a") as file:
            file.write(f"{number}\n")
        return number

    with one_cpu.executor() as executor:
        futures = [executor.submit(note, number) for number in range(300)]
        # All could be cancelled before the first one has begun.
        assert futures[0].result(PATIENCE_S) == 0
        cancelled = [number for number, future in enumerate(futures) if future.cancel()]
        for number, future in enumerate(futures):
            if number not in cancelled:
                assert future.result(PATIENCE_S) == number
    ran = {int(line) for line in log.read_text().split()}
    assert ran == set(range(300)) - set(cancelled)


def test_shutdown_cancels_what_has_not_begun(one_cpu: Client, gate: Gate) -> None:
    executor = one_cpu.executor()
    running = executor.submit(gate, "first")
    gate.await_begin()
    waiting = [executor.submit(gate, "later") for _ in range(50)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting) and not running.done()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(gate)
    gate.open()
    executor.shutdown()
    assert executor.session.closed and running.result(0) == "through"
    assert gate.names() == ["first"]


def test_stop_ends_running_calls(one_cpu: Client, gate: Gate) -> None:
    executor = one_cpu.executor()
    running = executor.submit(gate, "first")
    gate.await_begin()
    assert running.running()
    needs_it = executor.submit(str.upper, running)
    assert running.stop() and running.cancelled() and not running.running()
    with pytest.raises(concurrent.futures.CancelledError):
        needs_it.result(PATIENCE_S)
    again = executor.submit(gate, "second")
    gate.await_begin()
    executor.shutdown(stop=True)
    assert again.cancelled() and executor.session.closed


def test_submit_and_cancel_and_shutdown(client: Client) -> None:
    for _ in range(20):
        executor = client.executor()
        executor.submit(int).cancel()
        executor.shutdown(wait=True)
        executor.shutdown(wait=True)


def test_map_cancels_the_rest(one_cpu: Client, gate: Gate) -> None:
    with one_cpu.executor() as executor:
        results = executor.map(gate, ["a", "b", "c"], timeout=0.05)
        gate.await_begin()
        with pytest.raises(concurrent.futures.TimeoutError):
            next(results)
        gate.open()
        executor.shutdown()
    assert gate.names() == ["a"]


def test_results_of_map_that_nobody_takes(one_cpu: Client, gate: Gate) -> None:
    with one_cpu.executor() as executor:
        results = executor.map(_pass, ["first", "a", "b"], [None, gate, gate])
        assert next(results) == "first"
        gate.await_begin()
        del results
        # The one that runs is left.
        while len(executor._calls.pending) > 1:
            one_cpu.status()
        gate.open()
    assert gate.names() == ["a"]


def _pass(name: str, gate: Gate | None) -> str:
    return name if gate is None else gate(name)


def test_arguments_of_map(client: Client) -> None:
    with client.executor() as executor:
        for chunksize in (0, -1):
            with pytest.raises(ValueError, match="chunksize must be >= 1"):
                executor.map(str, [1], chunksize=chunksize)
        assert list(executor.map(str, range(10), chunksize=4)) == [str(n) for n in range(10)]
        with pytest.raises(ValueError, match="buffersize"):
            executor.map(str, [1], buffersize=0)
        with pytest.raises(TypeError, match="buffersize"):
            executor.map(str, [1], buffersize=1.5)  # type: ignore[arg-type]
        assert list(executor.map(str, [])) == []


def test_map_with_a_buffer(client: Client) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    with client.executor() as executor:
        results = executor.map(pow, numbers(), [2] * 100, buffersize=3)
        assert taken == [0, 1, 2]
        assert next(results) == 0 and taken == [0, 1, 2]
        assert next(results) == 1 and taken == [0, 1, 2, 3]
        assert list(results) == [n * n for n in range(2, 100)]


def test_an_executor_of_a_session_takes_it_as_it_is(client: Client) -> None:
    with client.new_session() as session:
        with Executor(session) as executor:
            assert executor.submit(max, 1, 2).result(PATIENCE_S) == 2
        assert not session.closed
        with Executor(session) as executor:
            assert list(executor.map(abs, [-1, -2])) == [1, 2]
