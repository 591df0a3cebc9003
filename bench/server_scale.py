"""The server's decisions: `rain-bench scale`, its state machine alone, with governors that finish all at once.

Only time inside of `Server::handle` counts: of the submit (by task), of the messages that governors send (by task
and by message), and the longest of these. Governors have 16 cpus and say that each task took 1 ms. Tasks are
independent (flat), in chains of a hundred, all read one constant (broadcast), each reads a hundred constants
(inputs), or the last one reads what all others make (reduction). A message of a governor reports up to 1,024 tasks;
in the rows with idle sessions, which have used all governors before, it reports one. The longest turn has in it
what else ran on the machine meanwhile.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from measure import RAIN_BENCH, Row, Size, row

WANTED = {"a task": 1000, "a message": 1000, "worst turn": 5}


def measure(size: Size) -> Iterator[Row]:
    """All rows of `rain-bench scale`; a share leaves the largest graphs out."""
    command = [RAIN_BENCH, "scale", f"--largest={size.of(1_000_000, 10_000)}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    for line in done.stdout.splitlines():
        found = json.loads(line)
        # Messages report many tasks, but for those beside idle sessions.
        what = found["name"].rsplit(", ", 1)[-1]
        wanted = None if what == "a message" and "idle" not in found["name"] else WANTED.get(what)
        yield row(found["name"], found["unit"], wanted, found["runs"])
