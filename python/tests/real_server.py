"""A server that runs the real program, for tests."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rain.client import Client, blob, tasks

PROGRAM = Path(os.environ.get("RAIN_BIN", Path(__file__).parents[2] / "target" / "release" / "rain"))
PATIENCE_S = 30


def skip_without_program() -> None:
    """Skip the test that runs where the program was not built."""
    if not PROGRAM.exists():
        pytest.skip(f"There is no program {PROGRAM}; build it or set RAIN_BIN")


def until_dead(pid: int) -> None:
    """Wait until a process that is ending is gone or waits to be reaped."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor of a process can be read once that has ended.
        ended, _, _ = select.select([descriptor], [], [], PATIENCE_S)
    finally:
        os.close(descriptor)
    if not ended:
        raise TimeoutError(pid)


def works(client: Client) -> bool:
    """Whether its server still does what it is asked."""
    with client.new_session() as session:
        joined = tasks.Concat([blob("still "), blob("here")])
        joined.output.keep()
        session.submit()
        return joined.output.fetch().get_bytes() == b"still here"


class RainServer:
    """A running server: where it listens, and where it keeps its files."""

    def __init__(self, runtime: Path, *options: str, address: str, workdir: Path | None = None) -> None:
        self.runtime = runtime
        self.environment = {**os.environ, "RAIN_RUNTIME_DIR": str(runtime)}
        self.workdir = workdir or runtime / "work"
        self.workdir.mkdir(exist_ok=True)
        command = [
            "start",
            "--listen",
            f"{address}:0",
            "--workdir",
            str(self.workdir),
            "--logdir",
            str(runtime / "logs"),
        ]
        started = self.rain(*command, *(options or ("--simple",)))
        assert started.returncode == 0, started.stdout + started.stderr
        self.announcement = started.stdout
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
        assert not list(self.workdir.iterdir())


@contextlib.contextmanager
def runtime_directory() -> Iterator[Path]:
    """A directory for a ``with`` block, in which clients of this process look for servers."""
    # Unix sockets have short paths; the directories of pytest are long ones.
    with tempfile.TemporaryDirectory(prefix="rain-test-") as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAIN_RUNTIME_DIR", path)
        yield Path(path)


@contextlib.contextmanager
def running_server(*options: str, address: str = "127.0.0.1", workdir: Path | None = None) -> Iterator[RainServer]:
    """A server for a ``with`` block, which clients of this process find by its port."""
    skip_without_program()
    with runtime_directory() as runtime:
        server = RainServer(runtime, *options, address=address, workdir=workdir)
        try:
            yield server
        finally:
            server.stop()
