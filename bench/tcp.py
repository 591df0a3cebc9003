"""Governors over TCP on this machine: tasks, and objects between two of them.

Tasks: no-op tasks without inputs, submitted from Python to two governors; in one process (`rain start
--local-governors=[1,1]`) and in processes of their own over TCP with TLS. Time of submit + wait_all; the graph is
built before.

Object: two tasks, one on each governor, have made an object each; the time from the end of both to the start of a task
that reads both, so that one of them has to travel. With 1 GiB this is what a transfer takes, with TLS and with
`--data-plain`; with 1 KiB it is what Rain adds. In turn with each transfer, so that all of them meet the same machine:
a plain pair of sockets on loopback, `sendfile` from a file in memory on one side and reading into memory on the other;
and `openssl s_server -WWW` with the same file and `openssl s_client` into /dev/null. Unlike these two, a governor
stores what it receives in a file in memory. Rows of ratios are medians of the ratios of each turn.

Fetch: a client that comes over TLS, as from another machine, fetches one object: from the governor that has it, and in
turn with that through the server. The first fetch of each kind, which connects, is not counted.

Idle: cpu time of all processes of a server and two governors that do nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from measure import RAIN, Row, Server, Size, cpu_seconds, new_server_directory, process_tree, row, seconds
from rain.client import Client, remote, tasks

GIB = 1 << 30
TASKS = 100_000


@remote(cpus=1)
def make(ctx, size):  # type: ignore[no-untyped-def]
    return b"\x01" * size


@contextmanager
def foreground(server: Server, *arguments: str) -> Iterator[None]:
    """A `rain` that stays in the foreground, from when it is ready until it has ended."""
    environment = {**os.environ, "RAIN_RUNTIME_DIR": str(server.runtime)}
    command = [str(RAIN), *arguments, f"--logdir={server.runtime / 'logs'}"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as rain:
        assert rain.stdout is not None and "is ready" in rain.stdout.readline()
        try:
            yield
        finally:
            rain.terminate()


@contextmanager
def over_tcp(governors: int, *options: str) -> Iterator[tuple[Client, Server]]:
    """A client, and a server with these options; so many governors of one cpu each, all in processes of their own."""
    with new_server_directory() as server, ExitStack() as stack:
        stack.enter_context(foreground(server, "server", "--listen=127.0.0.1:0", *options))
        server.look()
        for _ in range(governors):
            stack.enter_context(foreground(server, "governor", f"127.0.0.1:{server.port}", "--cpus=1", "--no-pin"))
        client = stack.enter_context(server.client())
        while len(client.status()["governors"]) < governors:
            time.sleep(0.01)
        yield client, server


def client_elsewhere(server: Server) -> Client:
    """A client that comes over TLS, as from another machine."""
    access = json.loads((server.runtime / f"server-{server.port}" / "access.json").read_text())
    path = server.runtime / "access-elsewhere"
    path.touch(mode=0o600)
    path.write_text(json.dumps({**access, "socket": None}))
    return Client("127.0.0.1", server.port, access=str(path))


@contextmanager
def in_process(governors: int) -> Iterator[Client]:
    """The same in one process."""
    with new_server_directory() as server:
        cpus = ",".join(["1"] * governors)
        command = ["start", f"--local-governors=[{cpus}]", "--no-pin", "--listen=127.0.0.1:0"]
        server._rain(*command, f"--logdir={server.runtime / 'logs'}")
        server.look()
        try:
            with server.client() as client:
                yield client
        finally:
            server.stop()


def no_ops(client: Client, count: int, runs: int) -> list[float]:
    """Microseconds a task."""
    found = []
    for _ in range(runs + 1):
        with client.new_session() as session:
            for _ in range(count):
                tasks.Noop()

            def run() -> None:
                session.submit()
                session.wait_all()

            found.append(seconds(run) / count * 1e6)
    # The first one warms up.
    return found[1:]


def transfer(client: Client, size: int) -> float:
    """Seconds from the end of the makers to the start of the reader."""
    with client.new_session() as session:
        makers = [make(size), make(size)]
        reader = tasks.Noop([maker.output for maker in makers])
        reader.output.keep()
        session.submit()
        session.wait_all()
        session.update([*makers, reader])
        assert len({maker.info.governor for maker in makers}) == 2, "both were made on one governor"
        ends = [maker.info.start_time.timestamp() + maker.info.duration for maker in makers]
        return reader.info.start_time.timestamp() - max(ends)


@contextmanager
def file_in_memory(size: int) -> Iterator[Path]:
    """A file of so many bytes, if there is a memory file system on that."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        path = Path(directory, "object")
        path.write_bytes(b"\x01" * size)
        yield path


