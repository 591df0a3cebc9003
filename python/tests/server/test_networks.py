"""Networks as they are: here, hosts that know IPv6 only."""

from __future__ import annotations

import os
import subprocess

import pytest
from real_cluster import joined, new_cluster, new_hosts, run

from rain.client import Input, Program, blob

# More than fits into a message: it goes from governor to governor.
CONTENT = os.urandom(300_000)
COUNT = Program(["sh", "-c", "cat $0 $1 | wc -c", Input("a"), Input("b")], stdout=True)
SLOW_COPY = Program(["sh", "-c", "sleep 0.2; cat $0", Input("a")], stdout=True)


def use_ipv6_only(hosts: list[str]) -> None:
    """Give the hosts addresses fd00:99::1 to 3 instead of those that they have."""
    for number, name in enumerate(hosts, 1):
        device = "wire" if number == 1 else "far"
        run("ip", "-n", name, "-4", "addr", "flush", "dev", device)
        try:
            run("ip", "-n", name, "-6", "addr", "add", f"fd00:99::{number}/64", "dev", device, "nodad")
        except subprocess.CalledProcessError:
            pytest.skip("No IPv6 here")


def test_governors_bring_each_other_objects_over_ipv6() -> None:
    with new_hosts() as hosts, new_cluster() as cluster:
        use_ipv6_only(hosts)
        cluster.serve("[::]", hosts[0])
        for host in hosts[1:]:
            cluster.govern("[fd00:99::1]", namespace=host)
        client = joined(cluster, 2)
        with client.new_session("ipv6") as session:
            # Two at a time, so one on each governor; what needs both brings one of them.
            pairs = [(SLOW_COPY(a=blob(CONTENT)), SLOW_COPY(a=blob(CONTENT))) for _ in range(3)]
            counts = [COUNT(a=first, b=second) for first, second in pairs]
            for task in counts:
                task.output.keep()
            session.submit()
            session.wait_all()
            assert {int(task.output.fetch().get_bytes()) for task in counts} == {2 * len(CONTENT)}
