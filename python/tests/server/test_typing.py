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


WRONG = """
from rain.client import Client, blob, remote
from rain.executor.context import Context

@remote()
def shout(ctx: Context, word: str, loud: bool = True) -> str:
    return word

@remote
def nothing(ctx: Context) -> bytes:
    return b""

def square(number: int) -> int:
    return number * number

client = Client()
with client.new_session() as session:
    first = shout("a")
    shout(first, loud=False), shout(blob("b")), shout("c", name="other", session=session), nothing(output="x")
    session.map(square, [1, 2], keep=True), session.map(shout, [first]), session.map(square, range(2), cpus=1)
    session.map(lambda item: item, ["a"])
    future = client.executor().submit(square, 3)
    client.executor().submit(square, future).task
{}
"""
CALLS = (
    "shout(1)",
    "shout('a', 'b')",
    "shout('a', True, 3)",
    "shout('a', lout=True)",
    "shout()",
    "nothing(1)",
    "session.map(square, ['a'])",
    "session.map(shout, [1])",
    "session.map(square, [1], num_cpus=1)",
    "client.executor(cpus='many')",
    "client.executor().submit(square, 'a')",
    "client.executor().submit(square)",
)


def test_wrong_calls_are_found(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    config = tmp_path / "mypy.ini"
    package = Path(rain.__file__).parents[1]
    config.write_text(f"[mypy]\nstrict = True\nmypy_path = {package}\n[mypy-rain.*]\nfollow_imports = silent\n")
    script = tmp_path / "wrong.py"
    script.write_text(WRONG.format("\n".join(f"    {call}" for call in CALLS)))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={config}", f"--cache-dir={tmp_path}", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    first = WRONG.count("\n")
    found = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}
    assert found == set(range(first, first + len(CALLS))), checked.stdout + checked.stderr
