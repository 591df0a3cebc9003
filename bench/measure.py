"""What all measurements share: rows of the table, a server to measure, and readings of processes from /proc."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rain.client import Client

TOP = Path(__file__).resolve().parent.parent
PROGRAMS = Path(os.environ.get("RAIN_BIN", TOP / "target" / "release" / "rain")).parent
RAIN = PROGRAMS / "rain"
RAIN_BENCH = PROGRAMS / "rain-bench"


@dataclass
class Size:
    """How much is measured: how often, and the share of the full number of tasks or bytes."""

    runs: int = 5
    share: float = 1.0

    def of(self, full: int, least: int = 1) -> int:
        """The part of a number that is wanted, at least `least`."""
        return max(int(full * self.share), least)


@dataclass
class Row:
    """One line of the table. Less is better in all of them; `wanted` is an upper bound, if there is one."""

    name: str
    value: float
    unit: str
    wanted: float | None
    runs: list[float]


def row(name: str, unit: str, wanted: float | None, runs: list[float]) -> Row:
    """A row whose value is the median of its runs."""
    return Row(name, statistics.median(runs), unit, wanted, runs)


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Server:
    """A running server of its own, with its files in a directory of its own."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self._environment = {**os.environ, "RAIN_RUNTIME_DIR": str(runtime)}
        # Clients in this process look for the access file there.
        os.environ["RAIN_RUNTIME_DIR"] = str(runtime)
        self.port = 0
        self.pid = 0

    def start(self) -> None:
        """`rain start --simple`; returns when it does."""
        self._rain("start", "--simple", "--listen=127.0.0.1:0", f"--logdir={self.runtime / 'logs'}")

    def look(self) -> None:
        """Find out port and process of the server that was started."""
        (directory,) = self.runtime.glob("server-*")
        self.port = int(directory.name.rpartition("-")[2])
        self.pid = int(json.loads(self._rain("status", "--json", f"--listen={self.port}"))["pid"])

    def stop(self) -> None:
        """`rain stop`."""
        self._rain("stop", f"--listen={self.port}")

    def client(self) -> Client:
        """A new connection."""
        return Client("localhost", self.port)

    def _rain(self, *arguments: str) -> str:
        command = [str(RAIN), *arguments]
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, text=True
        )
        return done.stdout


@contextmanager
def new_server_directory() -> Iterator[Server]:
    """A server that is not started yet."""
    before = os.environ.get("RAIN_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(prefix="rain-bench-") as runtime:
        try:
            yield Server(Path(runtime))
        finally:
            if before is None:
                os.environ.pop("RAIN_RUNTIME_DIR", None)
            else:
                os.environ["RAIN_RUNTIME_DIR"] = before


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that is ready."""
    with new_server_directory() as server:
        server.start()
        server.look()
        try:
            yield server
        finally:
            server.stop()


def memory(pid: int, field: str = "VmRSS") -> int:
    """Bytes of memory that a process has (VmRSS) or once had (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no {field}")


def process_tree(pid: int, of_child: bool = True) -> set[int]:
    """The processes of the server with this engine process: its supervisor and all that descends from it. Or, if it is
    not a supervisor's child, that process and all that descends from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # It has ended meanwhile.
    found = {parents[pid] if of_child else pid}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_seconds(pids: set[int]) -> float:
    """CPU time that all threads of some processes have used, to the nanosecond."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9
