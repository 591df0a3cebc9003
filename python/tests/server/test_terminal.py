"""What a server does, as the program shows it in a terminal: as lists, and as it changes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_server import PATIENCE_S, PROGRAM, RainServer, running_server

from rain.client import Client, Session, TaskException, blob, tasks

HOSTILE = "\x1b[2J\u202eevil"
KEYS = "q ends it"
# What moves the cursor, or changes how characters look.
STEERING = re.compile(r"(\x1b\[[0-9;?]*[a-zA-Z])+")


@contextlib.contextmanager
def busy(server: RainServer, gate: Path) -> Iterator[Session]:
    """A client with a failed session, one of a hostile name, and one with a task that runs until there is a file."""
    with Client("127.0.0.1", server.port) as client:
        with client.new_session("bad") as bad:
            tasks.Execute("false", name="this/fails")
            bad.submit()
            with pytest.raises(TaskException):
                bad.wait_all()
        with client.new_session(HOSTILE), client.new_session("iris") as session:
            for number in range(3):
                tasks.Concat([blob("a")], name=f"main/training/fold{number}")
            waits = f"until [ -e {gate} ]; do sleep 0.05; done"
            tasks.Execute(["sh", "-c", waits], name="main/waits")
            session.submit()
            session.wait(session.tasks[:3])
            yield session
            gate.touch()
            session.wait_all()


def seen(server: RainServer, *arguments: str) -> str:
    done = server.rain(arguments[0], str(server.port), *arguments[1:])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def until(server: RainServer, text: str, *arguments: str) -> str:
    """What the program prints, once that has the text: the log is written a moment after things happen."""
    deadline = time.monotonic() + PATIENCE_S
    while text not in (done := server.rain(arguments[0], str(server.port), *arguments[1:])).stdout:
        assert time.monotonic() < deadline, done
        time.sleep(0.05)
    return done.stdout


class Top:
    """The program in a terminal of its own."""

    def __init__(self, server: RainServer, lines: int = 24, columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [PROGRAM, "top", str(server.port), "--interval=0.1"],
            env={**server.environment, "TERM": "xterm"},
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until(self, text: str) -> None:
        """Read until the text was drawn; what is not changed is passed over, as spaces are."""
        drawn = ""
        deadline = time.monotonic() + PATIENCE_S
        while text not in drawn:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, drawn
            drawn += STEERING.sub(" ", os.read(self.master, 65536).decode())

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> tuple[int, str]:
        """Wait for its end; the exit status, and what it has said. The terminal is as it was."""
        try:
            # Nobody else reads what it draws, and it would wait for that.
            while self.process.poll() is None:
                if select.select([self.master], [], [], 0.05)[0]:
                    os.read(self.master, 65536)
            assert self.process.stderr is not None
            said = self.process.stderr.read()
            assert termios.tcgetattr(self.slave) == self.before
            return self.process.returncode, said
        finally:
            os.close(self.master)
            os.close(self.slave)


def test_sessions_tasks_and_governors_are_listed(tmp_path: Path) -> None:
    with running_server("--local-governors=[1,1]") as server, busy(server, tmp_path / "gate") as session:
        sessions = until(server, "3 sessions", "sessions")
        assert "iris" in sessions and "bad" in sessions and "?[2J?evil" in sessions and "\x1b" not in sessions
        failed = seen(server, "sessions", "--state=failed")
        assert "bad" in failed and "iris" not in failed and "1 session\n" in failed
        shown: Any = json.loads(seen(server, "sessions", "--json", "--limit=1"))
        assert [one["name"] for one in shown["sessions"]] == ["iris"]

        running = until(server, "main/waits", "tasks", "--state=running")
        assert "this/fails" not in running and "1 task\n" in running
        assert "false" in until(server, "this/fails", "tasks", "--state=failed,lost")
        shown = json.loads(seen(server, "tasks", "--json", "--name=main/training/", "--sort=name", "--limit=2"))
        assert [task["name"] for task in shown["tasks"]] == ["main/training/fold0", "main/training/fold1"]
        assert shown["total"] == 3
        assert "2 of 5 tasks: --limit=N lists more" in seen(server, "tasks", "--limit=2")
        of_session = seen(server, "tasks", f"--session={session.session_id}")
        assert "4 tasks" in of_session

        governors = seen(server, "governors")
        assert governors.splitlines()[0].startswith("governor  host") and "2 governors" in governors
        host = os.uname().nodename
        shown = json.loads(seen(server, "governors", "--json"))
        assert [(one["host"], one["cpus"]) for one in shown["governors"]] == [(host, 1), (host, 1)]
        assert host in seen(server, "status")
        status = json.loads(seen(server, "status", "--json"))
        assert [one["host"] for one in status["governors"]] == [host, host] and status["governors_lost"] == []

        for arguments, why in [
            (["tasks", "--session=99"], "no such session"),
            (["tasks", "--state=nonsense"], 'no state "nonsense"'),
            (["tasks", "--sort=colour"], "colour"),
        ]:
            wrong = server.rain(arguments[0], str(server.port), *arguments[1:])
            assert (wrong.returncode, wrong.stdout) == (1, "") and why in wrong.stderr


def test_without_a_log_what_is_just_now_is_listed_and_the_rest_is_refused(tmp_path: Path) -> None:
    with running_server("--simple", "--event-log=off") as server, busy(server, tmp_path / "gate"):
        assert "iris" in seen(server, "sessions") and os.uname().nodename in seen(server, "governors")
        refused = server.rain("tasks", str(server.port))
        assert refused.returncode == 1 and "--event-log=off" in refused.stderr
        top = Top(server)
        top.until("no event log: as it is just now")
        top.type("q")
        assert top.end() == (0, "")


def test_top_draws_takes_keys_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    with running_server("--simple") as server, busy(server, tmp_path / "gate"):
        until(server, "main/waits", "tasks", "--state=running")
        top = Top(server)
        top.until(KEYS)
        top.type("\x1b[C")
        top.until("training")
        top.type("\x1b[B")
        top.until("evil")
        top.type("x")
        top.type("q")
        assert top.end() == (0, "")

        small = Top(server, lines=5, columns=20)
        small.until("q ends it   up/down")
        small.type("\x03")
        assert small.end() == (0, "")

        asked_to_end = Top(server)
        asked_to_end.until(KEYS)
        asked_to_end.process.send_signal(signal.SIGTERM)
        assert asked_to_end.end() == (128 + signal.SIGTERM, "")


def test_top_says_that_its_server_has_ended_and_that_it_needs_a_terminal() -> None:
    with running_server("--simple") as server:
        top = Top(server)
        top.until(KEYS)
        nowhere = server.rain("top", str(server.port))
        assert (nowhere.returncode, nowhere.stdout) == (1, "")
        assert "rain sessions" in nowhere.stderr and "--json" in nowhere.stderr
    status, said = top.end()
    assert status == 1 and said.startswith("rain: the server does not answer")


def page(link: str) -> str:
    opened: str = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(link).read().decode()
    return opened


def test_a_client_knows_the_page_of_its_server() -> None:
    with running_server("--simple", "--http-listen=0") as server, Client("127.0.0.1", server.port) as client:
        assert client.dashboard_link == json.loads(seen(server, "status", "--json"))["dashboard"]
        assert client.dashboard_link is not None and "<title>Rain</title>" in page(client.dashboard_link)
    with Client(cpus=1) as client:
        link = client.dashboard_link
        assert link is not None and "<title>Rain</title>" in page(link)
        assert client.dashboard_link == link
