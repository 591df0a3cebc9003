"""The loop of an executor: messages of the governor in, answers out."""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable, NoReturn

import msgspec.msgpack

from ..common import cause, lending
from ..common.errors import RainException
from .call import Call, InputFiles
from .error_text import describe_error, first_part, traceback_module, users_traceback
from .functions import Function
from .plain import pickle_of
from .process import OwnProcess
from .workdir import Workdir

PROTOCOL_VERSION = 1
READ_SIZE = 1 << 16
# How long the last input is kept when nothing comes, milliseconds.
KEPT_MS = 1000


class NotHere(Exception):
    """A call that has not begun is for another process; why."""


class Executor:
    """Runs the calls that come through a socket, one after the other."""

    def __init__(self, fd: int, directory: str, process: OwnProcess | None = None) -> None:
        """`process`: where this runs in a process of its own."""
        self._fd = fd
        self._pid = os.getpid()
        self._process = process
        self._workdir = Workdir(directory)
        self._files = InputFiles()
        self._kinds: dict[int, dict[str, Any]] = {}
        self._functions: dict[int, Function] = {}
        # Session and newest submit of the calls that come.
        self._session = -1
        self._submit = -1
        # How often something was read, and how often it was when it was last looked whether modules have changed.
        self._reads = 0
        self._looked = -1
        self._run: Callable[..., Any] = _run_here
        # What was read and not handled begins here.
        self._data = b""
        self._position = 0
        self._decode = msgspec.msgpack.Decoder().decode
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._reply = bytearray(4)
        # Why no other call is run by this process.
        self._used_up: str | None = None
        # Whether this is a process that a task has forked, and that has come back from it.
        self._is_child = False
        # Whether there may be something in cycles that nobody needs.
        self._is_untidy = False
        # Held by who sends, and by who lends the cpus of the call that runs.
        self._lock = _thread.allocate_lock()
        self._current: int | None = None
        self._priority = 0
        self._waits = 0

    def run(self) -> None:
        """Register and carry out calls until the governor closes the socket."""
        self._send(("register", {"version": PROTOCOL_VERSION, "name": "py", "pid": self._pid}))
        # Most functions need the one and errors the other, and there is nothing to do before the first call comes.
        import cloudpickle  # noqa: F401

        traceback_module()
        process = self._process
        if process is not None:
            os.register_at_fork(after_in_child=self._forked)
            lending.waiting = self._waiting
            lending.priority = self._priority_of_new
            process.ready(self._workdir)
            self._run = process.new_context().run
        while True:
            message = self._next()
            if message is None:
                return
            operation = message[0]
            if operation == "call":
                self._call(message)
            elif operation == "define":
                self._kinds[message[1]] = message[2]
            elif operation == "forget":
                self._forget(message[1])

    def _next(self) -> list[Any] | None:
        """The next message; None at the end."""
        data, position = self._data, self._position
        while True:
            start = position + 4
            end = start + int.from_bytes(data[position:start], "little")
            if start <= len(data) and end <= len(data):
                self._position = end
                message: list[Any] = self._decode(data[start:end])
                return message
            more = self._read(data[position:])
            if more is None:
                return None
            data = self._data = more
            position = 0

    def _read(self, data: bytes) -> bytes | None:
        """What there is of a frame and more; None at the end."""
        wanted = 4 + int.from_bytes(data[:4], "little") - len(data) if len(data) >= 4 else 0
        pieces = [data]
        self._wait()
        while True:
            try:
                piece = os.read(self._fd, max(wanted, READ_SIZE))
            except ConnectionError:
                return None
            if not piece:
                return None
            self._reads += 1
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                return b"".join(pieces) if data or len(pieces) > 2 else piece

    def _wait(self) -> None:
        """When nothing comes for a while, let go of the last input, and of what is in cycles."""
        if self._is_untidy or not self._files.is_empty():
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            if not poll.poll(KEPT_MS):
                self._files.clear()
                self._is_untidy = False
                gc.collect()

    def _forget(self, kind_ids: list[int]) -> None:
        sessions = set()
        for kind_id in kind_ids:
            self._kinds.pop(kind_id, None)
            function = self._functions.pop(kind_id, None)
            if function is not None:
                sessions.add(function.session)
        self._files.clear()
        process = self._process
        if process is None or self._used_up is not None:
            return
        sessions -= {function.session for function in self._functions.values()}
        for session in sessions:
            process.forget_session(session)
        self._is_untidy = True
        if self._session in sessions:
            # Nothing of it is left for the next one, or the governor is told at once.
            reason = self._leave_session()
            if reason is not None:
                self._give_back([], reason)

    def _leave_session(self) -> str | None:
        self._session = -1
        self._files.clear()
        process = self._process
        if process is None:
            return None
        self._run = _run_here
        reason = process.restore()
        if reason is None:
            self._run = process.new_context().run
        return reason

    def _begin(self, session: int, submit: int) -> str | None:
        """A call comes of another session or submit than the one before; why it must not be run here, if so."""
        if session != self._session:
            reason = self._leave_session() if self._session >= 0 else None
            if reason is not None:
                return reason
            self._session = session
            self._submit = -1
        self._submit = max(submit, self._submit)
        if self._process is None:
            return None
        # What came with a call that was looked for was submitted before that.
        has_looked = self._looked == self._reads
        self._looked = self._reads
        return self._process.begin_submit(session, submit, has_looked)

    def _give_back(self, calls: list[int], reason: str) -> None:
        """Nothing is run here any more: give back calls, and those that were read behind them."""
        self._used_up = reason
        while self._position < len(self._data):
            start = self._position + 4
            end = start + int.from_bytes(self._data[self._position : start], "little")
            if not start <= end <= len(self._data):
                break
            self._position = end
            message = self._decode(self._data[start:end])
            if message[0] == "call":
                calls.append(message[1])
        self._send(("return", calls, reason))
        if self._process is not None and self._process.must_leave:
            os._exit(0)

    def _call(self, message: list[Any]) -> None:
        session, submit = message[3][0], message[6].get("submit", 0)
        refusal = self._used_up
        if refusal is None and (session != self._session or submit > self._submit):
            refusal = self._begin(session, submit)
        if refusal is not None:
            self._give_back([message[1]], refusal)
            return
        try:
            reason = self._carry_out(message) or self._renew()
        except NotHere as not_here:
            self._give_back([message[1]], str(not_here))
            return
        if reason is not None:
            self._give_back([], reason)

    def _carry_out(self, message: list[Any]) -> str | None:
        """Run a call and answer it.

        Returns:
            Why this process must not be used for another one; None if it can.

        Raises:
            NotHere: This process must not run it.
        """
        _, call_id, kind_id, ids, config, inputs, extra = message
        process = self._process
        start = (0, 0) if process is None else process.begin_task()
        began = time.time_ns()
        call = None
        reason = None
        answer: tuple[Any, ...]
        try:
            function = self._functions.get(kind_id) or self._load(kind_id, ids[0])
            call = Call(function, ids, config, inputs, extra, self._workdir, self._files)
            self._priority = function.priority
            self._current = call_id
            outputs = self._run(call.run)
            if self._is_child:
                os._exit(0)
            left = self._left()
            if left:
                call.tell_of_left(left)
            info: dict[str, Any] = call.info()
            if process is not None:
                reason = process.end_task(began, self._position == len(self._data))
                written = process.written(start)
                if written is not None:
                    info["output"] = written
            answer = ("done", call_id, outputs, info)
        except NotHere:
            raise
        # Whatever a task does, SystemExit too, is its own failure and not the executor's.
        except BaseException as error:
            if self._is_child:
                _end_child(error)
            self._left()
            failure = self._failure(call, error)
            if process is not None:
                reason = process.end_task(began, True)
                written = process.written(start)
                if written is not None:
                    failure["output"] = written
            answer = ("fail", call_id, failure)
            _clear_frames(error)
        if call is not None:
            call.close()
        with self._lock:
            self._current = None
            self._waits = 0
            self._write(answer)
        return reason

    def _left(self) -> list[str]:
        try:
            return self._workdir.left()
        except OSError:
            # What is wrong with the directory is told when it is to be renewed.
            return []

    def _renew(self) -> str | None:
        """Prepare for the next call; why that cannot be done, if so."""
        try:
            self._workdir.renew()
            if self._process is not None and self._position == len(self._data):
                self._process.rest()
        except Exception as error:
            return f"what a task has left cannot be put in order: {type(error).__name__}: {error}"
        return None

    def _load(self, kind_id: int, session: int) -> Function:
        kind = self._kinds.get(kind_id)
        if kind is None:
            raise RainException(f"Kind {kind_id} is not defined")
        function = Function(kind, session)
        if self._process is not None:
            reason = self._process.use(function.path, function.cpus)
            if reason is not None:
                raise NotHere(reason)
        self._functions[kind_id] = function
        return function

    def _failure(self, call: Call | None, error: BaseException) -> dict[str, Any]:
        failure = {"message": describe_error(error)}
        if call is not None:
            try:
                failure.update(call.info())
            except Exception as info_error:
                failure["message"] += f"\n{info_error}"
            call.drop_staged([])
            if users_traceback(error.__traceback__) is not None and not cause.is_shown(error):
                failure["debug"] = cause.with_pickle(failure.get("debug", ""), pickle_of(error))
        failure["message"] = first_part(failure["message"])
        # Names of files and the like can have what UTF-8 cannot.
        return {name: text.encode(errors="backslashreplace").decode() for name, text in failure.items()}

    def _send(self, message: tuple[Any, ...]) -> None:
        with self._lock:
            self._write(message)

    def _write(self, message: tuple[Any, ...]) -> None:
        reply = self._reply
        self._encode_into(message, reply, 4)
        reply[:4] = (len(reply) - 4).to_bytes(4, "little")
        sent = os.write(self._fd, reply)
        while sent < len(reply):
            sent += os.write(self._fd, memoryview(reply)[sent:])

    def _forked(self) -> None:
        """In a child: it must not answer for its parent when the function returns there, too."""
        self._is_child = True
        lending.waiting = lending.priority = None

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """The call that runs waits for other tasks: its cpus are lent."""
        with self._lock:
            call = self._current
            if call is not None:
                self._waits += 1
                if self._waits == 1:
                    self._lend(call)
        try:
            yield
        finally:
            with self._lock:
                # It may have ended while one of its threads was waiting.
                if call is not None and self._current == call:
                    self._waits -= 1
                    if self._waits == 0:
                        self._write(("resume", call))

    def _lend(self, call: int) -> None:
        """Tell the governor, and give back what it had sent ahead: it would have to wait, too."""
        self._write(("lend", call))
        calls = []
        while True:
            message = self._next()
            if message is None or message[0] == "lent":
                break
            if message[0] == "call":
                calls.append(message[1])
            elif message[0] == "define":
                self._kinds[message[1]] = message[2]
            elif message[0] == "forget":
                for kind_id in message[1]:
                    self._kinds.pop(kind_id, None)
                    self._functions.pop(kind_id, None)
        if calls:
            self._write(("return", calls, None))

    def _priority_of_new(self) -> int:
        return self._priority + 1 if self._current is not None else 0


def _run_here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _end_child(error: BaseException) -> NoReturn:
    """End a process that a task has forked, and in which its function has raised an error."""
    status = 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        with contextlib.suppress(Exception):
            traceback_module().print_exception(type(error), error, users_traceback(error.__traceback__))
            sys.stderr.flush()
    os._exit(status & 0xFF)


def _clear_frames(error: BaseException | None) -> None:
    """Let go of what the functions had that raised an error: it may refer to itself through them."""
    clear_frames = traceback_module().clear_frames
    seen: set[int] = set()
    todo = [error]
    while todo:
        error = todo.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            clear_frames(error.__traceback__)
            todo += [error.__cause__, error.__context__]
