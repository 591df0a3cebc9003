"""The Dockerfile: built and run where there is a docker daemon, and elsewhere checked for what would prevent that."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "USER", "CMD"}
IMAGE = "rain-test-of-dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile and what follows each, continued lines joined."""
    lines = [line for line in (TOP / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for line in joined.splitlines() if line for name, _, rest in [line.partition(" ")]]


def docker(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], cwd=TOP, capture_output=True, text=True, timeout=timeout, check=False)


def has_daemon() -> bool:
    try:
        return shutil.which("docker") is not None and docker("version").returncode == 0
    except subprocess.TimeoutExpired:
        return False


def test_every_instruction_is_one() -> None:
    assert {name for name, _ in instructions()} == INSTRUCTIONS


def test_the_last_stage_has_only_the_wheel_and_no_root() -> None:
    found = instructions()
    starts = [index for index, (name, _) in enumerate(found) if name == "FROM"]
    stages = re.findall(r" AS (\w+)", "\n".join(rest for name, rest in found if name == "FROM"))
    last = found[starts[-1] :]
    copied = [rest for name, rest in last if name == "COPY"]
    assert [re.fullmatch(r"--from=(\w+) (\S+) \S+", rest).groups() for rest in copied] == [(stages[0], "/wheels")]  # type: ignore[union-attr]
    assert "--wheel-dir=/wheels" in found[starts[-1] - 1][1]
    assert [rest for name, rest in last if name == "USER"] == ["rain"]
    assert json.loads(last[-1][1])[0] == "rain"


def test_versions_are_those_that_are_said_elsewhere() -> None:
    arguments = dict(rest.split("=") for name, rest in instructions() if name == "ARG")
    cargo = (TOP / "Cargo.toml").read_text()
    assert f'rust-version = "{arguments["RUST_VERSION"]}"' in cargo
    assert f'"Programming Language :: Python :: {arguments["PYTHON_VERSION"]}"' in (TOP / "pyproject.toml").read_text()


def test_shell_commands_can_be_read() -> None:
    commands = [rest for name, rest in instructions() if name == "RUN"]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_what_is_built_elsewhere_is_not_sent() -> None:
    ignored = set((TOP / ".dockerignore").read_text().split())
    assert {".git", ".venv", "target"} <= ignored
    members = re.findall(r'^    "(.*)",$', (TOP / "Cargo.toml").read_text().split("]", 2)[1], re.MULTILINE)
    needed = {"Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE", "python", *members}
    assert "launcher" in needed
    assert not {path.partition("/")[0] for path in needed} & ignored


@pytest.mark.skipif(not has_daemon(), reason="There is no docker daemon")
def test_the_image_runs_a_graph() -> None:
    built = docker("build", "--tag", IMAGE, ".", timeout=3600)
    try:
        assert built.returncode == 0, built.stdout + built.stderr
        script = "from rain.client import Client; c = Client(); print(list(c.executor().map(abs, [-1, -2]))); c.close()"
        done = docker("run", "--rm", IMAGE, "python", "-c", script)
        assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr
        said = docker("run", "--rm", IMAGE)
        assert (said.returncode, "Usage: rain" in said.stdout) == (0, True), said.stderr
    finally:
        docker("rmi", IMAGE)
