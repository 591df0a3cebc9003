"""Each process of a cluster killed in turn: who notices, with which error, and that nothing stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from real_cluster import PATIENCE, Cluster, governors, joined, wait_until
from real_server import until_dead

from rain.client import Client, RainException, TaskException, blob, remote, tasks


@remote()
def hang(ctx: Any, path: str) -> bytes:
    draft = Path(path + ".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(path)
    time.sleep(10 * PATIENCE)
    return b""


@remote()
def answer(ctx: Any) -> bytes:
    return b"42"


def works(client: Client) -> bool:
    with client.new_session() as session:
        task = answer()
        task.output.keep()
        session.submit()
        return task.output.fetch().get_bytes() == b"42"


def written(path: Path) -> int:
    wait_until(path.exists)
    return int(path.read_text())


class Running:
    """A cluster with one governor, on which a task hangs."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster = cluster
        self.governor_engine = cluster.govern()
        self.client = joined(cluster, 1)
        cluster.stack.enter_context(contextlib.suppress(RainException))
        session = cluster.stack.enter_context(self.client.new_session())
        self.path = path
        self.task = hang(str(path))
        self.task.output.keep()
        session.submit()
        self.executor = written(path)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def has_failed(self, error: type[Exception], message: str) -> None:
        """Everybody who waits is told, before the task would have ended, and nothing runs any more."""
        with pytest.raises(error, match=message):
            self.task.wait()
        until_dead(self.executor)

    def has_ended(self, number: int) -> None:
        self.cluster.processes[number].wait(PATIENCE)


@pytest.fixture
def running(cluster: Cluster, tmp_path: Path) -> Running:
    return Running(cluster, tmp_path / "pid")


def test_the_servers_engine(running: Running) -> None:
    running.kill(running.cluster.server_engine)
    running.has_failed(RainException, "closed the connection|broke")
    running.has_ended(0)
    running.has_ended(1)


def test_the_servers_supervisor(running: Running) -> None:
    running.kill(running.cluster.processes[0].pid)
    running.has_failed(RainException, "closed the connection|broke")
    running.has_ended(1)
    until_dead(running.cluster.server_engine)
    # Nobody is left that could remove its directories; the next server on this port does.
    running.cluster.serve(port=running.cluster.port)


@pytest.mark.parametrize("which", ["engine", "supervisor"])
def test_a_governor(running: Running, which: str) -> None:
    is_engine = which == "engine"
    running.kill(running.governor_engine if is_engine else running.cluster.processes[1].pid)
    until_dead(running.executor)
    running.has_ended(1)
    wait_until(lambda: governors(running.client) == [])
    # Its task waits for another one, and the next governor of this user removes what the supervisor could not.
    running.path.unlink()
    running.cluster.govern(cpus=2)
    assert written(running.path) != running.executor
    assert governors(running.client) == [1]
    assert works(running.client)


def test_an_executor(running: Running) -> None:
    running.kill(running.executor)
    running.has_failed(TaskException, '(?s)executor "py".*(SIGKILL|signal 9)')
    assert governors(running.client) == [0]
    assert works(running.client)


SCRIPT = """
import sys
from test_killed import hang
from rain.client import Client
with Client(sys.argv[1], int(sys.argv[2]), access=sys.argv[3] or None) as client, client.new_session() as session:
    hang(sys.argv[4])
    session.submit()
    session.wait_all()
"""


@pytest.mark.parametrize("way", ["socket", "tls"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_client(cluster: Cluster, tmp_path: Path, way: str, how: signal.Signals) -> None:
    cluster.govern(cpus=2)
    client = joined(cluster, 1)
    access = str(cluster.access_elsewhere()) if way == "tls" else ""
    arguments = ["127.0.0.1", str(cluster.port), access, str(tmp_path / "pid")]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    script = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env={**os.environ, "PYTHONPATH": path})
    try:
        executor = written(tmp_path / "pid")
        assert len(client.status()["sessions"]) == 1
        script.send_signal(how)
        if how == signal.SIGSTOP:
            # It is there, however slow it may be.
            assert works(client)
            assert len(client.status()["sessions"]) == 1
            script.kill()
        wait_until(lambda: not client.status()["sessions"])
        until_dead(executor)
    finally:
        script.kill()
        script.wait(PATIENCE)
    assert works(client)


def test_a_client_that_disappears_ends_its_sessions(cluster: Cluster) -> None:
    cluster.govern()
    client = joined(cluster, 1)
    other = Client("localhost", cluster.port)
    with contextlib.suppress(RainException), other.new_session() as session:
        tasks.Sleep(blob(b"x"), PATIENCE)
        session.submit()
        assert len(client.status()["sessions"]) == 1
        other.close()
    wait_until(lambda: not client.status()["sessions"])
    assert works(client)
