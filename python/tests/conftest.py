"""What all tests use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rain.client import Client, Session

if TYPE_CHECKING:
    from fake_server import FakeServer
    from real_server import RainServer

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def client(server: FakeServer | RainServer) -> Iterator[Client]:
    """A client of the fixture ``server``, of which each folder has its own kind."""
    with Client("localhost", server.port) as client:
        yield client


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session() as session:
        yield session
