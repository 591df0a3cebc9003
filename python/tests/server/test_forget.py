"""What a client will not name again takes no memory: at the server, and at governors in and out of its process."""

from __future__ import annotations

import itertools
import json
import socket
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_cluster import joined, new_cluster
from real_server import PATIENCE_S, running_server
from test_hostile import frame, read_frame

NONE = 0xFFFFFFFF


def column(*numbers: int) -> bytes:
    return array("I", numbers).tobytes()


class Plain:
    """A client that speaks the protocol itself."""

    def __init__(self, runtime: Path) -> None:
        (path,) = runtime.rglob("server-*/access.json")
        self.access = json.loads(path.read_text())
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(self.access["socket"])
        self.connection.settimeout(PATIENCE_S)
        self.numbers = itertools.count()
        self.ask("hello", version=1, client="test")

    def ask(self, operation: str, **body: Any) -> Any:
        self.connection.sendall(frame(operation, next(self.numbers), body))
        head, _, reply = read_frame(self.connection)
        if head == "error":
            raise RuntimeError(reply["message"])
        return reply


def resident_kib(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


# What waits for its writer has a bound of its own, and the writer waits while the machine is busy.
LOG_OFF = "--event-log=off"


@pytest.fixture(params=["in one process", "over TCP"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Plain, list[int]]]:
    """A client of a server, and the processes of Rain."""
    if request.param == "in one process":
        with running_server("--local-governors=[2]", "--no-pin", LOG_OFF) as one:
            client = Plain(one.runtime)
            yield client, [client.access["pid"]]
            client.connection.close()
    else:
        with new_cluster() as cluster:
            cluster.serve(options=(LOG_OFF,))
            governors = [cluster.govern(), cluster.govern()]
            joined(cluster, 2)
            client = Plain(cluster.runtime)
            yield client, [cluster.server_engine, *governors]
            client.connection.close()


CALLS = 3000


def test_a_session_that_goes_on_takes_no_memory(server: tuple[Plain, list[int]]) -> None:
    client, pids = server
    session = client.ask("new_session", name="weeks")["session"]
    # One task stays pending all the time.
    sleep = {
        "type": "buildin/sleep",
        "config": b"\x81\xa7seconds\xcb" + struct.pack(">d", 1e6),
        "outputs": [["", 0, None]],
    }
    first = {"kinds": [sleep], "count": 1, "kind": column(0), "input_count": column(1), "inputs": column(0)}
    content = [[0, 0, None, b"x"]]
    client.ask("submit", session=session, **first, first_output=column(1), config=column(NONE), consts=content)
    sizes = []
    for number in range(1, 2 * CALLS):
        task, constant = number, 2 * number
        kind = {"type": "buildin/concat", "name": f"kind {number}", "config": b"c" * 2000, "outputs": [["", 0, "text"]]}
        client.ask(
            "submit",
            session=session,
            kinds=[kind],
            count=1,
            kind=column(number),
            input_count=column(2),
            inputs=column(constant, constant),
            first_output=column(constant + 1),
            configs=[b"c" * 2000],
            config=column(0),
            consts=[[constant, 0, "text", b"content"]],
            keep=column(constant + 1),
        )
        assert client.ask("fetch", session=session, object=constant + 1, map=False)["data"] == b"contentcontent"
        assert client.ask("forget", session=session, tasks=column(task), kinds=column(number)) == {}
        if number == CALLS:
            sizes = [resident_kib(pid) for pid in pids]
    grown = [resident_kib(pid) - before for pid, before in zip(pids, sizes)]
    # Without it, it would be more than 4 kB a call in each process that knows of it.
    assert max(grown) < CALLS, f"{grown} KiB for {CALLS} calls"
    for operation, body in (("wait", {"tasks": column(5)}), ("info", {"objects": column(11)})):
        with pytest.raises(RuntimeError, match="was forgotten"):
            client.ask(operation, session=session, **body)
    assert client.ask("info", session=session, tasks=column(0))["tasks"][0]["state"] in ("waiting", "running")
    client.ask("close_session", session=session)
