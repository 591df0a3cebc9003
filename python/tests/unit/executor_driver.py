"""Runs ``python -m rain.executor`` as a governor does, for tests."""

from __future__ import annotations

import mmap
import os
import select
import socket
import subprocess
import sys
import threading
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

    def __init__(self, failure: dict[str, Any]) -> None:
        super().__init__(failure["message"])
        self.failure = failure


class Returned(Exception):
    """The executor has given calls back."""

    def __init__(self, calls: list[int], reason: str | None) -> None:
        super().__init__(reason)
        self.calls = calls
        self.reason = reason


class Page:
    """The page that an executor shares with its governor."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("page")
        os.ftruncate(self.fd, 4096)
        self.numbers = memoryview(mmap.mmap(self.fd, 4096)).cast("Q")


class Output:
    """What an executor writes to standard output or error, taken from a pipe as a governor takes it."""

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers
        self._pipe, self.write_fd = os.pipe()
        self._bytes = b""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._take)

    def started(self) -> None:
        """The executor has its ends."""
        os.close(self.write_fd)
        self._thread.start()

    def _take(self) -> None:
        while True:
            select.select([self._pipe], [], [])
            self._numbers[2] += 1
            data = os.read(self._pipe, 1 << 16)
            self._numbers[0] += len(data)
            self._numbers[2] += 1
            if not data:
                return
            with self._changed:
                self._bytes += data
                self._changed.notify_all()

    def text(self, start: int = 0, end: int = 0) -> str:
        """What was written from a place on; what is before `end` is waited for."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._bytes) >= end, 20)
            return self._bytes[start:].decode()

    @property
    def begun(self) -> int:
        """Where the executor's current or last call began."""
        return self._numbers[1]

    def close(self) -> None:
        """Wait for the end of the pipe."""
        self._thread.join(20)
        os.close(self._pipe)


class Driver:
    """The other end of an executor's socket."""

    def __init__(self, directory: Path, env: dict[str, str] | None = None) -> None:
        self.directory = directory / "executor"
        self.directory.mkdir(parents=True)
        page = Page()
        self.output = Output(page.numbers)
        self.errors = Output(page.numbers[3:])
        self.socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rain.executor"],
            stdin=theirs,
            stderr=self.errors.write_fd,
            stdout=self.output.write_fd,
            pass_fds=[page.fd],
            env={
                **os.environ,
                "RAIN_EXECUTOR_DIR": str(self.directory),
                "RAIN_EXECUTOR_LOG": str(page.fd),
                "RAIN_TASK": "py",
                **(env or {}),
            },
            cwd=directory,
        )
        theirs.close()
        os.close(page.fd)
        self.output.started()
        self.errors.started()
        self.socket.settimeout(20)
        self.stream = self.socket.makefile("rb")
        self.session = Session(NoClient(), 5, "")  # type: ignore[arg-type]
        self.kinds: dict[Any, int] = {}
        self.calls = 0
        # Session and submit of the calls.
        self.session_id = 5
        self.submit = 0
        self.register = self.receive()

    def send(self, *messages: Any) -> None:
        self.socket.sendall(b"".join(map(frame, messages)))

    def receive(self) -> Any:
        head = self.stream.read(4)
        assert len(head) == 4, self.errors.text()
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
        key = (self.session_id, task._kind)
        kind_id = self.kinds.get(key)
        if kind_id is None:
            kind_id = self.kinds[key] = len(self.kinds)
            self.send(["define", kind_id, task._kind.wire()])
        self.calls += 1
        # What the client has put into objects.
        hidden = [self._content(item) for item in task._inputs[len(task._shown_inputs) :]]
        extra = {"governor": 3, "outputs": 100, "submit": self.submit, **({"user": user} if user else {})}
        ids = [self.session_id, 40 + self.calls]
        self.send(["call", self.calls, kind_id, ids, task._config, [*(inputs or []), *hidden], extra])

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
        if answer[0] == "return":
            raise Returned(answer[1], answer[2])
        assert answer[0] == "done"
        return answer[2], answer[3]

    def call(self, function: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """Make a call and return its outputs."""
        self.start(function, *args, **kwargs)
        return self.finish()[0]

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
        status = self.process.wait(20)
        self.output.close()
        self.errors.close()
        assert status == 0, self.errors.text()

    def forget(self, session_id: int) -> None:
        """A session is over."""
        ids = [kind_id for (session, _), kind_id in self.kinds.items() if session == session_id]
        self.kinds = {key: kind_id for key, kind_id in self.kinds.items() if key[0] != session_id}
        self.send(["forget", ids])
