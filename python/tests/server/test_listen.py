"""A server with local governors that other machines can reach, because it was told to listen there."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from real_server import running_server

from rain.client import Client, RainException, blob, tasks


def test_what_leaves_the_machine_is_encrypted(tmp_path: Path) -> None:
    """Who has the access file gets in with TLS, and nobody without."""
    # Undone before the server undoes what it has set.
    with running_server("--simple", address="0.0.0.0") as server, pytest.MonkeyPatch.context() as patch:
        access = tmp_path / "access"
        shutil.copy(server.runtime / f"server-{server.port}" / "access.json", access)
        with tempfile.TemporaryDirectory() as elsewhere:
            patch.setenv("RAIN_RUNTIME_DIR", elsewhere)
            with Client("127.0.0.2", server.port, access=str(access)).new_session() as session:
                put_together = tasks.Concat([blob("from "), blob("afar")])
                put_together.output.keep()
                session.submit()
                assert put_together.output.fetch().get_bytes() == b"from afar"
            with pytest.raises(RainException, match="without an access file"):
                Client("127.0.0.1", server.port)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stranger:
            stranger.sendall(b"\x00" * 64)
            # An alert of TLS at most, and the end.
            while reply := stranger.recv(1000):
                assert reply[0] == 21
        # The way for clients of this machine is as it was.
        patch.setenv("RAIN_RUNTIME_DIR", str(server.runtime))
        Client("localhost", server.port).close()
        refused = server.rain("governor", f"127.0.0.1:{server.port}", f"--access={access}")
        assert refused.returncode != 0
        assert "not one for governors" in refused.stderr
