"""The event log of a server that runs, has ended or was killed, and what the program tells of it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_server import PATIENCE_S, RainServer, running_server, runtime_directory, skip_without_program, until_dead

from rain.client import Client, TaskException, blob, remote, tasks

NAMES = ["<script>alert(1)</script>", "'; DROP TABLE sessions; --", "\x1b[31mred", "\u202egnol", "x" * 1000]


@remote()
def fail(ctx: Any) -> bytes:
    raise ValueError("no <b>good</b>")


@remote()
def wait_for(ctx: Any, path: str) -> bytes:
    Path(path).with_suffix(".began").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return b""


def told(server: RainServer, *arguments: str) -> Any:
    done = server.rain("log", str(server.runtime / "logs"), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def until(told_well: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not told_well():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_some(client: Client) -> None:
    for name in NAMES:
        with client.new_session(name) as session:
            made = [tasks.Concat([blob("a"), blob("b")]) for _ in range(10)]
            made[0].output.keep()
            session.submit()
            session.wait_all()
    with client.new_session("bad") as session:
        fail()
        session.submit()
        with pytest.raises(TaskException):
            session.wait_all()


def test_a_server_that_has_ended_is_told_of_by_its_log(tmp_path: Path) -> None:
    skip_without_program()
    with runtime_directory() as runtime:
        server = RainServer(runtime, "--simple", address="127.0.0.1")
        logs = runtime / "logs"
        with Client("127.0.0.1", server.port) as client:
            run_some(client)
        status = json.loads(server.rain("status", "--json", "--listen", str(server.port)).stdout)
        assert status["event_log"]["error"] is None
        assert Path(status["event_log"]["path"]) == logs / "events.sqlite"
        until(lambda: told(server)["status"]["sessions"]["failed"] == 1)
        server.stop()
        assert {path.name for path in logs.glob("events*")} == {"events.sqlite"}
        summary = told(server)
        assert summary["status"]["state"] == "finished"
        assert summary["status"]["tasks"]["finished"] == 10 * len(NAMES)
        assert [session["name"] for session in reversed(summary["sessions"])] == [*NAMES, "bad"]
        (failed,) = told(server, "--state", "failed")
        assert failed["error_line"] == "ValueError: no <b>good</b>"
        assert failed["name"] == "fail"
        listed = server.rain("log", str(logs), "--csv")
        rows = list(csv.DictReader(io.StringIO(listed.stdout)))
        assert [row["state"] for row in rows].count("finished") == 10 * len(NAMES)
        text = server.rain("log", str(logs)).stdout
        assert "\x1b" not in text and "\u202e" not in text and "ValueError" in text
        page = tmp_path / "page.html"
        assert server.rain("report", str(logs), "-o", str(page)).returncode == 0
        assert "&lt;script&gt;" in page.read_text() and "<script" not in page.read_text()
        trace = json.loads(server.rain("trace", str(logs)).stdout)
        slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
        assert len(slices) == 10 * len(NAMES) + 1


def test_what_runs_is_told_while_it_runs_and_after_a_kill(tmp_path: Path) -> None:
    skip_without_program()
    with runtime_directory() as runtime:
        server = RainServer(runtime, "--simple", address="127.0.0.1")
        path = tmp_path / "go"
        with Client("127.0.0.1", server.port) as client:
            session = client.new_session("waits")
            with session.bind_only():
                waits = wait_for(str(path))
                tasks.Concat([waits.output, blob("x")])
                session.submit()
            until(path.with_suffix(".began").exists)
            until(lambda: bool(told(server, "--state", "running")))
            assert told(server)["status"]["tasks"]["waiting"] == 1
            pid = json.loads(server.rain("status", "--json", "--listen", str(server.port)).stdout)["pid"]
            os.kill(pid, signal.SIGKILL)
            until_dead(pid)
        until(lambda: not list(runtime.glob("server-*")))
        status = told(server)["status"]
        assert status["state"] == "broken"
        assert (status["tasks"]["lost"], status["tasks"]["running"]) == (1, 0)
        (lost,) = told(server, "--state", "lost")
        assert lost["name"] == "wait_for"


def test_rain_goes_on_without_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    skip_without_program()
    with runtime_directory() as runtime:
        # What an earlier server has left cannot get another name.
        (runtime / "logs").mkdir()
        (runtime / "logs" / "events.sqlite").write_text("")
        for number in range(1, 6):
            (runtime / "logs" / f"events-{number}.sqlite" / "full").mkdir(parents=True)
        server = RainServer(runtime, "--simple", "--log-limit=8M", address="127.0.0.1")
        try:
            with Client("127.0.0.1", server.port) as client, client.new_session() as session:
                made = tasks.Concat([blob("a"), blob("b")])
                made.output.keep()
                session.submit()
                assert made.output.fetch().get_bytes() == b"ab"

            def reason() -> Any:
                status = json.loads(server.rain("status", "--json", "--listen", str(server.port)).stdout)
                return status["event_log"]["error"]

            until(lambda: reason() is not None)
            assert "no event log: " in server.rain("status", "--listen", str(server.port)).stdout
        finally:
            server.stop()
            shutil.rmtree(runtime / "logs")


def test_no_log_is_written_when_none_is_wanted() -> None:
    with running_server("--simple", "--event-log=off") as server:
        assert json.loads(server.rain("status", "--json", "--listen", str(server.port)).stdout)["event_log"] is None
        assert not list((server.runtime / "logs").glob("events*"))
        done = server.rain("log", str(server.runtime / "logs"))
        assert done.returncode == 1
        assert "there is no event log in" in done.stderr


def test_logs_that_are_none_are_refused_with_a_reason(tmp_path: Path) -> None:
    skip_without_program()
    with running_server("--simple") as server:
        log = tmp_path / "events.sqlite"

        def refused(what: str) -> None:
            for command in ("log", "trace", "report"):
                done = server.rain(command, str(log), *(["-o", str(tmp_path / "out")] if command != "log" else []))
                assert done.returncode == 1 and what in done.stderr, (command, done.stdout, done.stderr)

        log.write_bytes(b"no database " * 1000)
        refused("this is no event log of Rain")
        log.unlink()
        with sqlite3.connect(log) as made:
            made.execute("CREATE TABLE other (x)")
        refused("this is no event log of Rain")
        with sqlite3.connect(log) as made:
            made.execute("PRAGMA application_id = 0x5261696e")
            made.execute("PRAGMA user_version = 99")
        refused("has version 99")
        with sqlite3.connect(log) as made:
            made.execute("PRAGMA user_version = 1")
        refused("the event log is damaged")
