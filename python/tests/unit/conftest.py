"""Fixtures for tests without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from executor_driver import Driver
from fake_server import FakeServer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    runtime = tmp_path / "run"
    runtime.mkdir()
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(runtime))
    fake = FakeServer(runtime)
    yield fake
    fake.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """An executor in a process of its own, of which the test is the governor."""
    driver = Driver(tmp_path)
    yield driver
    driver.close()
