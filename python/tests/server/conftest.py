"""Fixtures for tests with the real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gates import Gate
from real_cluster import Cluster, new_cluster, new_hosts
from real_server import RainServer, running_server

from rain.client import Session


@pytest.fixture(scope="session")
def server() -> Iterator[RainServer]:
    """One server for all tests of a process."""
    with running_server("--local-governors=[4]", "--no-pin") as server:
        yield server


@pytest.fixture
def fetch(session: Session):  # type: ignore[no-untyped-def]
    """Keeps the outputs of tasks, submits, and fetches them as bytes."""

    def fetch_tasks(*made):  # type: ignore[no-untyped-def]
        for task in made:
            task.keep_outputs()
        session.submit()
        results = [[instance.get_bytes() for instance in task.fetch_outputs()] for task in made]
        return results[0] if len(made) == 1 else results

    return fetch_tasks


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        cluster.serve()
        yield cluster


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    with new_hosts() as names:
        yield names


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)
