"""Random graphs over several governors: each object is what it must be, wherever it was made and however it came."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from random_graphs import check_random_graphs
from real_cluster import joined, new_cluster

GRAPHS = int(os.environ.get("RAIN_STRESS_GRAPHS", "2"))


@pytest.mark.parametrize("options", [(), ("--data-plain",)], ids=["tls", "plain"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_random_graphs(options: tuple[str, ...], elsewhere: bool) -> None:
    with new_cluster() as cluster:
        cluster.serve(options=options)
        for _ in range(2):
            cluster.govern()
        joined(cluster, 2)
        client = cluster.client_elsewhere() if elsewhere else cluster.client()
        with ThreadPoolExecutor() as threads:
            checks = threads.submit(check_random_graphs, client, 1000 * elsewhere + 2000 * bool(options), GRAPHS)
            # One that comes while there is much to do.
            cluster.govern()
            checks.result()
