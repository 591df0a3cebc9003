"""What futures are made of goes when they are done: here, and on the server by size."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import cloudpickle
import pytest
from gates import Gate
from real_server import RainServer, running_server

from rain.client import Client, Executor, RainException, Session, TaskFuture, calls

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 30
MIB = 1 << 20


class Thing:
    def __init__(self, number: int = 0) -> None:
        self.number = number

    def method(self, *args: Any, **kwargs: Any) -> str:
        return "done"

    __call__ = method

    def fail(self) -> None:
        raise ValueError(self.number)


def ignore(*args: Any, **kwargs: Any) -> str:
    return "done"


def make(count: int) -> bytes:
    return bytes(count)


def until(condition: Callable[[], bool], executor: Executor) -> None:
    """Let the server and the threads of the executor work until something holds."""
    for _ in range(20_000):
        if condition():
            return
        executor.session.client.status()
    raise TimeoutError


@pytest.fixture
def own_server() -> Iterator[RainServer]:
    with running_server("--local-governors=[2]", "--no-pin") as server:
        yield server


def on_failure(gate: Gate) -> Callable[..., None]:
    """At the end of a block that fails: lets go on the call that the executor would wait for."""
    return lambda kind, *rest: None if kind is None else gate.open()


def stored(server: RainServer) -> int:
    """Bytes of the files in which the server has objects."""
    size = 0
    for directory, _, names in os.walk(server.runtime / "work"):
        for name in names:
            # It may be gone by now.
            with contextlib.suppress(FileNotFoundError):
                size += Path(directory, name).stat().st_size if "out" not in name else 0
    return size


def submissions() -> list[tuple[str, Callable[[Executor, Thing], Any]]]:
    return [
        ("bound method", lambda executor, thing: executor.submit(thing.method)),
        ("callable", lambda executor, thing: executor.submit(thing)),
        ("argument", lambda executor, thing: executor.submit(ignore, thing)),
        ("deep argument", lambda executor, thing: executor.submit(ignore, {"a": [thing]})),
        ("keyword", lambda executor, thing: executor.submit(ignore, thing=thing)),
        ("partial", lambda executor, thing: executor.submit(functools.partial(ignore, thing))),
        ("closure", lambda executor, thing: executor.submit(lambda: thing.number)),
        ("default", lambda executor, thing: executor.submit(lambda thing=thing: thing.number)),
        ("raising", lambda executor, thing: executor.submit(thing.fail)),
        ("unpicklable", lambda executor, thing: executor.submit(ignore, thing, sys._getframe())),
        ("map", lambda executor, thing: list(executor.map(ignore, [thing, thing]))),
    ]


@pytest.mark.parametrize("how", [how for _, how in submissions()], ids=[name for name, _ in submissions()])
@pytest.mark.parametrize("keep", [True, False], ids=["with the future", "without"])
def test_nothing_is_kept_alive(client: Client, how: Callable[[Executor, Thing], Any], keep: bool) -> None:
    with client.executor() as executor:
        thing = Thing()
        alive = weakref.ref(thing)
        result = how(executor, thing)
        del thing
        if not isinstance(result, list):
            result.exception(PATIENCE_S)
        if not keep:
            result = None
        until(lambda: alive() is None, executor)
        del result


def test_results_are_kept_by_their_futures_only(client: Client) -> None:
    with client.executor() as executor:
        for size in (1, 2 * MIB):
            future = executor.submit(lambda size=size: Thing(bytes(size)))  # type: ignore[arg-type,misc]
            alive = weakref.ref(future.result(PATIENCE_S))
            gone = weakref.ref(future)
            del future
            until(lambda: gone() is None and alive() is None, executor)  # noqa: B023 (called here)


def test_tables_do_not_grow(client: Client) -> None:
    with client.executor() as executor:
        session, own = executor.session, executor._calls

        def work(count: int) -> int:
            for number in range(count):
                assert executor.submit(pow, number, 2).result(PATIENCE_S) == number**2
            futures = [executor.submit(divmod, number, number % 2) for number in range(count)]
            assert sum(future.exception(PATIENCE_S) is None for future in futures) == count // 2
            assert list(executor.map(abs, range(count))) == list(range(count))
            del futures
            until(lambda: not own._taken, executor)
            gc.collect()
            return len(gc.get_objects())

        work(50)
        objects = work(50)
        assert work(500) - objects < 500
        tables = (session._submitted, session._new_tasks, session._constants, session._kept, own._pending, own._held)
        assert not any(tables) and not own._dropped and not own._unwanted


@pytest.mark.parametrize("keep", [True, False], ids=["futures are kept", "futures are dropped"])
def test_the_server_holds_a_few_results(
    own_server: RainServer, gate: Gate, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "HELD_BYTES", 8 * MIB)
    futures = []
    with Client("localhost", own_server.port) as client, client.executor() as executor, ExitStack() as opening:
        pending = executor.submit(gate)
        gate.await_begin()
        opening.push(on_failure(gate))
        for _ in range(100):
            futures.append(executor.submit(make, 2 * MIB))
            assert len(futures[-1].result(PATIENCE_S)) == 2 * MIB
            if not keep:
                futures.clear()
            until(lambda: stored(own_server) <= 12 * MIB, executor)
        until(lambda: stored(own_server) <= (10 if keep else 2) * MIB, executor)
        futures.clear()
        until(lambda: stored(own_server) < 2 * MIB, executor)
        gate.open()
        assert pending.result(PATIENCE_S) == "through"


def test_a_done_future_is_passed_on_by_reference(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with client.executor() as executor:
        session = executor.session
        sent: list[int] = []
        request = session._request

        def count(operation: str, body: dict[str, Any]) -> dict[str, Any]:
            sent.append(len(client._connection._encoder.encode(body)))
            return request(operation, body)

        monkeypatch.setattr(session, "_request", count)
        big = executor.submit(make, 3 * MIB)
        assert len(big.result(PATIENCE_S)) == 3 * MIB
        for _ in range(10):
            assert executor.submit(len, big).result(PATIENCE_S) == 3 * MIB
            assert executor.submit(lambda parts: len(parts["a"][0]), {"a": [big]}).result(PATIENCE_S) == 3 * MIB
        assert list(executor.map(len, [big] * 20)) == [3 * MIB] * 20
        assert sum(sent) < MIB
        # In a function it goes by value.
        assert executor.submit(lambda big=big: len(big)).result(PATIENCE_S) == 3 * MIB  # type: ignore[misc]
        # The calls that use it need nobody else to keep it.
        uses = [executor.submit(len, big) for _ in range(20)]
        del big
        assert [use.result(PATIENCE_S) for use in uses] == [3 * MIB] * 20


def test_a_result_that_went_is_passed_on_by_value(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "HELD_BYTES", MIB)
    with client.executor() as executor, client.executor() as other:
        futures = [executor.submit(make, (n + 1) * 200_000) for n in range(20)]
        sizes = [len(future.result(PATIENCE_S)) for future in futures]
        assert sizes == [(n + 1) * 200_000 for n in range(20)]
        until(lambda: not executor._calls._taken, executor)
        kept = [future for future in futures if future.task is not None and future.task.output._kept]
        # What was done last, though it is more than that.
        assert len(kept) == 1 and executor._calls._held_bytes > MIB
        for elsewhere in (executor, other):
            assert list(elsewhere.map(len, futures)) == sizes
            assert elsewhere.submit(lambda *all: sum(map(len, all)), *futures).result(PATIENCE_S) == sum(sizes)


def test_the_server_forgets_calls_that_are_over(client: Client, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[RainException] = []
    start_request = Session._start_request

    def watch(session: Session, operation: str, body: dict[str, Any], taker: Callable[[Any, Any], None]) -> None:
        def take(reply: dict[str, Any], error: RainException | None) -> None:
            if error is not None and operation == "forget":
                refused.append(error)
            taker(reply, error)

        start_request(session, operation, body, take)

    monkeypatch.setattr(Session, "_start_request", watch)
    with client.executor() as executor, ExitStack() as opening:
        session = executor.session
        pending = executor.submit(gate)
        gate.await_begin()
        opening.push(on_failure(gate))
        # A result, an error, a large argument, a large function, one that is passed on, and what is cancelled.
        content = os.urandom(100_000)
        first = executor.submit(make, 200_000)
        futures = [
            executor.submit(make, 10),
            executor.submit(Thing().fail),
            executor.submit(ignore, content),
            *(executor.submit(lambda n=n: content[n]) for n in range(3)),
            executor.submit(len, first),
            first,
        ]
        waiting = executor.submit(ignore, pending)
        tasks = [future.task for future in (*futures, waiting)]
        assert waiting.cancel() and [future.exception(PATIENCE_S) is None for future in futures].count(False) == 1
        del first, futures
        until(lambda: len(session._submitted) == 1, executor)
        for task in tasks:
            assert task is not None
            with pytest.raises(RainException, match="was forgotten"):
                session._request("info", {"tasks": task._id.to_bytes(4, sys.byteorder), "objects": b""})
            with pytest.raises(RainException, match="is over"):
                task.update()
            # They are over for all who wait.
            task.wait(PATIENCE_S)
        assert session.wait_some([pending.task, *tasks]) == tasks  # type: ignore[list-item]
        gate.open()
        assert pending.result(PATIENCE_S) == "through"
    assert not refused


def test_a_result_stays_until_it_was_passed_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is done, and the server could forget it, after it was decided to pass its result on by reference."""
    as_argument = TaskFuture.as_argument

    def later(future: TaskFuture[Any], session: Session | None) -> tuple[Any, ...]:
        argument = as_argument(future, session)
        future.result(PATIENCE_S)
        until(lambda: future not in future._calls._pending, executor)
        return argument

    monkeypatch.setattr(TaskFuture, "as_argument", later)
    with client.executor() as executor:
        for _ in range(20):
            assert executor.submit(len, executor.submit(make, 3)).result(PATIENCE_S) == 3


