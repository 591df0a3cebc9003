"""Processes that fork while they have a client of a real server: nothing of the parent's breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from forks import in_child
from real_cluster import Cluster, joined
from real_server import PROGRAM, runtime_directory

from rain.client import remote

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")

PARENT = """
import concurrent.futures, multiprocessing, os, sys, time, warnings
warnings.simplefilter("ignore")
from rain.client import Client, blob, tasks

client = Client(cpus=2)
executor = client.executor()

def slow():
    time.sleep(3)
    return "slow"

waited = executor.submit(slow)

def use(queue):
    try:
        queue.put(repr(client.new_session()))
    except Exception as error:
        queue.put(str(error))

def square(number):
    return number * number

def ended(child):
    return os.waitpid(child, 0)[1]

with client.new_session() as session:
    for end in (lambda: sys.exit(0), lambda: client.close(), lambda: os._exit(0)):
        child = os.fork()
        if child == 0:
            # The block is left, what is registered with atexit is done, and all is dropped.
            end()
            sys.exit(0)
        assert ended(child) == 0
        task = tasks.Concat([blob("still "), blob("here")])
        task.output.keep()
        session.submit()
        assert task.output.fetch(timeout=60).get_str() == "still here"
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    process = fork.Process(target=use, args=(queue,))
    process.start()
    assert "was forked from process" in queue.get(timeout=60)
    process.join()
    with fork.Pool(2) as pool:
        assert pool.map(square, range(10)) == [number * number for number in range(10)]
    child = os.fork()
    if child == 0:
        said = []
        for use in (lambda: executor.submit(pow, 2, 3), lambda: waited.result(10)):
            try:
                use()
                said.append("nothing")
            except Exception as error:
                said.append(str(error))
        os._exit(0 if all("forked" in text for text in said) else 1)
    assert ended(child) == 0
    assert waited.result(60) == "slow"
    assert list(executor.map(square, [2, 3])) == [4, 9]
    executor.shutdown()
print("the parent is well")
"""


@pytest.mark.skipif(not PROGRAM.exists(), reason=f"There is no program {PROGRAM}")
def test_children_that_end_in_every_way() -> None:
    with runtime_directory() as runtime:
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PARENT)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, "RAIN_BIN": str(PROGRAM)},
        )
        assert ran.stdout == "the parent is well\n", ran.stderr
        assert list(runtime.iterdir()) == []


@remote()
def make(ctx: Any, number: int) -> bytes:
    return bytes([number]) * 1_000_000


def test_connections_with_tls(cluster: Cluster) -> None:
    """What carries bytes, and what fetches directly, are not shared with a child either."""
    cluster.govern()
    joined(cluster, 1)
    client = cluster.client_elsewhere()
    with client.new_session() as session:
        made = [make(number) for number in range(3)]
        for task in made:
            task.output.keep()
        session.submit()
        assert made[0].output.fetch(timeout=60).get_bytes() == bytes([0]) * 1_000_000

        def sockets() -> set[str]:
            found = set()
            for fd in os.listdir("/proc/self/fd"):
                if os.path.lexists(f"/proc/self/fd/{fd}"):
                    found.add(os.readlink(f"/proc/self/fd/{fd}"))
            return {name for name in found if name.startswith(("socket:", "anon_inode:[eventpoll]"))}

        # At least: both ends of the pair, the encrypted one, one to fetch with, one to select with.
        assert len(sockets()) >= 5
        assert in_child(sockets) == "set()"
        for use in (made[1].output.fetch, client.close, session.close, client.new_session):
            said = in_child(use)
            assert said == "None" or "was forked from process" in said
        for number in (1, 2):
            assert made[number].output.fetch(timeout=60).get_bytes() == bytes([number]) * 1_000_000
