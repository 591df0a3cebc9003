"""What pyproject.toml says of the package: enough for an index, and the same as other files say."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
TEXT = (TOP / "pyproject.toml").read_text(encoding="utf-8")
# Python 3.9 and 3.10 have no reader of TOML.
PROJECT = TEXT.split("[project]")[1].split("\n[project.optional-dependencies]")[0]


def test_the_licence_is_an_expression_with_its_file() -> None:
    # As PEP 639 has it: then no classifier may name a licence.
    assert 'license = "MIT"' in PROJECT
    assert 'license-files = ["LICENSE"]' in PROJECT
    assert (TOP / "LICENSE").read_text().startswith("MIT License")
    assert "License ::" not in PROJECT


def test_the_version_is_that_of_the_program() -> None:
    said = re.search(r'^version = "(.*)"$', PROJECT, re.MULTILINE)
    cargo = re.search(r'^version = "(.*)"$', (TOP / "Cargo.toml").read_text(), re.MULTILINE)
    assert said and cargo and said[1] == cargo[1]


def test_classifiers_name_the_versions_of_python_that_are_tested() -> None:
    named = [int(minor) for minor in re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', PROJECT)]
    assert 'requires-python = ">=3.9"' in PROJECT
    assert named == list(range(9, max(named) + 1))
    assert f"Python 3.9 to 3.{max(named)}" in (TOP / "README.md").read_text()


def test_types_and_addresses_are_there() -> None:
    assert '"Typing :: Typed"' in PROJECT
    assert (TOP / "python" / "rain" / "py.typed").exists()
    assert "[project.urls]" in TEXT
