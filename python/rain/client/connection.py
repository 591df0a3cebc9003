"""The connection of a client: requests and their replies, for any number of threads.

Of the threads that wait for a reply, one has the role of the reader: it hands out what arrives. When it has its own
reply, or does not want it any more, another one takes over. For requests whose reply is handed to a function there is a
thread in the background as long as such a request is open; it reads, too, when nobody else does.

A thread may be interrupted (Ctrl-C) between any two byte codes. So what it does for others is never in its hands alone:
a frame stays queued until all of it is sent, a reply stays unread until it was handed out, and whoever leaves a role
wakes somebody to take it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Callable

import msgspec

from .. import __version__
from ..common.errors import ConnectionLost, RainException, RainTimeout
from .address import CONNECT_SECONDS, connect
from .direct import DirectFetch
from .forking import watch_forks
from .frames import MAX_FRAME, Frame, Frames, FrameTooLarge
from .interpreter import interpreter
from .locking import Bell, Role

PROTOCOL_VERSION = 1
# How long the thread in the background stays when it has nothing to wait for.
_LINGER_SECONDS = 1.0


class RequestError(Exception):
    """The server's answer was an error; it becomes an exception for users where the request was made."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.error = error


# What takes the reply to a request: its body, or why there is none (a RequestError or a RainException). Of a reply in
# parts each comes by itself, and all but the last have this in their body.
PART = "is_part"
Taker = Callable[[dict[str, Any], "Exception | None"], None]


class Request:
    """A request, and the reply to it when it has come."""

    __slots__ = ("bell", "forsaken", "frame", "has_left", "id", "operation", "reply", "taker")

    def __init__(self, operation: str, request_id: int, frame: Frame) -> None:
        self.operation = operation
        self.id = request_id
        self.frame = frame
        self.reply: list[Any] | None = None
        # For the thread that waits, when another one reads.
        self.bell: Bell | None = None
        self.taker: Taker | None = None
        # Whether its thread has gone without the reply; and what is then done with a reply. It must not wait for
        # anything, and may be called twice.
        self.has_left = False
        self.forsaken: Callable[[Request], None] | None = None

    @property
    def sent(self) -> bool:
        """Whether the server gets the request, unless the connection breaks."""
        return self.frame.queued


