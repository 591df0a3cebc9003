"""Sessions are closed and tasks cancelled over HTTP by whoever has the server's token."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_server import RainServer, running_server

from rain.client import Client, RainException, blob, tasks


@pytest.fixture(scope="module", params=["--simple", "--local-governors=[1,1]"])
def server(request: pytest.FixtureRequest) -> Iterator[RainServer]:
    with running_server(request.param, "--http-listen=0") as started:
        yield started


def ask(link: str, method: str, path: str, **headers: str) -> tuple[int, Any]:
    parts = urllib.parse.urlsplit(link)
    token = urllib.parse.parse_qs(parts.query)["token"][0]
    asked = urllib.request.Request(
        f"http://{parts.netloc}/api/v1/{path}",
        method=method,
        headers={"Authorization": f"Bearer {token}", **headers},
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_tasks_are_cancelled_with_what_needs_them_and_sessions_closed(server: RainServer, tmp_path: Path) -> None:
    with Client("127.0.0.1", server.port) as client, client.new_session("iris") as session:
        link = client.dashboard_link
        assert link is not None
        assert ask(link, "GET", "status")[1]["actions"] == ["close", "cancel"]
        waits = f"until [ -e {tmp_path / 'gate'} ]; do sleep 0.05; done"
        first = tasks.Execute(["sh", "-c", waits], stdout=True)
        tasks.Concat([first.output])
        other = tasks.Concat([blob("a")])
        other.output.keep()
        session.submit()
        assert ask(link, "POST", f"sessions/{session.session_id}/tasks/0/cancel") == (200, {"tasks": [0, 1]})
        # What does not need it goes on, and so does the session.
        session.wait_all()
        assert other.output.fetch().get_bytes() == b"a"
        assert ask(link, "POST", f"sessions/{session.session_id}/tasks/0/cancel") == (200, {"tasks": []})

        status, refused = ask(link, "POST", f"sessions/{session.session_id}/tasks/99/cancel")
        assert (status, refused["error"]["code"]) == (409, "refused")
        assert ask(link, "DELETE", "sessions/4000000")[0] == 409
        assert ask(link, "DELETE", "sessions/x")[0] == 400
        assert ask(link, "DELETE", f"sessions/{session.session_id}", Authorization="Bearer wrong")[0] == 401
        stranger = {"Origin": "http://evil.example"}
        assert ask(link, "DELETE", f"sessions/{session.session_id}", **stranger)[0] == 403

        assert ask(link, "DELETE", f"sessions/{session.session_id}") == (200, {"tasks": []})
        with pytest.raises(RainException, match="does not exist, was closed"):
            session.wait_all()
        assert ask(link, "DELETE", f"sessions/{session.session_id}")[0] == 409
        # The client goes on with other sessions.
        with client.new_session() as another:
            made = tasks.Concat([blob("b")])
            made.output.keep()
            another.submit()
            assert made.output.fetch().get_bytes() == b"b"
