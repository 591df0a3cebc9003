"""What a browser is shown, against a real server."""

from __future__ import annotations

import http.cookiejar
import json
import os
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from real_server import PROGRAM, running_server

from rain.client import Client, tasks


def page_of(text: str) -> str:
    """The address that ``rain start`` or ``rain status`` has printed."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith("look")]
    return line.split()[1]


def test_a_browser_sees_what_the_server_does() -> None:
    """The printed address opens the page, which reads the API; ``rain status`` prints the address, too."""
    with running_server("--simple") as server, Client("127.0.0.1", server.port).new_session("seen") as session:
        for _ in range(20):
            tasks.Noop()
        session.submit()
        session.wait_all()
        page = page_of(server.rain("status", f"--listen={server.port}").stdout)
        # A start may print into a file that others read.
        assert page_of(server.announcement) == page.partition("?")[0]
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        browser = urllib.request.build_opener(cookies)
        with browser.open(page, timeout=30) as reply:
            assert b"<title>Rain</title>" in reply.read()
            assert "token" not in reply.url
        start = page.partition("?")[0]
        with browser.open(f"{start}api/v1/sessions", timeout=30) as reply:
            (shown,) = json.load(reply)["sessions"]
        assert (shown["name"], shown["state"], shown["tasks"]["finished"]) == ("seen", "open", 20)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{start}api/v1/status", timeout=30)


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
