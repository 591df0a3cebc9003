"""The golden frames of tests/golden, which the suites of Rust and C++ read and write too."""

from __future__ import annotations

import runpy
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rain.client import Session
from rain.client.kind import Kind, OutputSpec
from rain.common.ids import DataType
from rain.executor.executor import Executor

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
INDEX = [line.split("\t") for line in (GOLDEN / "index.tsv").read_text(encoding="utf-8").splitlines()]
notation = runpy.run_path(str(GOLDEN / "make.py"))["notation"]


def body(name: str) -> bytes:
    """The body of a frame, whose length is checked."""
    frame = (GOLDEN / name).read_bytes()
    assert int.from_bytes(frame[:4], "little") == len(frame) - 4
    return frame[4:]


def test_the_index_names_all_frames() -> None:
    assert sorted(line[0] for line in INDEX) == sorted(path.name for path in GOLDEN.glob("*.bin"))


@pytest.mark.parametrize(("name", "text"), [(line[0], line[3]) for line in INDEX])
def test_frames_are_read_and_written(name: str, text: str) -> None:
    value = msgspec.msgpack.decode(body(name))
    assert notation(value) == text
    assert msgspec.msgpack.encode(value) == body(name)


def test_the_client_writes_kinds() -> None:
    *_, full = msgspec.msgpack.decode(body("define-full.bin"))
    kind = Kind(
        full["type"],
        (OutputSpec("result", content_type="json"), OutputSpec("tiles", data_type=DataType.DIRECTORY)),
        cpus=full["cpus"],
        name=full["name"],
        config=full["config"],
        input_labels=tuple(full["inputs"]),
    )
    assert msgspec.msgpack.encode(kind.wire()) == msgspec.msgpack.encode(full)


class Conversation:
    """A Python executor in a thread, which is sent frames."""

    def __init__(self, directory: Path) -> None:
        self.socket, theirs = socket.socketpair()
        self.stream = self.socket.makefile("rb")

        def serve() -> None:
            Executor(theirs.fileno(), str(directory)).run()
            theirs.close()

        self.thread = threading.Thread(target=serve)
        self.thread.start()

    def receive(self) -> bytes:
        return self.stream.read(int.from_bytes(self.stream.read(4), "little"))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
        self.thread.join()


def test_the_executor_speaks_as_the_frames_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The executor changes its directory.
    conversation = Conversation(tmp_path)
    try:
        expected = msgspec.msgpack.decode(body("register.bin"))
        register = msgspec.msgpack.decode(conversation.receive())
        assert list(register[1]) == list(expected[1])
        register[1].update(name="example1", pid=4242)
        assert msgspec.msgpack.encode(register) == body("register.bin")
        # The kind of these frames is of another executor, which is a failure of the call and no more.
        for name in ("define.bin", "call.bin", "forget.bin", "call-full.bin"):
            conversation.socket.sendall((GOLDEN / name).read_bytes())
        operation, call_id, failure = msgspec.msgpack.decode(conversation.receive())
        assert (operation, call_id) == ("fail", 3)
        operation, call_id, failure = msgspec.msgpack.decode(conversation.receive())
        assert (operation, call_id) == ("fail", 70000)
        assert "not defined" in failure["message"]
    finally:
        conversation.close()


def test_the_executor_writes_an_answer(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rain.client import remote

    @remote()
    def hello(ctx: Any, name: Any) -> bytes:
        return b"Hello " + name.get_bytes() + b"!"

    from rain.client import blob

    task = hello(blob("World"))
    monkeypatch.chdir(tmp_path)
    conversation = Conversation(tmp_path)
    try:
        conversation.receive()
        _, call_id, kind_id, ids, _, inputs, extra = msgspec.msgpack.decode(body("call.bin"))
        call = ["call", call_id, kind_id, ids, task._config, inputs, extra]
        for message in (["define", kind_id, task._kind.wire()], call):
            encoded = msgspec.msgpack.encode(message)
            conversation.socket.sendall(len(encoded).to_bytes(4, "little") + encoded)
        assert conversation.receive() == body("done.bin")
    finally:
        conversation.close()


def test_the_executor_carries_out_a_full_call(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With inputs that are there, for a function that answers as the full answer does, and for one that fails."""
    from rain.client import Output, OutputDir, blob, directory, remote

    @remote(outputs=(Output("result", content_type="json"), Output("tile"), OutputDir("masks")))
    def work(ctx: Any, image: Any, masks: Any) -> Any:
        ctx.debug("first line")
        ctx.debug("second line")
        # It is another copy of this function that runs: what is wrong is in the answer.
        assert (image.content_type, image.size, image.info.user) == ("image/pgm", 70_000, {"taken": "today"})
        assert (ctx.spec.user, b"mask" in masks.get_bytes()) == ({"mode": 7}, True)
        ctx.info.user["pixels"] = 12
        result = ctx.blob({}, encode="json")
        result.info.user["kept"] = True
        Path("tile").write_bytes(bytes(100_000))
        return result, ctx.stage_file("tile"), masks

    @remote(outputs=0)
    def fail(ctx: Any) -> None:
        ctx.debug("before")
        ctx.info.user["steps"] = [1, 2]
        raise ValueError("ř" * 200)

    works, fails = work(blob("x"), directory(tmp_path)), fail()
    (tmp_path / "image").write_bytes(bytes(70_000))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "one").write_text("mask")
    monkeypatch.chdir(tmp_path)
    _, call_id, kind_id, ids, _, (image, masks), extra = msgspec.msgpack.decode(body("call-full.bin"))
    image[0], image[3], masks[0] = str(tmp_path / "image"), 70_000, str(tmp_path / "masks")
    conversation = Conversation(tmp_path)
    try:
        conversation.receive()

        def answer(task: Any, inputs: list[Any], kind_id: int) -> Any:
            call = ["call", call_id, kind_id, ids, task._config, inputs, extra]
            for message in (["define", kind_id, task._kind.wire()], call):
                encoded = msgspec.msgpack.encode(message)
                conversation.socket.sendall(len(encoded).to_bytes(4, "little") + encoded)
            return msgspec.msgpack.decode(conversation.receive())

        done = answer(works, [image, masks], kind_id)
        expected = msgspec.msgpack.decode(body("done-full.bin"))
        # Attributes are JSON, whose spaces are free, and the path is a new one below the executor's directory.
        for message in (done, expected):
            assert message[0] == "done", message
            message[2][0][2] = msgspec.json.decode(message[2][0][2])
            message[3]["user"] = msgspec.json.decode(message[3]["user"])
        assert done[2][1][0].startswith(str(tmp_path))
        done[2][1][0] = expected[2][1][0]
        assert done == expected

        failed = answer(fails, [], kind_id + 1)
        expected = msgspec.msgpack.decode(body("fail-full.bin"))
        assert (failed[:2], set(failed[2])) == (expected[:2], set(expected[2])), failed[2]["message"]
        assert expected[2]["message"] in failed[2]["message"] and failed[2]["debug"] == expected[2]["debug"]
        assert msgspec.json.decode(failed[2]["user"]) == msgspec.json.decode(expected[2]["user"])
    finally:
        conversation.close()
