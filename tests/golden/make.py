"""Makes the golden frames of the executor protocol and their index.

Run it once for a new version of the protocol; the files are checked in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec.msgpack

HERE = Path(__file__).parent

CONFIG = msgspec.msgpack.encode({"sigma": 1.5, "steps": [-1, 300], "name": "ř"})
HELLO = {"type": "example1/hello", "cpus": 1, "name": "", "config": b"", "inputs": [], "outputs": [["output", 0, None]]}
FILTER = {
    "type": "example1/filter",
    "cpus": 4,
    "name": "images/filter",
    "config": CONFIG,
    "inputs": ["image", "masks"],
    "outputs": [["result", 0, "json"], ["tiles", 1, None]],
}
SESSION = 1 << 32

# name, who sends it, what it shows, message
FRAMES: list[tuple[str, str, str, list[Any]]] = [
    ("register", "executor", "first message", ["register", {"version": 1, "name": "example1", "pid": 4242}]),
    ("define", "governor", "a kind of task as small as can be", ["define", SESSION, HELLO]),
    ("define-full", "governor", "a kind with all there is", ["define", SESSION + 1, FILTER]),
    ("forget", "governor", "kinds that are not used any more", ["forget", [SESSION, SESSION + 1]]),
    (
        "call",
        "governor",
        "content in the message, no configuration",
        [
            "call",
            3,
            SESSION,
            [1, 3],
            None,
            [[b"World", None, 0, 5, 17, None]],
            {"governor": 0, "outputs": 20, "submit": 3},
        ],
    ),
    (
        "call-full",
        "governor",
        "a file, a directory, own configuration, attributes",
        [
            "call",
            70000,
            SESSION + 1,
            [1, 70000],
            CONFIG,
            [
                ["/rain/work/41", "image/pgm", 0, 67108864, 40, '{"taken": "today"}'],
                ["/rain/work/42", None, 1, 5000000000, 300, None],
            ],
            {"user": '{"mode": 7}', "governor": 2, "outputs": 70001, "submit": 65536},
        ],
    ),
    (
        "call-empty",
        "governor",
        "no inputs",
        ["call", 0, SESSION, [1, 0], None, [], {"governor": 0, "outputs": 0, "submit": 0}],
    ),
    ("done", "executor", "content in the message", ["done", 3, [[b"Hello World!", None, None]], {}]),
    (
        "done-full",
        "executor",
        "content with attributes, a path, an input passed on, debug messages and info.user",
        [
            "done",
            70000,
            [[b"{}", "json", '{"kept": true}'], ["/rain/work/exec/out-1", None, None], [1, None, None]],
            {"debug": "first line\nsecond line", "user": '{"pixels": 12}'},
        ],
    ),
    ("done-empty", "executor", "no outputs", ["done", 0, [], {}]),
    ("fail", "executor", "an error", ["fail", 3, {"message": "example1/hello takes 1 input, but was given 2"}]),
    (
        "fail-full",
        "executor",
        "an error with debug messages and info.user; the message needs a length of two bytes",
        ["fail", 70000, {"message": "ř" * 200, "debug": "before", "user": '{"steps": [1, 2]}'}],
    ),
    ("return", "executor", "calls that have not begun, given back; the process goes on", ["return", [3, 70000], None]),
    ("lend", "executor", "a call waits for other tasks", ["lend", 3]),
    ("lent", "governor", "the answer to it: nothing else was sent before", ["lent", 3]),
    ("resume", "executor", "a call that has waited goes on", ["resume", 3]),
    (
        "fail-output",
        "executor",
        "an error, and where the output of its call is",
        ["fail", 3, {"message": "no", "output": [[10, 70000], [0, 3]]}],
    ),
    (
        "return-last",
        "executor",
        "calls given back by a process that must not be used again",
        ["return", [70001], "module helper has changed"],
    ),
]


def notation(value: Any) -> str:
    """A value in one line: JSON, with bytes as h'hexadecimal'."""
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, list):
        return f"[{', '.join(map(notation, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{notation(key)}: {notation(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def write(directory: Path, frames: list[tuple[str, str, str, list[Any]]]) -> None:
    """Write the files of these frames and their index."""
    lines = []
    for name, sender, shows, message in frames:
        body = msgspec.msgpack.encode(message)
        (directory / f"{name}.bin").write_bytes(len(body).to_bytes(4, "little") + body)
        lines.append("\t".join((f"{name}.bin", sender, shows, notation(message))) + "\n")
    (directory / "index.tsv").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write(HERE, FRAMES)