class Connection:
    """Sends requests to a server and waits for the replies."""

    def __init__(self, host: str, port: int, access: str | None = None) -> None:
        reached = connect(host, port, access)
        self._frames = Frames(reached.connection)
        self._carrier = reached.carrier
        self.name = reached.name
        self.direct = DirectFetch((host or "localhost", port), reached.credentials) if reached.credentials else None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder()
        self._ids = itertools.count()
        # Why nothing can be sent any more.
        self._failure: tuple[type[RainException], str] | None = None
        self._is_forked = False
        self._reader = Role()
        # The requests whose replies somebody wants; of these, those that a thread waits for, and those with a function.
        self._open: dict[int, Request] = {}
        self._waiting: dict[int, Request] = {}
        self._with_takers: dict[int, Request] = {}
        # Those of the last sort that have a reply, or a part of one, which was not handed over.
        self._answered: deque[tuple[Request, list[Any]]] = deque()
        # The role of the thread in the background, and what wakes it.
        self._background = Role()
        self._bell = Bell()
        watch_forks(self)
        try:
            self._server = self._handshake(reached.token)
        except BaseException:
            self._frames.close()
            raise

    def lend(self, lends: bool) -> None:
        """Whether a task that waits for the server lends its cpus meanwhile, as it does by default."""
        self._frames.lends = lends

    @property
    def local(self) -> bool:
        """Whether paths that the server names can be opened here."""
        return bool(self._server.get("local"))

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._failure is not None

    def check_open(self) -> None:
        """Raise an exception if nothing can be sent any more."""
        if self._failure is not None:
            raise self._error()

    def check_process(self) -> None:
        """Raise an exception in a forked child."""
        if self._is_forked:
            raise self._error()

    def prepare(self, operation: str, body: dict[str, Any]) -> Request:
        """A request that is still to be sent."""
        request_id = next(self._ids)
        data = bytearray(4)
        self._encoder.encode_into([operation, request_id, body], data, 4)
        size = len(data) - 4
        if size > MAX_FRAME:
            raise RainException(
                f"A {operation} of {size >> 20} MiB is more than the {MAX_FRAME >> 20} MiB that a server takes; "
                "pass large values as blob()"
            )
        data[:4] = size.to_bytes(4, "little")
        return Request(operation, request_id, Frame(data))

    def request(self, operation: str, body: dict[str, Any], deadline: float | None = None) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Args:
            operation: What is asked for.
            body: With what.
            deadline: When to give up, as :func:`deadline_after` says it.
        """
        __tracebackhide__ = True
        return self.call(self.prepare(operation, body), deadline)

    def call(self, request: Request, deadline: float | None = None) -> dict[str, Any]:
        """Send a request that was prepared and wait for its reply.

        After an exception, the request says whether the server gets it.
        """
        __tracebackhide__ = True
        try:
            try:
                self._open[request.id] = request
                self._send(request, deadline)
                self._wait(request, deadline)
                self._leave(request)
            except BaseException:
                self._forsake(request)
                raise
        except BaseException:
            # Once more, after an interrupt in the lines above.
            self._forsake(request)
            raise
        return self._body(request)

    def wait_again(self, request: Request, deadline: float | None = None) -> dict[str, Any]:
        """Wait for the reply to a request whose thread had left; only for one with something in `forsaken`."""
        __tracebackhide__ = True
        try:
            try:
                self._finish_sending()
                request.has_left = False
                self._wait(request, deadline)
                self._leave(request)
            except BaseException:
                self._forsake(request)
                raise
        except BaseException:
            self._forsake(request)
            raise
        return self._body(request)

    def start_request(self, operation: str, body: dict[str, Any], taker: Taker) -> None:
        """Send a request; its reply, or why there is none, is handed to a function in a thread in the background.

        Where this raises an exception that is not an interrupt, the function is not called.
        """
        self.start_requests(operation, [(body, taker)])

    def start_requests(self, operation: str, asked: Iterable[tuple[dict[str, Any], Taker]]) -> None:
        """Send requests of one sort together, as :meth:`start_request` does.

        Where this raises an exception that is not an interrupt, none of the functions is called any more.
        """
        requests = []
        for body, taker in asked:
            requests.append(self.prepare(operation, body))
            requests[-1].taker = taker
        if not requests:
            return
        first = requests[0]
        if len(requests) > 1:
            # They are sent all or none.
            frame = Frame(bytearray().join([request.frame.data for request in requests]))
            for request in requests:
                request.frame = frame
        by_id = {request.id: request for request in requests}
        try:
            self._open.update(by_id)
            self._with_takers.update(by_id)
            if self._failure is not None:
                raise self._error()
            self._frames.put(first.frame)
            self._flush(first)
            # Not before that: the two would take turns with Python's lock.
            self._wake_background()
        except BaseException as error:
            self._finish_sending()
            if first.sent and not isinstance(error, Exception):
                self._wake_background()
                raise
            # Where the connection is broken, the thread in the background has called the functions already, or will.
            taken_back = []
            for request_id in by_id:
                self._open.pop(request_id, None)
                taken_back.append(self._with_takers.pop(request_id, None))
            if any(taken_back) or not isinstance(error, RainException):
                raise

    def queue(self, request: Request) -> None:
        """Have a request sent with the next one that is started, without waiting for the reply.

        What is to be done with that is in `forsaken`.
        """
        if self._failure is not None:
            raise self._error()
        request.has_left = True
        self._open[request.id] = request
        self._frames.put(request.frame)

    def post(self, operation: str, body: dict[str, Any]) -> None:
        """Send a request without waiting for anything; its reply does not matter."""
        if self._failure is None:
            request = self.prepare(operation, body)
            try:
                self._send(request, time.monotonic())
            except RainException:
                # What could not be sent now goes with the next request.
                return

    def close(self) -> None:
        """Drop the connection; the server ends the client's sessions."""
        self._fail(RainException, f"The connection to {self.name} was closed")
        if self.direct is not None:
            self.direct.close()

    def _forked(self, why: str) -> None:
        self._is_forked = True
        self._failure = RainException, why
        self._open, self._waiting, self._with_takers = {}, {}, {}
        self._answered = deque()
        self._reader, self._background, self._bell = Role(), Role(), Bell()
        self._frames.forked()
        if self._carrier is not None:
            self._carrier.forked()

    def _handshake(self, token: str | None) -> dict[str, Any]:
        hello = {"version": PROTOCOL_VERSION, "client": f"python {__version__}", "python": interpreter()}
        if token is not None:
            hello["token"] = token
        try:
            reply = self.request("hello", hello, deadline_after(CONNECT_SECONDS))
        except RequestError as error:
            raise RainException(f"The server at {self.name} refused the connection: {error}") from None
        except RainTimeout:
            raise self._strange(ConnectionLost, "it does not answer") from None
        if reply.get("version") != PROTOCOL_VERSION:
            raise RainException(
                f"The server at {self.name} speaks version {reply.get('version')} of the protocol, "
                f"this client (rain {__version__}) version {PROTOCOL_VERSION}"
            )
        return reply

    def _body(self, request: Request) -> dict[str, Any]:
        """What a reply says."""
        __tracebackhide__ = True
        assert request.reply is not None
        if request.reply[0] == "ok":
            return request.reply[2]  # type: ignore[no-any-return]
        error = request.reply[2]
        if error.get("kind") == "protocol":
            text = f"The server at {self.name} does not understand this client: {error.get('message')}"
            self._fail(RainException, text)
            raise RainException(text)
        raise RequestError(error)

    def _send(self, request: Request, deadline: float | None = None) -> None:
        __tracebackhide__ = True
        if self._failure is not None:
            raise self._error()
        self._frames.put(request.frame)
        self._flush(request, deadline)

    def _flush(self, request: Request, deadline: float | None = None) -> None:
        __tracebackhide__ = True
        try:
            self._frames.flush(request, deadline)
        except RainTimeout:
            raise
        except OSError as error:
            raise self._broken(error) from None

    def _wait(self, request: Request, deadline: float | None) -> None:
        """Wait until there is a reply; meanwhile, hand out those that come, unless another thread does so."""
        __tracebackhide__ = True
        self._waiting[request.id] = request
        while request.reply is None:
            if self._failure is not None:
                raise self._error(request.operation)
            if self._reader.take(request):
                self._hand_out(deadline, request.operation)
            elif request.bell is None:
                request.bell = Bell()
                # The reply may have come before there was something to ring.
            elif deadline is None:
                request.bell.wait()
            elif not request.bell.wait(deadline - time.monotonic()) and request.reply is None and self._failure is None:
                raise RainTimeout("The server has not answered in time")

    def _hand_out(self, deadline: float | None = None, operation: str = "") -> None:
        """Read one reply and deliver it to the request that waits for it. The caller holds the role of the reader."""
        __tracebackhide__ = True
        try:
            data, unread = self._frames.read(deadline)
            reply = self._decoder.decode(data)
        except RainTimeout:
            raise
        except EOFError:
            raise self._broken(None, operation) from None
        except OSError as error:
            raise self._broken(error, operation) from None
        except (FrameTooLarge, msgspec.DecodeError):
            raise self._strange(RainException, "what it sends is not Rain's protocol") from None
        if not (
            isinstance(reply, list)
            and len(reply) == 3
            and reply[0] in ("ok", "error", "part")
            and isinstance(reply[1], int)
            and isinstance(reply[2], dict)
        ):
            raise self._strange(RainException, "what it sends is not Rain's protocol")
        request = self._open.get(reply[1])
        if request is not None:
            if request.taker is not None:
                self._answered.append((request, reply))
                self._bell.ring()
            else:
                request.reply = reply
                if request.has_left:
                    self._open.pop(request.id, None)
                    if request.forsaken is not None:
                        request.forsaken(request)
                elif request.bell is not None:
                    request.bell.ring()
        # Only after that: whoever is interrupted before leaves the reply to the next reader, who does all of it again.
        self._frames.take(unread)

    def _leave(self, request: Request) -> None:
        """A thread does not wait any more; what it did for others, another one does."""
        request.has_left = True
        self._waiting.pop(request.id, None)
        if request.reply is not None or request.forsaken is None or not request.sent:
            self._open.pop(request.id, None)
        self._reader.leave(request)
        self._pass_on()

    def _forsake(self, request: Request) -> None:
        """A thread leaves because of an exception."""
        self._leave(request)
        if request.reply is not None and request.forsaken is not None:
            # It has come just now.
            request.forsaken(request)
        self._finish_sending()

    def _finish_sending(self) -> None:
        """Whatever stopped a thread while it was sending: what is left of the frame goes to the server."""
        if self._frames.unsent and self._failure is None:
            self._wake_background()

    def _pass_on(self) -> None:
        """Wake somebody who takes the role of the reader, if nobody has it and somebody waits for a reply."""
        if not self._reader.free:
            return
        # One is enough: if it has its reply already, it comes here, too. One without a bell looks by itself.
        for request in list(self._waiting.values()):
            if request.bell is not None:
                request.bell.ring()
                return
        if self._with_takers and not self._waiting:
            self._wake_background()

    def _wake_background(self) -> None:
        """See to it that the thread in the background does what there is for it to do."""
        self._bell.ring()
        if self._background.free:
            # It takes the role itself: if there are two of them, one ends at once.
            thread = threading.Thread(target=self._run_background, name="rain-replies", daemon=True)
            # None can be started any more when the interpreter ends.
            with contextlib.suppress(RuntimeError):
                thread.start()

    def _run_background(self) -> None:
        me = object()
        while self._background.take(me):
            try:
                self._serve_takers(me)
            finally:
                self._reader.leave(me)
                self._background.leave(me)
            # What came after it had decided to end, and before it had left the role.
            if not (self._answered or self._with_takers or (self._frames.unsent and self._failure is None)):
                return

    def _serve_takers(self, me: object) -> None:
        """Hand over replies and read until there has been nothing to wait for, for a while."""
        while True:
            try:
                if self._frames.unsent and self._failure is None:
                    self._frames.flush(me)
            except OSError as error:
                self._broken(error)
            while self._answered:
                self._hand_over(*self._answered.popleft())
            if self._failure is not None:
                self._hand_over_failure()
                return
            if not self._with_takers:
                if not self._bell.wait(_LINGER_SECONDS) and not self._with_takers:
                    return
            elif self._reader.take(me):
                try:
                    while self._with_takers and not self._answered:
                        self._hand_out()
                except RainException:
                    # All who wait are told.
                    pass
                except Exception as error:
                    self._fail(RainException, f"What the server at {self.name} sends cannot be read: {error}")
                self._reader.leave(me)
                self._pass_on()
            else:
                self._bell.wait()

    def _hand_over(self, request: Request, reply: list[Any]) -> None:
        assert request.taker is not None
        if reply[0] == "part":
            # One that was read twice, because of an interrupt, is handed over twice.
            if request.id in self._with_takers:
                _give(request.taker, {**reply[2], PART: True}, None)
            return
        self._open.pop(request.id, None)
        # A reply that was read twice, because of an interrupt, is handed over once.
        if self._with_takers.pop(request.id, None) is None:
            return
        request.reply = reply
        try:
            body = self._body(request)
        except (RequestError, RainException) as error:
            _give(request.taker, {}, error)
        else:
            _give(request.taker, body, None)

    def _hand_over_failure(self) -> None:
        for request in list(self._with_takers.values()):
            self._open.pop(request.id, None)
            if self._with_takers.pop(request.id, None) is not None and request.taker is not None:
                _give(request.taker, {}, self._error())

    def _error(self, operation: str = "") -> RainException:
        """Why nothing can be sent or received any more, for one who wanted to."""
        __tracebackhide__ = True
        assert self._failure is not None
        kind, text = self._failure
        return kind(f"{text} (in the middle of {operation})" if operation and operation != "hello" else text)

    def _broken(self, error: OSError | None, operation: str = "") -> RainException:
        """The connection has ended, with an error of the system or without one."""
        reason = self._carrier.trouble if self._carrier is not None else ""
        reason = reason or (error is not None and (error.strerror or str(error))) or ""
        if reason:
            self._fail(ConnectionLost, f"The connection to the Rain server at {self.name} broke: {reason}")
        else:
            self._fail(ConnectionLost, f"The Rain server at {self.name} closed the connection")
        return self._error(operation)

    def _strange(self, kind: type[RainException], what: str) -> RainException:
        self._fail(kind, f"What listens at {self.name} is not a Rain server of this version: {what}")
        return self._error()

    def _fail(self, kind: type[RainException], text: str) -> None:
        """Give the connection up, and tell all who wait for something."""
        try:
            self._give_up(kind, text)
        except BaseException:
            # Interrupted in the middle: those who wait must not go on waiting.
            self._give_up(kind, text)
            raise

    def _give_up(self, kind: type[RainException], text: str) -> None:
        if self._failure is None:
            self._failure = kind, text
        self._frames.close()
        for request in list(self._waiting.values()):
            if request.bell is not None:
                request.bell.ring()
        self._bell.ring()
        if self._with_takers:
            self._wake_background()


def deadline_after(timeout: float | None) -> float | None:
    """The time of :func:`time.monotonic` in so many seconds; None if there is no limit.

    Raises:
        RainException: The timeout is not a number of seconds.
    """
    if timeout is None:
        return None
    # A comparison with NaN is false.
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout >= 0:
        raise RainException(f"A timeout is a number of seconds, or None: timeout={timeout!r}")
    return None if math.isinf(timeout) else time.monotonic() + timeout


def _give(taker: Taker, body: dict[str, Any], error: Exception | None) -> None:
    """Hand over a reply; whatever is done with it, the others are handed over too."""
    try:
        taker(body, error)
    except Exception:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
