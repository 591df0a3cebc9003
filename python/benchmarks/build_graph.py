"""Time to build and encode a graph in the client, and to run calls in the executor, in µs a task (medians of 5).

No server is needed: requests go nowhere, and the executor is driven through a socket pair.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

import msgspec

from rain.client import Session, remote, tasks

TASKS = 100_000
CALLS = 20_000


class NowhereClient:
    """Takes requests, encodes them as a connection does, and answers that all is well."""

    local = False

    def __init__(self) -> None:
        self.encoder = msgspec.msgpack.Encoder()

    def _request(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        self.encoder.encode_into([operation, 0, body], bytearray(4), 4)
        return {}


@remote()
def add(ctx: Any, a: Any, b: Any) -> bytes:
    return b""


def noops() -> None:
    for _ in range(TASKS):
        tasks.Noop()


def chain() -> None:
    task = tasks.Noop()
    for _ in range(TASKS - 1):
        task = tasks.Noop((task,))


def remote_calls() -> None:
    for number in range(TASKS):
        add(number, b"abc")


def remote_chain() -> None:
    task = add(0, b"abc")
    for number in range(TASKS - 1):
        task = add(number, task)


def microseconds(build: Callable[[], None]) -> tuple[float, float]:
    """Per task: building alone, and building and submitting."""
    session = Session(NowhereClient(), 0, "")  # type: ignore[arg-type]
    with session.bind_only():
        start = time.perf_counter()
        build()
        built = time.perf_counter()
        session.submit()
        end = time.perf_counter()
    return (built - start) / TASKS * 1e6, (end - start) / TASKS * 1e6


def executor_calls() -> float:
    """A no-op call in an executor, with many calls sent ahead: CPU time of the executor."""
    ours, theirs = socket.socketpair()
    encode = msgspec.msgpack.encode

    def frame(message: Any) -> bytes:
        body = encode(message)
        return len(body).to_bytes(4, "little") + body

    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "rain.executor"], stdin=theirs, env={**os.environ, "RAIN_EXECUTOR_DIR": directory}
        )
        theirs.close()
        session = Session(NowhereClient(), 0, "")  # type: ignore[arg-type]
        with session.bind_only():
            kind = add(1, b"abc")._kind
        stream = ours.makefile("rb")

        def receive() -> Any:
            return msgspec.msgpack.decode(stream.read(int.from_bytes(stream.read(4), "little")))

        receive()
        config = encode(([1, b"abc"], []))
        ours.sendall(frame(["define", 1, kind.wire()]))
        figures = []
        batch = b"".join(frame(["call", n, 1, [0, n], config, [], {"governor": 0, "outputs": n}]) for n in range(100))
        for _ in range(6):
            before = cpu_seconds(process.pid)
            for _ in range(CALLS // 100):
                ours.sendall(batch)
                for _ in range(100):
                    assert receive()[0] == "done"
            figures.append((cpu_seconds(process.pid) - before) / CALLS * 1e6)
        stream.close()
        ours.close()
        process.wait()
    return statistics.median(figures[1:])


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def main() -> None:
    for name, build, wanted in (
        ("built-in task", noops, "2.5"),
        ("built-in task, chain", chain, "2.5"),
        ("@remote call, two arguments", remote_calls, "8"),
        ("@remote call, chain", remote_chain, "8"),
    ):
        runs = [microseconds(build) for _ in range(5)]
        built, submitted = (statistics.median(column) for column in zip(*runs))
        print(f"{name:32} {submitted:6.2f} µs a task ({built:.2f} building; wanted {wanted})")
    print(f"{'no-op call in the executor':32} {executor_calls():6.2f} µs of CPU a call, with the system calls")


if __name__ == "__main__":
    main()
