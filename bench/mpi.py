"""Rain as an MPI program on this machine: tasks with a server and two governors, and the start of 64 ranks.

Tasks: as in `tcp.py`, with `mpirun -n 3 rain-engine` beside two governors in one process. Object: as there, too; on one
machine it is handed over and not sent (what MPI itself carries is measured by `transport-mpi/examples/mpi_speed.rs`).
Start: from `mpirun -n 64 --oversubscribe rain-engine` until its ready file is there; all ranks are in then. Nothing is
measured where mpirun or rain-engine is not there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from measure import RAIN, Row, Server, Size, new_server_directory, row
from rain.client import Client
from tcp import GIB, TASKS, in_process, no_ops, transfer

ENGINE = RAIN.with_name("rain-engine")
RANKS = 64
START_SECONDS = 10.0
# Against hanging only.
PATIENCE_SECONDS = 120.0


@contextmanager
def ranks(count: int) -> Iterator[tuple[Server, float]]:
    """A job of so many ranks, each with one cpu, that is ready; and how many seconds it took until it was."""
    with new_server_directory() as server:
        ready = server.runtime / "ready"
        environment = {
            **os.environ,
            "RAIN_RUNTIME_DIR": str(server.runtime),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        options = ["--listen=127.0.0.1:0", "--cpus=1", "--no-pin", f"--ready-file={ready}"]
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(count), str(ENGINE), *options]
        start = time.perf_counter()
        with subprocess.Popen(
            [*command, f"--logdir={server.runtime / 'logs'}"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as mpirun:
            try:
                while not ready.exists():
                    assert mpirun.poll() is None and time.perf_counter() - start < PATIENCE_SECONDS
                    time.sleep(0.005)
                taken = time.perf_counter() - start
                server.look()
                yield server, taken
                server.stop()
            finally:
                mpirun.terminate()


@contextmanager
def over_mpi(governors: int) -> Iterator[Client]:
    """A client of a server with so many governors of one cpu each, all of them ranks."""
    with ranks(governors + 1) as (server, _), server.client() as client:
        yield client


def start_time(count: int) -> float:
    """Seconds until so many ranks are ready."""
    with ranks(count) as (_, taken):
        return taken


def measure(size: Size) -> Iterator[Row]:
    """The rows of this file."""
    if shutil.which("mpirun") is None or not ENGINE.exists():
        print(f"mpi: there is no mpirun, or no {ENGINE}: left out", file=sys.stderr)
        return
    count, length = size.of(TASKS), size.of(GIB)
    with in_process(2) as client:
        local = no_ops(client, count, size.runs)
    with over_mpi(2) as client:
        apart = no_ops(client, count, size.runs)
        yield row("no-op, two governors over MPI", "µs a task", None, apart)
        yield row("  over MPI / in one process", "times", 2.0, [sum(apart) / sum(local)])
        moved = [transfer(client, length) for _ in range(size.runs)]
        yield row("object of 1 GiB between two ranks of one machine", "s", None, moved)
    many = RANKS if size.share >= 0.1 else 4
    yield row(f"start of {many} ranks until ready", "s", START_SECONDS, [start_time(many) for _ in range(size.runs)])
