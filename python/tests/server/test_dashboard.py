"""What a browser is shown, against a real server."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_server import (
    PATIENCE_S,
    PROGRAM,
    RainServer,
    running_server,
    runtime_directory,
    skip_without_program,
    until_dead,
)

from rain.client import Client, TaskException, remote, tasks


def page_of(text: str) -> str:
    """The address that ``rain start`` or ``rain status`` has printed."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith("look")]
    return line.split()[1]


def read(browser: urllib.request.OpenerDirector, url: str) -> Any:
    """What the API answers."""
    with browser.open(url, timeout=30) as reply:
        return json.load(reply)


def until(ask: Callable[[], Any], is_there: Callable[[Any], bool]) -> Any:
    """Ask until the answer is there: the log is written a little later than things happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_there(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


@contextlib.contextmanager
def shown_log(directory: Path) -> Iterator[tuple[urllib.request.OpenerDirector, str]]:
    """A ``rain dashboard`` over a directory of logs: a browser that knows its token, and the address of the API."""
    command = [PROGRAM, "dashboard", str(directory), "--http-listen=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            start, _, token = page_of(process.stdout.readline()).partition("?token=")
            browser = urllib.request.build_opener()
            browser.addheaders = [("Authorization", f"Bearer {token}")]
            yield browser, f"{start}api/v1/"
        finally:
            process.terminate()


def test_a_browser_sees_what_the_server_does() -> None:
    """The printed address opens the page, which reads the API; ``rain status`` prints the address, too."""
    with running_server("--simple") as server, Client("127.0.0.1", server.port).new_session("seen") as session:
        for _ in range(20):
            tasks.Noop()
        session.submit()
        session.wait_all()
        page = page_of(server.rain("status", f"--listen={server.port}").stdout)
        assert json.loads(server.rain("status", "--json", f"--listen={server.port}").stdout)["dashboard"] == page
        # A start may print into a file that others read.
        assert page_of(server.announcement) == page.partition("?")[0]
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        browser = urllib.request.build_opener(cookies)
        with browser.open(page, timeout=30) as reply:
            assert b"<title>Rain</title>" in reply.read()
            assert "token" not in reply.url
        start = page.partition("?")[0]
        (shown,) = until(
            lambda: read(browser, f"{start}api/v1/sessions")["sessions"],
            lambda sessions: [one["tasks"]["finished"] for one in sessions] == [20],
        )
        assert (shown["name"], shown["state"]) == ("seen", "open")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{start}api/v1/status", timeout=30)


def fail(ctx: Any) -> None:
    """Fail, as a task."""
    raise ValueError("on purpose")


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_that_is_over_is_shown_with_what_went_wrong(is_killed: bool) -> None:
    """``rain dashboard`` shows sessions, tasks and tracebacks of a server that was stopped, or killed."""
    skip_without_program()
    with runtime_directory() as runtime:
        server = RainServer(runtime, "--simple", address="127.0.0.1")
        logs = runtime / "logs"
        try:
            with Client("127.0.0.1", server.port).new_session("wrong") as session:
                task = remote()(fail)()
                session.submit()
                with pytest.raises(TaskException, match="on purpose"):
                    task.wait()
            with shown_log(logs) as (browser, api):
                until(lambda: read(browser, f"{api}sessions?state=failed")["sessions"], bool)
            if is_killed:
                pid = json.loads(server.rain("status", "--json", f"--listen={server.port}").stdout)["pid"]
                os.kill(pid, signal.SIGKILL)
                until_dead(pid)
        finally:
            server.rain("stop", f"--listen={server.port}")
        with shown_log(logs) as (browser, api):
            assert read(browser, f"{api}status")["state"] == ("broken" if is_killed else "finished")
            (shown,) = read(browser, f"{api}sessions?state=failed")["sessions"]
            assert shown["name"] == "wrong" and "on purpose" in shown["error"]
            (row,) = read(browser, f"{api}sessions/{shown['id']}/tasks?state=failed")["tasks"]
            whole = read(browser, f"{api}sessions/{shown['id']}/tasks/{row['id']}")
            assert "Traceback" in whole["error"] and "on purpose" in whole["error"]


def test_a_directory_without_a_log_is_said() -> None:
    """Nothing is served where there is nothing to show."""
    with tempfile.TemporaryDirectory(prefix="rain-test-") as empty:
        refused = subprocess.run(
            [PROGRAM, "dashboard", empty, "--http-listen=0"], capture_output=True, text=True, timeout=60, check=False
        )
    assert refused.returncode == 1
    assert "there is no event log at" in refused.stderr


def test_a_port_that_was_asked_for_and_is_taken_is_refused() -> None:
    """Only the port that nobody asked for is replaced by another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken, tempfile.TemporaryDirectory(prefix="rain-test-") as runtime:
        port = taken.getsockname()[1]
        command = [PROGRAM, "start", "--simple", "--listen=0", f"--http-listen={port}", f"--logdir={runtime}/logs"]
        environment = {**os.environ, "RAIN_RUNTIME_DIR": runtime}
        refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode != 0
        assert f"port {port} of 127.0.0.1 is taken" in refused.stderr
        assert not list(Path(runtime).glob("server-*"))
