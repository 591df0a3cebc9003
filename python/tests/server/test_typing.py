"""A script with types: it is right for mypy --strict, and it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from real_server import PROGRAM, skip_without_program

import rain

SCRIPT = Path(__file__).parents[1] / "typed_script.py"


def test_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert (Path(rain.__file__).parent / "py.typed").exists()
    # As where the package is installed: what is not right in it is not the script's matter.
    config = tmp_path / "mypy.ini"
    package = Path(rain.__file__).parents[1]
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {package}\n[mypy-rain.*]\nfollow_imports = silent\n")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--config-file={config}", f"--cache-dir={tmp_path}", str(SCRIPT)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_program()
    monkeypatch.setenv("RAIN_BIN", str(PROGRAM))
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "[5] b'ab' 23\nTrue 2\n[25]\n", run.stderr
