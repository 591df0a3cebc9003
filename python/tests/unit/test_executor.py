"""The executor, driven through its socket."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from executor_driver import Driver, Failed

from rain.client import Input, Output, OutputDir, blob, remote
from rain.common import LabeledList

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def data_input(content: bytes, content_type: str | None = None, object_id: int = 1) -> list[Any]:
    return [content, content_type, 0, len(content), object_id, None]


def file_input(path: Path, object_id: int = 1) -> list[Any]:
    return [str(path), None, 0, path.stat().st_size, object_id, None]


def object_in(driver: Driver, content: bytes = b"") -> Any:
    with driver.session.bind_only():
        return blob(content)


def test_register(driver: Driver) -> None:
    assert driver.register[0] == "register"
    assert driver.register[1] == {"version": 1, "name": "py", "pid": driver.process.pid}


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (b"bytes", [b"bytes", None, None]),
        ("text", [b"text", "text", None]),
        (bytearray(b"array"), [b"array", None, None]),
        ([b"one"], [b"one", None, None]),
        ({"output": b"one"}, [b"one", None, None]),
    ],
)
def test_results(driver: Driver, result: Any, output: list[Any]) -> None:
    assert driver.call(lambda ctx, value: value, result) == [output]


@pytest.mark.parametrize("args", [(), (1, "a", b"b", 2.5, None, True), (2**70, "\ud800"), ([1, {"a": (2,)}], range(3))])
def test_arguments(driver: Driver, args: tuple[Any, ...]) -> None:
    assert driver.call(lambda ctx, *args: repr(args), *args)[0][0] == repr(args).encode("utf-8")


def test_keyword_arguments(driver: Driver) -> None:
    def function(ctx: Any, a: Any, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> str:
        return repr((a, b, rest, c, more))

    assert driver.call(function, 1, c=4, d=5)[0][0] == b"(1, 2, (), 4, {'d': 5})"
    assert driver.call(function, b=1, a=0)[0][0] == b"(0, 1, (), 3, {})"


def test_generators_and_lambdas(driver: Driver) -> None:
    def function(ctx: Any, numbers: Any, double: Any) -> str:
        return repr([double(number) for number in numbers])

    assert driver.call(function, (n for n in range(3)), lambda n: 2 * n)[0][0] == b"[0, 2, 4]"


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


def test_objects_anywhere(driver: Driver) -> None:
    def function(ctx: Any, holder: Any, again: Any, call: Any) -> bytes:
        return b",".join([*(item.get_bytes() for item in holder.held), again.get_bytes(), call()])

    one, two = object_in(driver), object_in(driver)
    inputs = [data_input(b"1"), data_input(b"2")]
    outputs = driver.call(function, Holder([one, two]), one, lambda: two.get_bytes(), inputs=inputs)
    assert outputs[0][0] == b"1,2,1,2"


def test_default_with_object(driver: Driver) -> None:
    default = object_in(driver)

    def function(ctx: Any, a: Any, b: Any = default) -> bytes:
        return bytes(a + b.get_bytes())

    assert driver.call(function, b"a", inputs=[data_input(b"b")])[0][0] == b"ab"


def test_remote_functions_call_each_other(driver: Driver) -> None:
    @remote()
    def factorial(ctx: Any, n: int) -> str:
        return "1" if n == 0 else str(n * int(factorial(ctx, n - 1)))  # type: ignore[call-overload]

    assert driver.call(factorial, 5)[0][0] == b"120"


def test_large_input_is_mapped_and_copied_once(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * (1 << 20))
    obj = object_in(driver)

    def function(ctx: Any, data: Any) -> str:
        assert data.get_view()[:2] == b"xx"
        return str(id(data.get_bytes()))

    first = driver.call(function, obj, inputs=[file_input(path)])
    assert driver.call(function, obj, inputs=[file_input(path)]) == first


def test_large_output_is_a_file(driver: Driver) -> None:
    source = driver.call(lambda ctx: b"y" * 100_000)[0][0]
    assert Path(source).parent == driver.directory
    assert Path(source).read_bytes() == b"y" * 100_000


def test_input_passed_on(driver: Driver) -> None:
    outputs = driver.call(
        lambda ctx, a, b: b, object_in(driver), object_in(driver), inputs=[data_input(b"a"), data_input(b"b", "json")]
    )
    assert outputs == [[1, "json", None]]


def test_more_outputs(driver: Driver) -> None:
    wanted = [[b"1", None, None], [b"2", "text", None]]
    labelled = remote(outputs=("a", "b"))
    assert driver.call(remote(outputs=2)(lambda ctx: (b"1", "2"))) == wanted
    assert driver.call(labelled(lambda ctx: {"b": "2", "a": b"1"})) == wanted
    assert driver.call(labelled(lambda ctx: LabeledList(["2", b"1"], ["b", "a"]))) == wanted
    assert driver.call(labelled(lambda ctx: [b"1", "2"])) == wanted
    assert driver.call(remote(outputs=0)(lambda ctx: None)) == []


@pytest.mark.parametrize(
    ("outputs", "result", "message"),
    [
        (2, (b"1",), "returned 1 values, but it has 2 outputs"),
        (2, b"1", "returned a value of type bytes, but it has 2 outputs"),
        (0, b"1", "but it has 0 outputs"),
        (("a", "b"), {"a": b"", "c": b""}, r"\['a', 'c'\], but its outputs are labelled \['a', 'b'\]"),
        (1, None, "nothing was returned"),
        (1, 3.5, "a value of type float was returned"),
        (OutputDir("d"), b"", "is a directory, but a value of type bytes"),
    ],
)
def test_wrong_results(driver: Driver, outputs: Any, result: Any, message: str) -> None:
    with pytest.raises(Failed, match=message):
        driver.call(remote(outputs=outputs)(lambda ctx, value: value), result)


def test_encode_and_load(driver: Driver) -> None:
    encoded = remote(outputs=(Output(encode="pickle"), Output(encode="json")))(lambda ctx: ([1, 2], {"x": 1}))
    (pickled, kind, _), (text, json_kind, _) = driver.call(encoded)
    assert (kind, text, json_kind) == ("pickle", b'{"x": 1}', "json")
    obj = object_in(driver)
    for options in ({"auto_load": True}, {"inputs": {"data": Input(load=True)}}):
        called = remote(**options)(lambda ctx, data: repr(data))  # type: ignore[call-overload]
        assert driver.call(called, obj, inputs=[data_input(pickled, "pickle")])[0][0] == b"[1, 2]"
    assert driver.call(remote(auto_encode="json")(lambda ctx: [1]))[0][:2] == [b"[1]", "json"]


def test_content_type_of_inputs(driver: Driver) -> None:
    called = remote(inputs={"data": Input(content_type="json")})(lambda ctx, data: repr(data.load()))
    obj = object_in(driver)
    assert driver.call(called, obj, inputs=[data_input(b"[1]")])[0][0] == b"[1]"
    assert driver.call(called, obj, inputs=[data_input(b"[1]", "json")])[0][0] == b"[1]"
    with pytest.raises(Failed, match="takes content type 'json', but an input has 'pickle'"):
        driver.call(called, obj, inputs=[data_input(b"[1]", "pickle")])


def test_content_type_of_outputs(driver: Driver) -> None:
    typed = remote(outputs=Output(content_type="json"))
    assert driver.call(typed(lambda ctx: "[]"))[0][:2] == [b"[]", "json"]
    with pytest.raises(Failed, match="has content type 'json', but data of type 'text' was returned"):
        driver.call(typed(lambda ctx: ctx.blob("text")))


def test_context(driver: Driver) -> None:
    def function(ctx: Any) -> str:
        ctx.debug("Running at governor", ctx.info.governor)
        ctx.debug("a = {}", 1)
        ctx.debug("{braces}")
        ctx.info.user["bar"] = [1, 2, ctx.spec.user["foo"]]
        return f"{ctx.spec.id} {ctx.spec.task_type} {ctx.spec.outputs} {ctx.function.__name__}"

    driver.start(function, user='{"foo": 42}')
    outputs, info = driver.finish()
    assert outputs[0][0] == b"5:41 py/run [ID(session_id=5, id=100)] function"
    assert info == {"debug": "Running at governor 3\na = 1\n{braces}", "user": '{"bar":[1,2,42]}'}


def test_user_attributes_of_objects(driver: Driver) -> None:
    def function(ctx: Any, data: Any) -> Any:
        result = ctx.blob(b"result")
        result.info.user["seen"] = data.info.user["a"]
        return result

    given = [b"x", None, 0, 1, 7, '{"a": 1}']
    assert driver.call(function, object_in(driver), inputs=[given]) == [[b"result", None, '{"seen":1}']]


def test_failure(driver: Driver) -> None:
    def function(ctx: Any) -> None:
        ctx.debug("Variable a = {}", 11)
        raise ValueError("Error occured!")

    with pytest.raises(Failed) as caught:
        driver.call(function)
    message = caught.value.failure["message"]
    assert message.startswith("ValueError: Error occured!\n\nTraceback")
    assert "in function" in message
    assert "rain/executor" not in message
    assert caught.value.failure["debug"] == "Variable a = 11"
    assert driver.call(lambda ctx: b"still here")[0][0] == b"still here"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exits_are_failures(driver: Driver, error: BaseException) -> None:
    def function(ctx: Any, error: BaseException) -> None:
        raise error

    with pytest.raises(Failed, match=type(error).__name__):
        driver.call(function, error)


def test_function_that_cannot_be_loaded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    import fake_server

    # Not importable there: its folder is on no path that the executor is given.
    path = str(Path(fake_server.__file__).parent)
    function = remote()(lambda ctx: fake_server.numbers(b""))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if os.path.abspath(entry) != path])
    with pytest.raises(Failed, match=r"cannot be loaded: ModuleNotFoundError: .*fake_server.*executor: .*python"):
        driver.call(function)


def test_working_directory_is_clean(driver: Driver) -> None:
    def dirty(ctx: Any) -> str:
        os.makedirs("a/b")
        Path("a/b/file").touch()
        Path("file").touch()
        os.chmod("a", 0o500)
        here = os.getcwd()
        os.chdir("/")
        return here

    def look(ctx: Any) -> str:
        return f"{os.getcwd()} {os.listdir('.')}"

    def remove(ctx: Any) -> bytes:
        os.rmdir(os.getcwd())
        return b""

    here = driver.call(dirty)[0][0].decode()
    clean = driver.call(look)[0][0].decode()
    assert not os.path.exists(here)
    assert clean.endswith(" []") and str(driver.directory) in clean
    assert driver.call(look)[0][0].decode() == clean
    driver.call(remove)
    assert driver.call(look)[0][0].decode().endswith(" []")


def test_staged_files_and_directories(driver: Driver) -> None:
    def function(ctx: Any) -> Any:
        Path("file").write_text("content")
        os.makedirs("dir/sub")
        Path("dir/sub/x").write_text("x")
        Path("unused").touch()
        ctx.stage_file("unused")
        return ctx.stage_file("file", content_type="text"), ctx.stage_directory("dir")

    outputs = driver.call(remote(outputs=("f", OutputDir("d")))(function))
    assert Path(outputs[0][0]).read_text() == "content"
    assert outputs[0][1] == "text"
    assert Path(outputs[1][0], "sub/x").read_text() == "x"
    assert len([name for name in os.listdir(driver.directory) if name.startswith("out-")]) == 2
    with pytest.raises(Failed, match="no file 'nothing' to stage"):
        driver.call(lambda ctx: ctx.stage_file("nothing"))


def test_write_and_link(driver: Driver, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"z" * 70_000)
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_text("x")
    (folder / "sub" / "x").chmod(0o444)

    def function(ctx: Any, small: Any, large: Any, folder: Any) -> str:
        small.write("small")
        small.link("small-link")
        large.link("large")
        assert os.path.islink("large")
        large.write("large")
        assert not os.path.islink("large") and os.path.getsize("large") == 70_000
        folder.write("copy")
        Path("copy/sub/x").write_text("changed")
        folder.link("folder")
        return Path("small").read_text() + Path("small-link").read_text() + Path("folder/sub/x").read_text()

    inputs = [data_input(b"s"), file_input(large), [str(folder), None, 1, 1, 3, None]]
    objects = [object_in(driver) for _ in range(3)]
    assert driver.call(function, *objects, inputs=inputs)[0][0] == b"ssx"


def test_output_and_standard_input(driver: Driver) -> None:
    def function(ctx: Any) -> str:
        print("to people")
        return repr(sys.stdin.read())

    assert driver.call(function)[0][0] == b"''"
    assert driver.output.text(0, 10) == "to people\n"


def test_calls_in_advance_and_large_frames(driver: Driver) -> None:
    for number in range(50):
        driver.start(lambda ctx, n, data: str(n), number, b"x" * 200_000)
    assert [driver.finish()[0][0][0] for _ in range(50)] == [str(number).encode() for number in range(50)]


def test_forget(driver: Driver) -> None:
    driver.call(lambda ctx: b"")
    driver.send(["forget", [0]], ["call", 99, 0, [5, 1], None, [], {}])
    answer = driver.receive()
    assert answer[0] == "fail" and answer[1] == 99


def test_interrupts_are_ignored(driver: Driver) -> None:
    driver.process.send_signal(signal.SIGINT)
    assert driver.call(lambda ctx: b"alive")[0][0] == b"alive"


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from rain.common import RainException
    from rain.executor.workdir import Workdir

    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    workdir = Workdir(str(tmp_path))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RainException, match="No space left for an output of 3 bytes"):
        workdir.write([b"12", b"3"])
    assert not list(tmp_path.glob("out-*"))


def test_text_that_is_not_utf8(driver: Driver) -> None:
    def fail(ctx: Any) -> None:
        raise ValueError("\udcff")

    with pytest.raises(Failed, match=r"ValueError: \\udcff"):
        driver.call(fail)
    driver.start(lambda ctx: ctx.debug("\udcfe") or b"")
    assert driver.finish()[1] == {"debug": "\\udcfe"}
    with pytest.raises(Failed, match="surrogates not allowed"):
        driver.call(lambda ctx: "\udcff")
