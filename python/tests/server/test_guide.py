"""The examples of the user's guide against a real server.

Repairs of the printed text: addresses are those of the test server; `wget` and `git clone` are programs without a
network; fn3 has a `return`, fn6 and fn7 their closing parentheses, the make_directory example is balanced; 'Hello
world' of a Sleep takes less than a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rain.client import (
    Client,
    Input,
    Output,
    OutputDir,
    Program,
    Session,
    TaskException,
    blob,
    directory,
    pickled,
    remote,
    task,  # noqa: F401  (the guide's examples import it)
    tasks,
)


def test_quick_start(rain_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    client = Client("localhost", rain_server.port)
    with client.new_session() as session:
        task = tasks.Concat((blob("Hello "), blob("world!")))
        task.output.keep()
        session.submit()
        result = task.output.fetch().get_bytes()
        print(result)
    client.close()
    assert capsys.readouterr().out == "b'Hello world!'\n"


def test_submission(client: Client) -> None:
    with client.new_session() as session:
        a = blob("Hello ")
        b = blob("world!")
        tasks.Concat([a, b])
        session.submit()
        session.wait_all()


def test_interactive_mode(client: Client) -> None:
    session = client.new_session(default=True)
    a = blob("Hello ")
    b = blob("world!")
    tasks.Concat([a, b])
    session.submit()
    session.wait_all()
    session.close()


def test_dependencies(client: Client) -> None:
    with client.new_session() as session:
        a = blob("Hello ")
        b = blob("world!")
        t1 = tasks.Sleep(b, 0.05)
        t2 = tasks.Concat((a, t1.output))
        t3 = tasks.Concat((a, t1))
        t2.output.keep()
        t3.output.keep()
        session.submit()
        assert t2.output.fetch().get_bytes() == b"Hello world!"
        assert t3.output.fetch().get_bytes() == b"Hello world!"


def test_more_outputs(session: Session) -> None:
    data = blob("data")
    t = tasks.Execute(["tee", Output("output1")], stdout="output2", stdin=data)
    t.keep_outputs()
    session.submit()
    assert t.outputs["output1"].fetch().get_bytes() == b"data"
    assert t.outputs["output2"].fetch().get_bytes() == b"data"
    assert [instance.get_bytes() for instance in t.fetch_outputs()] == [b"data", b"data"]


def test_constants(session: Session) -> None:
    objects = [
        blob(b"Raw data"),
        blob(b"Raw data", label="input data"),
        blob("String data"),
        blob("[1, 2, 3, 4]", content_type="json"),
        blob([1, 2, 3, 4], encode="json"),
        blob([1, 2, 3, 4], encode="pickle"),
        pickled([1, 2, 3, 4]),
    ]
    for obj in objects:
        obj.keep()
    session.submit()
    instances = [obj.fetch() for obj in objects]
    assert instances[0].get_bytes() == instances[1].get_bytes() == b"Raw data"
    assert [instance.load() for instance in instances[2:]] == ["String data"] + [[1, 2, 3, 4]] * 4
    assert [instance.content_type for instance in instances[2:]] == ["text", "json", "json", "pickle", "pickle"]


def test_built_in_tasks(session: Session, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("file ")
    data1 = tasks.Load(tmp_path / "data")
    data2 = blob("constant data")
    merge = tasks.Concat((data1, data2))
    result = tasks.Sleep(merge, 0.01)
    tasks.Store(result, str(tmp_path / "result"))
    session.submit()
    session.wait_all()
    assert (tmp_path / "result").read_text() == "file constant data"


def test_execute_forms(session: Session, fetch: Any) -> None:
    tasks.Execute("sleep 0.01")
    tasks.Execute(("sleep", "0.01"))
    tasks.Execute("sleep 0.01 && sleep 0.01", shell=True)
    results = fetch(
        tasks.Execute("ls /", stdout=True),
        tasks.Execute("ls /", stdout="my_label"),
        tasks.Execute("ls /", stdout=Output("my_label")),
    )
    assert b"tmp\n" in results[0][0]
    assert results[0] == results[1] == results[2]


def test_execute_outputs(session: Session, fetch: Any) -> None:
    program = "echo page > index.html; echo log > log"
    made = [
        tasks.Execute(program, shell=True, output_paths=[Output("index", path="index.html")]),
        tasks.Execute(program, shell=True, output_paths=["index.html"]),
        tasks.Execute(program, shell=True, outputs_paths=["index.html", "log"]),
        tasks.Execute(["tee", Output("log")], stdin=blob("log\n"), output_paths=[]),
    ]
    assert made[0].output.label == "index"
    assert made[1].output.label == "index.html"
    assert made[2].outputs["log"].label == "log"
    assert fetch(*made) == [[b"page\n"], [b"page\n"], [b"page\n", b"log\n"], [b"log\n"]]


def test_execute_inputs(session: Session, fetch: Any) -> None:
    data = blob(b"It is\nrainy day\n")
    rainy = fetch(
        tasks.Execute(["grep", "rain", data], stdout=True),
        tasks.Execute(["grep", "rain", Input("my_label", path="myfile", dataobj=data)], stdout=True),
        tasks.Execute(
            ["grep", "rain", "myfile"], input_paths=[Input("my_label", path="myfile", dataobj=data)], stdout=True
        ),
        tasks.Execute(["grep", "rain"], stdin=data, stdout=True),
    )
    assert rainy == [[b"rainy day\n"]] * 4


def test_program(session: Session, fetch: Any) -> None:
    rain_grep = Program(["grep", "rain", Input("my_input", path="my_file")], stdout=True)
    data = blob(b"It is\nrainy day\n")
    made = [rain_grep(my_input=data) for _ in range(10)]
    assert fetch(*made) == [[b"rainy day\n"]] * 10


def test_mapping(session: Session, fetch: Any) -> None:
    obj = blob("Line\n")
    t = tasks.Execute(
        "echo 'New line' >> myfile",
        shell=True,
        input_paths=[Input("myfile", dataobj=obj, write=True)],
        output_paths=["myfile"],
    )
    same = tasks.Concat([obj])
    assert fetch(t, same) == [[b"Line\nNew line\n"], [b"Line\n"]]


def test_directories(session: Session, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "sub" / "file").write_text("deep")
    d = directory(str(tmp_path / "dir"))
    data1 = blob(b"12345")
    data2 = blob(b"67890")
    d2 = tasks.make_directory([("myfile.txt", data1), ("adir", d), ("a/deep/path/x", data2)])
    d3 = tasks.SliceDirectory(d2, "a/deep/path/x")
    d4 = tasks.SliceDirectory(d2, "a/deep/")
    cloned = tasks.Execute("mkdir rain && echo hello > rain/README", shell=True, output_paths=[OutputDir("rain")])
    listed = tasks.Execute(["find", "-L", d2.output, "-type", "f", "-printf", "%P\n"], stdout=True)
    loaded = tasks.LoadDir(tmp_path / "dir")
    made = [d2, d3, d4, cloned, listed, loaded]
    for t in made:
        t.output.keep()
    tasks.Store(d4, tmp_path / "stored")
    session.submit()
    d2.output.fetch().write(tmp_path / "d2")
    assert (tmp_path / "d2" / "adir" / "sub" / "file").read_text() == "deep"
    assert d3.output.fetch().get_bytes() == b"67890"
    d4.output.fetch().write(tmp_path / "d4")
    assert (tmp_path / "d4" / "path" / "x").read_text() == "67890"
    cloned.output.fetch().write(tmp_path / "cloned")
    assert (tmp_path / "cloned" / "README").read_text() == "hello\n"
    assert sorted(listed.output.fetch().get_str().split()) == ["a/deep/path/x", "adir/sub/file", "myfile.txt"]
    loaded.output.fetch().write(tmp_path / "loaded")
    assert (tmp_path / "loaded" / "sub" / "file").read_text() == "deep"
    session.wait_all()
    assert (tmp_path / "stored" / "path" / "x").read_text() == "67890"


def test_waiting(client: Client) -> None:
    with client.new_session() as session:
        a = blob("Hello world")
        t1 = tasks.Sleep(a, 0.01)
        t2 = tasks.Sleep(a, 0.02)
        slow = tasks.Sleep(a, 60.0)
        session.submit()
        t1.wait()
        t2.output.wait()
        session.wait([t1, t2.output])
        assert session.wait_some([slow, t1]) == [t1]


def test_multiple_submits(client: Client) -> None:
    with client.new_session() as session:
        a = blob("Hello world")
        t1 = tasks.Sleep(a, 0.01)
        t1.output.keep()
        session.submit()
        tasks.Sleep(t1.output, 0.01)
        session.submit()
        session.wait_all()
        t3 = tasks.Sleep(t1.output, 0.01)
        t3.output.keep()
        session.submit()
        session.wait_all()
        assert t3.output.fetch().get_bytes() == b"Hello world"


def test_attributes(client: Client) -> None:
    with client.new_session() as s:
        task = tasks.Execute("sleep 0.1")
        s.submit()
        s.wait_all()
        task.update()
        assert task.info.governor is not None
        assert task.info.duration >= 0.1
        assert task.info.start_time is not None
        assert task.state == "finished"


def test_remote_attributes(client: Client) -> None:
    @remote()
    def attr_demo(ctx: Any) -> bytes:
        foo = ctx.spec.user["foo"]
        ctx.info.user["bar"] = [1, 2, foo]
        ctx.debug("Running at governor", ctx.info.governor)
        return b"Result"

    with client.new_session() as session:
        task = attr_demo()
        task.spec.user["foo"] = 42
        session.submit()
        session.wait_all()
        task.update()
        assert task.info.user["bar"] == [1, 2, 42]
        assert "Running at governor" in task.info.debug


def test_debug_stream(session: Session) -> None:
    @remote()
    def remote_fn(ctx: Any) -> None:
        a = 11
        b = a + 10
        ctx.debug("Variable a = {}", a)
        ctx.debug("Variable b = {}", b)
        raise Exception("Error occured!")

    remote_fn()
    session.submit()
    with pytest.raises(TaskException, match="Exception: Error occured!") as caught:
        session.wait_all()
    assert str(caught.value).endswith("\n\nDebug:\nVariable a = 11\nVariable b = 21")
    assert f"made at {__file__}:" in str(caught.value)


def test_libsvm(session: Session, tmp_path: Path) -> None:
    """The cross-validation of the guide, with programs that count lines in the place of libsvm's."""

    @remote()
    def convert(ctx: Any, data: Any) -> str:
        return "\n".join(line.replace(",", " ") for line in data.get_str().rstrip().split("\n")[1:]) + "\n"

    (tmp_path / "iris.csv").write_text("head\n" + "".join(f"{n},a\n" for n in range(90)))
    train = Program(("cp", Input("data"), Output("output")))
    predict = Program(
        (
            "sh",
            "-c",
            "cat testdata model > prediction; wc -l < prediction",
            "--",
            Input("testdata"),
            Input("model"),
            Output("prediction"),
        ),
        stdout=Output("accuracy"),
    )
    converted = convert(tasks.Load(tmp_path / "iris.csv"))
    randomized = tasks.Execute(("sort", "--random-sort", converted), stdout=True)
    chunks = tasks.Execute(
        ("split", "-d", "-n", "l/3", randomized), output_files=[f"x{i:02}" for i in range(3)]
    ).outputs
    train_sets = [tasks.Concat(chunks[:i] + chunks[i + 1 :]) for i, c in enumerate(chunks)]
    models = [train(data=train_set) for train_set in train_sets]
    predictions = [predict(model=model, testdata=data) for model, data in zip(models, chunks)]
    for p in predictions:
        p.outputs["accuracy"].keep()
    session.submit()
    session.wait_all()
    assert [p.outputs["accuracy"].fetch().get_str().strip() for p in predictions] == ["90"] * 3


def test_stdin_is_empty(session: Session, fetch: Any) -> None:
    assert fetch(tasks.Execute(["cat"], stdout=True)) == [b""]
    assert os.getcwd()
