"""Timeouts of everything that waits, lost connections, and sessions that nobody uses any more."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from fake_server import FakeServer, frame
from strict_server import StrictServer

from rain.client import Client, ConnectionLost, RainException, RainTimeout, Session, as_completed, blob, tasks

SOON = 0.02


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path / "run"))
    server = StrictServer(tmp_path / "run")
    yield server
    server.close()


@pytest.fixture
def slow(server: StrictServer) -> Iterator[threading.Event]:
    """Nothing is finished before this is set."""
    finished = threading.Event()

    def wait_for(answer: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda body: finished.wait(30) and answer(body)

    for name in ("wait", "wait_some", "wait_all", "fetch", "status"):
        server.answers[name] = wait_for(getattr(server, f"_{name}", lambda body: {}))
    yield finished
    finished.set()


def test_every_wait_takes_a_timeout(client: Client, session: Session, slow: threading.Event) -> None:
    task = tasks.Concat([blob("x")])
    task.keep_outputs()
    session.submit()
    output = task.output
    waits: list[Callable[[float], object]] = [
        lambda timeout: session.wait([task], timeout=timeout),
        lambda timeout: session.wait_all(timeout=timeout),
        lambda timeout: session.wait_all(progress=True, timeout=timeout),
        lambda timeout: session.wait_some([task], timeout=timeout),
        lambda timeout: list(session.as_completed(timeout=timeout)),
        lambda timeout: list(as_completed([task, output], timeout=timeout)),
        lambda timeout: session.fetch(output, timeout=timeout),
        lambda timeout: task.wait(timeout=timeout),
        lambda timeout: task.fetch_outputs(timeout=timeout),
        lambda timeout: output.wait(timeout=timeout),
        lambda timeout: output.fetch(timeout=timeout),
        lambda timeout: client.status(timeout=timeout),
    ]
    for wait in waits:
        for seconds in (SOON, 0):
            with pytest.raises(RainTimeout, match="has not answered in time") as caught:
                wait(seconds)
            assert isinstance(caught.value, TimeoutError) and isinstance(caught.value, RainException)
        for wrong in (-1, float("nan"), "1", True):
            with pytest.raises(RainException, match="A timeout is a number of seconds, or None: timeout="):
                wait(wrong)  # type: ignore[arg-type]
    slow.set()
    # What comes for them now is dropped, and everything can be used as before.
    for wait in waits:
        for enough in (30, 30.5, 1e12, float("inf")):
            wait(enough)
    assert output.fetch().get_bytes() == b"1"
    assert client._connection._open == {}


def test_going_through_what_is_completed(session: Session, server: StrictServer) -> None:
    made = [tasks.Noop() for _ in range(3)]
    session.submit()
    rounds: list[bytes] = []
    finished = threading.Event()

    def some(body: dict[str, Any]) -> dict[str, Any]:
        rounds.append(body["tasks"])
        if len(rounds) > 1:
            finished.wait(30)
        return {"tasks": body["tasks"][:4], "objects": b""}

    server.answers["wait_some"] = some
    found = session.as_completed(timeout=0.5)
    assert next(found) is made[0]
    with pytest.raises(RainTimeout):
        next(found)
    finished.set()
    assert set(session.as_completed(timeout=30)) == set(made)


def test_threads_that_wait_with_and_without_a_timeout(client: Client, session: Session, slow: threading.Event) -> None:
    """Whoever reads, the others' timeouts hold, and a reader that gives up hands over."""
    tasks.Noop()
    session.submit()
    outcomes: list[str] = []

    def wait(timeout: float | None) -> None:
        try:
            session.wait_all(timeout=timeout)
            outcomes.append("done")
        except RainTimeout:
            outcomes.append("timeout")

    threads = [threading.Thread(target=wait, args=(timeout,)) for timeout in (0.1, None, 0.2, 30, 0.1, None)]
    for thread in threads:
        thread.start()
    for number in (0, 2, 4):
        threads[number].join(30)
    assert outcomes == ["timeout"] * 3
    slow.set()
    for thread in threads:
        thread.join(30)
    assert outcomes == ["timeout"] * 3 + ["done"] * 3


def test_a_session_that_comes_too_late_is_closed(client: Client, server: StrictServer) -> None:
    late = threading.Event()
    server.answers["new_session"] = lambda body: late.wait(30) and server._new_session(body)
    with pytest.raises(RainTimeout):
        client.new_session(timeout=SOON)
    del server.answers["new_session"]
    late.set()
    with client.new_session():
        deadline = time.monotonic() + 30
        while len(server.open) != 1 or not server.bodies("close_session"):
            client.status()
            assert time.monotonic() < deadline
    assert server.bodies("close_session")[0] == {"session": 2} or server.bodies("close_session")[0] == {"session": 1}


