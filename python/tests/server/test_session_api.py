"""What sessions offer for many tasks at once, in plain code and in asyncio."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from real_server import RainServer

from rain.client import (
    Client,
    Output,
    RainException,
    RainTimeout,
    RainWarning,
    Session,
    Task,
    TaskException,
    as_completed,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)
from rain.common import DataInstance


def square(number: int) -> int:
    return number * number


@remote(outputs=2)
def both(ctx: Any, value: Any) -> Any:
    return value, "text"


def test_map_and_gather(session: Session, tmp_path: Path) -> None:
    squares = session.map(square, range(100), keep=True)
    assert all(task.output.is_kept for task in squares) and session.tasks == squares
    assert session.gather(squares) == [number * number for number in range(100)]
    # What gather() has kept itself is freed.
    (tmp_path / "f").write_text("x")
    pair, constant, folder = both(b"bytes"), pickled({"a": 1}), directory(tmp_path)
    values = session.gather([pair, constant, folder, squares[3], constant])
    assert values[:2] == [[b"bytes", "text"], {"a": 1}] and values[3:] == [9, {"a": 1}]
    assert isinstance(values[2], DataInstance)
    assert not pair.outputs[0].is_kept and not constant.is_kept and squares[3].output.is_kept
    assert session.gather([]) == []
    with pytest.raises(RainException, match="Only kept objects can be fetched"):
        session.gather([pair])
    assert session.gather([tasks.Noop([], 0)]) == [[]]
    marked = tasks.Concat([blob("x")], output=Output("m", content_type="user/own"))
    assert session.gather(marked) == [b"x"]


def test_fetch_many(session: Session) -> None:
    large = bytes(range(256)) * (40 << 10)
    objects = [blob(b"%d" % number) for number in range(1500)] + [blob(large)]
    for item in objects:
        item.keep()
    task = tasks.Concat(objects[:3])
    task.output.keep()
    session.submit()
    fetched = session.fetch([*objects, task])
    assert [data.get_bytes() for data in fetched[:1500]] == [b"%d" % number for number in range(1500)]
    assert fetched[1500].get_bytes() == large and fetched[1501].get_bytes() == b"012"
    assert session.fetch(task).get_bytes() == b"012" and session.fetch([]) == []
    assert task.state == "finished" and objects[0].info.size == 1


def test_fetch_many_fails_as_one_does(session: Session) -> None:
    slow, failing = tasks.Sleep(blob("x"), 100.0), tasks.Execute("false", stdout=True)
    for task in (slow, failing):
        task.output.keep()
    ready = tasks.Concat([])
    ready.output.keep()
    session.submit()
    with pytest.raises(TaskException, match="status 1"):
        session.fetch([ready, slow, failing])


def test_fetch_many_in_time(session: Session) -> None:
    ready, slow = tasks.Concat([blob("a")]), tasks.Sleep(blob("x"), 100.0)
    for task in (ready, slow):
        task.output.keep()
    session.submit()
    with pytest.raises(RainTimeout):
        session.fetch([ready, slow], timeout=0.05)
    with pytest.raises(RainTimeout):
        session.gather([ready, slow], timeout=0.05)
    with pytest.raises(RainTimeout):
        slow.fetch_outputs(timeout=0.05)
    assert session.gather([ready]) == [b"a"]
    slow.cancel()


def test_update_all(session: Session) -> None:
    made = [tasks.Concat([blob("a")]) for _ in range(3)]
    session.submit()
    session.wait_all()
    assert all(task.info.governor is None for task in made)
    session.update()
    assert [task.info.governor for task in session.tasks] == [0, 0, 0]
    tasks.Noop()
    assert len(session.tasks) == 4
    session.discard()


def test_kept_in_both_spellings(session: Session) -> None:
    item = blob("x")
    assert not item.is_kept and not item.is_kept() and item.is_kept == False  # noqa: E712
    item.keep()
    assert item.is_kept and item.is_kept() and repr(item.is_kept) == "True" and item.is_kept != item.task


def test_asyncio(server: RainServer) -> None:
    async def run() -> list[str]:
        found = []
        async with Client("localhost", server.port) as client:
            async with client.new_session() as session:
                assert session.active
                slow, quick = tasks.Sleep(blob("s"), 0.2, name="slow"), tasks.Concat([blob("q")], name="quick")
                session.submit()
                async for task in session.as_completed():
                    assert isinstance(task, Task) and task.state == "finished"
                    found.append(task.name)
                async for task in as_completed([slow, quick]):
                    found.append(task.name)
                async for _ in session.as_completed([]):
                    raise AssertionError("nothing was asked for")
                stuck = tasks.Sleep(blob("s"), 100.0)
                session.submit()
                with pytest.raises(RainTimeout):
                    async for task in session.as_completed([stuck], timeout=0.05):
                        raise AssertionError(task)
            assert session.closed and not session.active
            with pytest.warns(RainWarning, match="never submitted"):
                async with client.new_session():
                    tasks.Noop()
        assert client.closed
        return found

    assert asyncio.run(run()) == ["quick", "slow", "slow", "quick"]


def test_asyncio_sessions_side_by_side(server: RainServer) -> None:
    async def job(client: Client, number: int) -> bytes:
        async with client.new_session(f"job{number}") as session:
            await asyncio.sleep(0)
            task = tasks.Concat([blob(b"%d" % number)])
            assert task.session is session
            task.output.keep()
            session.submit()
            return (await task.output).get_bytes()

    async def run() -> list[bytes]:
        async with Client("localhost", server.port) as client:
            return await asyncio.gather(*(job(client, number) for number in range(5)))

    assert asyncio.run(run()) == [b"0", b"1", b"2", b"3", b"4"]


class Number:
    """As NumPy's are: not one of Python's, and convertible."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return float(self.value)


class Whole(Number):
    def __index__(self) -> int:
        return int(self.value)


@remote(outputs=Output(encode="json"))
def numbers(ctx: Any) -> Any:
    ctx.info.user["n"] = [Whole(1), Number(0.5)]
    return {"a": Whole(2), "b": [Number(1.5)]}


def test_numbers_of_other_packages(session: Session) -> None:
    task = numbers()
    task.spec.user["n"] = Whole(7)
    task.output.keep()
    constant = blob([Whole(3)], encode="json")
    constant.keep()
    session.submit()
    assert task.output.fetch().load() == {"a": 2, "b": [1.5]} and constant.fetch().load() == [3]
    task.update()
    assert task.info.user == {"n": [1, 0.5]}
    assert task.spec.config == {"args": []} and both(1).spec.config == {"args": [1]}
    assert both(constant).spec.config == {"args": ["input 0"]} and "pickled" in both([]).spec.config["args"]
    session.discard()
