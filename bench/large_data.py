"""Large objects: one comes back to the client, and one is read by many tasks.

Fetch: a `@remote` task has made an object and is finished; the time of `fetch()` and then `get_bytes()` (a copy in
the client) or `get_view()` (no copy; a byte of every page is read, so that all of it has arrived). A fresh object
each run.

Read by many: an object made by one task, and 64 `@remote` tasks which read all of it, with `get_bytes()` (an executor
copies it once and keeps the copy for the next tasks that read the same object) or `get_view()` (no copy; a byte of
every page). Time of build + submit + run + wait_all of the 64 tasks; what they return is checked. The executors are
warm. Copies take the time that the system needs to give out that much memory, which differs much from run to run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from measure import Row, Server, Size, row, running_server
from rain.client import remote

MIB = 1 << 20
PAGE = 4096
READERS = 64


@remote()
def make(ctx: Any, size: int) -> bytes:
    return b"\x01" * size


@remote()
def read_copy(ctx: Any, data: Any) -> str:
    return str(len(data.get_bytes()))


@remote()
def read_pages(ctx: Any, data: Any) -> str:
    return str(sum(data.get_view()[::PAGE]) * PAGE)


def fetch(server: Server, size: int, copy: bool) -> float:
    """Seconds for one object."""
    with server.client() as client, client.new_session("fetch") as session:
        task = make(size)
        task.output.keep()
        session.submit()
        session.wait_all()
        start = time.perf_counter()
        instance = task.output.fetch()
        found = len(instance.get_bytes()) if copy else sum(instance.get_view()[::PAGE]) * PAGE
        elapsed = time.perf_counter() - start
        assert found == size, f"{found} bytes came of {size}"
        return elapsed


def read_by_many(server: Server, size: int, reader: Any) -> float:
    """Seconds for all readers."""
    with server.client() as client, client.new_session("readers") as session:
        made = make(size)
        made.output.keep()
        session.submit()
        session.wait_all()
        start = time.perf_counter()
        readers = [reader(made) for _ in range(READERS)]
        for task in readers:
            task.output.keep()
        session.submit()
        session.wait_all()
        elapsed = time.perf_counter() - start
        for task in readers:
            assert int(task.output.fetch().get_str()) == size, "a reader saw something else"
        return elapsed


def measure(size: Size) -> Iterator[Row]:
    """Both, with a copy and without."""
    with running_server() as server:
        fetched, read = size.of(256) * MIB, size.of(64) * MIB
        fetch(server, MIB, True)
        for copy, how in ((True, "get_bytes"), (False, "get_view")):
            times = [fetch(server, fetched, copy) for _ in range(size.runs)]
            yield row(f"fetch of one {fetched // MIB} MiB result, {how}", "s", 0.15, times)
        for reader, how in ((read_copy, "get_bytes"), (read_pages, "get_view")):
            read_by_many(server, MIB, reader)
            times = [read_by_many(server, read, reader) for _ in range(size.runs)]
            yield row(f"{read // MIB} MiB object read by {READERS} @remote tasks, {how}", "s", 0.2, times)
