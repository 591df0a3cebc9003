"""Whether the measurements run at all; no time is judged."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from measure import RAIN

MEASUREMENTS = (
    "engine_alone",
    "server_scale",
    "built_in_tasks",
    "remote_calls",
    "futures",
    "programs",
    "large_data",
    "spilling",
    "start_and_idle",
    "tcp",
    "mpi",
)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurement_runs(name, tmp_path):
    if name == "mpi" and (shutil.which("mpirun") is None or not RAIN.with_name("rain-engine").exists()):
        pytest.skip("There is no mpirun or no rain-engine")
    latest = tmp_path / "latest.json"
    command = [sys.executable, Path(__file__).parent / "run.py", "--smoke", f"--json={latest}", name]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300)
    rows = json.loads(latest.read_text())
    assert rows
    for row in rows:
        assert list(row) == ["name", "value", "unit", "wanted", "runs"]
        assert row["runs"] and all(math.isfinite(value) for value in (row["value"], *row["runs"]))
        assert row["wanted"] is None or row["wanted"] > 0
