"""The code blocks of a page in Markdown.

A comment before a block says how it is dealt with:

    <!-- not run: why -->           it is left out, and counted
    <!-- run before:                Python code, on the following lines, that runs before the block
    data = blob("x")
    -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[3]
PAGES = sorted(
    path.relative_to(TOP).as_posix()
    for path in (*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"))
    if path.name != "CHANGELOG.md"
)

_FENCE = re.compile(r" *```(\w*)")
_PROMPT = re.compile(r"(?:[\w-]*\$ )(.*)")
_COMMANDS = ("make ", "rain ", "rain-engine ", "source ", "cargo ", ".venv/bin/", "sudo ", "pip ", "docker ")


@dataclass
class Block:
    """A block of code, and what stands before it for tests."""

    page: str
    line: int
    language: str
    text: str
    before: str = ""
    not_run: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def commands(block: Block) -> list[str]:
    """The commands of a shell block. If it has prompts, the lines without one are what the commands print."""
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    prompted = [found[1] for line in lines if (found := _PROMPT.fullmatch(line))]
    return prompted or [line for line in lines if line and not line.startswith("#")]


def blocks(page: str) -> list[Block]:
    """All blocks of a page, those that are indented too; these are shell commands, if they look like it, or text."""
    lines = (TOP / page).read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    before, not_run = "", None
    index = 0
    while index < len(lines):
        line = lines[index]
        start = index + 1
        if line.startswith("<!--"):
            while not lines[index].endswith("-->"):
                index += 1
            comment = "\n".join(lines[start - 1 : index + 1])[4:-3].strip()
            if comment.startswith("not run:"):
                not_run = comment[len("not run:") :].strip()
            elif comment.startswith("run before:"):
                before = comment[len("run before:") :].strip() + "\n"
        elif fence := _FENCE.match(line):
            end = next(i for i in range(start, len(lines)) if lines[i].strip() == "```")
            text = "\n".join(lines[start:end]) + "\n"
            found.append(Block(page, start + 1, fence[1] or "text", text, before, not_run))
            before, not_run, index = "", None, end
        elif line.startswith("    ") and not lines[index - 1].strip():
            end = next(
                (i for i in range(index, len(lines)) if lines[i] and not lines[i].startswith("    ")), len(lines)
            )
            text = "\n".join(line[4:] for line in lines[index:end]).rstrip() + "\n"
            shell = any(_PROMPT.match(line) or line.startswith(_COMMANDS) for line in text.splitlines())
            found.append(Block(page, start, "sh" if shell else "text", text, before, not_run))
            before, not_run, index = "", None, end - 1
        elif line.strip():
            before, not_run = "", None
        index += 1
    return found
