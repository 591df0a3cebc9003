"""Governors that are killed: what they had runs elsewhere, and what only they held is made again where it is needed."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_graphs import check_random_graphs
from real_cluster import Cluster, governors, joined, new_cluster, wait_until

from rain.client import Client, Session, Task, remote

GRAPHS = 4
# Graphs under kills, in sets of GRAPHS.
SEEDS = range(max(2, int(os.environ.get("RAIN_STRESS_GRAPHS", "0")) // GRAPHS))
# One that has closed its connection is lost after a sixth of it, seconds.
TIMEOUT = "--governor-timeout=6"


@remote()
def note(ctx: Any, path: str, *inputs: Any) -> bytes:
    """What was read, and one more; ``path`` has a line for each run, which says where it was."""
    with open(path, "a") as file:
        file.write(f"{ctx.info.governor}\n")
    return bytes([1 + sum(data.get_bytes()[0] for data in inputs)])


@remote()
def hold(ctx: Any, path: str, *inputs: Any) -> bytes:
    """Runs as long as ``path`` is there."""
    with open(path + ".begun", "a") as file:
        file.write(f"{ctx.info.governor}\n")
    while Path(path).exists():
        pass
    return bytes(inputs[0].get_bytes()) if inputs else b""


def runs(path: Path) -> list[int]:
    """The governors on which a task has run, in order."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []


class Running:
    """A cluster whose governors can be killed."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        cluster.serve(options=(TIMEOUT,))
        self.cluster = cluster
        self.engines: dict[int, int] = {}
        self.next = 0
        for _ in range(count):
            self.start()
        self.client = joined(cluster, count)

    def start(self) -> int:
        number = self.next
        self.next += 1
        self.engines[number] = self.cluster.govern()
        return number

    def kill(self, number: int) -> None:
        os.kill(self.engines.pop(number), signal.SIGKILL)

    def lose(self, *numbers: int) -> None:
        """Kill governors, and wait until the server knows."""
        for number in numbers:
            self.kill(number)
        wait_until(lambda: governors(self.client) == sorted(self.engines))


@pytest.fixture
def bare_cluster() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        yield cluster


def kept(*made: Task) -> None:
    for task in made:
        task.output.keep()


def test_a_task_that_was_running_runs_elsewhere(bare_cluster: Cluster, tmp_path: Path) -> None:
    running = Running(bare_cluster, 1)
    gate = tmp_path / "gate"
    gate.touch()
    with running.client.new_session() as session:
        task = hold(str(gate), note(str(tmp_path / "made")))
        kept(task)
        session.submit()
        wait_until(lambda: runs(tmp_path / "gate.begun") == [0])
        # Nobody is left: work waits for the next one.
        running.lose(0)
        gate.unlink()
        running.start()
        assert task.output.fetch().get_bytes() == b"\x01"
        assert (runs(tmp_path / "gate.begun"), runs(tmp_path / "made")) == ([0, 1], [0, 1])
        session.wait_all()


def chain(session: Session, directory: Path, length: int) -> list[Task]:
    made: list[Task] = []
    for number in range(length):
        made.append(note(str(directory / str(number)), *made[-1:]))
    return made


def test_what_is_needed_is_made_again_through_any_depth(bare_cluster: Cluster, tmp_path: Path) -> None:
    running = Running(bare_cluster, 1)
    with running.client.new_session() as session:
        made = chain(session, tmp_path, 10)
        aside = note(str(tmp_path / "aside"))
        fetched = note(str(tmp_path / "fetched"), made[4])
        kept(made[-1], fetched)
        session.submit()
        session.wait_all()
        assert fetched.output.fetch().get_bytes() == b"\x06"
        running.start()
        running.lose(0)
        # Nobody has asked for it yet; waits that were answered stay so.
        session.wait_all()
        aside.wait()
        assert made[-1].output.fetch().get_bytes() == b"\x0a"
        assert [runs(tmp_path / str(number)) for number in range(10)] == [[0, 1]] * 10
        # Nobody needs these.
        assert (runs(tmp_path / "aside"), runs(tmp_path / "fetched")) == ([0], [0])


def test_what_was_copied_is_not_made_again(bare_cluster: Cluster, tmp_path: Path) -> None:
    running = Running(bare_cluster, 2)
    with running.client.new_session() as session:
        source = note(str(tmp_path / "source"))
        readers = [hold(str(tmp_path / "gate"), source) for _ in range(2)]
        kept(source, *readers)
        (tmp_path / "gate").touch()
        session.submit()
        wait_until(lambda: sorted(runs(tmp_path / "gate.begun")) == [0, 1])
        (made_on,) = runs(tmp_path / "source")
        running.lose(made_on)
        (tmp_path / "gate").unlink()
        for task in [source, *readers]:
            assert task.output.fetch().get_bytes() == b"\x01"
        assert runs(tmp_path / "source") == [made_on]


def test_a_session_goes_on_with_a_lost_object_that_was_fetched(bare_cluster: Cluster, tmp_path: Path) -> None:
    running = Running(bare_cluster, 1)
    with running.client.new_session() as session:
        made = chain(session, tmp_path, 3)
        kept(made[-1])
        session.submit()
        assert made[-1].output.fetch().get_bytes() == b"\x03"
        running.start()
        running.lose(0)
        # It is needed again now.
        reader = note(str(tmp_path / "reader"), made[-1])
        kept(reader)
        session.submit()
        assert reader.output.fetch().get_bytes() == b"\x04"
        assert runs(tmp_path / "0") == [0, 1]


# Without an end of the kills, a graph may never get far enough: what is made is lost before it is fetched.
KILLS_MAX = 12


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs_while_governors_are_killed(bare_cluster: Cluster, seed: int) -> None:
    running = Running(bare_cluster, 3)
    draw = random.Random(seed)
    over = threading.Event()
    kills = 0

    def kill_some() -> None:
        nonlocal kills
        while kills == 0 or (kills < KILLS_MAX and not over.wait(draw.uniform(0.05, 1))):
            for _ in range(2 if draw.random() < 0.3 else 1):
                running.kill(draw.choice(sorted(running.engines)))
                kills += 1
            while len(running.engines) < 3:
                running.start()

    killer = threading.Thread(target=kill_some)
    killer.start()
    try:
        check_random_graphs(running.client, 5000 + 100 * seed, GRAPHS)
    finally:
        over.set()
        killer.join()
    assert kills > 0


def test_a_client_elsewhere_gets_what_was_lost(bare_cluster: Cluster, tmp_path: Path) -> None:
    running = Running(bare_cluster, 1)
    client: Client = running.cluster.client_elsewhere()
    with client.new_session() as session:
        made = chain(session, tmp_path, 2)
        kept(*made)
        session.submit()
        session.wait_all()
        running.lose(0)
        running.start()
        assert [task.output.fetch().get_bytes() for task in made] == [b"\x01", b"\x02"]
