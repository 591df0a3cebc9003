"""The scripts in pbs/, unchanged, run by a real Slurm: `make test-batch` (see `run.py`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import HOME, NODES, TOP, USER, Cluster, call, wait_until, written

SCRIPTS = sorted(path.name for path in (TOP / "pbs").iterdir() if path.suffix in (".pbs", ".slurm"))
# What workflow.py prints.
RESULT = "25997 primes below 300000, counted by 120 tasks on "
RAIN = Path(os.environ.get("RAIN_BIN") or TOP / "target/release/rain").resolve()


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster({"rain": RAIN, "rain-engine": RAIN.parent / "rain-engine"})


@pytest.fixture
def directory(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of pbs/ in the user's home directory; at the end nothing is left on the nodes."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    place = HOME / name
    shutil.copytree(TOP / "pbs", place)
    call("chown", "-R", f"{USER}:{USER}", str(place))
    yield place
    wait_until(lambda: not cluster.left_over(), f"nothing is left; there is: {cluster.left_over()}", 20)
    cluster.check_daemons()


def submission(script: str) -> list[str]:
    return ["qsub" if script.endswith(".pbs") else "sbatch", script]


def replace_workflow(directory: Path, text: str) -> None:
    (directory / "workflow.py").rename(directory / "real_workflow.py")
    (directory / "workflow.py").write_text(text)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_as_it_is(cluster: Cluster, directory: Path, script: str) -> None:
    job = cluster.submit(directory, *submission(script))
    ended = cluster.wait(job, directory)
    assert set(ended.states) == {"COMPLETED"} and set(ended.codes) == {"0:0"}, f"{ended.output}\n{cluster.logs()}"
    results = [line for line in ended.output.splitlines() if "primes below" in line]
    hosts = "1 hosts: node" if script.startswith("one-node") else f"{len(NODES)} hosts: {' '.join(NODES)}"
    assert len(results) == 1 and results[0].startswith(RESULT + hosts), ended.output


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_failure_of_the_workflow_is_one_of_the_job(cluster: Cluster, directory: Path, script: str) -> None:
    replace_workflow(directory, "import sys; sys.exit(7)")
    job = cluster.submit(directory, *submission(script))
    ended = cluster.wait(job, directory)
    failed = [code for state, code in zip(ended.states, ended.codes) if state == "FAILED"]
    assert failed == ["7:0"], f"{ended}\n{cluster.logs()}"
    # The other jobs of an array have done their part.
    assert ended.states.count("COMPLETED") == len(ended.states) - 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_is_left_of_a_job_that_is_cancelled(cluster: Cluster, directory: Path, script: str) -> None:
    replace_workflow(directory, "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)")
    job = cluster.submit(directory, *submission(script))
    wait_until((directory / "started").exists, f"the workflow runs: {written(job, directory)}")
    call("scancel", job)
    ended = cluster.wait(job, directory)
    assert "CANCELLED" in ended.states and "COMPLETED" not in ended.states, ended


@pytest.mark.parametrize("script", ("array.slurm", "tcp.slurm"))
def test_a_job_that_is_requeued_begins_again(cluster: Cluster, directory: Path, script: str) -> None:
    first = "import os, pathlib, runpy, time\n"
    first += "if not os.environ.get('SLURM_RESTART_COUNT'): pathlib.Path('started').touch(); time.sleep(600)\n"
    replace_workflow(directory, first + "runpy.run_path('real_workflow.py', run_name='__main__')\n")
    for path in (directory / script, directory / "real_workflow.py"):
        # The other jobs of the array have gone.
        path.write_text(path.read_text().replace('--governors="$jobs"', "--governors=1"))
    job = cluster.submit(directory, "sbatch", "--requeue", script)
    wait_until((directory / "started").exists, f"the workflow runs: {written(job, directory)}")
    again = f"{job}_1" if script.startswith("array") else job
    call("scontrol", "requeue", again)

    def is_in_state(state: str) -> bool:
        return call("squeue", "-h", "-j", again, "-t", "all", "-o", "%T").split() == [state]

    wait_until(lambda: is_in_state("PENDING"), "the job waits")
    # It would wait for two minutes. Nodes refuse it at the moment at which they have ended it.
    call("scontrol", "update", f"jobid={again}", "starttime=now+5")
    wait_until(lambda: not is_in_state("PENDING"), "the job begins again")
    ended = cluster.wait(job, directory)
    assert "COMPLETED" in ended.states and RESULT in ended.output, f"{ended.output}\n{cluster.logs()}"
    assert "File exists" not in ended.output


TOO_MUCH = """
import os, pathlib, time
from rain.client import CancelledException, Client, blob, tasks

