"""Rain as an MPI program: `mpirun rain-engine` with 1 to 8 ranks on this machine, and how it goes wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_server import PROGRAM, until_dead

from rain.client import Client, RainException

ENGINE = PROGRAM.with_name("rain-engine")
# Against hanging only.
PATIENCE = 90.0

pytestmark = [
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="There is no mpirun (Debian package openmpi-bin)"),
    pytest.mark.skipif(not ENGINE.exists(), reason=f"There is no {ENGINE}; `make build` says why"),
]

WORKFLOW = """
import sys
from rain.client import Client, SessionException, blob, directory, remote, tasks

LARGE = 20_000_000

@remote()
def square(ctx, number):
    return str(number * number).encode()

@remote()
def make(ctx, number):
    return bytes([number]) * LARGE

@remote()
def total(ctx, *inputs):
    return str(sum(data.get_bytes()[0] * (len(data.get_bytes()) == LARGE) for data in inputs))

@remote()
def fail(ctx):
    raise ValueError("no such luck")

client = Client()
governors = client.status()["governors"]
assert len(governors) == int(sys.argv[1]), governors
with client.new_session() as session:
    squares = [square(number) for number in range(50)]
    for task in squares:
        task.output.keep()
    session.submit()
    assert [task.output.fetch().get_bytes() for task in squares] == [str(n * n).encode() for n in range(50)]
with client.new_session() as session:
    makers = [make(number) for number in range(2 * len(governors))]
    sums = [total(*makers) for _ in governors]
    tree = tasks.MakeDirectory([("a/b", makers[1]), ("c", blob(b"small"))])
    copy = tasks.SliceDirectory(tree, "a/")
    for task in [*sums, copy]:
        task.output.keep()
    session.submit()
    for task in sums:
        assert task.output.fetch().get_bytes() == str(sum(range(len(makers)))).encode()
    copy.output.fetch().write(sys.argv[2])
    session.update([*makers, *sums])
    # Those that had to wait for all ran somewhere, and so did what they waited for: objects have moved.
    assert len({task.info.governor for task in makers}) == len(governors)
with client.new_session() as session:
    fail()
    session.submit()
    try:
        session.wait_all()
    except SessionException as error:
        assert "no such luck" in str(error)
    else:
        raise AssertionError("the failure was not told")
