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


def connect_tls(tcp: socket.socket, credentials: Credentials, name: str) -> socket.socket:
    """Shake hands over a connected socket; a plain socket whose bytes travel encrypted.

    An ``ssl.SSLSocket`` must not be read and written by two threads at once, and an interrupted call may lose bytes.
    So one thread in the background has it, and the client uses one end of a socket pair as it uses any other socket.
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
    encrypted.setblocking(False)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=_pump, args=(encrypted, theirs), name="rain-tls", daemon=True).start()
    return ours


class _Way:
    """One direction: what was read on one side and not written on the other."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(_PIECE))
        self.bytes = self.room[:0]
        self.ended = False


def _pump(encrypted: ssl.SSLSocket, plain: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    up, down = _Way(), _Way()
    with contextlib.suppress(OSError), selectors.DefaultSelector() as selector, encrypted, plain:
        selector.register(encrypted, selectors.EVENT_READ)
        selector.register(plain, selectors.EVENT_READ)
        while not down.ended or down.bytes:
            moved = _carry(encrypted, plain, down)
            moved = _carry(plain, encrypted, up) or moved
            if up.ended and not up.bytes:
                return
            if not moved:
                # TLS may have to read in order to write, and the other way round: it is woken too often then.
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
