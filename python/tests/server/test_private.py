"""`Client()` without an address: a server of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from real_server import PROGRAM, runtime_directory

from rain.client import Client, ConnectionLost, Executor, RainException, blob, tasks
from rain.client import base_client as client_module

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"There is no program {PROGRAM}")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RAIN_BIN", str(PROGRAM))
    with runtime_directory() as directory:
        yield directory


def work(client: Client) -> bytes:
    with client.new_session() as session:
        task = tasks.Concat([blob("at "), blob("work")])
        task.output.keep()
        session.submit()
        return task.output.fetch().get_bytes()


def test_private_server(runtime: Path) -> None:
    with Client(cpus=2) as client, Client(cpus=2) as other:
        assert client.status()["pid"] == other.status()["pid"]
        assert "private server" in repr(client)
        (directory,) = runtime.iterdir()
        assert (directory / "server.log").exists()
        assert work(client) == b"at work"
        client.close()
        assert work(other) == b"at work"
    assert list(runtime.iterdir()) == []
    with Client(cpus=1) as again:
        assert work(again) == b"at work"
    assert list(runtime.iterdir()) == []


def test_executor_with_a_private_server(runtime: Path) -> None:
    with Executor() as executor:
        assert list(executor.map(pow, [2, 3], [5, 2])) == [32, 9]
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(0)"])
def test_the_server_ends_with_its_process(runtime: Path, end: str) -> None:
    script = """
    import os, signal
    from rain.client import Client, tasks, blob
    client = Client(cpus=1)
    session = client.new_session(default=True)
    tasks.Execute("sleep 600")
    session.submit()
    print(client.status()["pid"], client._private._process.pid, flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script) + end], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.read().split()]
        process.wait()
    assert len(pids) == 2
    for pid in pids:
        wait_for_end(pid)
    assert list(runtime.iterdir()) == []
    assert not list(Path("/dev/shm").glob(f"rain-*-{pids[1]}-*"))


def wait_for_end(pid: int) -> None:
    import select

    try:
        end = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([end], [], [], 20)[0], f"process {pid} is still there"
    finally:
        os.close(end)


def test_interrupt_in_the_terminal(runtime: Path) -> None:
    """A Ctrl-C goes to all processes of a terminal; the private server is not among them."""
    script = """
    import os, signal
    from rain.client import Client, tasks, blob
    client = Client(cpus=1)
    try:
        os.killpg(0, signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        pass
    with client.new_session() as session:
        task = tasks.Concat([blob("still here")])
        task.output.keep()
        session.submit()
        print(task.output.fetch().get_str())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert done.stdout == "still here\n", done.stderr
    assert list(runtime.iterdir()) == []


def test_a_child_process_leaves_the_server_alone(runtime: Path) -> None:
    script = """
    import os
    from rain.client import Client
    client = Client(cpus=1)
    child = os.fork()
    if child == 0:
        raise SystemExit(0)
    os.waitpid(child, 0)
    print(client.status()["pid"] > 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True\n", done.stderr
    assert list(runtime.iterdir()) == []


def test_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAIN_BIN", str(tmp_path / "none"))
    with pytest.raises(RainException, match="RAIN_BIN is .*none"):
        Client()
    (tmp_path / "wrong").write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    (tmp_path / "wrong").chmod(0o755)
    monkeypatch.setenv("RAIN_BIN", str(tmp_path / "wrong"))
    with pytest.raises(RainException, match="could not start a private server: broken"):
        Client()
    with pytest.raises(RainException, match="at least one cpu"):
        Client(cpus=0)
    with pytest.raises(RainException, match="is for a private server"):
        Client("localhost", cpus=2)


def test_a_killed_server(runtime: Path) -> None:
    with Client(cpus=1) as client:
        os.kill(client.status()["pid"], signal.SIGKILL)
        with pytest.raises(RainException, match="closed the connection|broke"):
            work(client)
        # Another client gets another server.
        with Client(cpus=1) as other:
            assert work(other) == b"at work"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (ConnectionLost("no answer"), ConnectionLost),
        (RainException("wrong"), RainException),
        (MemoryError, MemoryError),
    ],
    ids=["interrupt", "connection", "other", "memory"],
)
def test_a_client_that_fails_leaves_the_server_of_others_alone(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, error: Any, kind: type[BaseException]
) -> None:
    monkeypatch.setattr("rain.client.private.END_SECONDS", 0.1)
    connect = client_module.Connection

    def fail(*arguments: object) -> NoReturn:
        raise error

    with Client(cpus=1) as first:
        server = first._private
        assert server is not None
        monkeypatch.setattr(client_module, "Connection", fail)
        with pytest.raises(kind):
            Client(cpus=1)
        assert list(server.users) == [first] and server.alive
        assert work(first) == b"at work"
        monkeypatch.setattr(client_module, "Connection", connect)
        with Client(cpus=1) as second:
            assert second._private is server
        assert work(first) == b"at work"
    assert not server.alive
    assert list(runtime.iterdir()) == []
    # A server that was started for the client that fails ends with it.
    monkeypatch.setattr(client_module, "Connection", fail)
    with pytest.raises(kind):
        Client(cpus=1)
    assert list(runtime.iterdir()) == []


FEW_DESCRIPTORS = """
import resource
from rain.client import Client, RainException
from test_private import work
with Client(cpus=1) as first:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    try:
        Client(cpus=1)
    except RainException as error:
        print(error)
    print(work(first))
"""


def test_a_client_without_a_descriptor(runtime: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, worked = ran.stdout.splitlines() or [ran.stderr, ""]
    assert "Too many open files" in said and worked == "b'at work'", ran.stderr
    assert list(runtime.iterdir()) == []


def test_the_first_example_of_the_documentation(runtime: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
    program = tmp_path / "example.py"
    program.write_text(page.split("```python\n")[1].split("```")[0])
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "b'Hello world!'\n", done.stderr
    assert list(runtime.iterdir()) == []
