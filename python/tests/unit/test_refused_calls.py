"""Calls of an executor go to the server without waiting for what it says; what it refuses all the same is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_server import numbers
from strict_server import StrictServer

from rain.client import BrokenExecutor, Client

PATIENCE_S = 30


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictServer]:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    server = StrictServer(tmp_path)
    yield server
    server.close()


def test_a_refused_call_breaks_the_executor(server: StrictServer) -> None:
    with Client("localhost", 7999) as client, client.executor() as executor:
        # The first one makes the kind known, and is waited for.
        assert executor.submit(pow, 2, 3).exception(PATIENCE_S) is not None
        server.refuse_submit = "no more of these"
        refused = executor.submit(pow, 2, 3)
        with pytest.raises(BrokenExecutor, match="no more of these"):
            refused.result(PATIENCE_S)
        with pytest.raises(BrokenExecutor, match="no more of these"):
            executor.submit(pow, 2, 3)
        assert len(server.bodies("submit")) == 2


def test_calls_and_their_results_go_in_groups(server: StrictServer) -> None:
    with Client("localhost", 7999) as client, client.executor() as executor:
        futures = [executor.submit(pow, number, 2) for number in range(50)]
        # This server's results are no outcomes of calls.
        assert all(future.exception(PATIENCE_S) is not None for future in futures)
        strict = server.open[executor.session.session_id]
        assert (strict.tasks, len(strict.kinds)) == (50, 1)
        # Those that are made while the answer to an earlier one is on its way go together, and so do their results.
        asked = [len(numbers(body["objects"])) for body in server.bodies("results")]
        assert sum(asked) == 50 and len(asked) == strict.submits
