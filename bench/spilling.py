"""Objects that go to a disk: `rain-bench spill`, the store alone.

There is memory for four objects of a size. The time is that of making objects beyond it, less that of making as many
with room enough; `dd if=/dev/zero bs=1M` writes as many bytes to the same disk, in turns. Neither waits until the disk
has them. The disk is $TMPDIR or /var/tmp.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

from measure import RAIN_BENCH, Row, Size, row

WANTED_TIMES = 1 / 0.7


def measure(size: Size) -> Iterator[Row]:
    """Rows for small and large objects: milliseconds, and how often dd's time that is."""
    disk = os.environ.get("TMPDIR", "/var/tmp")
    command = [RAIN_BENCH, "spill", f"--disk={disk}", f"--mebibytes={size.of(512, 32)}", f"--runs={size.runs}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    for line in done.stdout.splitlines():
        found = json.loads(line)
        yield row(found["name"], found["unit"], WANTED_TIMES if found["unit"] == "times" else None, found["runs"])
