"""Several local governors: work is shared, objects go where they are needed, wide tasks find room."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from real_server import RainServer, running_server

from rain.client import Client, RainException, blob, remote, tasks


@pytest.fixture(scope="module")
def server() -> Iterator[RainServer]:
    with running_server("--local-governors=[1,1,2]", "--no-pin") as server:
        yield server


@pytest.mark.parametrize("seed", range(4))
def test_random_graph(client: Client, seed: int) -> None:
    """Each object is what its inputs make it, wherever they were made; dropped ones were dropped only after use."""
    draw = random.Random(seed)
    with client.new_session() as session:
        made: list[tuple[Any, bytes]] = []
        for number in range(draw.randint(1, 6)):
            content = str(number).encode() * draw.choice([1, 10, 30_000])
            made.append((blob(content), content))
        for _ in range(draw.randint(50, 300)):
            inputs = [draw.choice(made) for _ in range(draw.randint(1, 4))]
            content = b"".join(value for _, value in inputs)
            if len(content) > 1 << 20:
                continue
            made.append((tasks.Concat([task for task, _ in inputs]), content))
        kept = [pair for pair in made if draw.random() < 0.2 and hasattr(pair[0], "output")]
        for task, _ in kept:
            task.output.keep()
        session.submit()
        for task, content in kept:
            assert task.output.fetch().get_bytes() == content
        session.wait_all()


def test_all_governors_work(client: Client) -> None:
    before = {g["id"]: g["tasks_finished"] for g in client.status()["governors"]}
    with client.new_session() as session:
        for _ in range(3000):
            tasks.Noop()
        session.submit()
        session.wait_all()
    after = {g["id"]: g["tasks_finished"] for g in client.status()["governors"]}
    assert sum(after.values()) - sum(before.values()) == 3000
    assert all(after[number] > before[number] for number in after)


def test_wide_tasks_go_where_they_fit(client: Client) -> None:
    @remote(cpus=2)
    def where(ctx: Any) -> str:
        return str(ctx.info.governor)

    with client.new_session() as session:
        wide = [where() for _ in range(4)]
        for task in wide:
            task.output.keep()
        session.submit()
        governors = {g["id"]: g["cpus"] for g in client.status()["governors"]}
        for task in wide:
            assert governors[int(task.output.fetch().get_bytes())] == 2
    with client.new_session() as session:
        tasks.Execute("true", cpus=3)
        with pytest.raises(RainException, match="3 cpus, but the largest governor has 2"):
            session.submit()


def test_large_object_read_everywhere(client: Client) -> None:
    @remote()
    def size_there(ctx: Any, data: Any) -> str:
        return f"{len(data.get_bytes())} {ctx.info.governor}"

    with client.new_session() as session:
        large = tasks.Execute("head -c 3000000 /dev/zero", stdout=True)
        readers = [size_there(large) for _ in range(32)]
        for task in readers:
            task.output.keep()
        session.submit()
        seen = [task.output.fetch().get_str().split() for task in readers]
        assert {size for size, _ in seen} == {"3000000"}


def test_tasks_of_an_older_submit_come_later(client: Client) -> None:
    """A governor may be given tasks of a newer submit before the first one of an older submit."""
    with client.new_session() as session:
        slow = tasks.Execute("sleep 0.2")
        made = [tasks.Execute(["printf", "%s", str(number)], stdout=True) for number in range(40)]
        session.submit()
        made += [tasks.Execute(["printf", "%s", str(number)], stdout=True) for number in range(40, 80)]
        late = tasks.Concat(made[40:])
        late.output.keep()
        session.submit()
        session.wait_all()
        slow.update()
        assert slow.state == "finished"
        assert late.output.fetch().get_bytes() == "".join(map(str, range(40, 80))).encode()
