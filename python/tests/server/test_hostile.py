"""What breaks one connection, task or session leaves the server and the others going."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from real_server import PATIENCE_S, PROGRAM, runtime_directory, until_dead, works

from rain.client import Client, RainException, TaskException, blob, remote, tasks


def access(server: Any) -> dict[str, Any]:
    path = server.runtime / f"server-{server.port}" / "access.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def connect(server: Any, kind: str) -> socket.socket:
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(access(server)["socket"])
    else:
        connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(PATIENCE_S)
    return connection


def frame(*message: Any) -> bytes:
    body = msgspec.msgpack.encode(list(message))
    return struct.pack("<I", len(body)) + body


def read_frame(connection: socket.socket) -> Any:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    (length,) = struct.unpack("<I", exactly(4))
    return msgspec.msgpack.decode(exactly(length))


def hello(server: Any, connection: socket.socket) -> None:
    connection.sendall(frame("hello", 0, {"version": 1, "client": "test", "token": access(server)["token"]}))
    assert read_frame(connection)[0] == "ok"


def until_closed(connection: socket.socket) -> list[Any]:
    """All frames until the server closes; a server that does not close is a time-out."""
    frames = []
    while True:
        try:
            frames.append(read_frame(connection))
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return frames


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff\xff\xff\xff",
        struct.pack("<I", 300 << 20),
        struct.pack("<I", 5) + b"\xc1\xc1\xc1\xc1\xc1",
        frame("fly", 1, {}),
        frame("submit", 1, {"session": "x"}),
        frame("wait", 1),
        struct.pack("<I", 60_000) + b"\x91" * 60_000,
        os.urandom(4096),
    ],
    ids=["http", "length", "oversized", "reserved", "unknown", "types", "short", "nested", "random"],
)
def test_garbage(server: Any, client: Client, kind: str, greeted: bool, data: bytes) -> None:
    with connect(server, kind) as connection:
        if greeted:
            hello(server, connection)
        connection.sendall(data)
        # Random bytes may announce a frame that never comes; its end is what the server must not wait for.
        connection.shutdown(socket.SHUT_WR)
        for answer in until_closed(connection):
            assert answer[0] == "error"
            assert answer[2]["kind"] in ("protocol", "request")
    assert works(client)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_half_a_submit(server: Any, client: Client, kind: str) -> None:
    """A client that dies in the middle of a submit takes its session along, and nothing else."""
    with connect(server, kind) as connection:
        hello(server, connection)
        connection.sendall(frame("new_session", 1, {"name": "half a submit"}))
        session = read_frame(connection)[2]["session"]
        submit = frame("submit", 2, {"session": session, "consts": [[0, 0, None, bytes(1 << 20)]]})
        connection.sendall(submit[: len(submit) // 2])
    deadline = time.monotonic() + PATIENCE_S
    while any(status["id"] == session for status in client.status()["sessions"]):
        assert time.monotonic() < deadline
    assert works(client)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": struct.pack("<I", 7)}, "kind 7 does not exist"),
        ({"inputs": struct.pack("<I", 5), "input_count": struct.pack("<I", 1)}, "object 5, which does not exist"),
        ({"inputs": struct.pack("<I", 0), "input_count": struct.pack("<I", 1)}, "cycle"),
        ({"inputs": b"123"}, "not a whole number"),
        ({"count": 1 << 31}, "2147483648 tasks"),
        ({"keep": struct.pack("<I", 9)}, "object 9 does not exist"),
        ({"first_output": struct.pack("<I", 3)}, "out of order"),
        ({"consts": [[0, 0, None, b"x"]]}, "second producer|out of order"),
        ({"consts": [[1, 5, None, b"x"]]}, "unknown data type 5"),
        ({"consts": [[1, 0, None, None]]}, "no content"),
        ({"consts": [[1, 1, None, b"not a tar archive" * 100]]}, "constant object 1"),
    ],
)
def test_bad_graphs(server: Any, change: dict[str, Any], message: str) -> None:
    """The rules of a graph hold for any client, not only for ours."""
    good = {
        "kinds": [{"type": "buildin/noop", "outputs": [["o", 0, None]]}],
        "count": 1,
        "kind": struct.pack("<I", 0),
        "input_count": struct.pack("<I", 0),
        "inputs": b"",
        "first_output": struct.pack("<I", 0),
        "config": struct.pack("<I", 0xFFFFFFFF),
    }
    with connect(server, "unix") as connection:
        hello(server, connection)
        connection.sendall(frame("new_session", 1, {"name": ""}))
        session = read_frame(connection)[2]["session"]
        connection.sendall(frame("submit", 2, {"session": session, **good, **change}))
        answer = read_frame(connection)
        assert answer[:2] == ["error", 2], answer
        assert answer[2]["kind"] == "request"
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(answer[2]["message"])
        connection.sendall(
            frame("submit", 3, {"session": session, **good}) + frame("wait_all", 4, {"session": session})
        )
        assert [read_frame(connection)[:2] for _ in range(2)] == [["ok", 3], ["ok", 4]]


@remote()
def killed(ctx: Any, marker: str) -> bytes:
    print("last words of the executor", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@remote()
def process_id(ctx: Any) -> str:
    return str(os.getpid())


def test_executor_killed_in_the_middle(client: Client) -> None:
    with client.new_session() as session:
        killed("x")
        session.submit()
        with pytest.raises(TaskException, match="(?s)SIGKILL.*last words of the executor"):
            session.wait_all()
    assert works(client)


def test_idle_executor_killed(client: Client) -> None:
    """An executor that dies while it is idle costs no task."""
    for _ in range(2):
        with client.new_session() as session:
            made = [process_id() for _ in range(8)]
            for task in made:
                task.output.keep()
            session.submit()
            for pid in {int(task.output.fetch().get_bytes()) for task in made}:
                os.kill(pid, signal.SIGKILL)
                until_dead(pid)


def test_evil_tar(server: Any, client: Client) -> None:
    """A directory constant whose archive leaves its directory is refused."""
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    with connect(server, "unix") as connection:
        hello(server, connection)
        connection.sendall(frame("new_session", 1, {"name": ""}))
        session = read_frame(connection)[2]["session"]
        connection.sendall(frame("submit", 2, {"session": session, "consts": [[0, 1, None, evil.getvalue()]]}))
        answer = read_frame(connection)
        assert answer[0] == "error"
        assert "escaped" in answer[2]["message"]
    assert works(client)


def archive(size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        about = tarfile.TarInfo("file")
        about.size = size
        tar.addfile(about, io.BytesIO(bytes(size)))
    return buffer.getvalue()


def test_nothing_of_a_session_is_answered_after_its_end(server: Any) -> None:
    """Archives are made beside the server's loop; the closing of their session waits for them."""
    column = struct.pack("<I", 0)
    with connect(server, "unix") as connection:
        hello(server, connection)
        for _ in range(5):
            connection.sendall(frame("new_session", 1, {"name": "directory"}))
            session = read_frame(connection)[2]["session"]
            constant = [0, 1, None, archive(20_000_000)]
            connection.sendall(frame("submit", 2, {"session": session, "consts": [constant], "keep": column}))
            assert read_frame(connection)[:2] == ["ok", 2]
            connection.sendall(frame("fetch", 3, {"session": session, "object": 0, "limit": 10}))
            answered = []
            # Meanwhile the directory comes to the server, which makes an archive of it.
            for number in range(4, 8):
                connection.sendall(frame("status", number, {}))
                while number not in answered:
                    answered.append(read_frame(connection)[1])
            connection.sendall(frame("close_session", 8, {"session": session}))
            while 8 not in answered:
                answered.append(read_frame(connection)[1])
            assert sorted(answered) == [3, 4, 5, 6, 7, 8]
            assert answered[-1] == 8


