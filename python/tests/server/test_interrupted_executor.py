"""Ctrl-C at any instant of a call of an executor, and of a session, with a real server."""

from __future__ import annotations

import threading
from typing import Any, Callable

from interrupts import everywhere, in_thread

from rain.client import Client, TaskFuture, blob, tasks


def test_calls_of_an_executor(client: Client) -> None:
    """A call was submitted or not, later calls have their own results, and shutdown() ends."""
    executor = client.executor()
    session, state = executor.session, {"count": 0}

    def prepare() -> Callable[[], object]:
        state["count"] += 1
        return lambda: executor.submit(pow, 2, 3)

    assert executor.submit(pow, 2, 5).result(60) == 32
    for interrupter in everywhere(prepare, step=23):
        place = interrupter.place
        # No call that nobody has is left to go with the next one.
        assert session.task_count == 0, place
        assert in_thread(lambda: executor.submit(max, state["count"], 0).result(60)) == state["count"], place
        assert executor.submit(min, state["count"], 0).result(60) == 0, place
    ended = threading.Thread(target=executor.shutdown)
    ended.start()
    ended.join(60)
    assert not ended.is_alive() and session.closed


def test_mapping_cancelling_and_asking(client: Client) -> None:
    executor = client.executor()
    futures: list[TaskFuture[Any]] = []

    def prepare() -> Callable[[], object]:
        futures[:] = [executor.submit(pow, 2, number) for number in range(2)]

        def use() -> None:
            list(executor.map(abs, [-1, 2]))
            futures[0].running()
            futures[1].cancel()

        return use

    for interrupter in everywhere(prepare, step=29):
        assert futures[0].result(60) == 1, interrupter.place
        assert futures[1].cancelled() or futures[1].result(60) == 2, interrupter.place
        assert in_thread(lambda: list(executor.map(abs, [-3, 4]))) == [3, 4], interrupter.place
    ended = threading.Thread(target=executor.shutdown)
    ended.start()
    ended.join(60)
    assert not ended.is_alive()


def test_submits(client: Client) -> None:
    state: dict[str, Any] = {}

    def prepare() -> Callable[[], object]:
        session = state["session"] = client.new_session()
        with session.bind_only():
            first = tasks.Concat([blob("one "), blob("two")])
            state["made"] = [first, tasks.Concat([first, blob("!")])]
        state["made"][1].output.keep()
        return session.submit

    for interrupter in everywhere(prepare, step=23):
        session, made, place = state["session"], state["made"], interrupter.place
        if made[0].id is None:
            assert made[1].id is None and session.task_count == 2, place
            session.submit()
        assert made[1].output.fetch(timeout=60).get_bytes() == b"one two!", place
        with session.bind_only():
            more = tasks.Concat([made[1].output, blob("?")])
        more.output.keep()
        session.submit()
        assert in_thread(lambda: more.output.fetch(timeout=60).get_bytes()) == b"one two!?", place  # noqa: B023
        session.close()
