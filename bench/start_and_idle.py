"""Starting, and doing nothing.

Ready: the time of `rain start --simple`, which returns when the server is ready. First Python result: from its return
to the end of a fresh Python process that imports Rain, connects, calls one `@remote` function and fetches its result;
and the same without the start of that process, from a client that is already there.

Idle: CPU time of all threads of all Rain processes (supervisor, engine, executors) while nothing is asked of them, in
percent of one core, with a client connected and a session open in which a `@remote` call has run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from measure import Row, Server, Size, cpu_seconds, new_server_directory, process_tree, row, running_server, seconds
from rain.client import Session, remote

IDLE_SECONDS = 10.0
FIRST_RESULT = """
import sys
from rain.client import Client, remote

@remote()
def hello(ctx):
    return "Hello world!"

client = Client("localhost", int(sys.argv[1]))
with client.new_session() as session:
    task = hello()
    task.output.keep()
    session.submit()
    assert task.output.fetch().get_bytes() == b"Hello world!"
"""


@remote()
def hello(ctx: Any) -> str:
    return "Hello world!"


def call_once(session: Session) -> None:
    with session.bind_only():
        task = hello()
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_bytes() == b"Hello world!"


def from_this_process(server: Server) -> None:
    with server.client() as client, client.new_session("first") as session:
        call_once(session)


def start_and(first_result: str) -> tuple[float, float]:
    """Seconds until the server is ready, and from then to the first result."""
    with new_server_directory() as server:
        ready = seconds(server.start)
        # Not `rain status`: the governor gets no time to prepare.
        (directory,) = server.runtime.glob("server-*")
        server.port = int(directory.name.rpartition("-")[2])
        try:
            if first_result == "process":
                command = [sys.executable, "-c", FIRST_RESULT, str(server.port)]
                first = seconds(lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL))
            else:
                first = seconds(lambda: from_this_process(server))
        finally:
            server.stop()
    return ready, first


def idle_percent(duration: float) -> float:
    """CPU of all processes in percent of one core."""
    with running_server() as server, server.client() as client, client.new_session("idle") as session:
        call_once(session)
        # An executor is started for the next task when there was nothing to do for half a second.
        time.sleep(2)
        pids = process_tree(server.pid)
        assert server.pid in pids and len(pids) >= 2, f"not the processes of a server: {pids}"
        before = cpu_seconds(pids)
        time.sleep(duration)
        return (cpu_seconds(pids) - before) / duration * 100


def measure(size: Size) -> Iterator[Row]:
    """Start, first result, idle."""
    in_process = [start_and("process") for _ in range(size.runs)]
    here = [start_and("here") for _ in range(size.runs)]
    yield row("rain start --simple until ready", "s", 0.1, [ready for ready, _ in in_process + here])
    yield row("first Python result after it, in a fresh process", "s", 0.4, [first for _, first in in_process])
    yield row("first Python result after it, from a client at hand", "s", None, [first for _, first in here])
    duration = max(IDLE_SECONDS * size.share, 1.0)
    # One run takes long enough to be its own average.
    runs = [idle_percent(duration) for _ in range(min(size.runs, 3))]
    yield row(f"idle: CPU of all Rain processes over {duration:g} s", "% of a core", 0.5, runs)