def test_answers_that_nobody_reads_cost_no_memory(server: Any, client: Client) -> None:
    """150 pipelined fetches of 32 MiB: the server holds the content once."""
    with connect(server, "unix") as connection:
        hello(server, connection)
        connection.sendall(frame("new_session", 1, {"name": "flood"}))
        session = read_frame(connection)[2]["session"]
        content = bytes(32 << 20)
        column = struct.pack("<I", 0)
        constants = [[0, 0, None, content]]
        connection.sendall(frame("submit", 2, {"session": session, "consts": constants, "keep": column}))
        assert read_frame(connection)[:2] == ["ok", 2]
        connection.sendall(b"".join(frame("fetch", 10 + i, {"session": session, "object": 0}) for i in range(150)))
        # The answer to another client comes after those that the server was going to make.
        for _ in range(20):
            assert works(client)
        status = Path(f"/proc/{access(server)['pid']}/status").read_text()
        (resident,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
        assert resident < 400 << 10, f"{resident} KiB"
        assert [read_frame(connection)[:2] for _ in range(3)] == [["ok", 10], ["ok", 11], ["ok", 12]]


@pytest.fixture
def small_disk() -> Iterator[Any]:
    """A server whose working directory is a memory file system of 8 MiB, in a mount namespace of its own."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    script = 'mount -t tmpfs -o size=8m none "$1/work" && exec "$2" start --simple --foreground --no-pin \
        --listen 127.0.0.1:0 --workdir "$1/work" --logdir "$1/logs"'
    with runtime_directory() as runtime:
        (runtime / "work").mkdir()
        command = [*unshare, "sh", "-c", script, "sh", str(runtime), str(PROGRAM)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            assert "is ready" in server.stdout.readline()
            (directory,) = runtime.glob("server-*")
            with Client("localhost", int(directory.name.rpartition("-")[2])) as client:
                yield client
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=PATIENCE_S)


@remote()
def much(ctx: Any, count: int) -> bytes:
    return bytes(count)


def test_disk_full(small_disk: Client) -> None:
    """A full working directory fails the task that filled it, with a hint; then there is room again."""
    for build in [
        lambda: tasks.Execute("head -c 20000000 /dev/zero", stdout=True),
        lambda: much(20_000_000),
        lambda: tasks.Concat([blob(bytes(3 << 20)) for _ in range(2)] * 4),
    ]:
        with small_disk.new_session() as session:
            build().keep_outputs()
            with pytest.raises(RainException, match="(?i)no space|full"):
                session.submit()
                session.wait_all()
        assert works(small_disk)
