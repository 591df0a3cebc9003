"""The engine alone: `rain-bench engine`, server and one governor in one Rust process; no client, no Python, no socket.

Time from the submit of a graph of no-op tasks to the end of its wait_all, divided by the number of tasks. Building the
graph is not in it. Independent tasks have no inputs and no outputs; chains are two (one for each of the two workers) in
which each task reads the object that the one before it made.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from measure import RAIN_BENCH, Row, Size, row

TASKS = (10_000, 100_000, 1_000_000, 10_000_000)


def measure(size: Size) -> Iterator[Row]:
    """One row for each shape and number of tasks; a share leaves large numbers out."""
    for shape in ("independent", "chains"):
        for count in TASKS:
            if count <= max(TASKS[-1] * size.share, TASKS[0]):
                command = [RAIN_BENCH, "engine", f"--tasks={count}", f"--shape={shape}", f"--runs={size.runs}"]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                found = json.loads(done.stdout)
                yield row(f"engine alone, {shape}, {count:,} no-op tasks", "ns/task", 300, found["runs"])
