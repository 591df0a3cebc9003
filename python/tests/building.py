"""Programs that tests build."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOP = Path(__file__).parents[2]


def build(*command: str | Path) -> None:
    """Run a command in the project's folder; what it says is the error when it fails."""
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
