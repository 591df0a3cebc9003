"""The loop of an executor: messages of the governor in, answers out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from types import TracebackType
from typing import Any

import msgspec.msgpack

from ..common.errors import RainException
from .call import Call, InputFiles
from .functions import Function
from .workdir import Workdir

PROTOCOL_VERSION = 1
READ_SIZE = 1 << 16
# Standard error, which is a file when a governor has started this.
LOG = 2
LOG_TAIL = 4 << 10
# Said of a relative path that was not found.
HINT_NOT_FOUND = (
    " (the call runs in an empty directory of its own on the governor's machine: use an absolute path, or pass a blob()"
    " or directory() with the content)"
)
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Executor:
    """Runs the calls that come through a socket, one after the other."""

    def __init__(self, fd: int, directory: str) -> None:
        self._fd = fd
        self._workdir = Workdir(directory)
        self._files = InputFiles()
        self._kinds: dict[int, dict[str, Any]] = {}
        self._functions: dict[int, Function] = {}
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._reply = bytearray(4)
        # How long the log, to which standard output and error go, was before the current call.
        self._log_start = 0
        self._has_log = _is_file(LOG)

    def run(self) -> None:
        """Register and carry out calls until the governor closes the socket."""
        self._send(("register", {"version": PROTOCOL_VERSION, "name": "py", "pid": os.getpid()}))
        # Most functions need it, and there is nothing else to do before the first one comes.
        import cloudpickle  # noqa: F401

        decode = msgspec.msgpack.Decoder().decode
        data = b""
        position = 0
        while True:
            start = position + 4
            end = start + int.from_bytes(data[position:start], "little")
            if len(data) < start or len(data) < end:
                more = self._read(data[position:])
                if more is None:
                    return
                data = more
                position = 0
                continue
            self._handle(decode(data[start:end]))
            position = end

    def _read(self, data: bytes) -> bytes | None:
        """What there is of a frame and more; None at the end."""
        wanted = 4 + int.from_bytes(data[:4], "little") - len(data) if len(data) >= 4 else 0
        pieces = [data]
        while True:
            try:
                piece = os.read(self._fd, max(wanted, READ_SIZE))
            except ConnectionError:
                return None
            if not piece:
                return None
            pieces.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                return b"".join(pieces)

    def _handle(self, message: list[Any]) -> None:
        operation = message[0]
        if operation == "call":
            self._call(message)
        elif operation == "define":
            self._kinds[message[1]] = message[2]
        elif operation == "forget":
            for kind_id in message[1]:
                self._kinds.pop(kind_id, None)
                self._functions.pop(kind_id, None)
            self._files.clear()

    def _call(self, message: list[Any]) -> None:
        _, call_id, kind_id, ids, config, inputs, extra = message
        if self._has_log:
            self._log_start = os.lseek(LOG, 0, os.SEEK_END)
        call = None
        answer: tuple[Any, ...]
        try:
            function = self._functions.get(kind_id) or self._load(kind_id)
            call = Call(function, ids, config, inputs, extra, self._workdir, self._files)
            answer = ("done", call_id, call.run(), call.info())
        # Whatever a task does, SystemExit too, is its own failure and not the executor's.
        except BaseException as error:
            answer = ("fail", call_id, self._failure(call, error))
        self._send(answer)
        self._workdir.renew()

    def _load(self, kind_id: int) -> Function:
        kind = self._kinds.get(kind_id)
        if kind is None:
            raise RainException(f"Kind {kind_id} is not defined")
        function = self._functions[kind_id] = Function(kind)
        # The function has what is needed of it.
        del self._kinds[kind_id]
        return function

    def _failure(self, call: Call | None, error: BaseException) -> dict[str, str]:
        failure = {"message": describe_error(error)}
        if call is not None:
            try:
                failure.update(call.info())
            except Exception as info_error:
                failure["message"] += f"\n{info_error}"
            call.drop_staged([])
        written = self._written()
        if written:
            failure["message"] += f"\n\nThe end of its output:\n{written}"
        # Names of files and the like can have what UTF-8 cannot.
        return {name: text.encode(errors="backslashreplace").decode() for name, text in failure.items()}

    def _written(self) -> str:
        """The end of what the current call has written to standard output and error."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        if not self._has_log:
            return ""
        end = os.lseek(LOG, 0, os.SEEK_END)
        # The governor empties a log that is long.
        start = self._log_start if self._log_start <= end else 0
        start = max(start, end - LOG_TAIL)
        return os.pread(LOG, end - start, start).decode(errors="replace").rstrip()

    def _send(self, message: tuple[Any, ...]) -> None:
        reply = self._reply
        self._encode_into(message, reply, 4)
        reply[:4] = (len(reply) - 4).to_bytes(4, "little")
        sent = os.write(self._fd, reply)
        while sent < len(reply):
            sent += os.write(self._fd, memoryview(reply)[sent:])


def _is_file(fd: int) -> bool:
    """Whether a descriptor is a file that can be read."""
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    except OSError:
        return False


def describe_error(error: BaseException) -> str:
    """Type and text of an error, and the traceback from where the user's code begins."""
    import traceback

    try:
        text = str(error)
    except Exception:
        text = "(the text of the error cannot be shown)"
    if isinstance(error, ImportError):
        text += f" (in the executor: {sys.executable}, Python {sys.version.split()[0]})"
    if isinstance(error, FileNotFoundError) and _is_relative(error.filename):
        text += HINT_NOT_FOUND
    begin = _users_traceback(error.__traceback__)
    if begin is None:
        return text if isinstance(error, RainException) else f"{type(error).__name__}: {text}"
    name = type(error).__name__
    head = f"{name}: {text}" if text else name
    trace = "".join(traceback.format_exception(type(error), error, begin))
    return f"{head}\n\n{trace.rstrip()}"


def _is_relative(path: object) -> bool:
    return isinstance(path, (str, bytes)) and bool(path) and not os.path.isabs(path)


def _users_traceback(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    return trace
