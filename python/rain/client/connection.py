"""The connection of a client: requests and replies in frames, for any number of threads.

Of the threads that wait for a reply, one reads and hands out what arrives; when it has its own reply, another one takes
over. For requests whose reply is handed to a function, there is a thread in the background as long as one is open.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
import threading
from typing import Any, Callable

import msgspec

from .. import __version__
from ..common.errors import RainException
from .address import CONNECT_SECONDS, connect
from .direct import DirectFetch

PROTOCOL_VERSION = 1
MAX_FRAME = 256 << 20
_READ_SIZE = 1 << 16
_READ_SIZE_MAX = 1 << 20
# How long the thread in the background stays when it has nothing to wait for.
_LINGER_SECONDS = 1.0


class RequestError(Exception):
    """The server's answer was an error; it becomes an exception for users where the request was made."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.error = error


# What takes the reply to a request: its body, or why there is none (a RequestError or a RainException).
Taker = Callable[[dict[str, Any], "Exception | None"], None]


class Connection:
    """Sends requests to a server and waits for the replies."""

    def __init__(self, host: str, port: int, access: str | None = None) -> None:
        reached = connect(host, port, access)
        self._socket, self.name = reached.connection, reached.name
        self.direct = DirectFetch((host or "localhost", port), reached.credentials) if reached.credentials else None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder()
        self._send_lock = threading.Lock()
        self._turn = threading.Condition()
        self._reading = False
        self._open: set[int] = set()
        self._replies: dict[int, list[Any]] = {}
        self._takers: dict[int, Taker] = {}
        self._taken: list[tuple[Taker, list[Any]]] = []
        self._has_background = False
        self._ids = itertools.count()
        self._failure: str | None = None
        self._received: list[bytes] = []
        try:
            self._server = self._handshake(reached.token)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(None)

    @property
    def local(self) -> bool:
        """Whether paths that the server names can be opened here."""
        return bool(self._server.get("local"))

    def request(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        request_id = next(self._ids)
        try:
            self._send(operation, request_id, body)
            try:
                reply = self._wait_for(request_id)
            except RainException as error:
                if operation == "hello":
                    raise
                raise RainException(f"{error} (in the middle of {operation})") from None
        finally:
            # After a Ctrl-C the reply still comes; it is dropped then.
            with self._turn:
                self._open.discard(request_id)
                self._replies.pop(request_id, None)
        return self._body(reply)

    def start_request(self, operation: str, body: dict[str, Any], taker: Taker) -> None:
        """Send a request; its reply is handed to a function, in a thread in the background."""
        request_id = next(self._ids)
        with self._turn:
            self._takers[request_id] = taker
            if not self._has_background:
                self._has_background = True
                threading.Thread(target=self._run_background, name="rain-replies", daemon=True).start()
            else:
                self._turn.notify_all()
        try:
            self._send(operation, request_id, body)
        except Exception:
            # When the connection is broken, the thread has handed that out already, or will.
            with self._turn:
                if self._takers.pop(request_id, None) is not None:
                    raise

    def _body(self, reply: list[Any]) -> dict[str, Any]:
        if reply[0] == "ok":
            return reply[2]  # type: ignore[no-any-return]
        error = reply[2]
        if error.get("kind") == "protocol":
            self._fail(f"The server at {self.name} does not understand this client: {error.get('message')}")
            raise RainException(self._failure)
        raise RequestError(error)

    def _run_background(self) -> None:
        while True:
            with self._turn:
                while self._failure is None and not self._taken and (self._reading or not self._takers):
                    if not self._turn.wait(_LINGER_SECONDS) and not self._takers and not self._taken:
                        self._has_background = False
                        return
                failure = self._failure
                taken, self._taken = self._taken, []
                lost: list[Taker] = []
                if failure is not None:
                    lost = list(self._takers.values())
                    self._takers.clear()
                    self._has_background = False
                lead = failure is None and not taken
                self._reading = self._reading or lead
            for taker, reply in taken:
                self._hand_over(taker, reply)
            if failure is not None:
                for taker in lost:
                    _give(taker, {}, RainException(failure))
                return
            if lead:
                try:
                    self._hand_out()
                except Exception as error:
                    # Known already, if it is ours.
                    self._fail(f"What the server at {self.name} sends cannot be read: {error}")

    def _hand_over(self, taker: Taker, reply: list[Any]) -> None:
        try:
            body = self._body(reply)
        except (RequestError, RainException) as error:
            _give(taker, {}, error)
        else:
            _give(taker, body, None)

    def close(self) -> None:
        """Drop the connection; the server ends the client's sessions."""
        self._fail(f"The connection to {self.name} was closed")
        if self.direct is not None:
            self.direct.close()

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._failure is not None

    def _handshake(self, token: str | None) -> dict[str, Any]:
        hello = {"version": PROTOCOL_VERSION, "client": f"python {__version__}", "python": sys.executable}
        if token is not None:
            hello["token"] = token
        self._socket.settimeout(CONNECT_SECONDS)
        try:
            reply = self.request("hello", hello)
        except RequestError as error:
            raise RainException(f"The server at {self.name} refused the connection: {error}") from None
        if reply.get("version") != PROTOCOL_VERSION:
            raise RainException(
                f"The server at {self.name} speaks version {reply.get('version')} of the protocol, "
                f"this client (rain {__version__}) version {PROTOCOL_VERSION}"
            )
        return reply

    def _send(self, operation: str, request_id: int, body: dict[str, Any]) -> None:
        frame = bytearray(4)
        self._encoder.encode_into([operation, request_id, body], frame, 4)
        length = len(frame) - 4
        if length > MAX_FRAME:
            raise RainException(
                f"A {operation} of {length >> 20} MiB is more than the {MAX_FRAME >> 20} MiB that a server takes; "
                "submit the graph in parts, and pass large values as blob()"
            )
        frame[:4] = length.to_bytes(4, "little")
        with self._send_lock:
            if self._failure is not None:
                raise RainException(self._failure)
            with self._turn:
                self._open.add(request_id)
            self._send_frame(memoryview(frame))

    def _send_frame(self, frame: memoryview) -> None:
        """Send all of a frame, also if a Ctrl-C comes meanwhile: with half of one the connection would be lost."""
        sent: list[int] = []
        interrupt: BaseException | None = None
        while sum(sent) < len(frame):
            try:
                while sum(sent) < len(frame):
                    # In one step: a Ctrl-C between sending and counting would send it again.
                    sent.extend(map(self._socket.send, (frame[sum(sent) :],)))
            except OSError as error:
                self._fail(f"The connection to the Rain server at {self.name} broke: {error.strerror or error}")
                raise RainException(self._failure) from None
            except BaseException as error:
                if interrupt is not None:
                    self._fail(f"The connection to {self.name} was given up: sending was interrupted")
                    raise
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _wait_for(self, request_id: int) -> list[Any]:
        while True:
            with self._turn:
                while request_id not in self._replies and self._failure is None and self._reading:
                    self._turn.wait()
                if request_id in self._replies:
                    return self._replies.pop(request_id)
                if self._failure is not None:
                    raise RainException(self._failure)
                self._reading = True
            self._hand_out()

    def _hand_out(self) -> None:
        """Read one reply and give it to who waits for it; done by the thread that has set `_reading`."""
        try:
            reply, size = self._read_reply()
            with self._turn:
                taker = self._takers.pop(reply[1], None)
                if taker is not None:
                    self._taken.append((taker, reply))
                elif reply[1] in self._open:
                    self._replies[reply[1]] = reply
            # Only after handing it out: an interrupted read begins again with what has arrived.
            self._received[:] = [b"".join(self._received)[size:]]
        finally:
            with self._turn:
                self._reading = False
                self._turn.notify_all()

    def _read_reply(self) -> tuple[list[Any], int]:
        length = int.from_bytes(self._take(4)[:4], "little")
        if length > MAX_FRAME:
            raise self._strange()
        try:
            reply = self._decoder.decode(memoryview(self._take(4 + length))[4 : 4 + length])
        except msgspec.DecodeError:
            raise self._strange() from None
        if not (
            isinstance(reply, list)
            and len(reply) == 3
            and reply[0] in ("ok", "error")
            and isinstance(reply[1], int)
            and isinstance(reply[2], dict)
        ):
            raise self._strange()
        return reply, 4 + length

    def _take(self, count: int) -> bytes:
        """All that has arrived, once this is at least so much."""
        arrived = sum(map(len, self._received))
        while arrived < count:
            try:
                # In one step: a Ctrl-C between receiving and storing would lose data.
                size = min(max(count - arrived, _READ_SIZE), _READ_SIZE_MAX)
                self._received.extend(map(self._socket.recv, (size,)))
            except socket.timeout:
                raise self._strange("it does not answer") from None
            except OSError as error:
                self._fail(f"The connection to the Rain server at {self.name} broke: {error.strerror or error}")
                raise RainException(self._failure) from None
            if not self._received[-1]:
                self._fail(f"The Rain server at {self.name} closed the connection")
                raise RainException(self._failure)
            arrived += len(self._received[-1])
        return b"".join(self._received)

    def _strange(self, what: str = "what it sends is not Rain's protocol") -> RainException:
        self._fail(f"What listens at {self.name} is not a Rain server of this version: {what}")
        return RainException(self._failure)

    def _fail(self, reason: str) -> None:
        with self._turn:
            if self._failure is None:
                self._failure = reason
            self._turn.notify_all()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _give(taker: Taker, body: dict[str, Any], error: Exception | None) -> None:
    """Hand over a reply; whatever is done with it, the others are handed over too."""
    try:
        taker(body, error)
    except Exception:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
