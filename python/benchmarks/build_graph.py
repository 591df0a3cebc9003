"""Time to build and encode a graph in the client, and to run calls in the executor, in µs a task (medians of 5).

Functions that are no remote ones are captured anew for each call, as an executor of futures does it.

No server is needed: requests go nowhere, and the executor is driven through a socket pair.
"""

from __future__ import annotations

import functools
import itertools
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
from rain.client.active import active_session
from rain.client.connection import Request
from rain.client.frames import Frame

TASKS = 100_000
CALLS = 20_000


class NowhereConnection:
    """Takes requests, encodes them as a connection does, and answers that all is well."""

    closed = False

    def __init__(self) -> None:
        self.encoder = msgspec.msgpack.Encoder()

    def check_open(self) -> None:
        """It is."""

    check_process = check_open

    def prepare(self, operation: str, body: dict[str, Any]) -> Request:
        """Encode a request."""
        data = bytearray(4)
        self.encoder.encode_into([operation, 0, body], data, 4)
        return Request(operation, 0, Frame(data))

    def call(self, request: Request, deadline: float | None = None) -> dict[str, Any]:
        """Answer it."""
        request.frame._queued.append(None)
        request.reply = ["ok", 0, {}]
        return {}

    def post(self, operation: str, body: dict[str, Any]) -> None:
        """Nobody gets it."""


class NowhereClient:
    """Has no server."""

    closed = True

    def __init__(self) -> None:
        self._connection = NowhereConnection()


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


def plain(number: int) -> int:
    return number


class Holder:
    def __init__(self) -> None:
        self.number = 1

    def method(self, number: int) -> int:
        return number


def plain_calls() -> None:
    call_each(lambda number: plain)


def method_calls() -> None:
    holder = Holder()
    call_each(lambda number: holder.method)


def lambda_calls() -> None:
    call_each(lambda number: lambda _: number)


def partial_calls() -> None:
    call_each(lambda number: functools.partial(plain))


def call_each(make: Callable[[int], Callable[[int], Any]]) -> None:
    session = active_session()
    options: dict[str, Any] = {"outcome": True}
    for number in range(TASKS // 10):
        function = session._plain_function(make(number), options)  # type: ignore[attr-defined]
        function._call_with(session, function._now(session), (number,), {})


def microseconds(build: Callable[[], None]) -> tuple[float, float]:
    """Per task: building alone, and building and submitting."""
    session = Session(NowhereClient(), 0, "")  # type: ignore[arg-type]
    with session.bind_only():
        start = time.perf_counter()
        build()
        built = time.perf_counter()
        session.submit()
        end = time.perf_counter()
        count = session._submitted_tasks
    return (built - start) / count * 1e6, (end - start) / count * 1e6


def executor_calls(ahead: int, submits: bool) -> float:
    """CPU time of an executor for a no-op call.

    Args:
        ahead: So many calls are sent at the same time.
        submits: Each is of another submit.
    """
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

        def call(n: int) -> bytes:
            extra = {"governor": 0, "outputs": n, "submit": n if submits else 0}
            return frame(["call", n, 1, [0, n], config, [], extra])

        numbers = itertools.count()
        for _ in range(6):
            batches = [b"".join(call(next(numbers)) for _ in range(ahead)) for _ in range(CALLS // ahead)]
            before = cpu_seconds(process.pid)
            for batch in batches:
                ours.sendall(batch)
                for _ in range(ahead):
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
        ("call of a function", plain_calls, "8"),
        ("call of a method", method_calls, "8"),
        ("call of a partial function", partial_calls, "8"),
        ("call of a new lambda", lambda_calls, "40"),
    ):
        runs = [microseconds(build) for _ in range(5)]
        built, submitted = (statistics.median(column) for column in zip(*runs))
        print(f"{name:32} {submitted:6.2f} µs a task ({built:.2f} building; wanted {wanted})")
    for name, ahead, submits in (
        ("no-op call in the executor", 100, False),
        ("alone", 1, False),
        ("alone, a submit of its own", 1, True),
    ):
        cpu = executor_calls(ahead, submits)
        print(f"{name:32} {cpu:6.2f} µs of CPU a call, with the system calls")


if __name__ == "__main__":
    main()
