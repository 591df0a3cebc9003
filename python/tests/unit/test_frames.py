"""Frames through a socket that takes little at a time."""

from __future__ import annotations

import socket
import threading

from rain.client.frames import Frame, Frames


def framed(body: bytes) -> bytearray:
    return bytearray(len(body).to_bytes(4, "little") + body)


def test_frames_that_are_queued_go_together_and_in_order() -> None:
    here, there = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender, receiver = Frames(here), Frames(there)
    bodies = [bytes([number % 251]) * (number * 37 % 9000) for number in range(200)]
    received: list[bytes] = []

    def receive() -> None:
        for _ in bodies:
            data, unread = receiver.read()
            received.append(bytes(data))
            receiver.take(unread)

    thread = threading.Thread(target=receive)
    thread.start()
    frames = [Frame(framed(body)) for body in bodies]
    for frame in frames:
        sender.put(frame)
    sender.flush(sender)
    thread.join()
    assert received == bodies and not sender.unsent
    here.close()
    there.close()
