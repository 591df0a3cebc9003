"""Built-in no-op tasks from Python: what a task costs a user whose tasks cost nothing.

Time to build the tasks, submit them, have them run and return from wait_all, in one client process and one session,
divided by the number of tasks. Each task is `tasks.Noop()`: no inputs, one output that nobody needs.

Memory of the server: what its process has (resident) after wait_all, with the session still open, less what it had
before the first task, divided by the number of tasks; and the same for the most that it had meanwhile. Each run of it
has a fresh server, so that nothing is hidden in memory that an earlier run left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from measure import Row, Server, Size, memory, row, running_server
from rain.client import Session, tasks


def run_noops(session: Session, count: int) -> float:
    """Microseconds a task."""
    start = time.perf_counter()
    with session.bind_only():
        for _ in range(count):
            tasks.Noop()
        session.submit()
    session.wait_all()
    return (time.perf_counter() - start) / count * 1e6


def one_session(server: Server, count: int) -> float:
    with server.client() as client, client.new_session("noops") as session:
        return run_noops(session, count)


def measure(size: Size) -> Iterator[Row]:
    """Time at 100,000 and 1,000,000 tasks, and memory at 1,000,000."""
    count = size.of(100_000, 1000)
    with running_server() as server:
        one_session(server, count)
        times = [one_session(server, count) for _ in range(size.runs)]
    yield row(f"built-in no-op from Python, {count:,} tasks", "µs/task", 6, times)

    count = size.of(1_000_000, 1000)
    times, resident, peak = [], [], []
    for _ in range(size.runs):
        with running_server() as server:
            one_session(server, 1000)
            with server.client() as client, client.new_session("noops") as session:
                before = memory(server.pid)
                times.append(run_noops(session, count))
                resident.append((memory(server.pid) - before) / count)
                peak.append((memory(server.pid, "VmHWM") - before) / count)
    yield row(f"built-in no-op from Python, {count:,} tasks", "µs/task", 6, times)
    yield row(f"server memory after {count:,} tasks, session open", "B/task", 400, resident)
    yield row(f"server memory at most during {count:,} tasks", "B/task", 400, peak)
