"""Contents of many objects with one request, as they are finished (request `results`)."""

from __future__ import annotations

import threading
from typing import Any

from gates import Gate

from rain.client import Client, RainException, Session, blob, tasks
from rain.client.connection import PART
from rain.common.columns import from_column, to_column

PATIENCE_S = 30


class Told:
    """What has come of the objects of one request."""

    def __init__(self, session: Session, objects: list[int]) -> None:
        self.contents: dict[int, bytes] = {}
        self.large: list[int] = []
        self.errors: dict[int, dict[str, Any]] = {}
        self.refused: RainException | None = None
        self.some = threading.Event()
        self.over = threading.Event()
        session._start_request("results", {"objects": to_column(objects)}, self._take)

    def _take(self, reply: dict[str, Any], error: RainException | None) -> None:
        self.refused = error
        self.contents.update(reply.get("results", ()))
        self.large += from_column(reply.get("large", b""))
        for column, why in reply.get("errors", ()):
            self.errors.update(dict.fromkeys(from_column(column), why))
        self.some.set()
        if PART not in reply:
            self.over.set()

    def wait(self) -> None:
        assert self.over.wait(PATIENCE_S)


def test_each_object_is_told_of_once(session: Session, client: Client, gate: Gate) -> None:
    small = [blob(b"%d" % number) for number in range(5)]
    large = blob(b"x" * 100_000)
    waiting = session.map(gate, ["first"])[0]
    cancelled = tasks.Concat([waiting.output, small[0]])
    for item in (*small, large, waiting.output, cancelled.output):
        item.keep()
    not_kept = blob("not kept")
    tasks.Concat([not_kept])
    session.submit()
    gate.await_begin()
    early = [item._oid for item in small]
    late = [waiting.output._oid, cancelled.output._oid]
    told = Told(session, [*early, *early, large._oid, not_kept._oid, *late, 10_000])
    assert told.some.wait(PATIENCE_S) and not told.over.is_set()
    session.cancel([cancelled])
    gate.open()
    told.wait()
    assert told.refused is None
    assert [told.contents[number] for number in early] == [item.fetch().get_bytes() for item in small]
    assert set(told.contents) == {*early, waiting.output._oid}
    assert told.large == [large._oid]
    assert {number: error["kind"] for number, error in told.errors.items()} == {
        cancelled.output._oid: "cancelled",
        not_kept._oid: "request",
        10_000: "request",
    }


def test_results_of_nothing_and_of_no_session(session: Session, client: Client) -> None:
    told = Told(session, [])
    told.wait()
    assert (told.contents, told.large, told.errors, told.refused) == ({}, [], {}, None)
    other = client.new_session()
    item = blob("x")
    with other.bind_only():
        mine = blob("y")
        mine.keep()
        other.submit()
    other.close()
    other._closed = False
    told = Told(other, [mine._oid])
    told.wait()
    assert "does not exist" in told.errors[mine._oid]["message"]
    other._closed = True
    session.discard()
    assert item.id is None


def test_the_end_of_a_session_ends_what_is_asked(client: Client, gate: Gate) -> None:
    session = client.new_session()
    waiting = session.map(gate, ["first"])
    with session.bind_only():
        waiting.append(tasks.Concat([waiting[0].output]))
    for task in waiting:
        task.output.keep()
    session.submit()
    gate.await_begin()
    told = Told(session, [task.output._oid for task in waiting])
    session.close()
    told.wait()
    assert {error["kind"] for error in told.errors.values()} == {"session"} and len(told.errors) == 2