def test_a_result_stays_for_tasks_that_are_not_submitted(client: Client) -> None:
    with client.executor() as executor, executor.session.bind_only():
        future = executor.submit(make, 3)
        (task,) = executor.session.map(len, [future])
        task.output.keep()
        assert future.result(PATIENCE_S) == bytes(3)
        del future
        until(lambda: not executor._calls._pending, executor)
        executor._calls._free_taken()
        executor.session.submit()
        assert task.output.fetch(PATIENCE_S).load() == 3
        until(lambda: len(executor.session._submitted) == 1, executor)


def test_calls_are_cancelled_though_others_are_forgotten(
    client: Client, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quick").mkdir()
    quick_gate = Gate(tmp_path / "quick")
    with client.executor() as executor, ExitStack() as opening:
        session, own = executor.session, executor._calls
        pending, quick = executor.submit(gate), executor.submit(quick_gate)
        gate.await_begin()
        opening.push(on_failure(gate))
        quick_gate.await_begin()
        waiting = [executor.submit(ignore, pending) for _ in range(3)]
        request = session._request

        def late(operation: str, body: dict[str, Any]) -> dict[str, Any]:
            if not quick.done():
                # It is done, and forgotten, just before the request goes to the server.
                quick_gate.open()
                quick.result(PATIENCE_S)
                until(lambda: quick.task is not None and quick.task._id not in session._submitted, executor)
            return request(operation, body)

        monkeypatch.setattr(session, "_request", late)
        assert own.cancel([quick, *waiting], waiting=True) == waiting
        gate.open()
        assert pending.result(PATIENCE_S) == quick.result() == "through"
