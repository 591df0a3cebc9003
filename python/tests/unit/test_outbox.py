"""Calls of an executor that are made before the server has answered an earlier submit wait for it, and go together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import numbers
from strict_server import StrictServer

from rain.client import BrokenExecutor, Client, Executor, RainException, blob, tasks
from rain.client.outbox import CALLS_TOGETHER

PATIENCE_S = 30


class SlowServer(StrictServer):
    """Answers submits after the first one when it is told to."""

    def __init__(self, runtime: Path) -> None:
        super().__init__(runtime)
        self.may_answer = threading.Event()
        self.answers["submit"] = self._answer

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        done = super()._submit(body)
        if len(self.bodies("submit")) > 1:
            assert self.may_answer.wait(PATIENCE_S)
        return done

    def counts(self) -> list[int]:
        """Tasks of the submits that have come."""
        return [body["count"] for body in self.bodies("submit")]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    server = SlowServer(tmp_path)
    yield server
    server.may_answer.set()
    server.close()


@pytest.fixture
def client(server: SlowServer) -> Iterator[Client]:
    with Client("localhost", 7999) as client:
        yield client


def under_way(client: Client, server: SlowServer) -> Executor:
    """An executor with a submit that is not answered."""
    executor = client.executor()
    executor.submit(pow, 1, 1).exception(PATIENCE_S)
    executor.submit(pow, 1, 1)
    server.wait_for("submit", 2)
    return executor


def test_calls_wait_for_each_other_and_go_together(client: Client, server: SlowServer) -> None:
    executor = under_way(client, server)
    futures = [executor.submit(pow, number, 2) for number in range(10)]
    assert server.counts() == [1, 1]
    server.may_answer.set()
    server.wait_for("submit", 3)
    server.wait_for("results", 3)
    assert server.counts() == [1, 1, 10]
    assert [len(numbers(body["objects"])) for body in server.bodies("results")] == [1, 1, 10]
    assert all(future.exception(PATIENCE_S) is not None for future in futures)
    executor.shutdown()


def test_many_calls_do_not_wait(client: Client, server: SlowServer) -> None:
    executor = under_way(client, server)
    for number in range(CALLS_TOGETHER + 5):
        executor.submit(pow, number, 2)
    server.wait_for("submit", 3)
    assert server.counts() == [1, 1, CALLS_TOGETHER]
    server.may_answer.set()
    executor.shutdown()
    assert server.counts() == [1, 1, CALLS_TOGETHER, 5]


@pytest.mark.parametrize("how", ["result", "cancel", "ask", "large", "submit", "shutdown"])
def test_who_needs_calls_has_them_sent(client: Client, server: SlowServer, how: str) -> None:
    executor = under_way(client, server)
    future = executor.submit(pow, 2, 2)
    assert server.counts() == [1, 1]
    helper = threading.Thread(target=server.wait_for, args=("submit", 3))
    helper.start()
    if how == "result":
        assert future.exception(PATIENCE_S) is not None
    elif how == "cancel":
        future.cancel()
    elif how == "ask":
        executor.session.wait_all()
    elif how == "large":
        executor.submit(pow, 2, b"x" * 10_000)
    elif how == "submit":
        with executor.session.bind_only():
            tasks.Noop()
        threading.Timer(0, server.may_answer.set).start()
        executor.session.submit()
    else:
        threading.Timer(0, server.may_answer.set).start()
        executor.shutdown()
    helper.join(PATIENCE_S)
    assert server.counts()[:3] in ([1, 1, 1], [1, 1, 2]) and not executor.session._outbox.waiting
    server.may_answer.set()
    executor.shutdown()


def test_tasks_of_the_user_do_not_go_with_calls_that_waited(client: Client, server: SlowServer) -> None:
    executor = under_way(client, server)
    executor.submit(pow, 2, 2)
    with executor.session.bind_only():
        item = blob("mine")
        mine = tasks.Concat([item])
    server.may_answer.set()
    server.wait_for("submit", 3)
    assert server.counts() == [1, 1, 1] and mine.id is None and item.id is None
    # It can still be kept.
    mine.output.keep()
    executor.session.submit()
    assert server.counts() == [1, 1, 1, 1] and mine.output.fetch(PATIENCE_S).get_bytes()
    executor.shutdown()


@pytest.mark.parametrize("how", ["connection", "session", "client"])
def test_calls_that_wait_fail_with_what_they_wait_for(client: Client, server: SlowServer, how: str) -> None:
    executor = under_way(client, server)
    futures = [executor.submit(pow, number, 2) for number in range(3)]
    if how == "connection":
        server.drop_clients()
    elif how == "session":
        server.may_answer.set()
        executor.session.close()
    else:
        client.close()
    assert all(isinstance(future.exception(PATIENCE_S), RainException) for future in futures)
    with pytest.raises(RainException):
        executor.submit(pow, 2, 2)
    executor.shutdown()


def test_a_refusal_is_that_of_all_calls_of_the_submit(client: Client, server: SlowServer) -> None:
    executor = under_way(client, server)
    futures = [executor.submit(pow, number, 2) for number in range(3)]
    server.refuse_submit = "no more of these"
    server.may_answer.set()
    for future in futures:
        with pytest.raises(BrokenExecutor, match="no more of these"):
            future.result(PATIENCE_S)
    with pytest.raises(BrokenExecutor, match="no more of these"):
        executor.submit(pow, 2, 2)
    executor.shutdown()
