"""TLS for servers on other machines: credentials from the access file, a plain socket before the encrypted one."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import threading
from typing import Any

from ..common.errors import RainException

_SERVER_NAME = "server.rain"
_PROTOCOL = "rain/1"
# What is carried at once: many records of TLS, so that the other thread is not woken for each.
_PIECE = 1 << 20


class Credentials:
    """What a client shows, and whom it trusts: the map ``tls`` of the access file at `path`."""

    def __init__(self, tls: dict[str, Any], path: str) -> None:
        self._tls = tls
        self.path = path

    def context(self, protocol: str) -> ssl.SSLContext:
        """For connections in which this protocol is spoken."""
        client = self._tls.get("client")
        if not isinstance(client, dict):
            raise ValueError("it is not one for clients")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self._tls["authority"])
        context.set_alpn_protocols([protocol])
        # Only from a file; this one has no name and is gone when it is closed.
        memory = os.memfd_create("rain-credentials")
        try:
            os.write(memory, (client["certificate"] + client["key"]).encode())
            context.load_cert_chain(f"/proc/self/fd/{memory}")
        finally:
            os.close(memory)
        return context


class Carrier:
    """A thread that has an encrypted socket and carries bytes between it and a plain one.

    An ``ssl.SSLSocket`` must not be read and written by two threads at once, and an interrupted call may lose bytes.
    So one thread in the background has it, and the client uses one end of a socket pair as it uses any other socket.
    """

    def __init__(self, encrypted: ssl.SSLSocket, plain: socket.socket) -> None:
        encrypted.setblocking(False)
        plain.setblocking(False)
        self._encrypted = encrypted
        self._plain = plain
        self._selector = selectors.DefaultSelector()
        # What the encrypted connection broke with; empty if it did not, or was closed by the other side.
        self.trouble = ""
        threading.Thread(target=self._run, name="rain-tls", daemon=True).start()

    def _run(self) -> None:
        try:
            with self._encrypted, self._plain, self._selector:
                try:
                    _carry_all(self._encrypted, self._plain, self._selector)
                except OSError as error:
                    # Told before the plain socket is closed.
                    self.trouble = error.strerror or str(error)
        except OSError:
            return

    def forked(self) -> None:
        """In a child: let go of the sockets, on which the parent's thread goes on."""
        for ours in (self._encrypted, self._plain, self._selector):
            with contextlib.suppress(OSError):
                ours.close()


def connect_tls(tcp: socket.socket, credentials: Credentials, name: str) -> tuple[socket.socket, Carrier]:
    """Shake hands over a connected socket; a plain socket whose bytes travel encrypted, and what carries them.

    The carrier ends when the plain socket is closed, or when nobody has it any more.
    """
    try:
        encrypted = credentials.context(_PROTOCOL).wrap_socket(tcp, server_hostname=_SERVER_NAME)
    except (OSError, ValueError) as error:
        tcp.close()
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
        raise RainException(
            f"The server at {name} and the access file {credentials.path} do not belong together, "
            f"or it is no Rain server: {reason}"
        ) from None
    ours, theirs = socket.socketpair()
    return ours, Carrier(encrypted, theirs)


class _Way:
    """One direction: what was read on one side and not written on the other."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(_PIECE))
        self.bytes = self.room[:0]
        self.ended = False


def _carry_all(encrypted: ssl.SSLSocket, plain: socket.socket, selector: selectors.BaseSelector) -> None:
    """Carry bytes both ways until either side ends."""
    up, down = _Way(), _Way()
    selector.register(encrypted, selectors.EVENT_READ)
    selector.register(plain, selectors.EVENT_READ)
    while not down.ended or down.bytes:
        moved = _carry(encrypted, plain, down)
        moved = _carry(plain, encrypted, up) or moved
        if up.ended and not up.bytes:
            return
        if not moved:
            # TLS may have to read in order to write, and the other way round: select() may return too often.
            for end, in_way, out_way in ((encrypted, down, up), (plain, up, down)):
                events = selectors.EVENT_READ if not in_way.bytes and not in_way.ended else 0
                events |= selectors.EVENT_WRITE if out_way.bytes else 0
                selector.modify(end, events or selectors.EVENT_READ)
            selector.select()


def _carry(source: socket.socket, target: socket.socket, way: _Way) -> bool:
    """Move what can be moved now; whether anything was."""
    moved = False
    if not way.bytes and not way.ended:
        filled = 0
        try:
            while filled < _PIECE and not way.ended:
                count = source.recv_into(way.room[filled:])
                filled += count
                way.ended = count == 0
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLError:
            way.ended = True
        way.bytes = way.room[:filled]
        moved = filled > 0 or way.ended
    while way.bytes:
        try:
            sent = target.send(way.bytes)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
        way.bytes = way.bytes[sent:]
        moved = True
    return moved
