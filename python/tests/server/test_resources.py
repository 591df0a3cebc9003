"""Tasks that ask for more than cpus: what they are given, who waits, and what cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import Cluster, wait_until
from real_server import RainServer, running_server

from rain.client import Client, Program, RainException, Session, remote, tasks

GPUS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "RAIN_RESOURCES")
SHOW = "echo $CUDA_VISIBLE_DEVICES/$ROCR_VISIBLE_DEVICES/$RAIN_RESOURCES"


@pytest.fixture(scope="module")
def server() -> Iterator[RainServer]:
    options = ("--resource=gpus=[0,1]", "--resource", "licence=3", "--resource=memory=8GiB")
    with running_server("--local-governors=[4]", "--no-pin", *options) as server:
        yield server


@pytest.fixture
def session(server: RainServer) -> Iterator[Session]:
    with Client("127.0.0.1", server.port) as client, client.new_session("resources") as session:
        yield session


def environment() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in GPUS}


@remote()
def given(ctx) -> str:  # type: ignore[no-untyped-def]
    return json.dumps([ctx.resources, environment()])


def show(session: Session, **options: object) -> str:
    task = tasks.Execute(SHOW, shell=True, stdout=True, session=session, **options)  # type: ignore[arg-type]
    task.output.keep()
    session.submit()
    return task.output.fetch().get_bytes().decode().strip()


def test_a_program_is_told_what_it_was_given(session: Session) -> None:
    assert show(session, resources={"gpus": 1, "licence": 2}) == '0/0/{"cpus": 1, "gpus": [0], "licence": 2}'
    assert show(session, resources={"gpus": 2, "cpus": 2}) == '0,1/0,1/{"cpus": 2, "gpus": [0, 1]}'
    assert show(session, resources={"memory": "1GiB"}) == '//{"cpus": 1, "memory": 1073741824}'
    # What one was given the next one is not, and who asks for none sees none.
    assert show(session) == "//"


def test_a_function_is_told_what_it_was_given(session: Session) -> None:
    def called(**options: object) -> tuple[dict[str, object], dict[str, str | None]]:
        task = remote(**options)(given.__wrapped__)(session=session)  # type: ignore[call-overload]
        task.output.keep()
        session.submit()
        resources, variables = json.loads(task.output.fetch().get_bytes())
        return resources, variables

    for _ in range(2):
        resources, variables = called(resources={"gpus": 1, "cpus": 2})
        assert resources == {"cpus": 2, "gpus": [0]}
        assert variables["CUDA_VISIBLE_DEVICES"] == variables["ROCR_VISIBLE_DEVICES"] == "0"
        assert json.loads(variables["RAIN_RESOURCES"] or "") == resources
        resources, variables = called()
        assert resources == {"cpus": 1}
        assert variables == {"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "RAIN_RESOURCES": None}


def test_no_two_tasks_have_the_same_gpu_at_a_time(session: Session, tmp_path: Path) -> None:
    # A directory can be made once: who finds the one of its GPU there runs beside another one.
    lock = "mkdir $ROOT/$CUDA_VISIBLE_DEVICES && sleep 0.01 && rmdir $ROOT/$CUDA_VISIBLE_DEVICES"
    lock += " && echo $CUDA_VISIBLE_DEVICES"
    program = Program(lock, shell=True, stdout=True, env={"ROOT": str(tmp_path)}, resources={"gpus": 1})
    runs = [program(session=session) for _ in range(24)]
    for run in runs:
        run.output.keep()
    session.submit()
    used = {run.output.fetch().get_bytes() for run in runs}
    assert used == {b"0\n", b"1\n"}


def test_halves_share_one_gpu_and_a_whole_one_has_its_own(session: Session, tmp_path: Path) -> None:
    command = "echo $CUDA_VISIBLE_DEVICES > $ROOT/new-$$ && mv $ROOT/new-$$ $ROOT/at-$$ && exec sleep 1000"
    env = {"ROOT": str(tmp_path)}

    def held(gpus: float) -> tasks.Execute:
        return tasks.Execute(command, shell=True, session=session, env=env, resources={"gpus": gpus})

    running = [held(0.5), held(0.5), held(1)]
    session.submit()
    wait_until(lambda: len(list(tmp_path.glob("at-*"))) == 3)
    assert sorted(path.read_text() for path in tmp_path.glob("at-*")) == ["0\n", "0\n", "1\n"]
    session.cancel(running)


def test_the_first_alternative_that_fits_is_taken(session: Session) -> None:
    either = [{"gpus": 7}, {"licence": 1, "cpus": 2}]
    assert show(session, resources=either) == '//{"cpus": 2, "licence": 1}'
    assert show(session, resources=[{"gpus": 1}, {"cpus": 4}]) == '0/0/{"cpus": 1, "gpus": [0]}'


def test_a_wide_task_does_not_starve(session: Session) -> None:
    small = Program("sleep 0.005", shell=True, resources={"licence": 1})
    for _ in range(30):
        small(session=session)
    wide = tasks.Execute("true", shell=True, session=session, resources={"licence": 3})
    after = [small(session=session) for _ in range(200)]
    session.submit()
    wide.wait()
    session.update(after)
    # Those that came after it have not passed it.
    assert sum(task.state == "finished" for task in after) < 20
    session.wait_all()


@pytest.mark.parametrize(
    ("resources", "part"),
    [
        ({"gpus": 3}, "3 gpus, but the governor with most of it has 2"),
        ({"gpu": 1}, "1 gpu, which no governor has; there are cpus, gpus, licence, memory"),
        ({"memory": "9GiB"}, "but the governor with most of it has 8589934592"),
        ({"cpus": 2, "licence": 4}, "has 3"),
        ([{"gpus": 3}, {"licence": 9}], "3 gpus"),
    ],
)
def test_what_no_governor_has_is_refused_at_once(session: Session, resources: object, part: str) -> None:
    tasks.Execute("true", session=session, resources=resources)  # type: ignore[arg-type]
    with pytest.raises(RainException, match=part.replace("(", r"\(")):
        session.submit()


def test_what_was_given_is_free_after_a_failure_a_cancel_and_a_close(server: RainServer) -> None:
    with Client("127.0.0.1", server.port) as client:

        def is_free() -> bool:
            resources = client.status()["governors"][0]["resources"]
            return all(resource["free"] == resource["total"] for resource in resources.values())

        everything = {"gpus": 2, "licence": 3, "memory": "8GiB"}
        with client.new_session("fails") as session:
            tasks.Execute("false", session=session, resources=everything)
            session.submit()
            with pytest.raises(RainException):
                session.wait_all()
        with client.new_session("cancels") as session:
            task = tasks.Execute(["sleep", "1000"], session=session, resources=everything)
            session.submit()
            wait_until(lambda: not is_free())
            session.cancel([task])
            assert show(session, resources=everything).startswith("0,1/")
        with client.new_session("closes") as session:
            tasks.Execute(["sleep", "1000"], session=session, resources=everything)
            session.submit()
            wait_until(lambda: not is_free())
        with client.new_session("comes after") as session:
            assert show(session, resources=everything).startswith("0,1/")
        wait_until(is_free)


def test_explain_says_what_is_missing_and_who_has_it(server: RainServer, session: Session) -> None:
    holds = tasks.Execute(["sleep", "1000"], session=session, resources={"gpus": 2})
    waits = tasks.Execute("echo", stdout=True, session=session, resources={"gpus": 1})
    reads = tasks.Concat([waits.output], session=session)
    session.submit()
    wait_until(lambda: holds.explain().state == "running")
    assert (holds.explain().governor, holds.explain().has) == (0, {"gpus": 2.0})
    told = waits.explain()
    assert (told.state, told.place, told.lacks[0]["name"], told.lacks[0]["free"]) == ("ready", 0, "gpus", 0.0)
    (holder,) = told.lacks[0]["holders"]
    assert (holder["task"], holder["amount"]) == (holds.id.id, 2.0)
    assert told.since is not None
    missing = reads.explain()
    assert (missing.state, missing.missing[0]["task"]) == ("waiting", waits.id.id)
    number = f"{waits.id.session_id}:{waits.id.id}"
    shown = server.rain("explain", number, f"--listen={server.port}")
    assert f"task {waits.id.id} is ready: it waits for resources: governor 0 has 0 of 2 gpus free" in shown.stdout
    assert server.rain("explain", "1:99999", f"--listen={server.port}").returncode == 1
    session.cancel([holds])
    session.wait_all()
    assert str(waits.explain()).startswith("it has finished on governor 0")


def test_status_and_infos_show_resources(server: RainServer) -> None:
    shown = server.rain("status", f"--listen={server.port}")
    assert "gpus 2/2, licence 3/3, memory 8.0/8.0 GiB free" in shown.stdout
    with Client("127.0.0.1", server.port) as client:
        (governor,) = client.status()["governors"]
        assert governor["resources"]["gpus"] == {"total": 2.0, "free": 2.0, "labels": ["0", "1"]}


def test_options_that_cannot_be_are_said_at_once(server: RainServer) -> None:
    for option, part in [
        ("--resource=gpus", "NAME=AMOUNT"),
        ("--resource=licence=0", "NAME=AMOUNT"),
        ("--resource=gpus=[0,0]", "twice"),
        ("--resource=cpus=3", "number of their own"),
        ("--gpus=some", "possible values"),
    ]:
        failed = server.rain("start", "--simple", "--listen=0", option)
        assert failed.returncode == 2
        assert part in failed.stderr


def test_a_task_waits_on_a_cluster_until_a_governor_has_what_it_asks_for(cluster: Cluster) -> None:
    client = cluster.client()
    cluster.govern()
    with client.new_session("waits") as session:
        task = tasks.Execute(SHOW, shell=True, stdout=True, session=session, resources={"gpus": 1, "licence": 1})
        task.output.keep()
        plain = tasks.Execute("echo plain", shell=True, stdout=True, session=session)
        plain.output.keep()
        session.submit()
        assert plain.output.fetch().get_bytes() == b"plain\n"
        address = f"127.0.0.1:{cluster.port}"
        access = f"--access={cluster.access}"
        options = ("--resource=gpus=[GPU-7f]", "--resource=licence=1", "--cpus=1", "--no-pin")
        cluster.start("governor", address, access, *options)
        expected = b'GPU-7f/GPU-7f/{"cpus": 1, "gpus": ["GPU-7f"], "licence": 1}\n'
        assert task.output.fetch().get_bytes() == expected
