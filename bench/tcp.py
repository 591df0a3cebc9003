"""Governors over TCP on this machine: tasks, and a large object between two of them.

Tasks: no-op tasks without inputs, submitted from Python to two governors; in one process (`rain start
--local-governors=[1,1]`) and in processes of their own over TCP with TLS. Time of submit + wait_all; the graph is built
before. Object: two tasks, one on each governor, have made an object of 1 GiB each; the time from the end of both to
the start of a task that reads both, so that one of them has to travel. Beside it a plain pair of sockets on loopback,
without TLS: `sendfile` from a file in memory on one side, reading into memory on the other.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measure import RAIN, Row, Server, Size, new_server_directory, row, seconds
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
def over_tcp(governors: int) -> Iterator[Client]:
    """A client of a server with so many governors of one cpu each, all in processes of their own."""
    with new_server_directory() as server, ExitStack() as stack:
        stack.enter_context(foreground(server, "server", "--listen=127.0.0.1:0"))
        server.look()
        for _ in range(governors):
            stack.enter_context(foreground(server, "governor", f"127.0.0.1:{server.port}", "--cpus=1", "--no-pin"))
        client = stack.enter_context(server.client())
        while len(client.status()["governors"]) < governors:
            time.sleep(0.01)
        yield client


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


def transfers(client: Client, size: int, runs: int) -> list[float]:
    """Seconds from the end of the makers to the start of the reader."""
    found = []
    for _ in range(runs):
        with client.new_session() as session:
            makers = [make(size), make(size)]
            reader = tasks.Noop([maker.output for maker in makers])
            reader.output.keep()
            session.submit()
            session.wait_all()
            session.update([*makers, reader])
            assert len({maker.info.governor for maker in makers}) == 2, "both were made on one governor"
            ends = [maker.info.start_time.timestamp() + maker.info.duration for maker in makers]
            found.append(reader.info.start_time.timestamp() - max(ends))
    return found


def plain_pair(size: int) -> float:
    """Seconds for so many bytes through a loopback connection."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        path = Path(directory, "object")
        path.write_bytes(b"\x01" * size)
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


def measure(size: Size) -> Iterator[Row]:
    """The rows of this file."""
    count, length = size.of(TASKS), size.of(GIB)
    with in_process(2) as client:
        local = no_ops(client, count, size.runs)
    yield row("no-op, two governors in one process", "µs a task", None, local)
    with over_tcp(2) as client:
        apart = no_ops(client, count, size.runs)
        ratio = [sum(apart) / sum(local)]
        yield row("no-op, two governors over TCP", "µs a task", None, apart)
        yield row("  over TCP / in one process", "times", 2.0, ratio)
        moved = transfers(client, length, size.runs)
        yield row("object of 1 GiB between two governors, TLS", "s", None, moved)
    plain = [plain_pair(length) for _ in range(size.runs)]
    yield row("1 GiB through a plain sendfile pair", "s", None, plain)
