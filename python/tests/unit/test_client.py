"""Clients and sessions: connecting, waiting, fetching, failing."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, Refuse, frame, numbers

from rain.client import Client, RainException, Session, SessionException, TaskException, blob, tasks


def test_hello(client: Client, server: FakeServer) -> None:
    hello = server.bodies("hello")[0]
    assert hello["version"] == 1
    assert hello["python"].startswith("/")
    assert "token" not in hello


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    port = free_port()
    with pytest.raises(RainException, match=f"No Rain server at localhost:{port}.*rain start --simple"):
        Client("localhost", port)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\0\0\0\xc1abcd", frame(["ok", 0]), b""])
def test_something_else_listens(answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RainException, match="not a Rain server of this version|closed the connection"):
            Client("localhost", listener.getsockname()[1])
        thread.join()


def test_wrong_version(server: FakeServer) -> None:
    server.answers["hello"] = lambda body: {"version": 2}
    with pytest.raises(RainException, match="speaks version 2"):
        Client("localhost", server.port)


def test_refused(server: FakeServer) -> None:
    def refuse(body: dict[str, Any]) -> None:
        raise Refuse("protocol", "wrong token")

    server.answers["hello"] = refuse
    with pytest.raises(RainException, match="wrong token"):
        Client("localhost", server.port)


def test_server_goes_away_in_a_wait(session: Session, server: FakeServer) -> None:
    server.answers["wait_all"] = lambda body: server.drop_clients() or {}  # type: ignore[func-returns-value]
    with pytest.raises(RainException, match="closed the connection"):
        session.wait_all()
    with pytest.raises(RainException, match="closed the connection"):
        session.submit()


def test_waits_in_threads(session: Session, server: FakeServer) -> None:
    done = threading.Event()
    server.answers["wait_all"] = lambda body: done.wait(10) and {}
    server.answers["fetch"] = lambda body: reply(b"content")
    obj = blob("content")
    obj.keep()
    session.submit()
    waiting = [threading.Thread(target=session.wait_all) for _ in range(3)]
    for thread in waiting:
        thread.start()
    server.wait_for("wait_all", 3)
    fetched: list[bytes] = []
    fetching = [threading.Thread(target=lambda: fetched.append(obj.fetch().get_bytes())) for _ in range(5)]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join(10)
    assert fetched == [b"content"] * 5
    assert all(thread.is_alive() for thread in waiting)
    done.set()
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()


def test_interrupted_wait(session: Session, server: FakeServer) -> None:
    done = threading.Event()
    answered = threading.Event()

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        done.wait(10)
        answered.set()
        return {}

    def interrupt() -> None:
        server.wait_for("wait_all")
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident
    assert main is not None

    server.answers["wait_all"] = answer
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        session.wait_all()
    thread.join()
    del server.answers["wait_all"]
    done.set()
    assert answered.wait(10)
    session.wait_all()
    tasks.Noop()
    session.submit()


def reply(data: bytes, **more: Any) -> dict[str, Any]:
    return {"size": len(data), "data_type": 0, "content_type": None, "info": {}, "data": data, **more}


def test_fetch(session: Session, server: FakeServer) -> None:
    info = {"id": 0, "state": "finished", "size": 2, "content_type": "json", "user": '{"a": 1}'}
    server.answers["fetch"] = lambda body: reply(b"[]", content_type="json", info=info)
    task = tasks.Concat([blob("x")])
    with pytest.raises(RainException, match="it is not submitted"):
        task.output.fetch()
    task.output.keep()
    session.submit()
    instance = task.output.fetch()
    assert (instance.get_bytes(), instance.load(), instance.content_type) == (b"[]", [], "json")
    assert str(instance) == "b'[]'"
    assert task.output.info.user == {"a": 1}
    assert task.output.content_type == "json"
    assert server.bodies("fetch")[0]["map"] is True
    task.output.unkeep()
    assert numbers(server.bodies("unkeep")[0]["objects"]) == [1]
    with pytest.raises(RainException, match="Only kept objects"):
        task.output.fetch()
    with pytest.raises(RainException, match="is not kept"):
        task.output.unkeep()


def test_fetch_maps_a_file(session: Session, server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"x" * 100_000)
    answer = reply(b"", size=100_000, path=str(path))
    del answer["data"]
    server.answers["fetch"] = lambda body: answer
    obj = blob("x")
    obj.keep()
    session.submit()
    instance = obj.fetch()
    path.unlink()
    assert instance.get_view().nbytes == 100_000
    assert instance.get_bytes() == b"x" * 100_000
    assert instance.get_bytes() is instance.get_bytes()
    instance.link(tmp_path / "link")
    assert (tmp_path / "link").read_bytes() == b"x" * 100_000


def test_fetch_in_pieces(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.client.fetching.FETCH_PIECE", 10)
    server.local = False
    content = bytes(range(256))

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert body["map"] is False
        return reply(content[body["offset"] : body["offset"] + body["limit"]], size=256)

    server.answers["fetch"] = answer
    with Client("localhost", server.port) as client, client.new_session() as session:
        obj = blob("x")
        obj.keep()
        session.submit()
        assert obj.fetch().get_bytes() == content


def test_wait_and_wait_some(session: Session, server: FakeServer) -> None:
    server.answers["wait_some"] = lambda body: {"tasks": b"\1\0\0\0", "objects": b"\0\0\0\0"}
    constant = blob("x")
    first, second = tasks.Noop(), tasks.Noop()
    session.submit()
    session.wait([first, second.output])
    body = server.bodies("wait")[0]
    assert (numbers(body["tasks"]), numbers(body["objects"])) == ([0], [2])
    assert session.wait_some([first, constant, second]) == [constant, second]
    assert session.wait_some([]) == []


def test_update(session: Session, server: FakeServer) -> None:
    task_info = {
        "id": 0,
        "state": "finished",
        "governor": 3,
        "start_time": 1.5,
        "duration": 0.5,
        "debug": "log",
        "user": '{"bar": 1}',
    }
    server.answers["info"] = lambda body: {
        "tasks": [task_info] if body["tasks"] else [],
        "objects": [{"id": 0, "state": "unfinished", "size": 3}] if body["objects"] else [],
    }
    task = tasks.Noop()
    assert task.info.governor is None and task.state is None
    session.submit()
    task.update()
    assert (task.info.governor, task.info.duration, task.info.debug, task.state) == (3, 0.5, "log", "finished")
    assert task.info.start_time is not None and task.info.start_time.year == 1970
    assert task.info.user["bar"] == 1
    task.output.update()
    assert task.output.info.size == 3
    with pytest.raises(RainException, match="cannot be changed"):
        task.info.error = "x"


def test_failed_task(session: Session, server: FakeServer) -> None:
    def fail(body: dict[str, Any]) -> None:
        raise Refuse("task", "ValueError: no\n\nTraceback ...", task=0, debug="a = 11")

    server.answers["wait_all"] = fail
    task = tasks.Concat([blob("x")], name="join")
    session.submit()
    with pytest.raises(TaskException, match="ValueError: no") as caught:
        session.wait_all()
    assert str(caught.value).startswith(f"Task 0 'join' (buildin/concat), made at {__file__}:")
    assert str(caught.value).endswith("\n\nDebug:\na = 11")
    assert (caught.value.task, caught.value.debug) == (task, "a = 11")
    server.answers["wait_all"] = lambda body: (_ for _ in ()).throw(Refuse("session", "gone"))
    with pytest.raises(SessionException, match="gone"):
        session.wait_all()


def test_active_sessions(client: Client, server: FakeServer) -> None:
    with pytest.raises(RainException, match="no active session"):
        blob("x")
    with client.new_session(name="a") as a:
        with client.new_session() as b:
            assert blob("x").session is b
        assert blob("x").session is a
        with b.bind_only() if not b.closed else a.bind_only():
            pass
    assert a.closed and b.closed
    assert server.bodies("new_session")[0] == {"name": "a"}
    with pytest.raises(SessionException, match="closed"):
        a.__enter__()
    with pytest.raises(SessionException, match="closed"):
        a.submit()
    session = client.new_session()
    with session.bind_only() as bound:
        assert blob("x").session is bound
    assert not session.closed
    with session:
        session.close()
        with pytest.raises(RainException, match="no active session"):
            blob("x")
    assert len(server.bodies("close_session")) == 3


def test_default_session(client: Client) -> None:
    default = client.new_session(default=True)
    assert blob("x").session is default
    with client.new_session() as other:
        assert blob("x").session is other
    default.close()
    with pytest.raises(RainException, match="no active session"):
        blob("x")


def test_sessions_in_threads(client: Client) -> None:
    found: list[Any] = []

    def inherit() -> None:
        found.append(blob("x").session)

    def own(barrier: threading.Barrier) -> None:
        with client.new_session() as session:
            barrier.wait(10)
            found.append(blob("x").session is session)
            barrier.wait(10)

    with client.new_session() as session:
        thread = threading.Thread(target=inherit)
        thread.start()
        thread.join()
        assert found == [session]
    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=own, args=(barrier,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[1:] == [True, True]


def test_closed_client(client: Client) -> None:
    session = client.new_session()
    client.close()
    with pytest.raises(RainException, match="was closed"):
        session.wait_all()
    session.close()
