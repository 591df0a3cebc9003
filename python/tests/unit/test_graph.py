"""Building graphs: what tasks and objects are made of, and what a submit sends."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_server import FakeServer, Refuse, numbers

from rain.client import (
    DataObject,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    RainException,
    Session,
    Task,
    blob,
    directory,
    pickled,
    remote,
    tasks,
)

NONE = 0xFFFF_FFFF


def submitted(session: Session, server: FakeServer) -> dict[str, Any]:
    session.submit()
    return server.bodies("submit")[-1]


def config(task: Task) -> Any:
    return msgspec.msgpack.decode(task._kind.config if task._config is None else task._config)


def test_submit(session: Session, server: FakeServer) -> None:
    a, b = blob("Hello "), blob(b"world!")
    t1 = tasks.Sleep(b, 1.0)
    t2 = tasks.Concat((a, t1))
    t3 = tasks.Store(t2.output, "/path")
    t2.output.keep()
    assert (session.task_count, session.dataobj_count) == (3, 4)
    body = submitted(session, server)
    assert body["session"] == 1
    assert body["count"] == 3
    assert [kind["type"] for kind in body["kinds"]] == ["buildin/sleep", "buildin/concat", "buildin/store"]
    assert body["kinds"][0]["outputs"] == [["output", 0, None]]
    assert body["kinds"][2]["outputs"] == []
    assert numbers(body["kind"]) == [0, 1, 2]
    assert numbers(body["input_count"]) == [1, 2, 1]
    assert numbers(body["inputs"]) == [1, 0, 2, 3]
    assert numbers(body["first_output"]) == [2, 3, NONE]
    assert numbers(body["config"]) == [0, NONE, 1]
    assert [msgspec.msgpack.decode(item) for item in body["configs"]] == [{"seconds": 1.0}, {"path": "/path"}]
    assert body["consts"] == [[0, 0, "text", b"Hello "], [1, 0, None, b"world!"]]
    assert numbers(body["keep"]) == [3]
    assert (session.task_count, session.dataobj_count) == (0, 0)
    assert t3.id == (1, 2)
    assert t2.output.id == (1, 3)


def test_second_submit(session: Session, server: FakeServer) -> None:
    t1 = tasks.Sleep(blob("x"), 1.0)
    t1.output.keep()
    session.submit()
    tasks.Sleep(t1, 1.0, name="named")
    tasks.Sleep(t1.output, 1.0)
    body = submitted(session, server)
    assert [(kind["type"], kind["name"]) for kind in body["kinds"]] == [("buildin/sleep", "named")]
    assert numbers(body["kind"]) == [1, 0]
    assert numbers(body["inputs"]) == [1, 1]
    assert numbers(body["first_output"]) == [2, 3]
    assert numbers(body["input_count"], 2) == [1, 1]
    assert len(body["input_count"]) == 4


def test_not_kept_object_of_earlier_submit(session: Session) -> None:
    task = tasks.Sleep(blob("x"), 1.0)
    session.submit()
    with pytest.raises(RainException, match="submitted before and is not kept"):
        tasks.Sleep(task, 1.0)
    with pytest.raises(RainException, match="only before the submit"):
        task.output.keep()


def test_refused_submit_changes_nothing(session: Session, server: FakeServer) -> None:
    def refuse(body: dict[str, Any]) -> None:
        raise Refuse("request", "no governor has 99 cpus", task=0)

    server.answers["submit"] = refuse
    task = tasks.Execute("x", cpus=99, stdout=True)
    task.output.keep()
    task.spec.user["a"] = 1
    with pytest.raises(
        RainException, match=r"no governor has 99 cpus \(task 0 \(buildin/execute\), made at .*test_graph"
    ):
        session.submit()
    assert task.id is None and task.output.id is None
    with pytest.raises(RainException, match="not submitted"):
        task.wait()
    session.discard()
    del server.answers["submit"]
    other = tasks.Noop()
    body = submitted(session, server)
    assert (body["count"], other.id, len(body["kinds"]), numbers(body["keep"])) == (1, (1, 0), 1, [])


def test_large_constants_go_ahead(session: Session, server: FakeServer) -> None:
    blob(b"x" * (20 << 20))
    blob(b"small")
    body = submitted(session, server)
    pieces = [(b["object"], b["offset"], len(b["data"]), b["total"]) for b in server.bodies("upload")]
    assert pieces == [(0, 0, 16 << 20, 20 << 20), (0, 16 << 20, 4 << 20, 20 << 20)]
    assert body["consts"] == [[0, 0, None, None], [1, 0, None, b"small"]]


def test_user_attributes(session: Session, server: FakeServer) -> None:
    task = tasks.Concat([blob("x")])
    task.spec.user["foo"] = 42
    tasks.Noop().spec  # noqa: B018
    assert submitted(session, server)["user"] == {0: '{"foo":42}'}
    assert task.spec.id == task.id
    assert task.spec.inputs[0].id == (1, 0)
    with pytest.raises(RainException, match="cannot be changed"):
        task.spec.config = {}
    with pytest.raises(TypeError):
        task.spec.user["foo"] = 43


def test_blobs(session: Session, server: FakeServer) -> None:
    blob(b"Raw data")
    assert blob(b"Raw data", label="input data").label == "input data"
    assert blob("String data").spec.label == "const"
    blob("[1, 2]", content_type="json")
    blob([1, 2], encode="json")
    pickled([1, 2])
    blob("č", content_type="text-iso8859-2")
    consts = submitted(session, server)["consts"]
    assert [const[2] for const in consts] == [None, None, "text", "json", "json", "pickle", "text-iso8859-2"]
    assert consts[4][3] == b"[1, 2]"
    assert consts[6][3] == b"\xe8"
    for call, message in (
        (lambda: blob(3), "takes bytes or str"),
        (lambda: blob("x", content_type="nonsense"), "Unknown content type"),
        (lambda: blob("x", content_type="text-nonsense"), "Unknown text encoding"),
        (lambda: blob("x", content_type="json", encode="pickle"), "cannot have the content type"),
        (lambda: blob({1}, encode="json"), "cannot be encoded as 'json'"),
        (lambda: blob({1}, encode="mime/x"), "does not know how to encode"),
    ):
        with pytest.raises(RainException, match=message):
            call()


def test_optional_content_types(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cbor2", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("cbor", "arrow"):
        with pytest.raises(RainException, match=rf"pip install 'rain\[{name}\]'"):
            blob([1], encode=name)


def test_directory(session: Session, tmp_path: Path, server: FakeServer) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "x").write_text("x")
    made = directory(tmp_path / "d")
    assert made.spec.data_type == "dir"
    const = submitted(session, server)["consts"][0]
    assert const[1] == 1 and b"sub/x" in const[3]
    with pytest.raises(RainException, match="is not a directory"):
        directory(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tasks.Load("relative"), "must be absolute: 'relative'.*blob"),
        (lambda: tasks.Store(blob(""), "relative"), "must be absolute"),
        (lambda: tasks.LoadDir(3), "is a string, not int"),
        (lambda: tasks.Concat(blob("")), "A list of data objects is needed"),
        (lambda: tasks.Concat(["x"]), "A data object or a task is needed"),
        (lambda: tasks.Concat([tasks.Noop(outputs=2)]), "has 2 outputs"),
        (lambda: tasks.Concat([tasks.LoadDir("/x")]), "takes a blob, not a directory"),
        (lambda: tasks.SliceDirectory(blob(""), "x"), "takes a directory, not a blob"),
        (lambda: tasks.SliceDirectory(tasks.LoadDir("/x"), "../x"), "must not leave"),
        (lambda: tasks.SliceDirectory(tasks.LoadDir("/x"), "/x"), "must be relative"),
        (lambda: tasks.MakeDirectory([("a/../../b", blob(""))]), "must not leave"),
        (lambda: tasks.MakeDirectory([("a", blob("")), ("a/b", blob(""))]), "lies below 'a'"),
        (lambda: tasks.MakeDirectory([("a", blob("")), ("./a", blob(""))]), "used twice"),
        (lambda: tasks.MakeDirectory([blob("")]), "list of pairs"),
        (lambda: tasks.Sleep(blob(""), "1"), "number of seconds"),
        (lambda: tasks.Sleep(blob(""), -1), "number of seconds"),
        (lambda: tasks.Noop(cpus=0), "at least one cpu"),
        (lambda: tasks.Noop(name=3), "name of a task is a string"),
        (lambda: tasks.Noop(outputs=("a", "a")), "used for two outputs"),
        (lambda: tasks.Execute([]), "needs a program"),
        (lambda: tasks.Execute("'"), "cannot be parsed"),
        (lambda: tasks.Execute(["a", 3]), "not int"),
        (lambda: tasks.Execute("a", output_paths=["/abs"]), "must be relative"),
        (lambda: tasks.Execute("a", output_paths=["../x"]), "must not leave"),
        (lambda: tasks.Execute("a", output_paths=["x", "x"]), "used twice"),
        (lambda: tasks.Execute("a", stdout=Output("x", path="y")), "has no path"),
        (lambda: tasks.Execute("a", stdout="x", output_paths=["x"]), "used for two outputs"),
        (lambda: tasks.Execute(["a", Input("x")]), "has no data object"),
        (lambda: tasks.Execute(["a", InputDir("x", dataobj=blob(""))]), "needs Input, not InputDir"),
        (lambda: tasks.Execute(["a", Input("x", dataobj=tasks.LoadDir("/x"))]), "needs InputDir"),
        (lambda: tasks.Execute(["a", Input("x", dataobj=blob("t"), content_type="json")]), "asks for content type"),
        (lambda: tasks.Execute("a", stdin=tasks.LoadDir("/x")), "cannot be the standard input"),
        (lambda: tasks.Execute("a", env={"a=b": "c"}), "Not a variable"),
        (lambda: Program(["a", Input()]), "needs a label"),
        (lambda: Program(["a", blob("")]), "not bound to a session"),
        (lambda: Program(["a", Input("x"), Input("x", path="y")]), "used for two inputs"),
        (lambda: Program(["a", Input("x")])(), "input 'x' is missing"),
        (lambda: Program(["a", Input("x")])(y=blob("")), "no input labelled 'y'"),
        (lambda: tasks.Noop(outputs=0).output, "has 0 outputs"),
    ],
)
def test_wrong_tasks(session: Session, build: Any, message: str) -> None:
    with pytest.raises(RainException, match=message):
        build()


def test_errors_leave_no_task(session: Session) -> None:
    with pytest.raises(RainException):
        tasks.Execute(["a", Input("x", dataobj=tasks.LoadDir("/x"))])
    assert session.task_count == 1


def test_origin(session: Session) -> None:
    class Hello(Task):
        TASK_TYPE = "example1/hello"

        def __init__(self, obj: DataObject) -> None:
            super().__init__(inputs=(obj,), outputs=1)

    made = [Hello(blob("x")), tasks.Noop(), remote(lambda ctx: b"")()]
    line = test_origin.__code__.co_firstlineno + 7
    assert [task.origin for task in made] == [f"{__file__}:{line}"] * 3
    assert made[0].spec.task_type == "example1/hello"


def test_execute(session: Session) -> None:
    data = blob("x")
    task = tasks.Execute("sleep '1 2'", env={"A": "b"}, cpus=4, name="s")
    assert config(task) == {
        "args": ["sleep", "1 2"],
        "shell": False,
        "inputs": [],
        "stdin": None,
        "outputs": [],
        "env": {"A": "b"},
    }
    assert (task._kind.cpus, task.name, len(task.outputs)) == (4, "s", 0)
    task = tasks.Execute(["grep", "rain", data], stdout=True)
    assert config(task)["args"] == ["grep", "rain", "rain-input-0"]
    assert config(task)["inputs"] == [{"path": "rain-input-0", "write": False}]
    assert config(task)["outputs"] == [{"stdout": True}]
    assert task.outputs["stdout"] is task.output
    task = tasks.Execute(["tee", Output("output1")], stdout="output2", stdin=data)
    assert task.outputs.labels == ("output1", "output2")
    assert (config(task)["stdin"], config(task)["inputs"]) == (0, [None])
    task = tasks.Execute(
        ["prog", "a", Input("my_label", path="myfile", dataobj=data, write=True)],
        input_paths=[Input("other", dataobj=data)],
        output_paths=[Output("index", path="index.html", content_type="mime/text/html"), OutputDir("dir")],
        output_files=["log"],
    )
    assert config(task)["args"] == ["prog", "a", "myfile"]
    assert config(task)["inputs"] == [{"path": "myfile", "write": True}, {"path": "other", "write": False}]
    assert config(task)["outputs"] == [{"path": "index.html"}, {"path": "dir"}, {"path": "log"}]
    assert task.inputs.labels == ("my_label", "other")
    assert task.outputs["index"].content_type == "mime/text/html"
    assert task.outputs["dir"].data_type == "dir"
    assert config(tasks.Execute("a && b", shell=True))["args"] == ["a && b"]
    assert config(tasks.Execute(["cat", Input("a b", dataobj=data), "| wc"], shell=True))["args"] == ["cat 'a b' | wc"]


def test_program_is_one_kind(session: Session, server: FakeServer) -> None:
    train = Program(("svm-train", Input("data"), Output("output")), name="train")
    for _ in range(3):
        assert train(data=blob("x")).output.label == "output"
    body = submitted(session, server)
    assert len(body["kinds"]) == 1
    assert body["kinds"][0]["inputs"] == ["data"]
    assert msgspec.msgpack.decode(body["kinds"][0]["config"])["args"] == ["svm-train", "data", "output"]
    assert numbers(body["config"]) == [NONE]


def test_remote_is_one_kind(session: Session, server: FakeServer) -> None:
    @remote(cpus=2)
    def function(ctx: Any, a: Any, b: Any = 1) -> bytes:
        return b""

    for number in range(3):
        function(number, blob("x"))
    body = submitted(session, server)
    assert [(kind["type"], kind["cpus"], kind["name"]) for kind in body["kinds"]] == [("py/run", 2, "function")]
    assert len(body["configs"]) == 3
    assert numbers(body["input_count"]) == [1]


def test_remote_type_hints(session: Session) -> None:
    @remote
    def test1(ctx: Any, a: Input(content_type="json")) -> Output(encode="pickle", label="test_pickle"):  # type: ignore
        pass

    task = test1(blob([1], encode="json"))
    assert task.output.label == "test_pickle"
    assert task.output.content_type == "pickle"
    with pytest.raises(RainException, match="asks for content type 'json'"):
        test1(blob("text"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f(), "missing a required argument: 'a'"),
        (lambda f: f(1, 2, 3), "too many positional"),
        (lambda f: f(1, c=2), "unexpected keyword argument 'c'"),
        (lambda f: f(iter_lock()), r"argument of f\(\) cannot be pickled"),
        (lambda f: remote(outputs=-1)(lambda ctx: None), "cannot have -1 outputs"),
        (lambda f: remote(outputs=("a", "a"))(lambda ctx: None), "used for two outputs"),
        (lambda f: remote(lambda: None), "first parameter for the context"),
        (lambda f: remote(inputs={"x": Input()})(lambda ctx: None), "no parameter named 'x'"),
        (lambda f: remote(3), "takes a Python function"),
    ],
)
def test_wrong_remote(session: Session, call: Any, message: str) -> None:
    @remote
    def f(ctx: Any, a: Any, b: Any = 1) -> None:
        pass

    with pytest.raises(RainException, match=message):
        call(f)


def iter_lock() -> Any:
    import threading

    return threading.Lock()


def test_function_that_cannot_be_pickled(session: Session) -> None:
    lock = iter_lock()
    obj = blob("x")
    with pytest.raises(RainException, match="cannot be pickled: TypeError"):
        remote(lambda ctx: lock)()
    with pytest.raises(RainException, match="uses a data object that is not passed as an argument"):
        remote(lambda ctx: obj)()


def test_large_arguments_are_objects_that_nobody_sees(session: Session, server: FakeServer) -> None:
    large = remote(lambda ctx, a, b: b"")
    const = blob("x")
    task = large(b"x" * (64 << 10), const)
    small = large(b"x" * 1000, const)
    assert list(task.inputs) == [const] == list(small.inputs)
    assert len(task.spec.inputs) == 1 and session.dataobj_count == 3
    session.submit()
    (body,) = server.bodies("submit")
    assert numbers(body["input_count"]) == [2, 1]
    shown, hidden = body["consts"]
    assert numbers(body["inputs"]) == [shown[0], hidden[0], shown[0]]
    assert msgspec.msgpack.decode(body["configs"][0]) == {"args": 1}
    args, positions = msgspec.msgpack.decode(hidden[3])
    assert args == [b"x" * (64 << 10), None] and positions == [1]
    assert [given.id for given in task.spec.inputs] == [const.id]


def test_objects_of_other_sessions(session: Session, client: Any) -> None:
    obj = blob("x")
    with client.new_session() as other:
        with pytest.raises(RainException, match="belongs to another session"):
            tasks.Noop((obj,))
        with pytest.raises(RainException, match="belongs to another session"):
            remote(lambda ctx, a: b"")([obj])
        with pytest.raises(RainException, match="it belongs to"):
            other.wait([obj])


def test_chunks_of_outputs(session: Session) -> None:
    chunks = tasks.Execute("split", output_files=["x0", "x1", "x2"]).outputs
    rest = chunks[:1] + chunks[2:]
    assert rest.labels == ("x0", "x2")
    assert [item.label for item in tasks.Concat(rest).inputs] == ["x0", "x2"]


def test_gc_is_as_before(session: Session) -> None:
    tasks.Noop()
    session.submit()
    assert gc.isenabled()
