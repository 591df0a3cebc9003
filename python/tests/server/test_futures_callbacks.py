"""Callbacks of futures: they may wait, be slow, or raise, and hold up nobody else."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import threading
from typing import Any

import cloudpickle
import pytest
from gates import Gate

from rain.client import Client
from rain.client.callbacks import THREADS_MAX, Callbacks

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 30


def held(executor: Any, gate: Gate) -> concurrent.futures.Future[str]:
    """A call that runs until the gate is opened."""
    future: concurrent.futures.Future[str] = executor.submit(gate)
    gate.await_begin()
    return future


def test_a_callback_waits_for_other_futures(client: Client, gate: Gate) -> None:
    results: list[Any] = []
    with client.executor() as executor:
        future = held(executor, gate)
        answered = threading.Event()
        future.add_done_callback(lambda future: results.append(executor.submit(len, future).result(PATIENCE_S)))
        future.add_done_callback(lambda future: answered.set())
        gate.open()
        assert answered.wait(PATIENCE_S) and results == [7]
        future = held(executor, gate)
        future.add_done_callback(lambda future: results.append(future.result()))
        gate.open()
    # Callbacks have returned when the executor is shut down.
    assert results == [7, "through"]


def test_a_slow_callback_holds_up_nobody(client: Client, gate: Gate) -> None:
    release, other = threading.Event(), threading.Event()
    waited = []
    with client.executor() as executor:
        slow = held(executor, gate)
        quick = executor.submit(len, slow)
        slow.add_done_callback(lambda future: waited.append(release.wait(PATIENCE_S)))
        quick.add_done_callback(lambda future: other.set())
        gate.open()
        assert quick.result(PATIENCE_S) == 7
        assert executor.submit(pow, 2, 2).result(PATIENCE_S) == 4
        with client.new_session() as session:
            session.wait_all()
        assert other.wait(PATIENCE_S) and not waited
        release.set()
    assert waited == [True]


def test_callbacks_of_a_future_keep_their_order(client: Client, gate: Gate) -> None:
    order: list[int] = []
    with client.executor() as executor:
        future = held(executor, gate)
        for number in range(100):
            future.add_done_callback(lambda future, number=number: order.append(number))
        gate.open()
    assert order == list(range(100))


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(7), KeyboardInterrupt()])
def test_a_callback_that_raises(
    client: Client, gate: Gate, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[Any] = []

    def fail(future: object) -> None:
        raise error

    with caplog.at_level(logging.ERROR, "concurrent.futures"), client.executor() as executor:
        future = held(executor, gate)
        future.add_done_callback(fail)
        future.add_done_callback(called.append)
        gate.open()
        assert executor.submit(max, 3, 4).result(PATIENCE_S) == 4
    assert called == [future] and "exception calling callback" in caplog.text


def test_a_callback_of_a_cancelled_call_is_called_by_cancel(client: Client) -> None:
    called: list[tuple[object, threading.Thread]] = []
    with client.executor() as executor:
        futures = [executor.submit(pow, 2, 2) for _ in range(200)]
        for future in reversed(futures):
            future.add_done_callback(lambda future: called.append((future, threading.current_thread())))
            if future.cancel():
                assert (future, threading.current_thread()) in called
    assert len(called) == 200 and len({id(future) for future, _ in called}) == 200


def test_shutdown_in_a_callback(client: Client, gate: Gate) -> None:
    done = threading.Event()
    executor = client.executor()

    def end(future: object) -> None:
        executor.shutdown()
        done.set()

    held(executor, gate).add_done_callback(end)
    gate.open()
    assert done.wait(PATIENCE_S)
    executor.shutdown()
    assert executor.session.closed


def test_many_blocked_callbacks_and_the_end_of_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.client.callbacks.PATIENCE_SECONDS", 0.001)
    monkeypatch.setattr("rain.client.callbacks.LINGER_SECONDS", 0.001)
    idle, release, begun = threading.Event(), threading.Event(), threading.Semaphore(0)
    callbacks = Callbacks(idle.set)
    seen: set[threading.Thread] = set()

    def block(number: object) -> None:
        seen.add(threading.current_thread())
        begun.release()
        release.wait(PATIENCE_S)

    for number in range(THREADS_MAX + 5):
        callbacks.add(number, [block])
    for _ in range(THREADS_MAX):
        assert begun.acquire(timeout=PATIENCE_S)
    assert not callbacks.is_idle() and all(callbacks.is_own(thread) for thread in seen)
    release.set()
    assert idle.wait(PATIENCE_S) and callbacks.is_idle()
    for thread in list(seen):
        thread.join(PATIENCE_S)
        assert not thread.is_alive() and not callbacks.is_own(thread)
    # They are started again.
    callbacks.add(0, [block])
    for _ in range(6):
        assert begun.acquire(timeout=PATIENCE_S)
