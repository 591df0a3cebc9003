"""Calls without end through one session: what was used is given back (``make soak``).

    python python/tests/soak.py [--calls=N] [--cluster]

Calls of an executor: arguments and results, lambdas that are used once, results that are passed on. In the second half
nothing may grow: memory of client, server, governors and executors, descriptors, files in the working directory.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from real_cluster import joined, new_cluster
from real_server import running_server

import rain.client
from rain.client import Client

# Growth in the second half of the calls that is not a leak: of the allocators, and of what is kept for the next calls.
SLACK_KIB = 6 << 10
# Bytes a call. A client that does not forget its calls keeps some of each everywhere.
FORGETS = any('"forget"' in path.read_text() for path in Path(rain.client.__file__).parent.glob("*.py"))
GROWTH_BYTES_MAX = 60 if FORGETS else 4000


@dataclasses.dataclass(frozen=True)
class Usage:
    """What the processes of Rain and this one use."""

    resident_kib: dict[str, int]
    descriptors: dict[str, int]
    files: int

    @classmethod
    def now(cls, pids: dict[str, int], workdir: Path) -> Usage:
        gc.collect()
        everybody = {**pids, **executors(set(pids.values()))}
        files = sum(len(names) for _, _, names in os.walk(workdir))
        return cls(
            {name: resident_kib(pid) for name, pid in everybody.items()},
            {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in everybody.items()},
            files,
        )


def resident_kib(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def executors(parents: set[int]) -> dict[str, int]:
    """The executor processes of these processes of Rain, in the order of their numbers."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
            if parent in parents - {os.getpid()} and b"rain.executor" in command:
                found[f"executor {path.parent.name}"] = int(path.parent.name)
    return found


def add(a: int, b: bytes) -> tuple[int, int]:
    """One call."""
    return a + 1, len(b)


@contextlib.contextmanager
def rain_process(cluster: bool) -> Iterator[tuple[int, dict[str, int], Path]]:
    """A Rain: its port, its processes, and where their files are."""
    if cluster:
        with new_cluster() as several:
            several.serve()
            pids = {f"governor {number}": several.govern() for number in range(2)}
            joined(several, 2)
            yield several.port, {"server": several.server_engine, **pids}, several.runtime / "work"
    else:
        with running_server("--local-governors=[2]", "--no-pin") as one:
            with Client("localhost", one.port) as client:
                pid = client.status()["pid"]
            yield one.port, {"server": pid}, one.runtime / "work"


def soak(calls: int, cluster: bool, passing: bool) -> list[str]:
    """Make so many calls, with `passing` also some that get results of others; what has grown and should not have."""
    with rain_process(cluster) as (port, pids, workdir), Client("localhost", port) as client:
        pids = {"client": os.getpid(), **pids}
        with client.executor() as executor:
            middle = None
            for begin in range(0, calls, 100):
                if middle is None and begin >= calls // 2:
                    middle = Usage.now(pids, workdir)
                numbers = range(begin, min(begin + 100, calls))
                done = [executor.submit(add, number, b"x" * (number % 3000)) for number in numbers]
                assert [future.result() for future in done] == [(number + 1, number % 3000) for number in numbers]
                # A function that is used once.
                assert executor.submit(lambda number=begin: number).result() == begin
                if passing:
                    assert executor.submit(add, executor.submit(abs, -begin), b"").result() == (begin + 1, 0)
            del done
            assert middle is not None
            end = Usage.now(pids, workdir)
    return grown(middle, end, calls - calls // 2)


def grown(middle: Usage, end: Usage, calls: int) -> list[str]:
    """What has grown by more than it may in so many calls."""
    complaints = []
    for name, before in middle.resident_kib.items():
        growth = end.resident_kib.get(name, before) - before
        print(f"{name}: {before} KiB in the middle, {growth:+d} KiB in {calls} calls after that")
        if growth > SLACK_KIB + calls * GROWTH_BYTES_MAX // 1024:
            complaints.append(f"{name} has grown by {growth} KiB in {calls} calls")
    for name, count in middle.descriptors.items():
        if end.descriptors.get(name, count) > count + 16:
            complaints.append(f"{name} has {end.descriptors[name]} descriptors, and had {count}")
    if end.files > middle.files + 16:
        complaints.append(f"{end.files} files are left, and {middle.files} were")
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--cluster", action="store_true", help="a server and two governors in processes of their own")
    arguments = parser.parse_args()
    complaints = soak(arguments.calls, arguments.cluster, passing=True)
    print("\n".join(complaints) or "nothing has grown")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
