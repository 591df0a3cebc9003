"""docs/executors.md, step by step: programs in C++ and Rust are built, registered, started and called as it says."""

from __future__ import annotations

import contextlib
import fcntl
import io
import shutil
from pathlib import Path

import pytest
from blocks import TOP, Block, blocks
from building import build
from real_server import PROGRAM, running_server, skip_without_program

PAGE = "docs/executors.md"


def block(language: str, beginning: str) -> Block:
    (found,) = (one for one in blocks(PAGE) if one.language == language and one.text.startswith(beginning))
    return found


@pytest.fixture(scope="module")
def cpp_program() -> Path:
    """The program of the page, in a folder with the tasklib, built as the page builds it."""
    if shutil.which("cmake") is None:
        pytest.skip("There is no cmake")
    folder = TOP / "target" / "documents" / "myexecutor"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copytree(TOP / "cpp" / "tasklib", folder / "tasklib", dirs_exist_ok=True)
        (folder / "myexecutor.cpp").write_text(block("cpp", "#include").text)
        (folder / "CMakeLists.txt").write_text(block("cmake", "cmake_minimum_required").text)
        build("cmake", "-S", folder, "-B", folder / "_build")
        build("cmake", "--build", folder / "_build")
    return folder / "_build" / "myexecutor"


@pytest.fixture(scope="module")
def rust_program() -> Path:
    if shutil.which("cargo") is None:
        pytest.skip("There is no cargo")
    target = PROGRAM.resolve().parents[1]
    build("cargo", "build", "--quiet", "--release", "--locked", "-p", "rain_task", "--examples", "--target-dir", target)
    return target / "release" / "examples" / "hello"


def test_the_rust_program_is_an_example_of_the_crate() -> None:
    assert (TOP / "rust" / "examples" / "hello.rs").read_text().endswith(block("rust", "use rain_task").text)
    assert (TOP / "rust" / "Cargo.toml").is_file(), block("toml", "[dependencies]").text


def test_the_page_can_be_followed(
    cpp_program: Path, rust_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_program()
    # "A program without a slash is looked for in PATH."
    (tmp_path / "example2").write_text(f'#!/bin/sh\n[ "$*" = "--verbose --more" ] && exec {rust_program}\n')
    (tmp_path / "example2").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    registration = block("toml", "[executors.example1]").text
    assert "/path/to/myexecutor/_build/myexecutor" in registration
    config = tmp_path / "governor.toml"
    config.write_text(registration.replace("/path/to/myexecutor/_build/myexecutor", str(cpp_program)))

    start = block("sh", "$ rain start").text.split()
    assert start[:4] == ["$", "rain", "start", "--simple"] and start[4] == "--governor-config=governor.toml"
    call, split = (one for one in blocks(PAGE) if one.language == "python")
    monkeypatch.chdir(tmp_path)
    with running_server("--simple", f"--governor-config={config}") as server:
        names: dict[str, object] = {"__name__": "__main__"}
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(call.text.replace("7210", str(server.port)), call.place, "exec"), names)
        assert said.getvalue() == "b'Hello world!'\n"
        assert "# prints b'Hello world!'" in call.text

        # The same task of the program in Rust, and a class of the shape that the page shows.
        exec(compile(split.before + split.text, split.place, "exec"), names)
        exec(
            "Hello.TASK_TYPE = 'example2/hello'\n"
            "with client.new_session() as session:\n"
            "    t = Hello(blob('Rust'))\n"
            "    t.output.keep()\n"
            "    session.submit()\n"
            "    said = t.output.fetch().get_bytes()\n"
            "    split = Split(blob(''), lines=2)\n"
            "    shape = split.inputs[0].label, [output.label for output in split.outputs]\n"
            "    session.discard()\n"
            "client.close()\n",
            names,
        )
        assert names["said"] == b"Hello Rust!"


def test_blocks_that_are_not_run_are_counted() -> None:
    not_run = [one for one in blocks(PAGE) if one.not_run is not None]
    assert [one.language for one in not_run] == ["cmake"]