host, port = os.environ["RAIN_SERVER"].rsplit(":", 1)
with Client(host, int(port)) as client, client.new_session("long") as session:
    made = [tasks.Sleep(blob(f"result {number}"), 2.0) for number in range(600)]
    for task in made:
        task.output.keep()
    session.submit()
    try:
        session.wait_all()
    except CancelledException as error:
        print("told:", error)
    # Results are kept as long as the session is open.
    while not list(pathlib.Path().glob(f"rain-results.{os.environ['SLURM_JOB_ID']}/*/results.jsonl")):
        time.sleep(0.1)
    time.sleep(1)
"""


@pytest.mark.parametrize("script", ("mpi.slurm", "tcp.slurm"))
def test_results_are_stored_before_the_wall_time_is_over(cluster: Cluster, directory: Path, script: str) -> None:
    replace_workflow(directory, TOO_MUCH)
    of_slurm = cluster.submit(directory, "sbatch", "--time=1", "--nodes=2", script)
    of_pbs = cluster.submit(directory, "qsub", "-l", "walltime=00:01:00", "one-node.pbs")
    for job in (of_slurm, of_pbs):
        ended = cluster.wait(job, directory)
        # Not TIMEOUT: the workflow was told in time.
        assert ended.states == ["COMPLETED"] and "told: " in ended.output, f"{ended}\n{cluster.logs()}"
        stored = [path.read_bytes() for path in (directory / f"rain-results.{job}").rglob("*.output")]
        assert len(stored) > 10 and all(content.startswith(b"result ") for content in stored), (job, stored)


def test_a_client_on_the_login_node_works_with_a_job(cluster: Cluster, directory: Path) -> None:
    wait = "import os, time\nwhile not os.path.exists('done'): time.sleep(0.1)"
    replace_workflow(directory, wait)
    job = cluster.submit(directory, "sbatch", "array.slurm")
    meeting = directory / f"rain-array.{job}"
    wait_until((meeting / "ready").exists, "the server is ready")
    server = (meeting / "server").read_text().strip()
    client = ["env", f"RAIN_ACCESS={meeting / 'access'}", f"RAIN_SERVER={server}", "python", "real_workflow.py"]
    done = cluster.as_user("login", directory, *client, "--governors=3", "--wait=60")
    assert done.stdout == f"{RESULT}3 hosts: node1 node2 node3\n", f"{done}\n{written(job, directory)}"
    # Through a tunnel, too; it ends when nobody uses it any more.
    tunnel = f"ssh -f -L 7210:{server} node1 sleep 10 && RAIN_SERVER=localhost:7210 python real_workflow.py"
    done = cluster.as_user("login", directory, "env", f"RAIN_ACCESS={meeting / 'access'}", "sh", "-c", tunnel)
    assert done.stdout == f"{RESULT}3 hosts: node1 node2 node3\n", f"{done}\n{written(job, directory)}"
    (directory / "done").touch()
    ended = cluster.wait(job, directory)
    assert set(ended.states) == {"COMPLETED"}, ended


USES_STEPS = """
import os, subprocess, sys
from rain.client import Client, remote

@remote()
def variables(ctx):
    import os
    return "\\n".join(sorted(os.environ)).encode()

host, port = os.environ["RAIN_SERVER"].rsplit(":", 1)
with Client(host, int(port)) as client, client.new_session("steps") as session:
    task = variables()
    task.output.keep()
    session.submit()
    # What Slurm does to all steps of a job with --signal=USR1@60.
    subprocess.run(["scancel", "--signal=USR1", os.environ["SLURM_JOB_ID"]], check=True)
    session.wait_all()
    print("variables:", " ".join(task.output.fetch().get_bytes().decode().split()))
"""


def test_tasks_know_nothing_of_the_step_and_governors_ignore_signals_for_it(cluster: Cluster, directory: Path) -> None:
    replace_workflow(directory, USES_STEPS)
    job = cluster.submit(directory, "sbatch", "tcp.slurm")
    ended = cluster.wait(job, directory)
    assert ended.states == ["COMPLETED"], f"{ended.output}\n{cluster.logs()}"
    (line,) = (line for line in ended.output.splitlines() if line.startswith("variables:"))
    names = line.split()
    assert "SLURM_JOB_ID" in names and "SLURM_JOB_NODELIST" in names
    assert not {"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_CPU_BIND"} & set(names), names


def test_a_node_that_cannot_start_a_governor_is_named(cluster: Cluster, directory: Path) -> None:
    script = directory / "broken.slurm"
    text = (directory / "tcp.slurm").read_text()
    script.write_text(text.replace("-S", "-S --remote-init='[ $SLURMD_NODENAME != node2 ] || exit 3'"))
    job = cluster.submit(directory, "sbatch", script.name)
    ended = cluster.wait(job, directory)
    assert ended.states == ["FAILED"] and ended.codes == ["1:0"], ended
    assert "  node2: exit status 3" in ended.output and "  node1: " not in ended.output, ended.output
