"""Wrong input: each case is an exception of ours that says what is wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from fake_server import FakeServer

from rain.client import (
    Client,
    Input,
    Output,
    Program,
    RainException,
    Session,
    Task,
    as_completed,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)
from rain.common import DataInstance, LabeledList


class NoPickle:
    def __reduce__(self) -> Any:
        raise ValueError("it does not want to")


@remote()
def function(ctx: Any, a: Any, b: Any = 1) -> None:
    pass


json_only = remote(inputs={"rest": Input(content_type="json")})(lambda ctx, *rest: b"")

# Each gets the active session; an untyped mess on purpose.
CASES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "host": (lambda s: Client(3), "Not the address of a server: 3"),  # type: ignore[arg-type]
    "port": (lambda s: Client("localhost", "72x"), "Not the address"),  # type: ignore[arg-type]
    "host name": (lambda s: Client("no such..host", 7000), "Not the name of a host: 'no such..host'"),
    "session name": (lambda s: s.client.new_session(name=3), "name of a task is a string|name=3"),
    "wait for a number": (lambda s: s.wait(3), "a list of tasks and data objects is needed, not int"),
    "wait for numbers": (lambda s: s.wait([3]), "neither a task nor a data object"),
    "wait for nothing": (lambda s: s.wait_some(None), "is needed, not NoneType"),
    "wait before submit": (lambda s: s.wait([tasks.Noop()]), "made at .*test_bad_input.* it is not submitted"),
    "update": (lambda s: s.update(5), "Cannot update 5"),
    "unkeep a task": (lambda s: s.unkeep([tasks.Noop()]), "not submitted"),
    "fetch a number": (lambda s: s.fetch(3), "Cannot fetch 3"),
    "cancel": (lambda s: s.cancel(3), "Cannot cancel 3"),
    "as_completed": (lambda s: as_completed([3]), "neither a task nor a data object"),  # type: ignore[list-item]
    "blob": (lambda s: blob(3), "blob\\(\\) takes bytes or str, not int"),
    "label": (lambda s: blob("x", label=3), "A label is a string, not int: 3"),  # type: ignore[arg-type]
    "content type": (lambda s: blob("x", content_type="nope"), "Unknown content type 'nope'; known are"),
    "content type of a wrong type": (lambda s: blob("x", content_type=3), "is a string, not int"),  # type: ignore[arg-type]
    "encoding of text": (lambda s: blob("x", content_type="text-nope"), "Unknown text encoding"),
    "encoding with a zero": (lambda s: blob("x", content_type="text-\0"), "Unknown text encoding"),
    "encode": (lambda s: blob({1, 2}, encode="json"), "A set cannot be encoded as 'json'"),
    "encode as mime": (lambda s: blob("x", encode="mime/a"), "does not know how to encode"),
    "pickled": (lambda s: pickled(NoPickle()), "A NoPickle cannot be encoded as 'pickle': ValueError: it does not"),
    "surrogates": (lambda s: blob("\ud800"), "cannot be encoded"),
    "directory": (lambda s: directory("/nope"), "'/nope' is not a directory"),
    "directory 3": (lambda s: directory(3), "takes a path, not int"),  # type: ignore[arg-type]
    "inputs": (lambda s: tasks.Concat(3), "A list of data objects is needed, not int"),  # type: ignore[arg-type]
    "one input": (lambda s: tasks.Concat(blob("x")), "not a single DataObject"),  # type: ignore[arg-type]
    "input": (lambda s: tasks.Concat([3]), "A data object or a task is needed"),  # type: ignore[list-item]
    "two outputs": (lambda s: tasks.Concat([tasks.Noop(outputs=2)]), "has 2 outputs; use .outputs"),
    "option": (lambda s: tasks.Concat([], retrys=3), "There is no option 'retrys'"),  # type: ignore[call-arg]
    "retries": (lambda s: tasks.Concat([], retries=-1), "retries=-1"),
    "timeout": (lambda s: tasks.Concat([], timeout=0), "more than 0, or None: timeout=0"),
    "priority": (lambda s: tasks.Concat([], priority=1.5), "priority=1.5"),  # type: ignore[arg-type]
    "cpus": (lambda s: tasks.Noop(cpus=0), "cpus=0"),
    "cpus of a wrong type": (lambda s: tasks.Noop(cpus=[1]), "cpus=\\[1\\]"),  # type: ignore[arg-type]
    "load": (lambda s: tasks.Load("relative"), "must be absolute: 'relative'"),
    "load, not a name": (lambda s: tasks.Load("/\ud800"), "is not usable"),
    "load of bytes": (lambda s: tasks.Load(b"\xff"), "must be absolute: '\\\\udcff': governors"),
    "make_directory, not UTF-8": (
        lambda s: tasks.MakeDirectory([("a\udcff", blob(b""))]),
        "an object in MakeDirectory is not UTF-8: .* In a task's directory only such names .* rename it",
    ),
    "slice_directory, bytes": (
        lambda s: tasks.SliceDirectory(tasks.LoadDir("/a"), b"\xff"),
        "SliceDirectory is not UTF-8",
    ),
    "input, not UTF-8": (
        lambda s: tasks.Execute("true", input_paths=[Input("a", path="a\udcff", dataobj=blob(b""))]),
        "is not UTF-8: .*rename it",
    ),
    "output, not UTF-8": (
        lambda s: tasks.Execute("true", output_paths=[Output("a", path="a\udcff")]),
        "is not UTF-8: .*rename it",
    ),
    "load with a zero byte": (lambda s: tasks.Load(b"/\xff\0"), "is not usable"),
    "sleep": (lambda s: tasks.Sleep(blob("x"), "1"), "number of seconds, not '1'"),  # type: ignore[arg-type]
    "slice of a blob": (lambda s: tasks.SliceDirectory(blob("x"), "a"), "takes a directory, not a blob"),
    "concat of a directory": (lambda s: tasks.Concat([tasks.MakeDirectory([])]), "takes a blob, not a directory"),
    "output twice": (lambda s: tasks.Noop(outputs=["a", "a"]), "Label 'a' is used for two outputs"),
    "input twice": (
        lambda s: tasks.Execute("x", input_paths=[Input("a", dataobj=blob("x")), Input("a", dataobj=blob("y"))]),
        "'a' is used",
    ),
    "no program": (lambda s: tasks.Execute(""), "needs a program to run"),
    "argument": (lambda s: tasks.Execute(["x", 3]), "not int: 3"),  # type: ignore[list-item]
    "argument, not text": (lambda s: tasks.Execute(["x", "\udcff"]), "cannot be encoded|can be encoded"),
    "env": (lambda s: tasks.Execute("x", env=3), "env= is a dictionary"),  # type: ignore[arg-type]
    "variable": (lambda s: tasks.Execute("x", env={"a=b": ""}), "Not a variable of the environment"),
    "static type": (
        lambda s: tasks.Execute(["x", Input("a", dataobj=blob("x"), content_type="json")]),
        "asks for content type 'json', but .* has 'text'",
    ),
    "static type of *args": (lambda s: json_only(blob(b""), blob("x")), "asks for content type 'json'"),
    "Program with data": (lambda s: Program(["x", Input("a", dataobj=blob("x"))]), "is not bound to a session"),
    "Program without input": (lambda s: Program(["x", Input("a")])(), "input 'a' is missing"),
    "size_hint": (lambda s: Output("a", size_hint=-1), "size_hint= is a number of bytes: -1"),
    "remote": (lambda s: remote(3), "takes a Python function, not int"),  # type: ignore[call-overload]
    "remote without ctx": (lambda s: remote(lambda: 1), "needs a first parameter for the context"),
    "remote inputs": (lambda s: remote(inputs=3)(lambda ctx: 1), "is a dictionary, not 3"),  # type: ignore[call-overload]
    "too few arguments": (lambda s: function(), "missing a required argument: 'a'"),
    "too many arguments": (lambda s: function(1, 2, 3), "too many positional arguments"),
    "lock as argument": (lambda s: function(threading.Lock()), "An argument of function\\(\\) cannot be pickled"),
    "session as argument": (lambda s: function(s), "cannot be sent to a task"),
    "task without a type": (lambda s: Task(), "not of the form EXECUTOR/METHOD"),
    "user attributes": (lambda s: setattr(tasks.Noop().spec, "user", 3), "user is a dictionary, not int"),
    "label of a list": (lambda s: LabeledList([1, 2], ["a", "a"]), "Label 'a' is used twice"),
    "unknown label": (lambda s: tasks.Noop(outputs=["a"]).outputs["b"], "No item is labelled 'b' \\('a'\\)"),
    "loading nothing": (lambda s: DataInstance(b"x").load(), "without a content type cannot be loaded"),
    "loading json": (lambda s: DataInstance(b"{", content_type="json").load(), "cannot be loaded as 'json'"),
    "text": (lambda s: DataInstance(b"\xff").get_str(), "The data is not text"),
    "encoding": (lambda s: DataInstance(b"\xff").get_str("nope"), "unknown encoding: nope"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(session: Session, case: str) -> None:
    make, message = CASES[case]
    with pytest.raises(RainException, match=message):
        make(session)


def test_objects_of_other_sessions(session: Session, client: Client) -> None:
    with client.new_session("other") as other:
        theirs = blob("x")
        made = tasks.Noop()
    assert other.closed
    for use in (
        lambda: tasks.Concat([theirs]),
        lambda: tasks.Execute(["x", theirs]),
        lambda: function([{"deep": theirs}]),
        lambda: session.wait([made]),
    ):
        with pytest.raises(RainException, match="belongs to .*<Session 2 'other' closed>"):
            use()


def test_a_server_that_goes_away(server: FakeServer, session: Session) -> None:
    server.answers["wait_all"] = lambda body: server.drop_clients() or {}  # type: ignore[func-returns-value]
    with pytest.raises(RainException, match=r"closed the connection.*in the middle of wait_all"):
        session.wait_all()


def test_a_relative_file(tmp_path: Path) -> None:
    with pytest.raises(RainException, match=r"There is no active session"):
        tasks.Load(tmp_path / "x")
