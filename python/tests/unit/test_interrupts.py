"""Ctrl-C at any instant leaves a session usable, and it is known exactly what was submitted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from fake_server import Refuse
from interrupts import everywhere, in_thread
from strict_server import StrictServer

from rain.client import Client, RainException, Session, Task, blob, pickled, remote, tasks
from rain.client import active as active_module


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path / "run"))
    server = StrictServer(tmp_path / "run")
    yield server
    server.close()


@remote()
def function(ctx: Any, *arguments: Any) -> bytes:
    return b""


def graph() -> list[Task]:
    """Tasks of several sorts: chained, with constants, with no output, with attributes."""
    first = tasks.Concat([blob("one"), pickled((1, 2))])
    second = function(first, [first.output], 7)
    none = tasks.Store(second.output, "/tmp/never")
    second.output.keep()
    second.spec.user["a"] = 1
    first.output.spec.user["b"] = 2
    return [first, second, none]


def check_usable(client: Client, server: StrictServer, session: Session, place: str) -> None:
    """The session does what it should, in this thread and in others; the server would complain of wrong numbers."""
    strict = server.open[session.session_id]
    before = strict.tasks
    assert session._submitted_tasks == before, place
    pending = session.task_count
    with session.bind_only():
        made = function(blob("more"))
    made.output.keep()
    session.submit()
    assert strict.tasks == before + pending + 1, place
    assert (session.task_count, session.dataobj_count) == (0, 0), place
    assert made.id is not None and made.id.id == strict.tasks - 1, place
    assert made.output.fetch(timeout=30).get_bytes() == b"%d" % (made.output._oid), place
    in_thread(lambda: session.submit())
    # What nobody waits for is answered before the second one of these.
    for _ in range(2):
        in_thread(lambda: session.wait([made], timeout=30))
    assert list(client._connection._open.values()) == [], place


def test_submit_and_keep(client: Client, server: StrictServer) -> None:
    """A submit has happened as a whole or not at all, and who asks is told the truth."""
    state: dict[str, Any] = {}

    def prepare() -> Callable[[], object]:
        session = state["session"] = client.new_session()
        with session.bind_only():
            made = state["made"] = graph()
        # What comes before in the session.
        if len(server.open) % 2:
            session.submit()
            with session.bind_only():
                again = tasks.Concat([made[1].output, blob("two")])
                again.output.keep()
                made.append(again)
        return session.submit

    for interrupter in everywhere(prepare):
        session, made, place = state["session"], state["made"], interrupter.place
        strict = server.open[session.session_id]
        submitted = [task for task in made if task.id is not None]
        assert len(submitted) == strict.tasks, place
        assert session.task_count == len(made) - strict.tasks, place
        if len(submitted) < len(made):
            assert strict.tasks == (3 if len(made) == 4 else 0), place
            session.submit()
        assert [task.id for task in made] == [(session.session_id, number) for number in range(len(made))], place
        assert strict.tasks == len(made) and strict.submits == len(made) - 2, place
        assert strict.users == {1: '{"a":1}'}, place
        assert made[1].spec.id == made[1].id and made[0].output.spec.id == made[0].output.id
        assert made[1].output.fetch(timeout=30).get_bytes() == b"%d" % made[1].output._oid, place
        check_usable(client, server, session, place)
        session.close()
    assert server.open.keys() == {state["session"].session_id}


def test_building_a_graph(client: Client, server: StrictServer) -> None:
    state: dict[str, Any] = {}

    def prepare() -> Callable[[], object]:
        session = state["session"] = client.new_session()

        def build() -> None:
            with session.bind_only():
                graph()

        return build

    for interrupter in everywhere(prepare, step=5):
        session, place = state["session"], interrupter.place
        # Tasks that were made are there, and nothing is half made.
        assert session.task_count <= 3, place
        with pytest.raises(RainException, match="no active session"):
            blob("x")
        kept = sum(1 for item in session._kept if item._kept)
        check_usable(client, server, session, place)
        assert len(server.open[session.session_id].kept) == kept + 1, place
        session.close()
    assert active_module._bound == {}


def test_calling_functions(client: Client, server: StrictServer) -> None:
    """Also where arguments and functions become objects, and where functions are pickled again."""
    state: dict[str, Any] = {}
    large = bytes(100_000)
    changing = [0]
    functions = [remote()(lambda ctx, *args: large), remote()(lambda ctx, *args: str(changing))]

    def prepare() -> Callable[[], object]:
        session = state["session"] = client.new_session()
        changing.append(len(server.open))

        def build() -> None:
            with session.bind_only():
                for called in functions:
                    called()
                    called(large)

        return build

    for interrupter in everywhere(prepare, step=31):
        session, place = state["session"], interrupter.place
        assert session.task_count <= 4, place
        with session.bind_only():
            made = [called(large) for called in functions for _ in range(2)]
        session.submit()
        assert all(task.id is not None for task in made), place
        check_usable(client, server, session, place)
        session.close()


REQUESTS: dict[str, Callable[[Session, list[Task]], object]] = {
    "wait": lambda session, made: session.wait(made, timeout=30),
    "wait_all": lambda session, made: session.wait_all(),
    "wait_some": lambda session, made: session.wait_some(made),
    "as_completed": lambda session, made: list(session.as_completed(made, timeout=30)),
    "update": lambda session, made: session.update([made[1], made[1].output]),
    "cancel": lambda session, made: session.cancel([made[0]]),
    "fetch": lambda session, made: made[1].output.fetch(),
    "unkeep": lambda session, made: made[1].output.unkeep(),
    "map": lambda session, made: session.map(function, range(2)),
    "discard": lambda session, made: session.discard(),
}


@pytest.mark.parametrize("request_name", REQUESTS)
def test_requests(client: Client, server: StrictServer, request_name: str) -> None:
    session = client.new_session()
    strict = server.open[session.session_id]
    made: list[Task] = []

    def prepare() -> Callable[[], object]:
        nonlocal made
        if not made or not made[1].output.is_kept():
            with session.bind_only():
                made = graph()
            session.submit()
        return lambda: REQUESTS[request_name](session, made)

    for interrupter in everywhere(prepare):
        # What the client thinks to be kept, is, when all that was sent has arrived.
        client.status(timeout=30)
        output, place = made[1].output, interrupter.place
        assert output.is_kept() == (output._oid in strict.kept), place
        check_usable(client, server, session, place)
        if output.is_kept():
            assert output.fetch(timeout=30).get_bytes() == b"%d" % output._oid, place


def test_new_sessions_and_their_ends(client: Client, server: StrictServer) -> None:
    def prepare() -> Callable[[], object]:
        def use() -> None:
            with client.new_session() as session:
                tasks.Noop()
                session.submit()

        return use

    for interrupter in everywhere(prepare, step=3):
        # One that nobody has is closed; so is one that was left.
        assert in_thread(lambda: client.status(timeout=30) == {}), interrupter.place
        with client.new_session() as other:
            assert blob("x").session is other, interrupter.place
        left = [binding.session for binding in active_module._stack.get()]
        for session in left:
            # The interrupt came when the session was bound and `with` not begun, or before the first step of its end.
            assert "__enter__" in interrupter.place or "__exit__" in interrupter.place, interrupter.place
            session.__exit__(None, None, None)
        assert active_module._stack.get() == () and active_module._bound == {}, interrupter.place
        client.status(timeout=30)
        assert not server.open, interrupter.place


def test_close_and_connect(server: StrictServer) -> None:
    def prepare() -> Callable[[], object]:
        def use() -> None:
            with Client("localhost", server.port) as client:
                client.new_session()

        return use

    for interrupter in everywhere(prepare, step=3):
        with Client("localhost", server.port) as other:
            other.new_session().close()
        # Sessions of a connection end with it, which this server does not know.
        server.open.clear()
        assert interrupter.place


def test_whoever_waits_is_woken(client: Client, server: StrictServer) -> None:
    """An interrupted thread that reads for others, or sends for them, leaves none of them behind."""
    waited = client.new_session()
    gate = threading.Event()
    server.answers["wait_all"] = lambda body: gate.wait(30) and {}
    state: dict[str, Any] = {}

    def wait() -> bool:
        waited.wait_all(timeout=30)
        return True

    def prepare() -> Callable[[], object]:
        gate.clear()
        arrived = len(server.bodies("wait_all"))
        state["threads"] = [threading.Thread(target=lambda: state["done"].append(wait())) for _ in range(2)]
        state["done"] = []
        taken = state["taken"] = []
        client._connection.start_request(
            "wait_all", {"session": waited.session_id}, lambda reply, error: taken.append((reply, error))
        )
        for thread in state["threads"]:
            thread.start()
        server.wait_for("wait_all", arrived + 3)
        return lambda: client.status(timeout=30)

    def finish(place: str) -> None:
        gate.set()
        for thread in state["threads"]:
            thread.join(30)
        assert state["done"] == [True, True], place
        in_thread(lambda: client.status(timeout=30) == {})
        for _ in range(3000):
            if state["taken"]:
                break
            threading.Event().wait(0.01)
        assert state["taken"] == [({}, None)], place

    for interrupter in everywhere(prepare):
        finish(interrupter.place)
    finish("the end")


def test_a_reader_that_is_interrupted(client: Client, server: StrictServer) -> None:
    """The thread that reads gets replies of others and is interrupted while it hands them out."""
    session = client.new_session()
    state: dict[str, Any] = {}

    def prepare() -> Callable[[], object]:
        # Answered when the main thread reads already.
        reading = threading.Event()
        server.answers["status"] = lambda body: reading.wait(30) and {"name": "status"}
        server.answers["wait_all"] = lambda body: reading.wait(30) and {}
        state["found"] = []
        thread = state["thread"] = threading.Thread(
            target=lambda: state["found"].append(client.status(timeout=30)["name"])
        )

        def use() -> None:
            thread.start()
            server.wait_for("status", state.setdefault("count", 0) + 1)
            state["count"] += 1
            reading.set()
            session.wait_all(timeout=30)

        state["reading"] = reading
        return use

    def finish(place: str) -> None:
        state["reading"].set()
        state["thread"].join(30)
        assert state["found"] == ["status"], place

    for interrupter in everywhere(prepare):
        finish(interrupter.place)
    finish("the end")


def test_a_refused_submit(client: Client, server: StrictServer) -> None:
    state: dict[str, Any] = {}

    def prepare() -> Callable[[], object]:
        session = state["session"] = client.new_session()
        with session.bind_only():
            state["made"] = graph()
        server.refuse_submit = "no"

        def submit() -> None:
            with pytest.raises(RainException, match="no"):
                session.submit()

        return submit

    for interrupter in everywhere(prepare, step=5):
        server.refuse_submit = None
        session, made, place = state["session"], state["made"], interrupter.place
        assert [task.id for task in made] == [None] * 3 and session.task_count == 3, place
        assert server.open[session.session_id].tasks == 0
        check_usable(client, server, session, place)
        assert made[1].output.fetch().get_bytes() == b"%d" % made[1].output._oid
        session.close()


@pytest.mark.parametrize("refuse", [False, True])
def test_an_interrupt_while_the_answer_to_a_submit_is_on_its_way(
    client: Client, server: StrictServer, monkeypatch: pytest.MonkeyPatch, refuse: bool
) -> None:
    """It counts as submitted, as it was sent; what the server says of it comes out with the next request."""
    gate, arrived = threading.Event(), threading.Event()

    def submit(body: dict[str, Any]) -> dict[str, Any]:
        arrived.set()
        assert gate.wait(30)
        if refuse:
            raise Refuse("request", "too late")
        return server._submit(body)

    def interrupt(*arguments: Any) -> None:
        assert arrived.wait(30)
        monkeypatch.setattr(client._connection, "_wait", wait)
        raise KeyboardInterrupt

    wait = client._connection._wait
    monkeypatch.setattr("rain.client.submitting.SETTLE_SECONDS", 0.01)
    server.answers["submit"] = submit
    session = client.new_session()
    monkeypatch.setattr(client._connection, "_wait", interrupt)
    with session.bind_only():
        made = graph()
    with pytest.raises(KeyboardInterrupt):
        session.submit()
    assert [task.id for task in made] == [(session.session_id, number) for number in range(3)]
    del server.answers["submit"]
    gate.set()
    if refuse:
        with pytest.raises(RainException, match="The submit that was interrupted was refused: too late"):
            session.wait_all()
        assert [task.id for task in made] == [None] * 3 and session.task_count == 3
    else:
        session.wait_all()
        assert session.task_count == 0
    check_usable(client, server, session, str(refuse))
