"""A forked child's copy of a client cannot be used, says so, and does nothing to the parent's."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from forks import in_child
from strict_server import StrictServer

from rain.client import Client, RainException, Session, blob, tasks
from rain.client.active import active_session

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path / "run"))
    server = StrictServer(tmp_path / "run")
    yield server
    server.close()


def uses(client: Client, session: Session) -> dict[str, Callable[[], object]]:
    task = tasks.Concat([blob("x")])
    task.output.keep()
    session.submit()
    return {
        "new_session": client.new_session,
        "status": client.status,
        "submit": session.submit,
        "discard": session.discard,
        "wait_all": session.wait_all,
        "wait": task.wait,
        "fetch": task.output.fetch,
        "unkeep": task.output.unkeep,
        "update": task.update,
        "cancel": task.cancel,
        "as_completed": lambda: list(session.as_completed()),
        "map": lambda: session.map(len, [b""]),
        "blob": lambda: blob("y"),
        "task": tasks.Noop,
        "active_session": active_session,
        "with": session.__enter__,
    }


def test_every_use_says_what_is_wrong(client: Client, server: StrictServer) -> None:
    with client.new_session() as session:
        requests = []
        for name, use in uses(client, session).items():
            before = len(server.requests)
            said = in_child(use)
            assert said.startswith("RainException: This process ("), (name, said)
            assert f"was forked from process {os.getpid()}" in said and "make a new Client() here" in said, (name, said)
            # Nothing came from the child, and the parent goes on.
            assert len(server.requests) == before
            requests.append(name)
            tasks.Noop()
            session.submit()
            session.wait_all()
    assert len(requests) == 16


def test_closing_leaving_and_dropping_in_the_child(client: Client, server: StrictServer) -> None:
    with client.new_session() as session:
        task = tasks.Concat([blob("x")])
        task.output.keep()
        session.submit()
        other = [client.new_session()]

        def drop() -> None:
            other.clear()
            gc.collect()

        ends: list[Callable[[], object]] = [
            session.close,
            lambda: session.__exit__(None, None, None),
            client.close,
            lambda: client.__exit__(None, None, None),
            drop,
        ]
        for end in ends:
            before = len(server.requests)
            assert in_child(end) == "None"
            assert len(server.requests) == before
            assert task.output.fetch(timeout=30).get_bytes() == b"1"
            assert not session.closed and not client._connection.closed
        assert set(server.open) == {session.session_id, other[0].session_id}


def test_a_new_client_in_the_child(client: Client, server: StrictServer) -> None:
    def work() -> str:
        with Client("localhost", server.port) as own, own.new_session("own") as session:
            task = tasks.Concat([blob("x"), blob("y")])
            task.output.keep()
            session.submit()
            return task.output.fetch(timeout=10).get_str()

    with client.new_session():
        assert in_child(work) == "'2'"
    assert in_child(work) == "'2'"


def test_descriptors_of_the_child(client: Client, server: StrictServer) -> None:
    def inodes() -> set[str]:
        return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd_is_open(fd)}

    def fd_is_open(fd: str) -> bool:
        return os.path.lexists(f"/proc/self/fd/{fd}")

    connection = os.readlink(f"/proc/self/fd/{client._connection._frames.socket.fileno()}")
    assert connection in inodes()
    assert connection not in in_child(inodes)
    client.status()


def test_forks_while_other_threads_use_the_client(client: Client, server: StrictServer) -> None:
    """Whatever they hold at that moment: the child gets its error, and they get their answers."""
    ended = threading.Event()
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            with client.new_session() as session:
                while not ended.is_set():
                    task = tasks.Concat([blob("x")])
                    task.output.keep()
                    session.submit()
                    if task.output.fetch(timeout=30).get_bytes() != b"%d" % task.output._oid:
                        wrong.append(number)
                    task.output.unkeep()
        except BaseException as error:
            wrong.append(error)

    shared = client.new_session()

    def submit_shared() -> None:
        with shared.bind_only():
            while not ended.is_set():
                tasks.Noop()
                shared.submit()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    threads.append(threading.Thread(target=submit_shared))
    for thread in threads:
        thread.start()
    forks: list[str] = []

    def fork_often() -> None:
        for _ in range(40):
            forks.append(in_child(shared.submit))
            forks.append(in_child(client.status))

    # Not from the main thread, too.
    forker = threading.Thread(target=fork_often)
    forker.start()
    forker.join(60)
    ended.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(forks) == 80 and all("was forked from process" in said for said in forks), forks
    shared.close()


def test_a_fork_in_a_callback(client: Client, server: StrictServer) -> None:
    """The thread that hands out replies is the only one of the child."""
    said: list[str] = []
    done = threading.Event()

    def taker(reply: dict[str, Any], error: Exception | None) -> None:
        said.append(in_child(client.status))
        done.set()

    client._connection.start_request("status", {}, taker)
    assert done.wait(30)
    assert "was forked from process" in said[0]
    client.status()


def test_a_grandchild(client: Client, server: StrictServer) -> None:
    said = in_child(lambda: (in_child(client.status), os.getpid()))
    assert said.count("was forked from process") == 1
    # The child that has no client of its own is named as the parent.
    assert f"was forked from process {said.rpartition(', ')[2].rstrip(')')}" in said
    with pytest.raises(RainException, match="no active session"):
        blob("x")
