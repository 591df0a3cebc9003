"""Server and governors in processes of their own: on loopback, and as hosts with addresses of their own."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from real_cluster import Cluster, governors, joined, new_cluster, run, wait_until

from rain.client import Client, RainException, Session, Task, blob, remote, tasks

LARGE = 5_000_000


@remote()
def make(ctx: Any, number: int) -> bytes:
    return bytes([number]) * LARGE


@remote()
def total(ctx: Any, *inputs: Any) -> str:
    return str(sum(data.get_bytes()[0] * (len(data.get_bytes()) == LARGE) for data in inputs))


@remote()
def sleep_then(ctx: Any, large: Any, small: Any) -> bytes:
    assert len(large.get_bytes()) == LARGE
    time.sleep(0.2)
    result: bytes = small.get_bytes()
    return result


def check_work(client: Client) -> set[Any]:
    """Objects of all kinds travel between governors, and to the client; where tasks ran."""
    with client.new_session() as session:
        makers = [make(number) for number in range(8)]
        sums = [total(*makers[first:]) for first in range(8)]
        tree = tasks.MakeDirectory([("a/b", makers[1]), ("c", blob(b"small"))])
        for task in [*sums, makers[3], tree]:
            task.keep_outputs()
        session.submit()
        for first, task in enumerate(sums):
            assert task.output.fetch().get_bytes() == str(sum(range(first, 8))).encode()
        assert makers[3].output.fetch().get_bytes() == b"\x03" * LARGE
        assert len(tree.output.fetch().get_bytes()) > LARGE
        session.update([*makers, *sums])
        return {task.info.governor for task in [*makers, *sums]}


def where_it_is_read(session: Session, made: Task, number: int, times: int) -> set[Any]:
    """Let so many tasks read what ``make(number)`` has made; where they ran."""
    # Longer than the transfers, so that every governor gets one of each.
    readers = [sleep_then(made, total(made)) for _ in range(times)]
    for reader in readers:
        reader.output.keep()
    session.submit()
    assert {reader.output.fetch().get_bytes() for reader in readers} == {str(number).encode()}
    session.update(readers)
    return {reader.info.governor for reader in readers}


def test_objects_travel(cluster: Cluster) -> None:
    for _ in range(2):
        cluster.govern()
    assert check_work(joined(cluster, 2)) == {0, 1}


def test_an_object_that_all_governors_read_is_passed_on(cluster: Cluster) -> None:
    for _ in range(4):
        cluster.govern()
    client = joined(cluster, 4)
    with client.new_session() as session:
        assert where_it_is_read(session, make(7), 7, 12) == {0, 1, 2, 3}


def test_governors_that_come_late_get_work(cluster: Cluster) -> None:
    client = cluster.client()
    with client.new_session() as session:
        made = make(1)
        made.output.keep()
        # Submitted while there is no governor at all.
        session.submit()
        cluster.govern()
        made.wait()
        cluster.govern()
        wait_until(lambda: len(governors(client)) == 2)
        assert where_it_is_read(session, made, 1, 6) == {0, 1}


def test_a_late_governor_takes_over_tasks_that_have_not_begun(cluster: Cluster) -> None:
    cluster.govern()
    client = joined(cluster, 1)
    with client.new_session() as session:
        source = make(3)
        sleepers = [sleep_then(source, total(source)) for _ in range(20)]
        all_of_them = tasks.Concat([sleeper.output for sleeper in sleepers])
        all_of_them.output.keep()
        session.submit()
        with client.new_session() as other:
            for _ in range(5):
                total(make(1))
            other.submit()
            source.wait()
            cluster.govern()
            assert all_of_them.output.fetch().get_bytes() == b"3" * 20
            other.wait_all()
        session.update(sleepers)
        assert {sleeper.info.governor for sleeper in sleepers} == {0, 1}


def test_a_client_comes_over_tls(cluster: Cluster) -> None:
    cluster.govern()
    joined(cluster, 1)
    path = cluster.access_elsewhere()
    with Client("127.0.0.1", cluster.port, access=str(path)) as client, client.new_session() as session:
        assert not client.local
        pieces = [blob(bytes([number]) * LARGE) for number in range(4)]
        task = tasks.Concat(pieces)
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_bytes() == b"".join(bytes([number]) * LARGE for number in range(4))
    path.chmod(0o644)
    with pytest.raises(RainException, match="open to other users"):
        Client("127.0.0.1", cluster.port, access=str(path))
    path.chmod(0o600)
    access = json.loads(path.read_text())
    path.write_text(json.dumps({**access, "tls": {**access["tls"], "client": None}}))
    with pytest.raises(RainException, match="not one for clients"):
        Client("127.0.0.1", cluster.port, access=str(path))


@pytest.mark.parametrize(
    "discipline",
    [
        ("netem", "delay", "20ms", "5ms", "loss", "1%"),
        # A slow wire that drops what does not fit into its queue.
        ("tbf", "rate", "100mbit", "burst", "64kb", "latency", "4ms"),
    ],
)
def test_a_slow_wire_that_loses_packets(hosts: list[str], discipline: tuple[str, ...]) -> None:
    for name in hosts[1:]:
        added = subprocess.run(
            ["tc", "-n", name, "qdisc", "add", "dev", "far", "root", *discipline], capture_output=True, check=False
        )
        if added.returncode:
            pytest.skip(f"No {discipline[0]} in this kernel: {added.stderr.decode().strip()}")
    with new_cluster() as cluster:
        cluster.serve("10.77.0.1", hosts[0])
        for name in hosts[1:]:
            cluster.govern("10.77.0.1", namespace=name)
        client = joined(cluster, 2)
        assert check_work(client) == {0, 1}
        assert governors(client) == [0, 1]
        for name in hosts[1:]:
            shown = subprocess.run(
                ["tc", "-n", name, "-s", "qdisc", "show", "dev", "far"], capture_output=True, text=True, check=True
            )
            assert discipline[0] in shown.stdout


def test_hosts_with_addresses_of_their_own(hosts: list[str]) -> None:
    with new_cluster() as cluster:
        cluster.serve("10.77.0.1", hosts[0])
        for name in hosts[1:]:
            cluster.govern("10.77.0.1", namespace=name)
        client = joined(cluster, 2)
        assert check_work(client) == {0, 1}
        with client.new_session() as session:
            tasks_ = [tasks.Sleep(blob(b"x"), 2.0) for _ in range(2)]
            for task in tasks_:
                task.output.keep()
            session.submit()
            # A short cut while they run, during which nothing gets through.
            run("ip", "-n", hosts[0], "link", "set", "near2", "down")
            time.sleep(1.0)
            run("ip", "-n", hosts[0], "link", "set", "near2", "up")
            assert [task.output.fetch().get_bytes() for task in tasks_] == [b"x", b"x"]
        assert governors(client) == [0, 1]
        with client.new_session() as session:
            tasks_ = [tasks.Sleep(blob(b"x"), 2.0) for _ in range(2)]
            for task in tasks_:
                task.output.keep()
            session.submit()
            run("ip", "-n", hosts[0], "link", "set", "near2", "down")
            # One of them runs elsewhere then.
            assert [task.output.fetch().get_bytes() for task in tasks_] == [b"x", b"x"]
        assert len(governors(client)) == 1
        check_work(client)
