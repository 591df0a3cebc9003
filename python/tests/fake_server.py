"""A server for tests of the client: it speaks the protocol and answers what a test tells it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from array import array
from pathlib import Path
from typing import Any, Callable

import msgspec

Answer = Callable[[dict[str, Any]], Any]


class Refuse(Exception):
    """The error of a request."""

    def __init__(self, kind: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.error = {"kind": kind, "message": message, **more}


class FakeServer:
    """Listens on a Unix socket that an access file names; answers one after the other, or when a test says so."""

    def __init__(self, runtime: Path, port: int = 7999, local: bool = True) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Answer] = {}
        self.local = local
        self.port = port
        self.sessions = 0
        self.arrived = threading.Condition()
        directory = runtime / f"server-{port}"
        directory.mkdir(mode=0o700)
        self.path = str(directory / "client.sock")
        access = {"pid": 1, "version": "0.1.0", "tcp": f"127.0.0.1:{port}", "socket": self.path, "token": "secret"}
        path = directory / "access.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(access))
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.peers: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def bodies(self, operation: str) -> list[dict[str, Any]]:
        """The bodies of all requests of a kind."""
        return [body for name, body in self.requests if name == operation]

    def wait_for(self, operation: str, count: int = 1) -> None:
        """Wait until requests of a kind have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies(operation)) >= count, timeout=10)

    def drop_clients(self) -> None:
        """Close the connections."""
        # Not those that connect meanwhile.
        for peer in list(self.peers):
            peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            peer.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, peer: socket.socket) -> None:
        stream = peer.makefile("rb")
        lock = threading.Lock()
        while True:
            try:
                head = stream.read(4)
                if len(head) < 4:
                    return
                operation, request_id, body = msgspec.msgpack.decode(stream.read(*struct.unpack("<I", head)))
            except (OSError, ValueError):
                return
            with self.arrived:
                self.requests.append((operation, body))
                self.arrived.notify_all()
            answer = self.answers.get(operation) or getattr(self, "_" + operation, lambda body: {})

            def reply(answer: Answer = answer, request_id: int = request_id, body: dict[str, Any] = body) -> None:
                try:
                    message: list[Any] = ["ok", request_id, answer(body)]
                except Refuse as refusal:
                    message = ["error", request_id, refusal.error]
                try:
                    with lock:
                        peer.sendall(frame(message))
                except OSError:
                    pass

            if operation in self.answers:
                # A test may let this answer wait; others go on.
                threading.Thread(target=reply, daemon=True).start()
            else:
                reply()

    def _hello(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"version": 1, "server": "0.1.0", "pid": 1, "governors": 1, "cpus": 2, "local": self.local}

    def _new_session(self, body: dict[str, Any]) -> dict[str, Any]:
        self.sessions += 1
        return {"session": self.sessions}


def frame(message: Any) -> bytes:
    """A frame of the protocol."""
    body = msgspec.msgpack.encode(message)
    return struct.pack("<I", len(body)) + body


def numbers(column: bytes, count: int | None = None) -> list[int]:
    """The numbers of a column for a number of items."""
    listed = list(array("I", column))
    return listed * count if count is not None and len(listed) == 1 else listed
