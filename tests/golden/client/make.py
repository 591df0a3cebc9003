"""Makes the golden frames of the client protocol and their index; run it once for a new version of the protocol."""

from __future__ import annotations

import runpy
import struct
from pathlib import Path
from typing import Any

import msgspec.msgpack

HERE = Path(__file__).parent
NONE = 0xFFFF_FFFF


def column(*numbers: int) -> bytes:
    """A column: little-endian numbers of four bytes."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


SLEEP = msgspec.msgpack.encode({"seconds": 0.5})
SPLIT = msgspec.msgpack.encode({"lines": 7})
KINDS = [
    {"type": "buildin/concat", "cpus": 1, "name": "", "config": b"", "inputs": [], "outputs": [["output", 0, None]]},
    {
        "type": "buildin/sleep",
        "cpus": 1,
        "name": "wait/a little",
        "config": b"",
        "inputs": [],
        "outputs": [["output", 0, None]],
    },
    {
        "type": "example2/split",
        "cpus": 2,
        "name": "",
        "config": b"",
        "inputs": ["text"],
        "outputs": [["parts", 1, None], ["count", 0, "json"]],
        "retries": 1,
        "timeout": 60.0,
        "priority": -1,
        "resources": [[["gpus", 0.5], ["memory", 4294967296]], [["licence", 2]]],
    },
]
SUBMIT = {
    "session": 1,
    "kinds": KINDS,
    "count": 3,
    "kind": column(0, 1, 2),
    "input_count": column(2, 1, 1),
    "inputs": column(0, 1, 2, 3),
    "first_output": column(2, 3, 4),
    "configs": [SLEEP, SPLIT],
    "config": column(NONE, 0, 1),
    "user": {1: '{"fold":3}'},
    "consts": [[0, 0, "text", b"Hello "], [1, 0, "json", b'{"to": "World"}']],
    "keep": column(3, 5),
}
OBJECT_INFO = {"id": 3, "state": "finished", "size": 21, "content_type": "text", "user": '{"lines": 1}'}

# name, who sends it, what it shows, message
FRAMES: list[tuple[str, str, str, list[Any]]] = [
    (
        "hello",
        "client",
        "first request, over TCP without TLS",
        ["hello", 0, {"version": 1, "client": "python 0.1.0", "token": "secret", "python": "/usr/bin/python3"}],
    ),
    (
        "hello-least",
        "client",
        "first request of a client without Python",
        ["hello", 0, {"version": 1, "client": "go 1"}],
    ),
    (
        "hello-reply",
        "server",
        "the answer to it, on the server's machine",
        ["ok", 0, {"version": 1, "server": "0.1.0", "pid": 4242, "governors": 1, "cpus": 4, "local": True}],
    ),
    ("new-session", "client", "a session with a name", ["new_session", 1, {"name": "golden"}]),
    ("new-session-reply", "server", "its number", ["ok", 1, {"session": 1}]),
    (
        "submit",
        "client",
        "a concatenation of two constants, a sleep, a task of an own executor; two objects are kept",
        ["submit", 2, SUBMIT],
    ),
    (
        "submit-least",
        "client",
        "300 tasks of one kind without inputs, in columns of one number but for the outputs; nothing is kept",
        [
            "submit",
            3,
            {
                "session": 1,
                "kinds": [{"type": "buildin/noop", "outputs": []}],
                "count": 300,
                "kind": column(3),
                "input_count": column(0),
                "first_output": column(NONE),
                "config": column(NONE),
            },
        ],
    ),
    ("done-reply", "server", "the answer to what has no other one", ["ok", 2, {}]),
    (
        "upload",
        "client",
        "the second and last piece of a constant, before its submit",
        ["upload", 4, {"session": 1, "object": 6, "total": 10, "offset": 6, "data": b"rain"}],
    ),
    (
        "wait",
        "client",
        "wait for two tasks and an object",
        ["wait", 5, {"session": 1, "tasks": column(0, 2), "objects": column(3)}],
    ),
    (
        "wait-some",
        "client",
        "wait for one of two tasks",
        ["wait_some", 6, {"session": 1, "tasks": column(0, 2), "objects": b""}],
    ),
    ("wait-some-reply", "server", "the one that is finished", ["ok", 6, {"tasks": column(0), "objects": b""}]),
    ("wait-all", "client", "wait for all tasks", ["wait_all", 7, {"session": 1}]),
    ("watch", "client", "watch two tasks", ["watch", 8, {"session": 1, "tasks": column(1, 2), "objects": b""}]),
    ("watch-reply", "server", "the number of the watch", ["ok", 8, {"watch": 70000}]),
    ("watch-next", "client", "what of it is over?", ["watch_next", 9, {"session": 1, "watch": 70000}]),
    ("unwatch", "client", "the end of the watch", ["unwatch", 10, {"session": 1, "watch": 70000}]),
    (
        "fetch",
        "client",
        "a piece of an object, by path if possible, or from governors",
        ["fetch", 11, {"session": 1, "object": 3, "map": True, "offset": 65536, "limit": 1048576, "direct": True}],
    ),
    ("fetch-least", "client", "an object from its beginning", ["fetch", 12, {"session": 1, "object": 3}]),
    (
        "fetch-reply",
        "server",
        "the content",
        [
            "ok",
            12,
            {"size": 21, "data_type": 0, "content_type": "text", "info": OBJECT_INFO, "data": b'Hello {"to": "World"}'},
        ],
    ),
    (
        "fetch-reply-path",
        "server",
        "a directory, as a path",
        [
            "ok",
            13,
            {
                "size": 5000000000,
                "data_type": 1,
                "content_type": None,
                "info": {"id": 4, "state": "finished", "size": 5000000000},
                "path": "/rain/work/4",
            },
        ],
    ),
    (
        "fetch-reply-at",
        "server",
        "where it is: with a governor, and with one on the server's host",
        [
            "ok",
            14,
            {"info": {"id": 4, "state": "finished", "size": 300000}, "at": [["10.0.0.2", 41000], [None, 41001]]},
        ],
    ),
    (
        "content-reply",
        "governor",
        "the answer of who has the content, of which 21 bytes follow the frame",
        ["ok", 15, {"size": 21, "length": 21, "data_type": 0, "content_type": "text"}],
    ),
    ("unkeep", "client", "an object that is not wanted any more", ["unkeep", 16, {"session": 1, "objects": column(3)}]),
    (
        "cancel",
        "client",
        "stop a task if it has not begun",
        ["cancel", 17, {"session": 1, "tasks": column(2), "waiting": True}],
    ),
    ("cancel-reply", "server", "what was cancelled", ["ok", 17, {"tasks": column(2), "objects": b""}]),
    (
        "forget",
        "client",
        "tasks, constants and kinds that will not be named again",
        ["forget", 18, {"session": 1, "tasks": column(0, 1), "objects": column(0), "kinds": column(1)}],
    ),
    (
        "info",
        "client",
        "of two tasks and an object",
        ["info", 19, {"session": 1, "tasks": column(1, 2), "objects": column(3)}],
    ),
    (
        "info-reply",
        "server",
        "a task that is finished, one that waits, and an object",
        [
            "ok",
            19,
            {
                "tasks": [
                    {
                        "id": 1,
                        "state": "finished",
                        "governor": 0,
                        "start_time": 1750000000.25,
                        "duration": 0.5,
                        "debug": "one\ntwo",
                        "user": '{"fold": 3}',
                    },
                    {"id": 2, "state": "waiting"},
                ],
                "objects": [OBJECT_INFO],
            },
        ],
    ),
    (
        "outputs",
        "client",
        "what has a task written?",
        ["outputs", 23, {"session": 1, "tasks": column(1)}],
    ),
    (
        "outputs-reply",
        "server",
        "what a task has written",
        ["ok", 23, {"outputs": [[1, "fold 3\n", "...end"]], "count": 1}],
    ),
    (
        "results",
        "client",
        "the contents of several objects, as they are finished",
        ["results", 24, {"session": 1, "objects": column(2, 3, 4, 5)}],
    ),
    (
        "results-part",
        "server",
        "some of them",
        ["part", 24, {"results": [[2, b'Hello {"to": "World"}']], "large": b"", "errors": []}],
    ),
    (
        "results-reply",
        "server",
        "the rest: one that is to be fetched, two that will not be there",
        [
            "ok",
            24,
            {
                "results": [],
                "large": column(3),
                "errors": [
                    [
                        column(4, 5),
                        {
                            "kind": "cancelled",
                            "message": "task 2 (example2/split) was cancelled",
                            "session": 1,
                            "task": 2,
                        },
                    ]
                ],
            },
        ],
    ),
    (
        "explain",
        "client",
        "why does a task not run?",
        ["explain", 24, {"session": 1, "tasks": column(1)}],
    ),
    (
        "explain-reply",
        "server",
        "it waits for resources",
        [
            "ok",
            24,
            {
                "tasks": [
                    {
                        "id": 2,
                        "state": "ready",
                        "why": "it waits for resources",
                        "waited": 2.5,
                        "place": 3,
                        "lacks": [
                            {
                                "governor": 0,
                                "name": "gpus",
                                "wanted": 0.5,
                                "free": 0.25,
                                "total": 2.0,
                                "holders": [{"session": 1, "task": 1, "amount": 1.0}],
                            }
                        ],
                    }
                ]
            },
        ],
    ),
    ("status", "client", "what does the server do?", ["status", 20, {}]),
    (
        "view",
        "client",
        "which tasks have failed?",
        ["view", 24, {"path": "sessions/1/tasks?state=failed"}],
    ),
    (
        "view-reply",
        "server",
        "what the HTTP API answers to it",
        ["ok", 24, {"json": '{"tasks":[],"total":0,"next":null}'}],
    ),
    ("close-session", "client", "the end of a session", ["close_session", 21, {"session": 1}]),
    ("stop", "client", "the end of the server", ["stop", 22, {}]),
    (
        "error-task",
        "server",
        "a task failed",
        ["error", 5, {"kind": "task", "message": "program ended with 1", "session": 1, "task": 2, "debug": "before"}],
    ),
    (
        "error-request",
        "server",
        "a request that cannot be carried out",
        ["error", 12, {"kind": "request", "message": "object 3 is not kept", "session": 1}],
    ),
    (
        "error-protocol",
        "server",
        "a frame that is no request: the id is 0, and the connection is closed",
        ["error", 0, {"kind": "protocol", "message": 'unknown op "fly"'}],
    ),
]


if __name__ == "__main__":
    runpy.run_path(str(HERE.parent / "make.py"))["write"](HERE, FRAMES)
