"""One large submit to many governors over TCP: time, bytes on the wire, and whether connections held.

    python bench/large_submit.py [TASKS [GOVERNORS]]

TASKS (default 5 million) no-ops in one submit, of which the second half read eight outputs of the first half each, to
GOVERNORS (default 16) of one cpu each, all on this machine. It runs in a network namespace of its own, so that the
counter of its loopback interface counts nothing else: bytes of both directions with the headers of TCP and IP, from
the submit to the end of the last task. Wanted: at most 200 bytes a task in all, and no connection that was cut. It is
not among the rows of `run.py`, because it needs `unshare` and takes minutes.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

RAIN = Path(os.environ.get("RAIN_BIN", Path(__file__).resolve().parent.parent / "target" / "release" / "rain"))
INPUTS = 8


def loopback_bytes() -> int:
    """Bytes that the loopback interface has carried."""
    found = re.search(r"lo:\s*(\d+)", Path("/proc/net/dev").read_text())
    assert found is not None
    return int(found.group(1))


def bring_up_loopback() -> None:
    with socket.socket() as any_socket:
        siocsifflags, up = 0x8914, 1
        fcntl.ioctl(any_socket, siocsifflags, struct.pack("16sh", b"lo", up) + bytes(14))


class Connection:
    """The client protocol, without the graph objects of the Python client."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")
        self.call("hello", {"version": 1, "client": "bench"})

    def call(self, operation: str, body: dict[str, Any]) -> Any:
        frame = msgspec.msgpack.encode([operation, 0, body])
        self.socket.sendall(struct.pack("<I", len(frame)) + frame)
        (length,) = struct.unpack("<I", self.file.read(4))
        kind, _, reply = msgspec.msgpack.decode(self.file.read(length))
        assert kind == "ok", reply
        return reply


def column(values: Any) -> bytes:
    numbers = list(values)
    return struct.pack(f"<{len(numbers)}I", *numbers)


def submission(session: int, count: int) -> dict[str, Any]:
    """`count` tasks in two layers."""
    half = count // 2
    reads = column((task * INPUTS + place) % half for task in range(half) for place in range(INPUTS))
    return {
        "session": session,
        "kinds": [{"type": "buildin/noop", "outputs": [["o", 0, None]]}, {"type": "buildin/noop", "outputs": []}],
        "count": 2 * half,
        "kind": column([0] * half + [1] * half),
        "input_count": column([0] * half + [INPUTS] * half),
        "inputs": reads,
        "first_output": column([*range(half), *([0xFFFFFFFF] * half)]),
        "config": column([0xFFFFFFFF]),
    }


def measure(count: int, governors: int) -> None:
    bring_up_loopback()
    with tempfile.TemporaryDirectory() as top, ExitStack() as stack:
        environment = {**os.environ, "RAIN_RUNTIME_DIR": top, "HOME": top}
        environment.pop("RAIN_ACCESS", None)

        def start(name: str, *arguments: str) -> None:
            command = [str(RAIN), *arguments, f"--logdir={top}/{name}"]
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            assert process.stdout is not None and "is ready" in process.stdout.readline()

        start("server", "server", "--listen=127.0.0.1:7210", "--http-listen=127.0.0.1:0")
        for number in range(governors):
            start(f"governor-{number}", "governor", "127.0.0.1:7210", "--cpus=1", "--no-pin")
        (directory,) = Path(top).glob("server-*")
        connection = Connection(directory / "client.sock")
        session = connection.call("new_session", {"name": "bench"})["session"]
        request = submission(session, count)
        before, begin = loopback_bytes(), time.perf_counter()
        connection.call("submit", request)
        submitted = time.perf_counter() - begin
        connection.call("wait_all", {"session": session})
        taken, carried = time.perf_counter() - begin, loopback_bytes() - before
        log = "".join(path.read_text() for path in Path(top, "server").glob("*.log"))
        cuts = len(re.findall("is back|was lost", log))
        print(
            f"{count:,} tasks on {governors} governors: submit {submitted:.1f} s, all {taken:.1f} s "
            f"({1e6 * taken / count:.2f} µs a task), {carried / count:.1f} bytes on the wire a task, "
            f"{cuts} connections cut"
        )


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    count, governors = (*arguments, *(5_000_000, 16)[len(arguments) :])[:2]
    if os.environ.get("RAIN_BENCH_NAMESPACE"):
        measure(count, governors)
    else:
        command = ["unshare", "--map-root-user", "--net", sys.executable, __file__, str(count), str(governors)]
        sys.exit(subprocess.run(command, env={**os.environ, "RAIN_BENCH_NAMESPACE": "1"}).returncode)
