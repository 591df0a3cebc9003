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
