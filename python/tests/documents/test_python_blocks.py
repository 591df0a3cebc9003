"""The Python code in README.md and docs/ runs, each page from top to bottom, and prints what its comments say."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import textwrap
import traceback
from pathlib import Path
from typing import Any

import pytest
from blocks import PAGES, Block, blocks
from real_server import RainServer, running_server

# A call that prints, and a comment behind it, which is what it prints if it is a value.
_PRINTED = re.compile(r" *print\(.*\) *# (.*)")

# Blocks of Python that are not run, by page; why, is said there. A change of these numbers is to be seen in a review.
NOT_RUN = {"docs/cluster.md": 1, "docs/python.md": 2}

# Tested with executors in C++ and Rust: test_executors_page.py.
ELSEWHERE = {"docs/executors.md"}


def python_blocks(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def with_python(pages: list[str]) -> list[str]:
    return [page for page in pages if python_blocks(page)]


def is_value(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return False
    return True


def run(block: Block, names: dict[str, Any], port: int) -> None:
    """Run a block and what stands before it; raises AssertionError with its place."""
    # Lines of what is compiled are those of the page.
    code = "\n" * (block.line - 1) + textwrap.dedent(block.text).replace("7210", str(port))
    said = io.StringIO()
    try:
        exec(compile(block.before, f"{block.place}, run before", "exec"), names)
        with contextlib.redirect_stdout(said):
            exec(compile(code, block.page, "exec"), names)
    except Exception:
        raise AssertionError(f"{block.place} does not run:\n{traceback.format_exc()}") from None
    expected = [found[1] for line in block.text.splitlines() if (found := _PRINTED.match(line)) and is_value(found[1])]
    printed = said.getvalue().splitlines()
    if expected:
        assert printed == expected, f"{block.place} prints {printed}, and not {expected}"


@pytest.fixture(scope="module")
def server() -> Any:
    with running_server("--local-governors=[4]", "--no-pin") as server:
        yield server


@pytest.mark.parametrize("page", [page for page in with_python(PAGES) if page not in ELSEWHERE])
def test_blocks_run(page: str, server: RainServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Functions of a page are those of a script: they travel by value.
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in python_blocks(page):
            if block.not_run is None:
                run(block, names, server.port)
    finally:
        with contextlib.suppress(KeyError):
            names["client"].close()


def test_blocks_that_are_not_run_are_counted() -> None:
    not_run = {page: [block for block in python_blocks(page) if block.not_run is not None] for page in PAGES}
    assert {page: len(found) for page, found in not_run.items() if found} == NOT_RUN
    assert all(block.not_run for found in not_run.values() for block in found), "a reason is missing"


def test_pages_with_code_are_found() -> None:
    assert {"README.md", "docs/index.md", "docs/tutorial.md", "docs/howto.md", "docs/python.md"} <= set(
        with_python(PAGES)
    )


def test_a_block_that_is_wrong_is_found() -> None:
    good = Block("page.md", 1, "python", "print(1 + 1)  # 2\n", before="x = 1\n")
    run(good, {}, 0)
    with pytest.raises(AssertionError, match=r"page.md:1 prints \['2'\], and not \['3'\]"):
        run(Block("page.md", 1, "python", "print(1 + 1)  # 3\n"), {}, 0)
    with pytest.raises(AssertionError, match="NameError"):
        run(Block("page.md", 1, "python", "missing\n"), {}, 0)