def test_a_server_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending is a part of the time; what was begun is finished later, so that frames stay whole."""
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    reading = threading.Event()
    frames: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            import msgspec

            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as stream:
                while True:
                    head = stream.read(4)
                    if len(head) < 4:
                        return
                    operation, number, _ = msgspec.msgpack.decode(stream.read(int.from_bytes(head, "little")))
                    frames.append(operation)
                    reply = {"version": 1, "session": 1} if operation != "fail" else {}
                    peer.sendall(frame(["ok", number, reply]))
                    if operation == "new_session":
                        assert reading.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client("127.0.0.1", listener.getsockname()[1])
        session = client.new_session()
        large = client._connection.prepare("status", {"large": bytes(32 << 20)})
        with pytest.raises(RainTimeout):
            client._connection.call(large, time.monotonic() + SOON)
        assert large.sent
        with pytest.raises(RainTimeout):
            client.status(timeout=SOON)
        reading.set()
        session.wait_all(timeout=30)
        client.close()
        thread.join(30)
    assert frames == ["hello", "new_session", "status", "status", "wait_all"]


def test_lost_connections_have_a_type_of_their_own(server: FakeServer) -> None:
    client = Client("localhost", server.port)
    session = client.new_session()
    with session.bind_only():
        obj = blob("x")
    obj.keep()
    session.submit()
    server.answers["wait_all"] = lambda body: server.drop_clients() or {}  # type: ignore[func-returns-value]
    uses: list[Callable[[], object]] = [
        session.wait_all,
        session.submit,
        client.new_session,
        client.status,
        obj.fetch,
        lambda: asyncio.run(awaited()),
        lambda: obj.fetch(timeout=30),
    ]

    async def awaited() -> None:
        await obj

    for use in uses:
        with pytest.raises(ConnectionLost, match="closed the connection|broke") as caught:
            use()
        assert isinstance(caught.value, ConnectionError) and isinstance(caught.value, RainException)
    session.close()
    client.close()
    other = Client("localhost", server.port)
    other.close()
    with pytest.raises(RainException, match="was closed") as wrong:
        other.new_session()
    # That was not the connection's fault.
    assert not isinstance(wrong.value, ConnectionError)


def test_those_that_wait_when_the_connection_is_lost(client: Client, session: Session, server: StrictServer) -> None:
    finished = threading.Event()
    server.answers["wait_all"] = lambda body: finished.wait(30) and {}
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            session.wait_all(timeout=30)
        except RainException as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = threading.Event()

    def taker(reply: dict[str, Any], error: Exception | None) -> None:
        assert error is not None
        errors.append(error)
        taken.set()

    client._connection.start_request("wait_all", {"session": session.session_id}, taker)
    server.wait_for("wait_all", 5)
    server.drop_clients()
    for thread in threads:
        thread.join(30)
    assert taken.wait(30)
    assert [type(error) for error in errors] == [ConnectionLost] * 5
    finished.set()


def test_a_session_without_tasks_that_is_dropped(client: Client, server: StrictServer) -> None:
    client.new_session()
    gc.collect()
    client.status()
    assert server.open == {}


def test_a_session_that_is_dropped_is_closed_when_its_tasks_are_done(client: Client, server: StrictServer) -> None:
    finished = threading.Event()
    server.answers["wait_all"] = lambda body: finished.wait(30) and {}
    session = client.new_session()
    with session.bind_only():
        task = tasks.Noop()
    session.submit()
    number = session.session_id
    del session
    gc.collect()
    client.status()
    # A task refers to it.
    assert server.bodies("wait_all") == [] and task.session.session_id == number
    del task
    gc.collect()
    server.wait_for("wait_all")
    client.status()
    assert set(server.open) == {number}
    finished.set()
    server.wait_for("close_session")
    client.status()
    assert server.open == {}
    # One that was closed is not closed again.
    client.new_session().close()
    gc.collect()
    client.status()
    assert len(server.bodies("close_session")) == 2


def test_cancelled_awaits(client: Client, session: Session, slow: threading.Event) -> None:
    """A cancelled await ends; what comes later for it is dropped."""
    task = tasks.Concat([blob("x")])
    task.output.keep()
    session.submit()

    async def run() -> bytes:
        for awaitable in (task, task.output):
            waiting = asyncio.ensure_future(_await(awaitable))
            await asyncio.sleep(SOON)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(_await(awaitable), SOON)
        slow.set()
        await task
        return (await task.output).get_bytes()

    async def _await(awaitable: Any) -> None:
        await awaitable

    assert asyncio.run(run()) == b"1"
    assert task.output.fetch(timeout=30).get_bytes() == b"1"
