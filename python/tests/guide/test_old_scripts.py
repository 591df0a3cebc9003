"""What scripts rely on that were written for the API before this one, beside what the guide prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from real_server import RainServer

import rain.client.session
from rain.client import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    RainException,
    Session,
    Task,
    TaskException,
    UsageError,
    blob,
    directory,
    get_active_session,
    remote,
    tasks,
)
from rain.client.contents import REMEMBERED_BYTES


def fetch(item: Any) -> Any:
    """Submit everything, and fetch one object or the output of a task."""
    output = item.output if isinstance(item, Task) else item
    output.keep()
    output.session.submit()
    return output.fetch()


@remote()
def pass_on_with_user(ctx: Any, data: Any) -> Any:
    assert data.info.user == {}
    data.info.user["read"] = [1, data.spec.user["k"]]
    return data


def test_user_attributes_of_objects_reach_functions(session: Session) -> None:
    constant = blob("data")
    constant.spec.user["k"] = {"deep": 2}
    data = fetch(pass_on_with_user(constant))
    assert data.get_bytes() == b"data" and data.info.user == {"read": [1, {"deep": 2}]}
    # Outputs of tasks, in later submits, too; and a constant that is sent again.
    made = tasks.Concat([constant])
    made.output.spec.user["k"] = 3
    made.output.keep()
    assert fetch(pass_on_with_user(made)).info.user == {"read": [1, 3]}
    assert fetch(pass_on_with_user(made.output)).info.user == {"read": [1, 3]}
    assert fetch(pass_on_with_user([constant][0])).info.user == {"read": [1, {"deep": 2}]}
    assert made.output.fetch().spec.user == {"k": 3}


def test_user_attributes_of_objects_that_are_not_json(session: Session) -> None:
    blob("x").spec.user["k"] = object()
    with pytest.raises(UsageError, match=r"spec\.user of <object 'const' constant> is not JSON"):
        session.submit()


def test_directories_are_real_directories(session: Session, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "small").write_text("s")
    (tmp_path / "f.txt").write_text("f" * 100_000)
    given = directory(tmp_path)
    given.keep()
    here = InputDir("mydir", dataobj=given)
    seen = tasks.Execute(
        "find ./mydir -type f",
        input_paths=[here],
        output_paths=[Output("f", path="mydir/f.txt"), OutputDir("a", path="mydir/a")],
        stdout=True,
    )
    copied = tasks.Execute(
        "cp -r mydir other", input_paths=[here], output_paths=[OutputDir("other"), OutputDir("mydir")]
    )
    for task in (seen, copied):
        task.keep_outputs()
    session.submit()
    other, whole = copied.fetch_outputs()
    other.write(tmp_path / "other")
    assert (tmp_path / "other" / "a" / "small").read_text() == "s"
    f, a, names = seen.fetch_outputs()
    assert sorted(names.get_str().split()) == ["./mydir/a/small", "./mydir/f.txt"]
    assert f.get_bytes() == b"f" * 100_000
    a.write(tmp_path / "out")
    assert (tmp_path / "out" / "small").read_text() == "s"
    # What was taken out of it is still there for others.
    assert whole.get_bytes() == given.fetch().get_bytes() != b""


def test_a_directory_of_an_input_is_read_only(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f" * 100_000)
    given = directory(tmp_path)
    given.keep()
    session.submit()
    before = given.fetch().get_bytes()
    changing = tasks.Execute("echo x >> d/f", shell=True, input_paths=[InputDir("d", dataobj=given, write=True)])
    session.submit()
    changing.wait()
    assert given.fetch().get_bytes() == before
    tasks.Execute("echo x >> d/f", shell=True, input_paths=[InputDir("d", dataobj=given)])
    session.submit()
    with pytest.raises(TaskException, match="read-only"):
        session.wait_all()


def test_labels_stand_for_inputs(session: Session) -> None:
    grep = Program(["grep", "ab"], stdin="inp", stdout=True)
    cat = Program(["cat", "file"], input_paths=["file"], stdout=True)
    assert fetch(cat(file=grep(inp=blob("ab\nc\n")))).get_bytes() == b"ab\n"
    with pytest.raises(UsageError, match=r"Input\('inp'\) has no data object"):
        tasks.Execute("cat", stdin="inp")


@remote(outputs=["a", Output("b"), Output("c", encode="json")])
def three(ctx: Any, x: Any) -> Any:
    return [b"1", "2", [x]]


@remote(auto_encode="json")
def named(ctx: Any, name: Any) -> Any:
    return name


@remote()
def anything(ctx: Any, **values: Any) -> Any:
    return repr(values)


def test_calls_change_single_outputs(session: Session, client: Client) -> None:
    changed = three(3, outputs=[None, Output(content_type="text"), "label"], name="group/one")
    assert changed.name == "group/one" and changed.outputs.labels == ("a", "b", "label")
    encoded = three(3, outputs={"c": Output("d", encode="pickle", size_hint=0.5)})
    assert [output.content_type for output in encoded.outputs] == [None, None, "pickle"]
    plain = three(3)
    assert plain.outputs.labels == ("a", "b", "c") and plain.name == "three"
    for task in (changed, encoded, plain):
        task.keep_outputs()
    # Its own parameters are not options; others of any name would be.
    own, other = named("n"), named("m", output=Output("o", encode="pickle"))
    any_name = anything(a=1, name="option")
    assert own.name == "named" and other.output.label == "o" and any_name.name == "option"
    for task in (own, other, any_name):
        task.output.keep()
    session.submit()
    assert [data.content_type for data in changed.fetch_outputs()] == [None, "text", "json"]
    assert changed.outputs["label"].fetch().load() == encoded.outputs["d"].fetch().load() == [3]
    assert own.output.fetch().load() == "n" and other.output.fetch().load() == "m"
    assert any_name.output.fetch().get_str() == "{'a': 1}"
    with client.new_session() as second:
        assert three(1, session=session).session is session and three(1).session is second


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: three(1, output="x"), "has 3 outputs; output= is for one"),
        (lambda: three(1, outputs=["x"]), "has 3 outputs, but outputs= has 1"),
        (lambda: three(1, outputs={"x": "y"}), "no output labelled 'x'; its outputs are 'a', 'b', 'c'"),
        (lambda: three(1, outputs=3), "is a list with something for each output"),
        (lambda: named(1, output="a", outputs=["a"]), "either output= or outputs="),
        (lambda: named(1, output=OutputDir("a")), "which is a blob"),
        (lambda: named(1, output=Output(content_type="text")), "is encoded as 'json'"),
        (lambda: named(1, output=Output("a", path="p")), "cannot change the path"),
        (lambda: named(1, session=3), "session= is a session, not int: 3"),
        (lambda: Program("ls", stdout=True)(output=Output(encode="json")), "cannot be encoded"),
        (lambda: three(), "missing a required argument: 'x'; a call is three"),
        (lambda: three(1, y=2), "unexpected keyword argument 'y'"),
        (lambda: Program(["cat", Input("data")])(blob("")), r"takes its inputs by label \(data=\), not DataObject"),
    ],
)
def test_wrong_calls(session: Session, call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, RainException)


def test_outputs_by_label(session: Session) -> None:
    @remote(outputs={"a": Output(encode="json"), "b": None})
    def labelled(ctx: Any) -> Any:
        return {"b": b"2", "a": [1]}

    task = labelled()
    task.keep_outputs()
    session.submit()
    assert task.outputs["a"].fetch().load() == [1] and task.outputs["b"].fetch().get_bytes() == b"2"
    with pytest.raises(UsageError, match="Output 'a' is an Output without another label"):
        remote(outputs={"a": Output("b")})(lambda ctx: b"")  # type: ignore[dict-item]


def test_calls_of_programs_change_single_outputs(session: Session) -> None:
    program = Program("tee side", stdin="in", stdout=True, output_paths=["side"], name="tee")
    task = program(**{"in": blob("x")}, name="other", outputs=[Output("moved", content_type="text"), None])
    assert task.name == "other" and task.outputs.labels == ("moved", "stdout")
    task.keep_outputs()
    session.submit()
    assert [data.content_type for data in task.fetch_outputs()] == ["text", None]
    assert program(**{"in": blob("x")}).outputs.labels == ("side", "stdout")


def test_options_of_built_in_tasks(session: Session, client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("loaded")
    text = Output("t", content_type="text")
    with client.new_session() as other:
        placed = [
            tasks.Concat([], session=session),
            tasks.Execute("true", session=session),
            tasks.Load(str(tmp_path / "file"), session=session, output=text),
            tasks.LoadDir(str(tmp_path), session=session, cpus=2),
            tasks.Noop(session=session),
            tasks.MakeDirectory({}, session=session),
        ]
        assert other.task_count == 0 and session.task_count == len(placed)
    assert tasks.Sleep(blob("x"), 0.0, cpus=2).spec.resources == {"cpus": 2}
    assert tasks.Noop().spec.resources == {"cpus": 1}
    own = Task([blob("a"), blob("b")], 1, task_type="buildin/concat", session=session, user_spec={"u": 1})
    assert own.spec.user == {"u": 1}
    labelled = Task({"x": blob("a")}, task_type="buildin/concat")
    assert labelled.inputs.labels == ("x",)
    assert Task([Input("y", dataobj=own), blob("a")], task_type="buildin/concat").inputs.labels == ("y", None)
    placed[2].output.keep()
    assert fetch(own).get_bytes() == b"ab"
    assert placed[2].output.fetch().load() == "loaded" and placed[2].output.label == "t"
    assert own.spec.resources == {"cpus": 1}


def test_directories_with_a_base(session: Session, tmp_path: Path) -> None:
    base = tasks.MakeDirectory({"a/f": blob("1"), "b": blob("2")})
    made = tasks.MakeDirectory({"": base, "a/g": blob("3"), "c": base})
    again = tasks.MakeDirectory(tasks.make_directory([("x", blob("4"))]))
    part = tasks.SliceDirectory(made, "c/b", output=Output("part", content_type="text"))
    for task in (made, again, part):
        task.output.keep()
    session.submit()
    made.output.fetch().write(tmp_path / "made")
    files = {
        str(f.relative_to(tmp_path / "made")): f.read_text() for f in (tmp_path / "made").rglob("*") if f.is_file()
    }
    assert files == {"a/f": "1", "a/g": "3", "b": "2", "c/a/f": "1", "c/b": "2"}
    again.output.fetch().write(tmp_path / "again")
    assert (tmp_path / "again" / "x").read_text() == "4" and part.output.fetch().load() == "2"
    with pytest.raises(UsageError, match=r"'\.' in MakeDirectory takes a directory, not a blob"):
        tasks.MakeDirectory({".": blob("1")})
    with pytest.raises(UsageError, match="two objects are to be the directory itself"):
        tasks.MakeDirectory([("", base), (".", base)])
    tasks.MakeDirectory([(".", made), ("a/f", blob("1"))])
    session.submit()
    with pytest.raises(TaskException, match="a/f is in the directory already"):
        session.wait_all()


def test_constants_of_earlier_submits(session: Session) -> None:
    constant, other = blob("x", content_type="text"), blob("y")
    tasks.Concat([constant])
    session.submit()
    session.wait_all()
    # Twice in one submit is sent once.
    twice = tasks.Concat([constant, constant])
    assert session.dataobj_count == 1 and twice.inputs[0] is twice.inputs[1] is constant
    nested = anything(a=[constant])
    for task in (twice, nested):
        task.output.keep()
    session.submit()
    assert twice.output.fetch().get_bytes() == b"xx" and "text" in nested.output.fetch().get_str()
    session.discard()
    assert fetch(tasks.Concat([other, constant])).get_bytes() == b"yx"
    tasks.Concat([constant])
    session.discard()
    assert fetch(tasks.Concat([constant])).get_bytes() == b"x"


def test_constants_that_are_too_large_to_be_remembered(session: Session) -> None:
    first, second = blob(b"1"), blob(bytes(REMEMBERED_BYTES))
    session.submit()
    assert fetch(tasks.Concat([second])).size == REMEMBERED_BYTES
    with pytest.raises(UsageError, match="the client remembers the last 64 MiB of constants; call keep"):
        tasks.Concat([first])


def test_states_without_an_update(session: Session, client: Client) -> None:
    gate = tasks.Sleep(blob("x"), 0.05)
    kept = tasks.Concat([gate])
    kept.output.keep()
    constant = blob("c")
    assert (gate.state, gate.output.state, constant.state) == (None, None, None)
    session.submit()
    assert (kept.state, kept.output.state, constant.state) == ("waiting", "unfinished", "finished")
    gate.wait()
    assert (gate.state, gate.output.state, kept.state) == ("finished", "finished", "waiting")
    kept.output.fetch()
    assert (kept.state, kept.output.state) == ("finished", "finished")
    some, late = tasks.Concat([blob("a")]), tasks.Sleep(blob("x"), 0.05)
    stopped = tasks.Sleep(blob("x"), 100.0)
    after = tasks.Concat([stopped])
    session.submit()
    assert session.wait_some([some]) == [some] and some.state == "finished"
    assert late.state == "waiting"
    stopped.cancel()
    session.wait_all()
    assert (late.state, late.output.state) == ("finished", "finished")
    assert (stopped.state, after.state, after.output.state) == ("cancelled", "cancelled", "unfinished")
    failing = tasks.Execute("false")
    session.submit()
    with pytest.raises(TaskException):
        failing.wait()
    assert failing.state == "failed" and "status 1" in failing.info.error


def test_a_port_as_text(server: RainServer) -> None:
    for client in (Client("127.0.0.1", str(server.port)), Client(f"localhost:{server.port}")):
        assert client.status()["governors"]
        client.close()


def test_what_governors_have(server: RainServer) -> None:
    with Client("localhost", server.port) as client, client.new_session() as session:
        assert client.get_server_info()["governors"] == [
            {"governor_id": 0, "tasks": [], "objects": [], "objects_to_delete": [], "resources": {"cpus": 4}}
        ]
        constant, stopped = blob("x"), tasks.Sleep(blob("y"), 100.0)
        constant.keep()
        kept = tasks.Concat([constant])
        kept.output.keep()
        session.submit()
        kept.wait()
        deadline = time.monotonic() + 30
        while not client.get_server_info()["governors"][0]["tasks"] and time.monotonic() < deadline:
            pass
        info = client.get_server_info()["governors"][0]
        assert info["tasks"] == [stopped.id]
        assert {constant.id, kept.output.id} <= set(info["objects"])
        stopped.cancel()
        assert client.get_server_info()["governors"][0]["tasks"] == []


def test_sessions_by_the_names_of_before(client: Client, tmp_path: Path) -> None:
    with pytest.raises(RainException, match="no active session"):
        get_active_session()
    with client.new_session() as session:
        assert rain.client.session.get_active_session() is session and session.active
        task = tasks.Concat([blob("x", label="input")], name="joined")
        session.keep_all()
        assert task.output.is_kept()
        graph = session.make_graph()
        graph.write(tmp_path / "graph.dot")
        assert (tmp_path / "graph.dot").read_text().strip() == str(graph) == session.dot()
        assert "joined" in str(graph)
        graph.write(tmp_path / "graph.svg")
        assert (tmp_path / "graph.svg").read_text().startswith("<svg")
    assert not session.active
    default = client.new_session()
    assert not default.active
    default.set_as_default()
    assert default.active and get_active_session() is default
    default.close()
    assert not default.active


@remote(
    inputs={"args": Input(content_type="json"), "kwargs": Input(load=True), "pair": Input(load=True)},
    outputs=Output(encode="json"),
)
def all_forms(ctx: Any, first: Any, pair: Any, *args: Any, b: Input(load=True), **kwargs: Any) -> Any:  # type: ignore[valid-type]
    return [first.content_type, pair, [arg.content_type for arg in args], b, kwargs]


def test_settings_of_all_kinds_of_parameters(session: Session) -> None:
    def json(value: Any) -> Any:
        return blob(value, encode="json")

    task = all_forms(json(1), (json(2), [json(3)]), json(4), blob(b"5"), b=json(6), k=json(7), more=(json(8),))
    assert fetch(task).load() == ["json", [2, [3]], ["json", "json"], 6, {"k": 7, "more": [8]}]


def test_sizes_that_are_no_whole_numbers() -> None:
    assert Output(size_hint=0.5).size_hint == 0.5 and Input("a", size_hint=0).size_hint == 0
    with pytest.raises(UsageError, match="size_hint"):
        Output(size_hint=-0.5)


@remote(outputs=["first", "second"])
def telling(ctx: Any, how: str) -> Any:
    ctx.debug("written")
    ctx.info.debug += "told"
    second = ctx.blob(b"2")
    if how == "task":
        ctx.info.error = "this went wrong"
    if how == "object":
        second.info.error = "that went wrong"
    return b"1", second


def test_errors_that_functions_put_into_info(client: Client) -> None:
    for how, message in (("task", "this went wrong"), ("object", r"Output 'second' of telling\(\): that went wrong")):
        with client.new_session() as session:
            task = telling(how)
            session.submit()
            with pytest.raises(TaskException, match=f"failed on governor 0:\n{message}\n\nDebug:\nwritten\ntold$"):
                task.wait()
    with client.new_session() as session:
        task = telling("fine")
        session.submit()
        task.wait()
        task.update()
        assert task.info.debug == "written\ntold" and not task.info.error
