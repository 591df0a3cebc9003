"""Runs ``python -m rain.executor`` as a governor does, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import msgspec
from fake_server import frame

from rain.client import Remote, Session, remote

# A governor gives larger content as a file.
INLINE = 64 << 10


class NoClient:
    """The client of a session that is never submitted."""

    local = False
    closed = True


class Failed(Exception):
    """The answer of the executor was a failure."""

    def __init__(self, failure: dict[str, str]) -> None:
        super().__init__(failure["message"])
        self.failure = failure


class Driver:
    """The other end of an executor's socket."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "executor"
        self.directory.mkdir()
        self.errors = directory / "stderr"
        self.socket, theirs = socket.socketpair()
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rain.executor"],
                stdin=theirs,
                stderr=errors,
                stdout=errors,
                env={**os.environ, "RAIN_EXECUTOR_DIR": str(self.directory)},
                cwd=directory,
            )
        theirs.close()
        self.socket.settimeout(20)
        self.stream = self.socket.makefile("rb")
        self.session = Session(NoClient(), 5, "")  # type: ignore[arg-type]
        self.kinds: dict[Any, int] = {}
        self.calls = 0
        self.register = self.receive()

    def send(self, *messages: Any) -> None:
        self.socket.sendall(b"".join(map(frame, messages)))

    def receive(self) -> Any:
        head = self.stream.read(4)
        assert len(head) == 4, self.errors.read_text()
        return msgspec.msgpack.decode(self.stream.read(int.from_bytes(head, "little")))

    def start(
        self,
        function: Remote | Callable[..., Any],
        *args: Any,
        inputs: list[list[Any]] | None = None,
        user: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Send a call; `inputs` are the inputs in the order of the data objects in the arguments."""
        called = function if isinstance(function, Remote) else remote()(function)
        with self.session.bind_only():
            task = called(*args, **kwargs)
        kind_id = self.kinds.get(task._kind)
        if kind_id is None:
            kind_id = self.kinds[task._kind] = len(self.kinds)
            self.send(["define", kind_id, task._kind.wire()])
        self.calls += 1
        # What the client has put into objects.
        hidden = [self._content(item) for item in task._inputs[len(task._shown_inputs) :]]
        extra = {"governor": 3, "outputs": 100, **({"user": user} if user else {})}
        self.send(["call", self.calls, kind_id, [5, 40 + self.calls], task._config, [*(inputs or []), *hidden], extra])

    def _content(self, item: Any) -> list[Any]:
        content = item._content
        if len(content) <= INLINE:
            return [content, None, 0, len(content), 0, None]
        path = self.directory.parent / f"content-{id(item)}"
        path.write_bytes(content)
        return [str(path), None, 0, len(content), 0, None]

    def finish(self) -> tuple[list[Any], dict[str, str]]:
        """Outputs and info of the next answer."""
        answer = self.receive()
        if answer[0] == "fail":
            raise Failed(answer[2])
        assert answer[0] == "done"
        return answer[2], answer[3]

    def call(self, function: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Make a call and return its outputs."""
        self.start(function, *args, **kwargs)
        return self.finish()[0]

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
        assert self.process.wait(10) == 0, self.errors.read_text()
