"""The end of a server's time, and results that outlive it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from real_server import PATIENCE_S, PROGRAM, running_server

from rain.client import CancelledException, Client, RainException, Session, blob, load_results, tasks


def results_of(directory: Path, count: int) -> dict[str, bytes]:
    """The stored results by file name, once there are so many of them."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        lines = []
        for manifest in directory.glob("results.jsonl"):
            lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        if len(lines) >= count:
            return {line["file"]: (directory / line["file"]).read_bytes() for line in lines}
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)


def sleepers(session: Session, count: int) -> list[tasks.Sleep]:
    """Kept tasks of a third of a second each."""
    made = [tasks.Sleep(blob(f"result {number}"), 0.3) for number in range(count)]
    for task in made:
        task.output.keep()
    session.submit()
    return made


@pytest.mark.parametrize("governors", ["[1]", "[1,1]"])
def test_what_cannot_be_finished_does_not_begin_and_results_are_stored(tmp_path: Path, governors: str) -> None:
    """Of too many tasks some run; the others end the wait with what happened, and what was made is stored."""
    results = tmp_path / "results"
    options = [f"--local-governors={governors}", "--end-time=+6", "--end-margin=3", f"--results-dir={results}"]
    with running_server(*options) as server, Client("127.0.0.1", server.port).new_session("near the end") as session:
        made = sleepers(session, 60)
        with pytest.raises(CancelledException, match="end of this server's time"):
            session.wait_all()
        session.update(made)
        finished = [task for task in made if task.state == "finished"]
        assert 0 < len(finished) < len(made)
        assert made[-1] not in finished
        with pytest.raises(CancelledException, match="end of this server's time"):
            made[-1].output.fetch()
        # What was made can still be had, from here and from the place for results.
        assert finished[0].output.fetch().get_bytes() == b"result 0"
        stored = results_of(results / "near_the_end", len(finished))
        loaded = load_results(results / "near_the_end")
        assert [result.data.load() for result in loaded] == [f"result {made.index(task)}" for task in finished]
        assert {(result.task_name, result.label) for result in loaded} == {("buildin/sleep", "output")}
        assert sorted(stored.values()) == sorted(b"result %d" % made.index(task) for task in finished)


def test_results_outlive_a_script_that_does_not_expect_the_end(tmp_path: Path) -> None:
    """A script that ends with the exception closes its session; what it kept is stored first."""
    results = tmp_path / "results"
    options = ["--local-governors=[1]", "--end-time=+4", "--end-margin=2", f"--results-dir={results}"]
    with running_server(*options) as server:
        with (
            pytest.raises(CancelledException, match="end of this server's time"),
            Client("127.0.0.1", server.port).new_session("careless") as session,
        ):
            made = sleepers(session, 40)
            session.wait_all()
        stored = results_of(results / "careless", 1)
        assert 0 < len(stored) < len(made)
        assert b"result 0" in stored.values()


def test_whoever_waits_for_what_runs_to_the_end_hears_of_it() -> None:
    """A task of which nothing is known may begin; it is stopped in the middle of the margin."""
    options = ["--local-governors=[1]", "--end-time=+4", "--end-margin=2"]
    with running_server(*options) as server, Client("127.0.0.1", server.port).new_session() as session:
        endless = tasks.Sleep(blob("x"), 600)
        endless.output.keep()
        session.submit()
        with pytest.raises(CancelledException, match="end of this server's time"):
            endless.output.fetch()


def test_kept_results_are_stored_when_the_server_is_stopped(tmp_path: Path) -> None:
    """A batch system that ends a job early sends SIGTERM, which ends a server like this."""
    results = tmp_path / "results"
    with running_server("--local-governors=[2]", f"--results-dir={results}") as server:
        session = Client("127.0.0.1", server.port).new_session()
        with session.bind_only():
            made = tasks.Concat([blob("con"), blob("cat")])
            made.output.keep()
            tasks.Concat([blob("not kept")])
            folder = tasks.MakeDirectory([("inside/file", blob("in a folder"))])
            folder.output.keep()
            session.submit()
        session.wait_all()
    concat, tree = load_results(results / "session")
    assert concat.data.get_bytes() == b"concat"
    tree.data.write(tmp_path / "copy")
    assert (tmp_path / "copy" / "inside" / "file").read_text() == "in a folder"
    with pytest.raises(RainException, match="No stored results in"):
        load_results(results)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}, "(Slurm)"),
        ({"PBS_JOBID": "7.host", "PBS_WALLTIME": "3600"}, "(PBS)"),
        ({}, None),
    ],
)
def test_the_batch_systems_own_end_is_known(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str | None
) -> None:
    """What PBS and Slurm say in the environment is shown at start; what they do not say is not guessed."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with running_server() as server:
        notes = [line for line in server.announcement.splitlines() if "the time is over" in line]
    if expected is None:
        assert notes == []
    else:
        (note,) = notes
        assert expected in note
        assert 3000 < float(note.partition("over in ")[2].split()[0]) <= 3600


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Said before anything starts."""
    (tmp_path / "file").write_text("")
    command = [PROGRAM, "start", "--simple", "--listen=0", f"--results-dir={tmp_path}/file/results"]
    environment = {**os.environ, "RAIN_RUNTIME_DIR": str(tmp_path / "runtime")}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert "--results-dir=" in refused.stderr and "cannot write there" in refused.stderr
