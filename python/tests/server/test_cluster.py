"""Server and governors in processes of their own: on loopback, and as hosts with addresses of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_server import PROGRAM

from rain.client import Client, RainException, SessionException, blob, remote, tasks

# Against hanging only.
PATIENCE = 60.0
LARGE = 5_000_000


@remote()
def make(ctx: Any, number: int) -> bytes:
    return bytes([number]) * LARGE


@remote()
def total(ctx: Any, *inputs: Any) -> str:
    return str(sum(data.get_bytes()[0] * (len(data.get_bytes()) == LARGE) for data in inputs))


class Cluster:
    """A server and governors, each a program in the foreground, maybe in a network namespace."""

    def __init__(self, runtime: Path, stack: ExitStack) -> None:
        self.runtime = runtime
        self.stack = stack
        self.port = 0
        self.processes: list[subprocess.Popen[str]] = []
        self.access = runtime / "access"

    def start(self, *arguments: str, namespace: str | None = None) -> int:
        """Start a program; the pid of the process that does the work, once it is ready."""
        enter = ["ip", "netns", "exec", namespace] if namespace else []
        number = len(self.processes)
        directories = [f"--logdir={self.runtime / 'logs'}", f"--workdir={self.runtime / 'work' / str(number)}"]
        process = subprocess.Popen(
            [*enter, str(PROGRAM), *arguments, *directories],
            env={**os.environ, "RAIN_RUNTIME_DIR": str(self.runtime / "run")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        self.stack.callback(self.end, process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "is ready" in line
        return int(line.rpartition("pid ")[2])

    def end(self, process: subprocess.Popen[str]) -> None:
        """End a program and wait until nothing of it is left."""
        process.terminate()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()

    def serve(self, address: str = "127.0.0.1", namespace: str | None = None, options: tuple[str, ...] = ()) -> None:
        self.start("server", f"--listen={address}:0", f"--access={self.access}", *options, namespace=namespace)
        (found,) = (self.runtime / "run").glob("server-*")
        self.port = int(found.name.rpartition("-")[2])

    def govern(self, address: str = "127.0.0.1", cpus: int = 1, namespace: str | None = None) -> int:
        access = f"--access={self.access}"
        return self.start(
            "governor", f"{address}:{self.port}", access, f"--cpus={cpus}", "--no-pin", namespace=namespace
        )

    def client(self) -> Client:
        return self.stack.enter_context(Client("localhost", self.port))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def new_cluster() -> Iterator[Cluster]:
    if not PROGRAM.exists():
        pytest.skip(f"There is no program {PROGRAM}; build it or set RAIN_BIN")
    # Unix sockets have short paths; the directories of pytest are long ones.
    with tempfile.TemporaryDirectory(prefix="rain-cluster-") as path, pytest.MonkeyPatch.context() as patch:
        runtime = Path(path)
        patch.setenv("RAIN_RUNTIME_DIR", str(runtime / "run"))
        with ExitStack() as stack:
            yield Cluster(runtime, stack)
        assert not list((runtime / "run").iterdir())
        assert not [left for work in (runtime / "work").iterdir() for left in work.iterdir()]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with new_cluster() as cluster:
        cluster.serve()
        yield cluster


def governors(client: Client) -> list[int]:
    return [governor["id"] for governor in client.status()["governors"]]


def joined(cluster: Cluster, count: int) -> Client:
    client = cluster.client()
    wait_until(lambda: len(governors(client)) == count)
    return client


def check_work(client: Client) -> set[Any]:
    """Objects of all kinds travel between governors, and to the client; where tasks ran."""
    with client.new_session() as session:
        makers = [make(number) for number in range(8)]
        sums = [total(*makers[first:]) for first in range(8)]
        tree = tasks.MakeDirectory([("a/b", makers[1]), ("c", blob(b"small"))])
        for task in [*sums, makers[3], tree]:
            task.keep_outputs()
        session.submit()
        for first, task in enumerate(sums):
            assert task.output.fetch().get_bytes() == str(sum(range(first, 8))).encode()
        assert makers[3].output.fetch().get_bytes() == b"\x03" * LARGE
        assert len(tree.output.fetch().get_bytes()) > LARGE
        session.update([*makers, *sums])
        return {task.info.governor for task in [*makers, *sums]}


def test_objects_travel(cluster: Cluster) -> None:
    for _ in range(2):
        cluster.govern()
    assert check_work(joined(cluster, 2)) == {0, 1}


def test_a_client_comes_over_tls(cluster: Cluster, tmp_path: Path) -> None:
    cluster.govern()
    joined(cluster, 1)
    access = json.loads(cluster.access.read_text())
    # As on another machine: there is no such socket.
    access["socket"] = str(tmp_path / "elsewhere")
    path = tmp_path / "access"
    path.touch(mode=0o600)
    path.write_text(json.dumps(access))
    with Client("127.0.0.1", cluster.port, access=str(path)) as client, client.new_session() as session:
        assert not client.local
        pieces = [blob(bytes([number]) * LARGE) for number in range(4)]
        task = tasks.Concat(pieces)
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_bytes() == b"".join(bytes([number]) * LARGE for number in range(4))
    path.chmod(0o644)
    with pytest.raises(RainException, match="open to other users"):
        Client("127.0.0.1", cluster.port, access=str(path))
    path.chmod(0o600)
    path.write_text(json.dumps({**access, "tls": {**access["tls"], "client": None}}))
    with pytest.raises(RainException, match="not one for clients"):
        Client("127.0.0.1", cluster.port, access=str(path))


def test_a_killed_governor_fails_its_sessions_and_no_others(cluster: Cluster) -> None:
    pid = cluster.govern()
    client = joined(cluster, 1)
    with client.new_session() as doomed:
        task = tasks.Sleep(blob(b"x"), PATIENCE)
        task.output.keep()
        doomed.submit()
        wait_until(lambda: client.status()["governors"][0]["tasks_unfinished"] == 1)
        cluster.govern()
        wait_until(lambda: len(governors(client)) == 2)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(SessionException, match="governor 0 was lost"):
            task.wait()
    assert governors(client) == [1]
    assert check_work(client) == {1}


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
    assert check_work(client) == {0}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Three network namespaces on one wire: the first is 10.77.0.1, the others 10.77.0.2 and 10.77.0.3."""
    names = [f"rain-{os.getpid()}-{number}" for number in range(3)]
    with ExitStack() as stack:
        try:
            for name in names:
                run("ip", "netns", "add", name)
                stack.callback(run, "ip", "netns", "del", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", names[0], "link", "add", "wire", "type", "bridge")
            run("ip", "-n", names[0], "addr", "add", "10.77.0.1/24", "dev", "wire")
            run("ip", "-n", names[0], "link", "set", "wire", "up")
            for number, name in enumerate(names[1:], 1):
                near = f"near{number}"
                peer = ("peer", "name", "far", "netns", name)
                run("ip", "-n", names[0], "link", "add", near, "type", "veth", *peer)
                run("ip", "-n", names[0], "link", "set", near, "master", "wire", "up")
                run("ip", "-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "far")
                run("ip", "-n", name, "link", "set", "far", "up")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("No network namespaces here")
        yield names


def test_hosts_with_addresses_of_their_own(hosts: list[str]) -> None:
    with new_cluster() as cluster:
        cluster.serve("10.77.0.1", hosts[0])
        for name in hosts[1:]:
            cluster.govern("10.77.0.1", namespace=name)
        client = joined(cluster, 2)
        assert check_work(client) == {0, 1}
        with client.new_session() as session:
            tasks_ = [tasks.Sleep(blob(b"x"), 2.0) for _ in range(2)]
            for task in tasks_:
                task.output.keep()
            session.submit()
            # A short cut while they run, during which nothing gets through.
            run("ip", "-n", hosts[0], "link", "set", "near2", "down")
            time.sleep(1.0)
            run("ip", "-n", hosts[0], "link", "set", "near2", "up")
            assert [task.output.fetch().get_bytes() for task in tasks_] == [b"x", b"x"]
        assert governors(client) == [0, 1]
        with client.new_session() as session:
            lost = [tasks.Sleep(blob(b"x"), PATIENCE) for _ in range(2)]
            session.submit()
            run("ip", "-n", hosts[0], "link", "set", "near2", "down")
            with pytest.raises(SessionException, match="was lost"):
                lost[0].wait()
        assert len(governors(client)) == 1
        check_work(client)
