"""Fixtures for the examples of the user's guide."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from guide_examples import STAND_INS, Guide
from real_server import RainServer, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RainServer]:
    programs = tmp_path_factory.mktemp("programs")
    for name, text in STAND_INS.items():
        program = programs / name
        program.write_text("#!/bin/sh\nset -e\n" + textwrap.dedent(text))
        program.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{programs}:{path}"
    try:
        with running_server("--local-governors=[4]", "--no-pin") as server:
            yield server
    finally:
        os.environ["PATH"] = path


@pytest.fixture
def guide(server: RainServer, tmp_path: Path) -> Guide:
    return Guide(server, tmp_path)
