"""The golden frames of the client protocol (tests/golden/client), which the server's suites read and write, too."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_server import FakeServer, Refuse

from rain.client import Client, Output, OutputDir, RainException, Session, Task, TaskException, blob, tasks
from rain.common import LabeledList

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
INDEX = [line.split("\t") for line in (GOLDEN / "client" / "index.tsv").read_text(encoding="utf-8").splitlines()]
notation = runpy.run_path(str(GOLDEN / "make.py"))["notation"]


def message(name: str) -> Any:
    """The message of a frame, whose length is checked."""
    frame = (GOLDEN / "client" / f"{name}.bin").read_bytes()
    assert int.from_bytes(frame[:4], "little") == len(frame) - 4
    return msgspec.msgpack.decode(frame[4:])


def body(name: str) -> Any:
    return message(name)[2]


class Split(Task):
    TASK_TYPE = "example2/split"

    def __init__(self, text: Any) -> None:
        super().__init__(
            inputs=LabeledList((text,), labels=("text",)),
            outputs=[OutputDir("parts"), Output("count", content_type="json")],
            config={"lines": 7},
            cpus=2,
            retries=1,
            timeout=60.0,
            priority=-1,
            resources=[{"gpus": 0.5, "memory": "4GiB"}, {"licence": 2}],
        )


@pytest.fixture
def submitted(server: FakeServer, client: Client) -> tuple[Session, Task, Task, Task]:
    """The session of the frames, and its three tasks."""
    server.answers["new_session"] = lambda _: body("new-session-reply")
    session = client.new_session("golden")
    with session.bind_only():
        joined = tasks.Concat([blob("Hello "), blob({"to": "World"}, encode="json")])
        slept = tasks.Sleep(joined.output, 0.5, name="wait/a little")
        slept.spec.user["fold"] = 3
        slept.output.keep()
        split = Split(slept.output)
        split.outputs["count"].keep()
        session.submit()
    return session, joined, slept, split


def test_the_index_names_all_frames_and_what_is_in_them() -> None:
    assert sorted(line[0] for line in INDEX) == sorted(path.name for path in (GOLDEN / "client").glob("*.bin"))
    for name, _, _, text in INDEX:
        assert notation(message(name.removesuffix(".bin"))) == text


def test_the_client_says_hello_and_submits(server: FakeServer, submitted: tuple[Session, Task, Task, Task]) -> None:
    (hello,) = server.bodies("hello")
    expected = body("hello")
    # Through the Unix socket there is no token; which Python it is differs.
    del expected["token"]
    assert hello == {**expected, "python": hello["python"]}
    assert server.bodies("new_session") == [body("new-session")]
    assert server.bodies("submit") == [body("submit")]


def test_the_client_asks_as_the_frames_do(server: FakeServer, submitted: tuple[Session, Task, Task, Task]) -> None:
    session, joined, slept, split = submitted
    server.answers["wait_some"] = lambda _: body("wait-some-reply")
    server.answers["cancel"] = lambda _: body("cancel-reply")
    server.answers["info"] = lambda _: body("info-reply")
    server.answers["outputs"] = lambda _: body("outputs-reply")

    session.update([slept, split, slept.output])
    assert (slept.state, split.state) == ("finished", "waiting")
    assert (slept.info.governor, slept.info.duration, slept.info.user) == (0, 0.5, {"fold": 3})
    assert slept.info.debug == "one\ntwo"
    assert (slept.stdout, slept.stderr) == ("fold 3\n", "...end")
    assert (slept.output.info.size, slept.output.info.user) == (21, {"lines": 1})
    assert session.wait_some([joined, split]) == [joined]
    session.wait([joined, split, slept.output])
    session.wait_all()
    assert session.cancel([split]) == [split]
    slept.output.unkeep()
    session.close()

    assert server.bodies("wait") == [body("wait")]
    assert server.bodies("wait_some") == [body("wait-some")]
    assert server.bodies("wait_all") == [body("wait-all")]
    # It does not ask to leave tasks alone that have begun.
    assert server.bodies("cancel") == [{key: value for key, value in body("cancel").items() if key != "waiting"}]
    assert server.bodies("info") == [body("info")]
    assert server.bodies("outputs") == [body("outputs")] * 2
    assert server.bodies("unkeep") == [body("unkeep")]
    assert server.bodies("close_session") == [body("close-session")]


def test_the_client_reads_contents(server: FakeServer, submitted: tuple[Session, Task, Task, Task]) -> None:
    _, _, slept, _ = submitted
    server.answers["fetch"] = lambda _: body("fetch-reply")
    fetched = slept.output.fetch()
    assert fetched.get_bytes() == b'Hello {"to": "World"}'
    assert (fetched.content_type, fetched.size, fetched.info.user) == ("text", 21, {"lines": 1})
    (asked,) = server.bodies("fetch")
    least = body("fetch-least")
    assert {key: asked[key] for key in least} == least
    assert set(asked) <= set(body("fetch"))


@pytest.mark.parametrize(
    ("name", "raised", "says"),
    [("error-task", TaskException, "program ended with 1"), ("error-request", RainException, "object 3 is not kept")],
)
def test_the_client_reads_errors(
    server: FakeServer,
    submitted: tuple[Session, Task, Task, Task],
    name: str,
    raised: type[RainException],
    says: str,
) -> None:
    def refuse(_: Any) -> Any:
        error = body(name)
        raise Refuse(error.pop("kind"), error.pop("message"), **error)

    session, _, _, split = submitted
    server.answers["wait"] = refuse
    with pytest.raises(raised, match=says) as caught:
        session.wait([split])
    if isinstance(caught.value, TaskException):
        assert (caught.value.task, caught.value.debug) == (split, "before")
