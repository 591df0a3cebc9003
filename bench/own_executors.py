"""Own executors: no-op calls of the C++ and Rust tasklibs, and how fast an input is read.

Calls: time from the submit until wait_all returns, divided by the number of calls; building the tasks in Python is left
out (`remote_calls` has it). Chain: the same, and each task needs the output of the one before. The executors are warm:
a tenth of the calls has gone to the server before.

Read: a task adds up an input of 64 MiB of numbers where it is, in a file mapped into memory; what the same task takes
for 8 bytes is subtracted. The first time, its pages have to be mapped; again, they are.

Run alone, `python bench/own_executors.py [--quick]` prints a JSON object a row.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import PROGRAMS, TOP, Row, Server, Size, new_server_directory, row
from rain.client import Client, Task, blob

MIB = 1 << 20


def task_type(name: str) -> type[Task]:
    """A class for tasks of a type, with any inputs and one output."""

    class OwnTask(Task):
        TASK_TYPE = name

        def __init__(self, *inputs: Any, **options: Any) -> None:
            super().__init__(inputs=inputs, outputs=1, **options)

    return OwnTask


def programs() -> dict[str, Path]:
    """The executors of the tests, built if need be; those whose tools are not here are left out."""
    found = {}
    if shutil.which("cmake") is not None:
        folder = TOP / "target" / "cpp-release"
        subprocess.run(["cmake", "-S", TOP / "cpp", "-B", folder], check=True, stdout=subprocess.DEVNULL)
        command = ["cmake", "--build", folder, "--target", "trial_executor"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found["cpp"] = folder / "tests" / "trial_executor"
    if shutil.which("cargo") is not None:
        target = PROGRAMS.resolve().parent
        command = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "rain_task", "--examples"]
        subprocess.run([*command, "--target-dir", target], check=True, cwd=TOP)
        found["rust"] = target / "release" / "examples" / "trial_executor"
    return found


def calls(client: Client, language: str, count: int) -> float:
    """Microseconds a call, independent of each other."""
    nothing = task_type(f"{language}/nothing")
    with client.new_session("calls") as session:
        for _ in range(count):
            nothing()
        start = time.perf_counter()
        session.submit()
        session.wait_all()
        return (time.perf_counter() - start) / count * 1e6


def chain(client: Client, language: str, count: int) -> float:
    """Microseconds a call that needs the one before."""
    nothing = task_type(f"{language}/nothing")
    with client.new_session("chain") as session:
        task = nothing()
        for _ in range(count - 1):
            task = nothing(task)
        start = time.perf_counter()
        session.submit()
        session.wait_all()
        return (time.perf_counter() - start) / count * 1e6


def read_times(client: Client, language: str, size: int, runs: int) -> Iterator[tuple[float, float]]:
    """Milliseconds of a task that reads `size` bytes: the first one, and one more that reads the same."""
    total = task_type(f"{language}/sum")

    def one(data: Any) -> float:
        task = total(data)
        start = time.perf_counter()
        session.submit()
        session.wait_all()
        del task
        return (time.perf_counter() - start) * 1e3

    for _ in range(runs):
        with client.new_session("read") as session:
            # One with the content is made by the server, the other is so small that it comes with the call.
            large = task_type(f"{language}/range")(config={"count": size // 8})
            small = blob(bytes(8))
            copies = [large.output, small]
            for item in copies:
                item.keep()
            session.submit()
            session.wait_all()
            one(small)
            overhead = min(one(small) for _ in range(5))
            first = one(large.output)
            again = min(one(large.output) for _ in range(3))
            yield first - overhead, again - overhead


def measure(size: Size) -> Iterator[Row]:
    """No-op calls, and reading."""
    found = programs()
    with new_server_directory() as server:
        config = server.runtime / "governor.toml"
        config.write_text("".join(f"[executors.{name}]\ncommand = ['{path}']\n" for name, path in found.items()))
        start(server, config)
        try:
            with server.client() as client:
                for language in found:
                    yield from measure_language(client, language, size)
        finally:
            server.stop()


def start(server: Server, config: Path) -> None:
    """`rain start --simple` with these executors."""
    server._rain(
        "start",
        "--simple",
        "--listen=127.0.0.1:0",
        f"--logdir={server.runtime / 'logs'}",
        f"--governor-config={config}",
    )
    server.look()


def measure_language(client: Client, language: str, size: Size) -> Iterator[Row]:
    """The rows of one tasklib."""
    name = {"cpp": "C++", "rust": "Rust"}[language]
    count = size.of(100_000, 100)
    calls(client, language, max(count // 10, 100))
    yield row(
        f"{name} no-op, {count:,} calls", "µs/call", 10, [calls(client, language, count) for _ in range(size.runs)]
    )
    count = size.of(10_000, 100)
    chain(client, language, max(count // 10, 100))
    yield row(
        f"chain of {count:,} {name} calls", "µs/hop", None, [chain(client, language, count) for _ in range(size.runs)]
    )
    read = size.of(64 * MIB, MIB)
    times = list(read_times(client, language, read, size.runs))
    yield row(f"{name} reads {read / MIB:.0f} MiB, first time", "ms", None, [first for first, _ in times])
    yield row(f"{name} reads {read / MIB:.0f} MiB, again", "ms", None, [again for _, again in times])


def main() -> None:
    """Print the rows as JSON."""
    size = Size(3, 0.1) if "--quick" in sys.argv else Size()
    for found in measure(size):
        print(json.dumps(dataclasses.asdict(found), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
