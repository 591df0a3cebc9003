"""A server and governors in processes of their own, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from real_server import PROGRAM, skip_without_program

from rain.client import Client

# Against hanging only.
PATIENCE = 60.0


class Cluster:
    """A server and governors, each a program in the foreground, maybe in a network namespace."""

    def __init__(self, runtime: Path, stack: ExitStack) -> None:
        self.runtime = runtime
        self.stack = stack
        self.work = runtime / "work"
        self.port = 0
        self.server_engine = 0
        self.processes: list[subprocess.Popen[str]] = []
        self.access = runtime / "access"

    def start(self, *arguments: str, namespace: str | None = None) -> int:
        """Start a program; the pid of the process that does the work, once it is ready."""
        enter = ["ip", "netns", "exec", namespace] if namespace else []
        number = len(self.processes)
        directories = [f"--logdir={self.runtime / 'logs'}", f"--workdir={self.work / str(number)}"]
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

    def serve(
        self, address: str = "127.0.0.1", namespace: str | None = None, port: int = 0, options: tuple[str, ...] = ()
    ) -> None:
        listen = f"--listen={address}:{port}"
        self.server_engine = self.start("server", listen, f"--access={self.access}", *options, namespace=namespace)
        (found,) = (self.runtime / "run").glob("server-*")
        self.port = int(found.name.rpartition("-")[2])

    def govern(
        self, address: str = "127.0.0.1", cpus: int = 1, namespace: str | None = None, options: tuple[str, ...] = ()
    ) -> int:
        common = (f"--access={self.access}", f"--cpus={cpus}", "--no-pin")
        return self.start("governor", f"{address}:{self.port}", *common, *options, namespace=namespace)

    def client(self) -> Client:
        return self.stack.enter_context(Client("localhost", self.port))

    def client_elsewhere(self) -> Client:
        """A client as on another machine."""
        return self.stack.enter_context(Client("127.0.0.1", self.port, access=str(self.access_elsewhere())))

    def access_elsewhere(self) -> Path:
        """An access file as on another machine: its client comes over TLS, for there is no such socket."""
        access = json.loads(self.access.read_text())
        access["socket"] = str(self.runtime / "elsewhere")
        path = self.runtime / "access-elsewhere"
        path.touch(mode=0o600)
        path.write_text(json.dumps(access))
        return path


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def new_cluster() -> Iterator[Cluster]:
    skip_without_program()
    # Unix sockets have short paths; the directories of pytest are long ones.
    with tempfile.TemporaryDirectory(prefix="rain-cluster-") as path, pytest.MonkeyPatch.context() as patch:
        runtime = Path(path)
        patch.setenv("RAIN_RUNTIME_DIR", str(runtime / "run"))
        with ExitStack() as stack:
            cluster = Cluster(runtime, stack)
            yield cluster
        assert not list((runtime / "run").iterdir())
        assert not [left for work in cluster.work.iterdir() for left in work.iterdir()]


def governors(client: Client) -> list[int]:
    return [governor["id"] for governor in client.status()["governors"]]


def joined(cluster: Cluster, count: int) -> Client:
    client = cluster.client()
    wait_until(lambda: len(governors(client)) == count)
    return client


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def new_hosts() -> Iterator[list[str]]:
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
