"""Data beside TLS, and strangers at the port of a server."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from real_cluster import Cluster, governors, joined, new_cluster, wait_until
from real_server import PATIENCE_S
from test_cluster import check_work

HALF_OPEN = 10_000
# Descriptors of this process for anything else.
OTHERS = 200


def test_objects_travel_beside_tls() -> None:
    with new_cluster() as cluster:
        cluster.serve(options=("--data-plain",))
        for _ in range(2):
            cluster.govern()
        assert check_work(joined(cluster, 2)) == {0, 1}


@contextmanager
def descriptors(count: int) -> Iterator[int]:
    """Raises the limit of open files as far as it goes; how many of `count` may be open then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHERS
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
    try:
        yield max(soft, raised) - OTHERS
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def check_half_open(cluster: Cluster, connections: ExitStack, count: int) -> None:
    pid = int(json.loads(cluster.access.read_text())["pid"])
    client = joined(cluster, 1)
    before = resident(pid)
    for number in range(count):
        connection = connections.enter_context(socket.create_connection(("127.0.0.1", cluster.port), PATIENCE_S))
        if number % 2:
            # The beginning of a handshake.
            connection.send(bytes([22, 3, 1, 2, 0, 1]))
        if number % 1000 == 0:
            assert len(governors(client)) == 1
    assert len(governors(client)) == 1
    cluster.govern()
    wait_until(lambda: len(governors(client)) == 2)
    assert resident(pid) - before < 64 << 20
    wait_until(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) < 1000)


def test_half_open_connections_cost_little(cluster: Cluster) -> None:
    cluster.govern()
    # Fewer where the limit of open files is lower; at least many times what may wait at the door.
    with descriptors(HALF_OPEN) as count, ExitStack() as connections:
        assert count > 2000
        check_half_open(cluster, connections, min(count, HALF_OPEN))
