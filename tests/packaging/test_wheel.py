"""The wheel of `make wheel`: what is in it, and that it works where there is nothing but a Python interpreter."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
# The C library and what comes with it: all that a machine must have.
EVERYWHERE = r"linux-vdso|ld-linux|libc\.so|libm\.so|libdl\.so|librt\.so|libpthread\.so|libgcc_s\.so"

SCRIPT = """
import json, shutil
from rain.client import Client, blob, remote, tasks

assert shutil.which("cc") is None and shutil.which("rain") is None

@remote()
def shout(ctx, text):
    return text.get_str().upper()

with Client(cpus=1) as client, client.new_session() as session:
    loud = shout(tasks.Concat([blob("Hello "), blob("world!")]))
    loud.output.keep()
    session.submit()
    print(json.dumps([loud.output.fetch().get_str(), client.status()["version"]]))
"""


@pytest.fixture(scope="module")
def wheel() -> Path:
    (wheel,) = (TOP / "target" / "wheels").glob("rain-*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment into which the wheel was installed, and what it needs."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", wheel], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_is_for_any_python_on_manylinux(wheel: Path) -> None:
    version = re.search(r'^version = "(.*)"$', (TOP / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert re.fullmatch(rf"rain-{re.escape(version[1])}-py3-none-manylinux[\w.]+\.whl", wheel.name)


def test_its_metadata_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = email.message_from_bytes(archive.read(metadata))
    assert fields["License-Expression"] == "MIT"
    assert fields["License-File"] == "LICENSE"
    assert fields["Requires-Python"] == ">=3.9"
    assert fields["Project-URL"]
    assert "Typing :: Typed" in fields.get_all("Classifier", [])
    assert fields["Description-Content-Type"].startswith("text/markdown")
    assert metadata.replace("METADATA", "licenses/LICENSE") in names
    assert "rain/py.typed" in names
    assert [name for name in names if name.endswith(".data/scripts/rain")]
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_the_program_needs_the_c_library_alone(environment: Path) -> None:
    needed = subprocess.run(["ldd", environment / "bin" / "rain"], capture_output=True, text=True, check=True).stdout
    assert [line for line in needed.splitlines() if not re.search(EVERYWHERE, line)] == []


def test_it_runs_with_nothing_else_in_path(environment: Path, tmp_path: Path) -> None:
    # No program, no setting of the machine that builds: only the environment's own interpreter and program.
    nothing = {"PATH": str(tmp_path), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [environment / "bin" / "python", "-I", script],
        env=nothing,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = subprocess.run(
        [environment / "bin" / "rain", "--version"], env=nothing, capture_output=True, text=True, check=True
    )
    text, version = json.loads(done.stdout)
    assert (text, f"rain {version}\n") == ("HELLO WORLD!", said.stdout)
