"""The commands in README.md and docs/: safe ones are run, and of the others it is checked that they could be.

Of those it is checked that a shell can read them, that `make` has the target, and that `rain` has the command and the
options.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
from blocks import PAGES, TOP, Block, blocks, commands
from real_server import PROGRAM, runtime_directory, skip_without_program

# Blocks of only these commands are run, with a Rain of their own.
SAFE = {"rain start --simple", "rain status", "rain stop", "rain --version"}

SHELL = [block for page in PAGES for block in blocks(page) if block.language in ("sh", "shell", "bash", "console")]


def plain(command: str) -> str:
    """A command without what is said of it in the same line."""
    return re.split(r"\s+#\s|\s{3,}", command.strip())[0]


def is_safe(block: Block) -> bool:
    return all(plain(command) in SAFE for command in commands(block))


def place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", SHELL, ids=place)
def test_a_shell_can_read_it(block: Block) -> None:
    for command in map(plain, commands(block)):
        # Words in capitals and <...> stand for something else.
        text = re.sub(r"<[\w .]+>", "SOMETHING", command)
        done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.place}: {command}: {done.stderr}"


def words(block: Block) -> list[list[str]]:
    """The words of each simple command of a block."""
    found = []
    for command in map(plain, commands(block)):
        for simple in re.split(r"&&|\|\||;|\||\$\(", command):
            try:
                found.append(shlex.split(simple))
            except ValueError:
                found.append(simple.split())
    # Settings of variables for one command.
    return [list(_without_settings(command)) for command in found]


def _without_settings(command: list[str]) -> list[str]:
    while command and re.match(r"\w+=", command[0]):
        command = command[1:]
    return command


def test_make_has_the_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    named = {
        (block.place, word)
        for block in SHELL
        for command in words(block)
        if command[:1] == ["make"]
        for word in command[1:]
        if re.fullmatch(r"[a-z-]+", word)
    }
    assert len(named) > 10
    assert [name for name in sorted(named) if name[1] not in targets] == []


@cache
def help_of(command: str) -> str:
    done = subprocess.run([PROGRAM, *command.split(), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rain_has_the_commands_and_options() -> None:
    skip_without_program()
    called = [(block.place, command) for block in SHELL for command in words(block) if command[:1] == ["rain"]]
    assert len(called) > 10
    wrong = []
    for where, (_, *given) in called:
        subcommand = given[0] if given and not given[0].startswith("-") else ""
        if subcommand and not re.search(rf"^  {subcommand}\b", help_of(""), re.MULTILINE):
            wrong.append(f"{where}: there is no `rain {subcommand}`")
            continue
        for option in (word.partition("=")[0] for word in given if word.startswith("--")):
            if not re.search(rf"(^|\s){option}\b", help_of(subcommand)):
                wrong.append(f"{where}: `rain {subcommand}` has no {option}")
    assert wrong == []


@pytest.mark.parametrize("block", [block for block in SHELL if is_safe(block) and block.not_run is None], ids=place)
def test_it_runs(block: Block, tmp_path: Path) -> None:
    skip_without_program()
    # The commands name no port and mean 7210, which somebody may use: this `rain` has another one.
    program = tmp_path / "rain"
    with runtime_directory() as runtime:
        port = f"{runtime}/server-*"
        program.write_text(
            f"""#!/bin/sh
            case "$1" in
                start) exec {PROGRAM} "$@" --listen=127.0.0.1:0 --http-listen=127.0.0.1:0 --logdir={tmp_path} ;;
                stop | status) exec {PROGRAM} "$@" --listen="127.0.0.1:$(echo {port} | sed 's/.*-//')" ;;
                *) exec {PROGRAM} "$@" ;;
            esac
            """
        )
        program.chmod(0o755)
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        text = "\n".join(map(plain, commands(block)))
        # A block may stop a server that an earlier one of the page has started.
        if "rain start --simple" not in text:
            text = "rain start --simple\n" + text
        if "rain stop" not in text:
            text += "\nrain stop"
        done = subprocess.run(
            ["bash", "-e", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}: {done.stdout}{done.stderr}"
        assert list(runtime.glob("server-*")) == []


def test_some_blocks_are_run() -> None:
    assert {block.page for block in SHELL if is_safe(block)} == {"README.md", "docs/howto.md"}
