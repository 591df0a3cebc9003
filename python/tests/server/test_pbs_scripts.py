"""The scripts in pbs/ without a batch system: their syntax, and those that need nothing but Rain, run by hand.

`make test-batch` runs all of them with a real Slurm.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_server import PATIENCE_S, PROGRAM

FOLDER = Path(__file__).parents[3] / "pbs"
SCRIPTS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".pbs", ".slurm"))
RESULT = "25997 primes below 300000, counted by 120 tasks on 1 hosts: "


def free_job_number() -> int:
    """A number of a job whose port is free: the scripts take ports from it."""
    while True:
        number = random.randrange(10_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", 20_000 + number))
            except OSError:
                continue
            return number


def job(directory: Path, script: str, number: int, index: int) -> subprocess.Popen[str]:
    """Start a script with what the batch system would have put into its environment, without an end of its time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PBS_", "SLURM_"))}
    environment["PATH"] = f"{PROGRAM.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment["RAIN_RUNTIME_DIR"] = str(directory / "runtime")
    if script.endswith(".pbs"):
        environment.update(PBS_O_WORKDIR=str(directory), PBS_NODEFILE=str(directory / "nodes"), PBS_WALLTIME="3600")
        environment["PBS_JOBID"] = f"{number}[{index}].server" if "array" in script else f"{number}.server"
        environment["PBS_ARRAY_INDEX"] = str(index)
    else:
        environment.update(SLURM_JOB_ID=str(number), SLURM_CPUS_ON_NODE="2", SLURM_JOB_END_TIME="4000000000")
        environment.update(SLURM_ARRAY_JOB_ID=str(number), SLURM_ARRAY_TASK_ID=str(index))
    return subprocess.Popen(
        ["bash", directory / script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def directory() -> Iterator[Path]:
    # Unix sockets have short paths; the directories of pytest are long ones.
    with tempfile.TemporaryDirectory(prefix="rain-pbs-") as path:
        copy = Path(shutil.copytree(FOLDER, Path(path) / "pbs"))
        # Before any job runs: all of them read it.
        (copy / "nodes").write_text("here\nhere\n")
        yield copy


def test_each_way_is_there_for_both_systems() -> None:
    names = {Path(script).stem for script in SCRIPTS}
    assert names == {"array", "mpi", "one-node", "tcp"}
    assert len(SCRIPTS) == 2 * len(names)


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_a_script(script: str) -> None:
    text = (FOLDER / script).read_text()
    assert text.startswith("#!/bin/bash\n# ") and "\nset -euo pipefail\n" in text
    assert ("\n#PBS -l walltime=" if script.endswith(".pbs") else "\n#SBATCH --time=") in text
    subprocess.run(["bash", "-n", FOLDER / script], check=True, timeout=PATIENCE_S)


@pytest.mark.parametrize("script", ("one-node.pbs", "one-node.slurm"))
def test_one_node(directory: Path, script: str) -> None:
    output, _ = job(directory, script, free_job_number(), 1).communicate(timeout=4 * PATIENCE_S)
    assert RESULT + socket.gethostname() in output
    assert output.splitlines()[-1].endswith("has stopped"), output
    assert os.listdir(directory / "runtime") == []


@pytest.mark.parametrize("script", ("one-node.pbs", "one-node.slurm"))
def test_the_exit_status_is_that_of_the_workflow(directory: Path, script: str) -> None:
    (directory / "workflow.py").write_text("raise SystemExit(7)")
    failed = job(directory, script, free_job_number(), 1)
    output, _ = failed.communicate(timeout=4 * PATIENCE_S)
    assert failed.returncode == 7, output
    assert os.listdir(directory / "runtime") == []


@pytest.mark.parametrize("script", ("array.pbs", "array.slurm"))
def test_jobs_of_an_array_join_one_server(directory: Path, script: str) -> None:
    number = free_job_number()
    # Those that join may come first.
    jobs = [job(directory, script, number, index) for index in (3, 2, 1)]
    outputs = []
    for started in jobs:
        outputs.append(started.communicate(timeout=4 * PATIENCE_S)[0])
        # The first job waits for all of them.
        assert started.returncode == 0, outputs
    assert [started.returncode for started in jobs] == [0, 0, 0], outputs
    assert RESULT + socket.gethostname() in outputs[2]
    assert all("governor of" in output and "is ready" in output for output in outputs), outputs
    # One that comes too late says so, and ends.
    late = job(directory, script, number, 2)
    assert late.communicate(timeout=PATIENCE_S)[0] == "the workflow has ended already\n"
    assert late.returncode == 0
    assert os.listdir(directory / "runtime") == []
    assert os.listdir(directory / f"rain-array.{number}") == ["ended"]
