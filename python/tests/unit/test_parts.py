"""Submits of any size: cut into parts that a server takes, with what later parts need kept until then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_server import Refuse, numbers
from interrupts import everywhere
from strict_server import StrictServer, StrictSession

from rain.client import Client, RainException, Session, Task, blob, remote, tasks
from rain.client.data import DataObject

PART = 2000


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr("rain.client.submit.PART_BYTES", PART)
    server = StrictServer(tmp_path / "run")
    yield server
    server.close()


@pytest.fixture
def strict(server: StrictServer, session: Session) -> StrictSession:
    return server.open[session.session_id]


@remote()
def function(ctx: Any, *arguments: Any) -> bytes:
    return b""


def inputs_of(task: Task) -> list[int]:
    return [item._oid for item in task._inputs]


def check(session: Session, strict: StrictSession, made: list[Task]) -> None:
    """Everything is submitted in order, each task with its inputs, and only what the user keeps is kept."""
    assert (session.task_count, session.dataobj_count) == (0, 0)
    assert [task._id for task in made] == list(range(strict.tasks - len(made), strict.tasks))
    assert strict.inputs[-len(made) :] == [inputs_of(task) for task in made]
    outputs = [output for task in made for output in task.outputs]
    session.client.status()
    assert strict.kept == {output._oid for output in outputs if output.is_kept()}
    assert session._held == set()


def test_small_graphs_go_at_once(session: Session, strict: StrictSession, server: StrictServer) -> None:
    made = [function(number) for number in range(10)]
    session.submit()
    check(session, strict, made)
    assert strict.submits == 1
    session.submit()
    assert strict.submits == 2


def test_large_arguments(session: Session, strict: StrictSession, server: StrictServer) -> None:
    made = [function(bytes([number]) * 900) for number in range(20)]
    for task in made[::3]:
        task.output.keep()
    session.submit()
    check(session, strict, made)
    assert strict.submits == 10 or strict.submits == 11
    assert max(server.sizes) <= PART
    # A configuration that many have goes once a part.
    before = strict.submits
    made += [function(b"x" * 900) for _ in range(30)]
    session.submit()
    check(session, strict, made)
    assert strict.submits == before + 1


def test_chains_over_parts(session: Session, strict: StrictSession, server: StrictServer) -> None:
    """What a later part reads is kept meanwhile, and freed afterwards."""
    first = function(blob("start"), b"0" * 900)
    made = [first]
    for number in range(1, 12):
        made.append(function(made[-1], first.output, bytes([number]) * 900))
    made[5].output.keep()
    session.submit()
    check(session, strict, made)
    assert strict.submits > 4
    freed = [number for body in server.bodies("unkeep") for number in numbers(body["objects"])]
    assert made[5].output._oid not in freed and first.output._oid in freed
    assert len(set(freed)) == len(freed)


def test_constants(session: Session, strict: StrictSession, server: StrictServer, monkeypatch: Any) -> None:
    """They go with the first task that needs them; those that nobody needs go, too; large ones are uploaded."""
    monkeypatch.setattr("rain.client.submit.INLINE_CONSTANT", 600)
    shared = blob(b"s" * 500)
    alone = [blob(bytes([number]) * 400) for number in range(9)]
    for constant in alone:
        constant.keep()
    own = [blob(bytes([number]) * (500 + number * 20)) for number in range(10)]
    made = [tasks.Concat([constant, shared]) for constant in own]
    # More than fits into one part.
    whole = tasks.Concat([blob(bytes([number]) * 599) for number in range(20)])
    session.submit()
    assert (session.task_count, session.dataobj_count) == (0, 0)
    session.client.status()
    assert strict.kept == {constant._oid for constant in alone}
    assert strict.contents[shared._oid] == b"s" * 500
    assert [strict.contents[constant._oid] for constant in alone] == [bytes([n]) * 400 for n in range(9)]
    assert [strict.contents[constant._oid] for constant in own] == [bytes([n]) * (500 + n * 20) for n in range(10)]
    assert [inputs_of(task) for task in [*made, whole]] == strict.inputs
    assert [strict.contents[number] for number in inputs_of(whole)] == [bytes([n]) * 599 for n in range(20)]
    assert max(server.sizes) <= PART
    assert len(server.bodies("upload")) == 4
    assert alone[3].fetch().get_bytes() == bytes([3]) * 400


def test_many_kinds_and_attributes(session: Session, strict: StrictSession, server: StrictServer) -> None:
    made = []
    for number in range(12):
        task = remote()(eval(f"lambda ctx: {number}"))()
        task.spec.user["text"] = "x" * 500
        made.append(task)
    session.submit()
    check(session, strict, made)
    assert len(strict.kinds) == 12 and strict.submits > 4
    assert sorted(strict.users) == list(range(12))
    assert all(task.spec.id == task.id for task in made)


def test_one_task_that_is_too_large(session: Session, strict: StrictSession, monkeypatch: Any) -> None:
    monkeypatch.setattr("rain.client.submit.MAX_FRAME", 10_000)
    made = [function(bytes([number]) * 900) for number in range(5)]
    function(b"x" * 20_000)
    with pytest.raises(
        RainException, match=r"task 'function' .* without its inputs, which is more than a server takes"
    ):
        session.submit()
    # Nothing was submitted.
    assert (strict.submits, session.task_count, made[0].id) == (0, 6, None)


def test_random_graphs(client: Client, server: StrictServer) -> None:
    for seed in range(60):
        choose = random.Random(seed)
        with client.new_session() as session:
            strict = server.open[session.session_id]
            made: list[Task] = []
            objects: list[DataObject] = []
            expected: dict[int, bytes] = {}
            for _ in range(choose.randrange(1, 3)):
                new: list[Task] = []
                for _ in range(choose.randrange(60)):
                    if choose.random() < 0.3:
                        content = choose.randbytes(choose.choice([0, 10, 300, 1500, 2500]))
                        objects.append(blob(content))
                        expected[id(objects[-1])] = content
                    chosen = choose.sample(objects, min(len(objects), choose.randrange(4)))
                    chosen = [item for item in chosen if item._oid < 0 or item.is_kept()]
                    size = choose.choice([0, 0, 5, 400, 1200])
                    new.append(function(*chosen, choose.randbytes(size)))
                    objects.append(new[-1].output)
                    if choose.random() < 0.3:
                        objects[-1].keep()
                kept = [constant for constant in objects if id(constant) in expected and constant._oid < 0]
                for constant in kept[::2]:
                    constant.keep()
                session.submit()
                made += new
            assert (session.task_count, session.dataobj_count) == (0, 0)
            assert [inputs_of(task) for task in made] == strict.inputs
            assert [task._id for task in made] == list(range(len(made)))
            client.status()
            assert strict.kept == {item._oid for item in objects if item.is_kept()}, seed
            for item in objects:
                if id(item) in expected:
                    assert strict.contents[item._oid] == expected[id(item)]
        # A whole constant may go with a task that fills a part.
        assert max(server.sizes) <= 2 * PART


def large_chain() -> list[Task]:
    made = [function(b"0" * 900)]
    for number in range(1, 6):
        made.append(function(made[0], made[-1], bytes([number]) * 900))
    made[-1].output.keep()
    return made


@pytest.mark.parametrize("how", ["again", "discard"])
def test_a_later_part_that_is_refused(session: Session, strict: StrictSession, server: StrictServer, how: str) -> None:
    made = large_chain()

    def submit(body: dict[str, Any]) -> dict[str, Any]:
        if strict.submits == 2:
            raise Refuse("request", "not this one")
        return server._submit(body)

    server.answers["submit"] = submit
    with pytest.raises(RainException, match="not this one"):
        session.submit()
    done = strict.tasks
    assert 0 < done < len(made)
    assert [task.id is not None for task in made] == [number < done for number in range(len(made))]
    assert session.task_count == len(made) - done
    # What the rest needs is still there.
    assert made[0].output._oid in strict.kept
    del server.answers["submit"]
    if how == "again":
        session.submit()
        check(session, strict, made)
        assert made[-1].output.fetch().get_bytes() == b"%d" % made[-1].output._oid
    else:
        session.discard()
        session.client.status()
        assert strict.kept == set() and session._held == set()
        session.submit()
        assert (strict.tasks, session.task_count) == (done, 0)


def test_interrupts_between_parts(client: Client, server: StrictServer) -> None:
    """What has an id is submitted, the rest is there for the next submit, and what is held is freed in the end."""
    state: dict[str, Any] = {}

    def prepare() -> Any:
        session = state["session"] = client.new_session()
        with session.bind_only():
            state["made"] = large_chain()
        return session.submit

    for interrupter in everywhere(prepare, step=7):
        session, made, place = state["session"], state["made"], interrupter.place
        strict = server.open[session.session_id]
        assert strict.tasks == sum(task.id is not None for task in made), place
        assert session.task_count == len(made) - strict.tasks, place
        session.submit()
        check(session, strict, made)
        session.close()