print("all of it is right")
"""


class Job:
    """What `mpirun rain-engine` is run with, and where it leaves files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.scratch = directory / "scratch"
        for path in (self.scratch, directory / "mpi"):
            path.mkdir()
        self.environment = {
            **os.environ,
            "RAIN_RUNTIME_DIR": str(directory / "run"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            # Its own files, which tests that run at the same time must not share.
            "TMPDIR": str(directory / "mpi"),
        }
        self.running: list[subprocess.Popen[str]] = []
        self.shared_memory: set[Path] = set()

    def command(self, ranks: int, *options: str) -> list[str]:
        """Of one program context, as `mpirun` wants it."""
        places = [f"--logdir={self.logs}", f"--workdir={self.scratch}"]
        given = [place for place in places if not any(option.startswith(place.split("=")[0]) for option in options)]
        return ["-n", str(ranks), str(ENGINE), *given, *options]

    def start(self, *command: str) -> subprocess.Popen[str]:
        """`mpirun` with program contexts."""
        process = subprocess.Popen(
            # By its name: called by its path, Open MPI's puts its directory into PATH.
            ["mpirun", "--oversubscribe", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen[str], patience: float = PATIENCE) -> tuple[int, str, list[str]]:
        """Waits for its end: exit status, output, and the lines of `rain-engine` on standard error."""
        out, error = process.communicate(timeout=patience)
        print(error)
        return process.returncode, out, [line for line in error.splitlines() if line.startswith("rain-engine:")]

    def run(self, ranks: int, *options: str) -> tuple[int, str, list[str]]:
        return self.end(self.start(*self.command(ranks, *options)))

    def script(self, text: str, *arguments: str) -> str:
        """The value of --run for a Python script."""
        path = self.directory / "script.py"
        path.write_text(text)
        return f"--run={sys.executable} {path} {' '.join(arguments)}"

    def processes(self) -> list[int]:
        """Processes of the job that are not zombies."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except (OSError, ValueError):
                continue
            if entry.name.isdecimal() and str(self.directory) in command + environment:
                found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def ranks(self) -> dict[int, tuple[int, int]]:
        """Pids of supervisor and engine of each rank, once their logs say that they have begun."""
        found: dict[int, tuple[int, int]] = {}
        for directory in (self.directory / "run").glob("rank-*"):
            supervisor = int(directory.name.rpartition("-")[2])
            try:
                environment = Path(f"/proc/{supervisor}/environ").read_text().split("\0")
                children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            except OSError:
                continue
            (rank,) = (line.partition("=")[2] for line in environment if line.startswith("OMPI_COMM_WORLD_RANK="))
            if children:
                found[int(rank)] = (supervisor, int(children[0]))
        return found

    def until(self, holds: Any) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := holds()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found

    def check_nothing_left(self) -> None:
        self.until(lambda: not self.processes())
        assert [path.name for path in (self.directory / "run").glob("*")] == []
        assert list(self.scratch.iterdir()) == []
        assert [path for path in self.shared_memory if path.exists()] == []


@pytest.fixture
def job() -> Iterator[Job]:
    # Unix sockets have short paths; the directories of pytest are long ones.
    with tempfile.TemporaryDirectory(prefix="rain-mpi-") as path:
        made = Job(Path(path))
        try:
            yield made
        finally:
            for process in made.running:
                if process.poll() is None:
                    process.kill()
                    process.communicate()
            for pid in made.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_a_workflow(job: Job, ranks: int) -> None:
    copy = job.directory / "copy"
    code, out, said = job.run(ranks, "--cpus=1", job.script(WORKFLOW, str(max(ranks - 1, 1)), str(copy)))
    assert (code, out, said) == (0, "all of it is right\n", [])
    assert (copy / "b").read_bytes() == b"\x01" * 20_000_000
    job.check_nothing_left()
    logs = ["events.sqlite", *(f"rank-{rank}.log" for rank in range(ranks))]
    assert sorted(path.name for path in job.logs.iterdir()) == logs


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="There is no /dev/shm")
def test_random_graphs_on_two_file_systems(job: Job) -> None:
    """Content goes through MPI between ranks that cannot give each other their files."""
    script = Path(__file__).parents[1] / "random_graphs.py"
    graphs = int(os.environ.get("RAIN_STRESS_GRAPHS", "2"))
    run = f"--run={sys.executable} {script} 7000 {graphs}"
    with tempfile.TemporaryDirectory(prefix="rain-mpi-", dir="/dev/shm") as memory:
        elsewhere = job.command(2, run, f"--workdir={memory}")
        process = job.start(*job.command(2, run), ":", *elsewhere)
        assert job.end(process, PATIENCE + 5 * graphs) == (0, "", [])
        assert list(Path(memory).iterdir()) == []
    job.check_nothing_left()


def test_the_exit_status_of_the_command_is_that_of_the_job(job: Job) -> None:
    assert job.run(3, "--run=sh -c 'echo out; echo err >&2; exit 42'")[:2] == (42, "out\n")
    assert job.run(1, "--run=sh -c 'kill -9 $$'")[0] == 128 + 9
    assert job.run(2, "--run=true") == (0, "", [])
    job.check_nothing_left()


def test_a_workflow_that_fails(job: Job) -> None:
    script = "from rain.client import Client\nraise SystemExit(Client().status()['governors'][0]['cpus'])"
    assert job.run(2, "--cpus=3", job.script(script))[0] == 3


def test_clients_come_over_tls_and_stop_it(job: Job) -> None:
    access, ready = job.directory / "access", job.directory / "ready"
    serve = ["--listen=127.0.0.2:0", f"--client-access={access}", f"--ready-file={ready}"]
    process = job.start(*job.command(3, *serve))
    job.until(ready.exists)
    (directory,) = (job.directory / "run").glob("server-*")
    port = int(directory.name.partition("-")[2])
    # Not the name of this host, for which the Unix socket is taken.
    with Client("127.0.0.2", port, access=str(access)) as client:
        assert len(client.status()["governors"]) == 2 and not client.local
    governor = subprocess.run(
        [PROGRAM, "governor", f"127.0.0.2:{port}", f"--access={access}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "not one for governors" in governor.stderr
    stopped = subprocess.run(
        [PROGRAM, "stop", f"--listen={port}"], env=job.environment, capture_output=True, text=True, check=False
    )
    assert stopped.returncode == 0, stopped.stderr
    code, out, said = job.end(process)
    assert (code, said) == (0, [])
    assert "is ready on 127.0.0.2" in out and "2 governors" in out
    assert not access.exists()
    job.check_nothing_left()


LASTING = """
import sys
from rain.client import Client, blob, tasks
with Client() as client, client.new_session() as session:
    tasks.Store(blob(b"stored"), sys.argv[1])
    session.submit()
    session.wait_all()
    for _ in range(4):
        tasks.Sleep(blob(b""), 300)
        tasks.Execute(["sleep", "300"])
    session.submit()
    open(sys.argv[2], "w").close()
    session.wait_all()
"""


def lasting(job: Job, ranks: int) -> tuple[subprocess.Popen[str], dict[int, tuple[int, int]]]:
    """A job that works for a long time, and has begun to."""
    begun = job.directory / "begun"
    process = job.start(*job.command(ranks, "--cpus=2", job.script(LASTING, str(job.directory / "stored"), str(begun))))
    job.until(begun.exists)
    found = job.until(lambda: found if len(found := job.ranks()) == ranks else None)
    for _, engine in found.values():
        mapped = Path(f"/proc/{engine}/maps").read_text().split()
        job.shared_memory.update(Path(word) for word in mapped if word.startswith("/dev/shm/"))
    return process, found


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_dies_ends_the_job_and_is_named(job: Job, rank: int) -> None:
    process, ranks = lasting(job, 4)
    os.kill(ranks[rank][1], signal.SIGKILL)
    code, _, said = job.end(process)
    assert code not in (0, None)
    assert any(line.startswith(f"rain-engine: rank {rank} on ") for line in said), said
    (line,) = (line for line in said if f"rank {rank} on " in line and "SIGKILL" in line)
    assert "its last words: " in line and f"logs in {job.logs}" in line
    assert (job.directory / "stored").read_bytes() == b"stored"
    assert "begins" in (job.logs / f"rank-{rank}.log").read_text()
    job.check_nothing_left()


def test_a_rank_that_ends_too_early_ends_the_job(job: Job) -> None:
    process, ranks = lasting(job, 3)
    # The engine alone: its supervisor does not know why it ends, and MPI hears a proper goodbye.
    os.kill(ranks[2][1], signal.SIGTERM)
    code, _, said = job.end(process)
    assert code not in (0, None)
    (line,) = said
    assert line.startswith("rain-engine: rank 2 on ") and "is lost: " in line
    job.check_nothing_left()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_supervisor_that_dies_leaves_nothing(job: Job, rank: int) -> None:
    process, ranks = lasting(job, 3)
    os.kill(ranks[rank][0], signal.SIGKILL)
    assert job.end(process)[0] not in (0, None)
    job.check_nothing_left()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_mpirun_ends_all_in_order(job: Job, sent: signal.Signals) -> None:
    process, ranks = lasting(job, 3)
    process.send_signal(sent)
    code, _, said = job.end(process)
    assert code != 0
    assert said == []
    for pid in [pid for pids in ranks.values() for pid in pids]:
        until_dead(pid)
    job.check_nothing_left()


def test_the_killing_of_mpirun_leaves_nothing(job: Job) -> None:
    process, _ = lasting(job, 3)
    process.kill()
    job.end(process)
    job.check_nothing_left()


def one_line(job: Job, *command: str) -> str:
    """What is said of a job that cannot begin: one line, by one rank."""
    code, out, said = job.end(job.start(*command))
    assert code not in (0, None)
    assert out == ""
    assert len(said) == 1, said
    job.check_nothing_left()
    return said[0]


def test_ranks_of_different_releases(job: Job) -> None:
    other = ["-n", "1", "-x", "RAIN_ENGINE_VERSION=9.9.9", *job.command(1)[2:]]
    said = one_line(job, *job.command(2, "--run=true"), ":", *other)
    assert said.startswith("rain-engine: rank 2 on ") and "Rain 9.9.9, but rank 0 is Rain" in said


def test_a_launcher_of_another_mpi(job: Job) -> None:
    """As `mpiexec` of MPICH starts a program that was built with Open MPI."""
    job.environment["PMI_SIZE"] = "4"
    process = subprocess.run(
        [ENGINE, "--run=true", f"--logdir={job.logs}", f"--workdir={job.scratch}"],
        env=job.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == 1
    (said,) = process.stderr.splitlines()
    assert "has started 4 processes" in said and "a world of 1" in said
    job.check_nothing_left()


def test_a_command_that_is_not_there(job: Job) -> None:
    said = one_line(job, *job.command(3, "--run=no-such-program-here x"))
    assert said.startswith("rain-engine: rank 0 on ") and '"no-such-program-here"' in said


def test_no_place_for_data(job: Job) -> None:
    said = one_line(job, *job.command(2, "--run=true"), ":", *job.command(1, "--workdir=/proc/nowhere"))
    assert said.startswith("rain-engine: rank 2 on ") and "/proc/nowhere" in said
    said = one_line(job, *job.command(3, "--run=true", "--workdir=/proc/nowhere"))
    assert said.startswith("rain-engine: rank 0 on ") and said.endswith("(and 2 more ranks are not ready)")


def test_no_place_for_logs(job: Job) -> None:
    said = one_line(job, *job.command(2, "--run=true"), ":", *job.command(1, "--logdir=/proc/nowhere"))
    assert said.startswith("rain-engine: rank 2 on ") and "log directory /proc/nowhere" in said


def test_a_host_without_python(job: Job) -> None:
    # Elsewhere, so that there is none beside it either.
    alone = job.directory / "bin" / "rain-engine"
    alone.parent.mkdir()
    shutil.copy(ENGINE, alone)
    poor = ["-n", "1", "-x", "PATH=/nowhere", "-x", "VIRTUAL_ENV=/nowhere", str(alone), *job.command(1)[3:]]
    said = one_line(job, *job.command(2, "--run=true"), ":", *poor)
    assert said.startswith("rain-engine: rank 2 on ") and "no Python" in said


def test_a_host_without_the_python_of_the_client(job: Job) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("Hiding a directory from one rank takes root and unshare")
    python = job.directory / "interpreter" / "python3"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    own = " ".join(job.command(1)[2:])
    hidden = ["-n", "1", "unshare", "-m", "sh", "-c", f"mount -t tmpfs none {python.parent} && exec {own}"]
    said = one_line(job, *job.command(2, f"--run={python} -c pass"), ":", *hidden)
    assert said.startswith("rain-engine: rank 2 on ") and f"no {python} here" in said


def test_wrong_options_are_said_once(job: Job) -> None:
    for option, expected in [("--cpus=0", "--cpus=0"), ("--speed=9", "--speed"), ("--config=/no/file", "/no/file")]:
        assert expected in one_line(job, *job.command(3, "--run=true", option))


def test_an_executor_that_does_not_start(job: Job) -> None:
    config = job.directory / "governor.toml"
    config.write_text('[executors.broken]\ncommand = "false"\nwarm = 1\n')
    said = one_line(job, *job.command(2, "--run=true"), ":", *job.command(1, f"--config={config}"))
    assert said.startswith("rain-engine: rank 2 on ") and f"{config}:1" in said


def test_a_port_that_is_taken(job: Job) -> None:
    ready = job.directory / "ready"
    first = job.start(*job.command(1, "--listen=127.0.0.1:0", f"--ready-file={ready}"))
    job.until(ready.exists)
    (directory,) = (job.directory / "run").glob("server-*")
    port = directory.name.partition("-")[2]
    code, _, said = job.run(2, f"--listen=127.0.0.1:{port}")
    assert code not in (0, None)
    (line,) = said
    assert "already running" in line
    first.terminate()
    job.end(first)
    job.check_nothing_left()


def test_help_and_version_are_said_once(job: Job) -> None:
    for option, expected in [("--help", "Rain as an MPI program"), ("--version", "rain-engine ")]:
        code, out, said = job.end(job.start("-n", "3", str(ENGINE), option))
        assert (code, said) == (0, []) and out.count(expected) == 1


def test_cpus_that_mpirun_has_bound_are_kept(job: Job) -> None:
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("There is only one cpu")
    script = "from rain.client import Client\nprint([g['cpus'] for g in Client().status()['governors']])"
    bound = job.start("--bind-to", "core", *job.command(2, job.script(script)))
    code, out, _ = job.end(bound)
    free = job.start("--bind-to", "none", *job.command(2, job.script(script)))
    assert (code, out) == (0, "[1]\n")
    assert job.end(free)[:2] == (0, f"[{len(cpus)}]\n")
    job.check_nothing_left()


def test_a_client_without_address_goes_to_the_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIN_SERVER", "localhost")
    with pytest.raises(RainException, match="RAIN_SERVER=localhost is not HOST:PORT"):
        Client()
    monkeypatch.setenv("RAIN_SERVER", "localhost:7219")
    with pytest.raises(RainException, match="RAIN_SERVER names one here"):
        Client(cpus=2)