def plain_pair(path: Path) -> float:
    """Seconds for a file through a loopback connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, path.open("rb") as file:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as sender:
                sender.sendfile(file)

        thread = threading.Thread(target=send)
        start = time.perf_counter()
        thread.start()
        receiver, _ = listener.accept()
        with receiver:
            buffer = bytearray(1 << 20)
            while receiver.recv_into(buffer):
                pass
        taken = time.perf_counter() - start
        thread.join()
        return taken


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def openssl_pair(path: Path, timeout: float = 120) -> float:
    """Seconds for a file from `openssl s_server` to `openssl s_client`, with the handshake."""
    key, certificate = path.with_name("key.pem"), path.with_name("certificate.pem")
    if not key.exists():
        new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=bench -days 2"
        command = [*new.split(), "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, timeout=timeout, capture_output=True)
    address = f"127.0.0.1:{free_port()}"
    serve = f"openssl s_server -quiet -WWW -naccept 1 -accept {address} -tls1_3 -cert {certificate} -key {key}"
    connect = f"openssl s_client -quiet -connect {address} -tls1_3"
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(serve.split(), cwd=path.parent, **quiet) as server:  # type: ignore[call-overload]
        try:
            port = int(address.rpartition(":")[2])
            while not is_listening(port):
                assert server.poll() is None, "openssl s_server has ended"
                time.sleep(0.01)
            with subprocess.Popen(connect.split(), **quiet) as client:  # type: ignore[call-overload]
                start = time.perf_counter()
                client.stdin.write(f"GET /{path.name} HTTP/1.0\r\n\r\n".encode())
                client.stdin.flush()
                try:
                    assert client.wait(timeout) == 0, "openssl s_client failed"
                finally:
                    client.kill()
            return time.perf_counter() - start
        finally:
            server.kill()


def is_listening(port: int) -> bool:
    """Whether something on this machine listens there; without connecting, as the server takes one connection only."""
    line = f"0100007F:{port:04X} 00000000:0000 0A"
    return line in Path("/proc/net/tcp").read_text()


def objects(size: Size, tls: Client, plain: Client) -> Iterator[Row]:
    """Large and small objects between governors."""
    length = size.of(GIB)
    with file_in_memory(length) as path:
        compare = shutil.which("openssl") is not None
        turns = []
        for _ in range(size.runs + 1):
            mine = [transfer(tls, length), transfer(plain, length)]
            turns.append([*mine, plain_pair(path), openssl_pair(path) if compare else float("nan")])
    # The first one warms up.
    over_tls, beside_tls, sendfile, openssl = (list(column) for column in zip(*turns[1:]))
    yield row("1 GiB through a plain sendfile pair", "s", None, sendfile)
    yield row("object of 1 GiB between two governors, --data-plain", "s", None, beside_tls)
    yield row("  --data-plain / sendfile pair", "times", 1 / 0.7, [a / b for a, b in zip(beside_tls, sendfile)])
    if compare:
        yield row("1 GiB from openssl s_server to s_client", "s", None, openssl)
    yield row("object of 1 GiB between two governors, TLS", "s", None, over_tls)
    if compare:
        yield row("  TLS / openssl", "times", 1 / 0.5, [a / b for a, b in zip(over_tls, openssl)])
    yield row("  TLS / sendfile pair", "times", None, [a / b for a, b in zip(over_tls, sendfile)])
    small = [1e3 * transfer(tls, 1024) for _ in range(4 * size.runs + 1)][1:]
    yield row("object of 1 KiB between two governors, TLS", "ms", 1.0, small)


def fetches(size: Size, server: Server) -> Iterator[Row]:
    """One object on its way to a client: from the governor, and from the server when governors cannot be reached."""
    with client_elsewhere(server) as near, client_elsewhere(server) as far:
        assert far._connection.direct is not None
        far._connection.direct._silent = 1 << 30
        for text, length, runs in [("256 KiB", 256 << 10, 8 * size.runs), ("64 MiB", size.of(64 << 20), size.runs)]:
            with near.new_session() as one, far.new_session() as other:
                made = []
                for session in (one, other):
                    with session.bind_only():
                        made.append(make(length).output)
                    made[-1].keep()
                    session.submit()
                    session.wait_all()
                turns = [[1e3 * seconds(dataobj.fetch) for dataobj in made] for _ in range(runs + 1)]
            mine, through = (list(column) for column in zip(*turns[1:]))
            yield row(f"fetch of {text} over TLS, from the governor", "ms", None, mine)
            yield row(f"fetch of {text} over TLS, through the server", "ms", None, through)
            yield row("  from the governor / through the server", "times", 1.0, [a / b for a, b in zip(mine, through)])


def idle_cpu(length: float) -> float:
    """Percent of one cpu that the server and its governors, all below this process, use in so many seconds."""
    # What the tasks before have left behind is over by then.
    time.sleep(length)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    pids = set().union(*(process_tree(int(child), of_child=False) for child in children))
    before = {pid: cpu_of(pid) for pid in pids}
    time.sleep(length)
    used = [cpu_of(pid) - start for pid, start in before.items()]
    return 100 * sum(max(spent, 0) for spent in used) / length


def cpu_of(pid: int) -> float:
    """Seconds of cpu time; 0 of a process that has ended."""
    with suppress(FileNotFoundError):
        return cpu_seconds({pid})
    return 0.0


def measure(size: Size) -> Iterator[Row]:
    """The rows of this file."""
    count = size.of(TASKS)
    with in_process(2) as client:
        local = no_ops(client, count, size.runs)
    yield row("no-op, two governors in one process", "µs a task", None, local)
    with over_tcp(2) as (client, server):
        apart = no_ops(client, count, size.runs)
        ratio = [sum(apart) / sum(local)]
        yield row("no-op, two governors over TCP", "µs a task", None, apart)
        yield row("  over TCP / in one process", "times", 2.0, ratio)
        idle = [idle_cpu(5 * size.share + 0.1) for _ in range(size.runs)]
        yield row("idle server and two governors over TCP", "% of a cpu", None, idle)
        yield from fetches(size, server)
        with over_tcp(2, "--data-plain") as (beside, _):
            yield from objects(size, client, beside)
