"""Options of tasks on the wire, requests in the background, and what an import brings with it."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import msgspec
import pytest
from fake_server import FakeServer, Refuse

from rain.client import (
    Client,
    Executor,
    Program,
    RainException,
    Session,
    SessionException,
    Task,
    blob,
    remote,
    tasks,
)
from rain.client.connection import RequestError


def kinds(session: Session, server: FakeServer) -> list[dict[str, Any]]:
    session.submit()
    return list(server.bodies("submit")[-1]["kinds"])


class Own(Task):
    TASK_TYPE = "own/task"


def test_options_of_tasks(session: Session, server: FakeServer) -> None:
    data = blob("x")
    for options in ({"retries": 2}, {"timeout": 3}, {"priority": -1}, {"retries": 1, "timeout": 0.5, "priority": 7}):
        tasks.Concat([data], **options)  # type: ignore[arg-type]
        sent = kinds(session, server)
        assert len(sent) == 1
        assert {name: sent[0].get(name) for name in options} == options
        assert {"retries", "timeout", "priority"} & sent[0].keys() == options.keys()
        data = blob("x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: tasks.Noop(retries=1),
        lambda: tasks.Load("/x", retries=1),
        lambda: tasks.LoadDir("/x", retries=1),
        lambda: tasks.Store(blob("x"), "/x", retries=1),
        lambda: tasks.MakeDirectory([("x", blob("x"))], retries=1),
        lambda: tasks.SliceDirectory(tasks.LoadDir("/x", retries=1), "x", retries=1),
        lambda: tasks.Execute("x", retries=1),
        lambda: Program("x", retries=1)(),
        lambda: remote(retries=1)(lambda ctx: b"")(),
        lambda: Own(retries=1),
    ],
)
def test_all_tasks_have_options(session: Session, server: FakeServer, make: Any) -> None:
    make()
    assert [kind["retries"] for kind in kinds(session, server)] in ([1], [1, 1])


def test_a_priority_for_sleep(session: Session, server: FakeServer) -> None:
    tasks.Sleep(blob("x"), 1.0, priority=3)
    tasks.Sleep(blob("x"), 1.0)
    assert [kind.get("priority") for kind in kinds(session, server)] == [3, None]


def test_environment_of_remote_functions(session: Session, server: FakeServer) -> None:
    remote(env={"A": "b"})(lambda ctx: b"")()
    (kind,) = kinds(session, server)
    assert msgspec.msgpack.decode(kind["config"])["env"] == {"A": "b"}


def test_the_same_kind_for_the_same_options(session: Session, server: FakeServer) -> None:
    made = [tasks.Concat([], retries=number % 2) for number in range(6)]
    assert len(kinds(session, server)) == 2
    assert len({task._kind for task in made}) == 2


def test_requests_in_the_background(client: Client, session: Session, server: FakeServer) -> None:
    taken: list[tuple[dict[str, Any], Exception | None]] = []
    arrived = threading.Semaphore(0)

    def take(reply: dict[str, Any], error: Exception | None) -> None:
        taken.append((reply, error))
        arrived.release()

    gate = threading.Event()
    server.answers["wait"] = lambda body: gate.wait(10) and {"n": 1}
    for _ in range(3):
        client._start_request("wait", {}, take)
    # While these are open, others go on, in this thread too.
    assert client.status() == {}
    gate.set()
    for _ in range(3):
        assert arrived.acquire(timeout=10)
    assert taken == [({"n": 1}, None)] * 3

    def refuse(body: dict[str, Any]) -> None:
        raise Refuse("request", "no")

    server.answers["wait"] = refuse
    client._start_request("wait", {}, take)
    assert arrived.acquire(timeout=10)
    assert isinstance(taken[-1][1], RequestError)
    server.answers["wait"] = lambda body: server.drop_clients() or {}  # type: ignore[func-returns-value]
    client._start_request("wait", {}, take)
    assert arrived.acquire(timeout=10)
    assert isinstance(taken[-1][1], RainException) and "closed the connection" in str(taken[-1][1])
    # The connection is known to be closed: that is said at once, and nobody is told a second time.
    with pytest.raises(RainException, match="closed the connection"):
        client._start_request("wait", {}, take)
    assert len(taken) == 5 and not arrived.acquire(blocking=False)


def test_futures_of_a_failing_session(session: Session, server: FakeServer) -> None:
    def fail(body: dict[str, Any]) -> None:
        raise Refuse("session", "out of memory")

    server.answers["results"] = fail
    executor = Executor(session)
    future = executor.submit(len, "x")
    assert isinstance(future.exception(10), RainException)
    with pytest.raises(RainException, match="out of memory"):
        executor.submit(len, "y")
    executor.shutdown()
    assert not session.closed


def test_a_refused_submit_of_an_executor(session: Session, server: FakeServer) -> None:
    def refuse(body: dict[str, Any]) -> None:
        raise Refuse("request", "no governor has 99 cpus")

    mine = tasks.Noop()
    mine.output.keep()
    server.answers["submit"] = refuse
    executor = Executor(session, cpus=99)
    with pytest.raises(RainException, match="99 cpus"):
        executor.submit(len, "x")
    # What the user has in the session is still there, what the executor made is not.
    assert session._tasks == [mine] and session._kept == [mine.output]
    executor.shutdown()


def test_cancelled_requests(session: Session, server: FakeServer) -> None:
    task = tasks.Noop()
    session.submit()
    server.answers["cancel"] = lambda body: {"tasks": b"\0\0\0\0"}
    assert session.cancel() == [task]
    session.close()
    with pytest.raises(SessionException, match="cannot be used any more"):
        session.cancel()


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("rain", ["msgspec", "cloudpickle", "socket", "typing"]),
        ("rain.client", ["cloudpickle", "logging", "asyncio", "concurrent.futures", "ctypes", "tarfile"]),
    ],
)
def test_imports_bring_only_what_is_needed(module: str, without: list[str]) -> None:
    script = f"import sys, {module}; print([name for name in {without} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", _PATHS + script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


# Without the module site, which imports what editable installations ask for.
_PATHS = f"import sys; sys.path[:] = {sys.path!r}; "
