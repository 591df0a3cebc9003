"""Fixtures for tests with the real program."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rain.client import Client, Session

PROGRAM = Path(os.environ.get("RAIN_BIN", Path(__file__).parents[3] / "target" / "release" / "rain"))


class RainServer:
    """A running server: where it listens, and where it keeps its files."""

    def __init__(self, runtime: Path, *options: str) -> None:
        self.runtime = runtime
        self.environment = {**os.environ, "RAIN_RUNTIME_DIR": str(runtime)}
        workdir = runtime / "work"
        workdir.mkdir()
        command = ["start", "--listen", "127.0.0.1:0", "--workdir", str(workdir), "--logdir", str(runtime / "logs")]
        started = self.rain(*command, *(options or ("--simple",)))
        assert started.returncode == 0, started.stdout + started.stderr
        (directory,) = runtime.glob("server-*")
        self.port = int(directory.name.rpartition("-")[2])

    def rain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program with this server's files."""
        return subprocess.run(
            [PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def stop(self) -> None:
        """Stop the server; nothing of it stays."""
        stopped = self.rain("stop", "--listen", f"127.0.0.1:{self.port}")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert not list(self.runtime.glob("server-*"))
        assert not list((self.runtime / "work").iterdir())


@pytest.fixture(scope="session")
def rain_server() -> Iterator[RainServer]:
    """One server for all tests of a process."""
    if not PROGRAM.exists():
        pytest.skip(f"There is no program {PROGRAM}; build it or set RAIN_BIN")
    # Unix sockets have short paths; the directories of pytest are long ones.
    runtime = Path(tempfile.mkdtemp(prefix="rain-test-"))
    previous = os.environ.get("RAIN_RUNTIME_DIR")
    os.environ["RAIN_RUNTIME_DIR"] = str(runtime)
    server = None
    try:
        server = RainServer(runtime, "--local-governors=[4]", "--no-pin")
        yield server
    finally:
        if server is not None:
            server.stop()
        if previous is None:
            del os.environ["RAIN_RUNTIME_DIR"]
        else:
            os.environ["RAIN_RUNTIME_DIR"] = previous
        shutil.rmtree(runtime)


@pytest.fixture
def client(rain_server: RainServer) -> Iterator[Client]:
    with Client("localhost", rain_server.port) as client:
        yield client


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session() as session:
        yield session


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
