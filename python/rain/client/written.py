"""What tasks have written to standard output and error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..common.columns import from_column, to_column
from ..common.errors import RainException, RainTimeout
from .graph import Graph, TaskItem

# Tasks that are asked about at once; the server tells of about so many.
_TASKS_OF_REQUEST = 16_384


class Written(NamedTuple):
    """What a task has written: the last 64 KiB of each, beginning with "..." if there was more."""

    stdout: str
    stderr: str


def written(graph: Graph, numbers: list[int]) -> dict[int, Written]:
    """What tasks have written, by their numbers, of those that have ended and have written something."""
    found: dict[int, Written] = {}
    start = 0
    while start < len(numbers):
        column = to_column(numbers[start : start + _TASKS_OF_REQUEST])
        reply = graph._request("outputs", {"tasks": column})
        found.update((number, Written(stdout, stderr)) for number, stdout, stderr in reply["outputs"])
        start += reply["count"]
    return found


def written_by(task: TaskItem) -> Written:
    """What a task has written, if it has ended.

    Raises:
        RainException: It was not submitted.
    """
    graph = task._session
    graph._check_items([task], "ask for the output of")
    return written(graph, [task._id]).get(task._id, Written("", ""))


def follow(graph: Graph, deadline: float | None) -> None:
    """Wait until all tasks are finished, and write what each has written to this process's streams when it has ended.

    What was shown by an earlier call is not shown again.
    """
    left = [number for number in list(graph._submitted) if number >= graph._followed]
    if not left:
        return
    submitted = graph._submitted_tasks
    try:
        watch = graph._request("watch", {"tasks": to_column(left), "objects": b""}, deadline)["watch"]
        while left:
            over = from_column(graph._request("watch_next", {"watch": watch}, deadline)["tasks"])
            _show(graph, over)
            done = set(over)
            left = [number for number in left if number not in done]
    except RainTimeout:
        graph._request("unwatch", {"watch": watch})
        raise
    except RainException:
        # The session has failed.
        _show(graph, left)
        raise
    graph._followed = submitted


def _show(graph: Graph, numbers: Iterable[int]) -> None:
    for text in written(graph, list(numbers)).values():
        _write(sys.stdout, text.stdout)
        _write(sys.stderr, text.stderr)


def _write(stream: Any, text: str) -> None:
    # A process without a terminal may have no streams.
    if text and stream is not None:
        stream.write(text if text.endswith("\n") else f"{text}\n")
        stream.flush()
