"""Remote functions of the guide, against a real server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from real_server import running_server

from rain.client import Client, Input, Output, OutputDir, Session, TaskException, blob, directory, remote, tasks

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@remote()
def hello(ctx: Any) -> str:
    return "Hello world!"


def test_hello(session: Session) -> None:
    t = hello()
    t.output.keep()
    session.submit()
    result = t.output.fetch()
    assert str(result) == "b'Hello world!'"
    assert result.content_type == "text"


def test_inputs(session: Session, fetch: Any) -> None:
    @remote()
    def hello(ctx: Any, data1: Any, data2: Any) -> Any:
        return data1 + data2.get_bytes()

    assert fetch(hello(b"Hello ", blob("Rain!"))) == [b"Hello Rain!"]


class MyClass:
    def __init__(self, my_data: Any) -> None:
        self.my_data = my_data


def test_own_classes(session: Session, fetch: Any) -> None:
    @remote()
    def my_call(ctx: Any, input: Any) -> bytes:
        return b"".join(data.get_bytes() for data in input.my_data)

    assert fetch(my_call(MyClass([blob(b"data1"), blob(b"data2"), blob(b"data3")]))) == [b"data1data2data3"]


def test_generators(session: Session, fetch: Any) -> None:
    joined = remote()(lambda ctx, items: b"".join(item.get_bytes() for item in items))
    assert fetch(joined(tasks.Concat([blob(str(n))]) for n in range(5))) == [b"01234"]


def test_load(session: Session, fetch: Any) -> None:
    @remote()
    def fn1(ctx: Any, data: Any) -> str:
        return repr(data.load())

    @remote(inputs={"data": Input(load=True)})
    def fn2(ctx: Any, data: Any) -> str:
        return repr(data)

    @remote(auto_load=True)
    def fn3(ctx: Any, data: Any) -> str:
        return repr(data)

    data = blob([1, 2, 3, 4], encode="json")
    assert fetch(fn1(data), fn2(data), fn3(data)) == [[b"[1, 2, 3, 4]"]] * 3


def test_content_type(client: Client, session: Session, fetch: Any) -> None:
    @remote(inputs={"data": Input(content_type="json")})
    def fn1(ctx: Any, data: Any) -> str:
        return repr(data.load())

    assert fetch(fn1(blob("[1]", content_type="json")), fn1(blob(b"[1]"))) == [[b"[1]"]] * 2
    with client.new_session() as failing:
        fn1(remote()(lambda ctx: ctx.blob([1], encode="pickle"))())
        failing.submit()
        with pytest.raises(TaskException, match="takes content type 'json', but an input has 'pickle'"):
            failing.wait_all()


def test_outputs(session: Session, fetch: Any) -> None:
    @remote()
    def fn1(ctx: Any) -> bytes:
        return b"Returning bytes"

    @remote(outputs=3)
    def fn3(ctx: Any) -> Any:
        return (b"data1", b"data2", b"data3")

    @remote(outputs=0)
    def fn4(ctx: Any) -> None:
        pass

    @remote(outputs=("label1", "label2"))
    def fn5(ctx: Any) -> Any:
        return {"label1": b"data1", "label2": b"data2"}

    @remote(outputs=(Output(content_type="json"), Output(content_type="json")))
    def fn6(ctx: Any) -> Any:
        return ("[1, 2, 3]", '{"x": 123}')

    @remote(outputs=(Output(encode="pickle"), Output(encode="json")))
    def fn7(ctx: Any) -> Any:
        return ([1, 2, 3], {"x": 123})

    made = [fn1(), fn3(), fn4(), fn5(), fn6(), fn7()]
    for task in made:
        task.keep_outputs()
    session.submit()
    one, three, none, five, six, seven = (task.fetch_outputs() for task in made)
    assert one[0].get_bytes() == b"Returning bytes" and not one[0].content_type
    assert [instance.get_bytes() for instance in three] == [b"data1", b"data2", b"data3"]
    assert none == []
    assert made[3].outputs["label2"].fetch().get_bytes() == b"data2" == five[1].get_bytes()
    assert [instance.load() for instance in six] == [instance.load() for instance in seven] == [[1, 2, 3], {"x": 123}]


def test_type_hints(session: Session) -> None:
    @remote
    def test1(ctx: Any, a: Input(content_type="json")) -> Output(encode="pickle", label="test_pickle"):  # type: ignore
        return a.load() * 2

    t = test1(blob([1], encode="json"))
    t.outputs["test_pickle"].keep()
    session.submit()
    assert t.output.fetch().load() == [1, 1]


def test_large_objects(session: Session, fetch: Any) -> None:
    size = 10 << 20
    make = remote()(lambda ctx, size: b"x" * size)(size)
    count = remote()(lambda ctx, data: str(data.get_bytes().count(b"x")))
    passed = remote()(lambda ctx, data: data)(make)
    counts = [count(make) for _ in range(10)]
    length = tasks.Execute(["wc", "-c"], stdin=make, stdout=True)
    results = fetch(make, passed, length, *counts)
    assert results[0] == results[1] == [b"x" * size]
    assert results[2][0].split() == [str(size).encode()]
    assert results[3:] == [[str(size).encode()]] * 10


def test_large_constant(session: Session, fetch: Any) -> None:
    data = os.urandom(20 << 20)
    assert fetch(tasks.Concat([blob(data), blob(b"!")])) == [data + b"!"]


def test_directories(session: Session, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_text("x")

    @remote(outputs=(OutputDir("d"), OutputDir("same"), "text"))
    def change(ctx: Any, data: Any) -> Any:
        data.write("copy")
        data.link("link")
        Path("copy/y").write_text(Path("link/x").read_text() + "y")
        return ctx.stage_directory("copy"), data, str(data.get_bytes()[:1])

    t = change(directory(tmp_path / "dir"))
    t.keep_outputs()
    session.submit()
    changed, same, _ = t.fetch_outputs()
    changed.write(tmp_path / "changed")
    assert (tmp_path / "changed" / "y").read_text() == "xy"
    same.write(tmp_path / "same")
    assert os.listdir(tmp_path / "same") == ["x"]


def test_exit_in_a_task(session: Session) -> None:
    remote()(lambda ctx: sys.exit(3))()
    session.submit()
    with pytest.raises(TaskException, match="SystemExit"):
        session.wait_all()


def test_death_of_an_executor(client: Client, session: Session, fetch: Any) -> None:
    def die(ctx: Any) -> None:
        print("last words", file=sys.stderr)
        os.kill(os.getpid(), 9)

    remote()(die)()
    session.submit()
    with pytest.raises(TaskException, match="(?s)last words|signal"):
        session.wait_all()
    with client.new_session() as other:
        t = hello()
        t.output.keep()
        other.submit()
        assert t.output.fetch().get_bytes() == b"Hello world!"


def test_many_calls(session: Session, fetch: Any) -> None:
    number = remote()(lambda ctx, n: str(n))
    results = fetch(*(number(n) for n in range(500)))
    assert results == [[str(n).encode()] for n in range(500)]


def test_the_interpreter_of_the_client(session: Session, fetch: Any) -> None:
    where = remote()(lambda ctx: "\n".join((sys.executable, sys.prefix, *sys.path)))
    (found,) = fetch(where())
    lines = found.decode().splitlines()
    assert lines[:2] == [sys.executable, sys.prefix]
    assert set(filter(os.path.isabs, sys.path)) <= set(lines[2:])


def test_an_import_that_fails_names_the_interpreter(client: Client) -> None:
    def needs(ctx: Any) -> None:
        import no_such_module_anywhere  # type: ignore[import-not-found]  # noqa: F401

    with client.new_session() as session:
        remote()(needs)()
        session.submit()
        with pytest.raises(
            TaskException, match=f"no_such_module_anywhere.*in the executor: {sys.executable}, Python 3"
        ):
            session.wait_all()


def test_cancelled_readers_leave_the_object_to_the_others() -> None:
    """A cancelled task that an executor was about to get gives up its claim on its input once, not twice."""

    @remote()
    def size(ctx: Any, data: Any) -> Any:
        return b"%d" % len(data.get_bytes())

    # The first calls of a server's only executor are the ones that are looked at twice.
    with running_server("--local-governors=[1]") as server:
        for _ in range(5):
            with Client("127.0.0.1", server.port).new_session() as session:
                shared = tasks.Concat([blob(b"x" * 1000)])
                readers = [size(shared) for _ in range(300)]
                for reader in readers[::2]:
                    reader.output.keep()
                session.submit()
                readers[0].wait()
                session.cancel(readers[1::2])
                assert {reader.output.fetch().get_bytes() for reader in readers[::2]} == {b"1000"}
