"""Finding a server: whom an access file belongs to, and connections that notice when the other side has gone."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from fake_server import FakeServer

from rain.client import Client, ConnectionLost, RainException, UsageError
from rain.client.address import connect, server_address
from rain.client.tcp import UNANSWERED_SECONDS, connect_tcp


def access_file(server: FakeServer) -> Path:
    return Path(server.path).with_name("access.json")


@pytest.fixture
def another_user(monkeypatch: pytest.MonkeyPatch) -> int:
    """Whoever runs the tests does it as somebody else than who has made the files."""
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    return uid


def test_an_access_file_of_another_user(server: FakeServer, another_user: int) -> None:
    with pytest.raises(RainException, match=rf"/server-7999, which .* belongs to user {another_user}, not to you"):
        Client("localhost", server.port)
    with pytest.raises(RainException, match=rf"/access.json, which .* belongs to user {another_user}, not to you"):
        Client("localhost", server.port, access=str(access_file(server)))
    assert server.requests == []


def test_the_directory_of_an_access_file(server: FakeServer) -> None:
    path = access_file(server)
    path.parent.chmod(0o750)
    with pytest.raises(RainException, match=r"The access directory .*/server-7999 is open to other users \(mode 750\)"):
        Client("localhost", server.port)
    # One that was chosen may be anywhere, for instance in a home directory.
    Client("localhost", server.port, access=str(path)).close()
    path.parent.chmod(0o700)
    path.chmod(0o640)
    for chosen in (None, str(path)):
        with pytest.raises(RainException, match=r"The access file .*access.json is open to other users \(mode 640\)"):
            Client("localhost", server.port, access=chosen)


def test_a_link_in_place_of_the_directory(server: FakeServer, tmp_path: Path) -> None:
    path = access_file(server)
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RainException, match="/server-7999 is not a directory"):
        Client("localhost", server.port)


def test_what_is_no_access_file(server: FakeServer, tmp_path: Path) -> None:
    path = access_file(server)
    for content in ("[]", "{", '{"socket": "' + "x" * (2 << 20) + '"}', "\ud800"):
        path.write_text(content, errors="surrogatepass")
        with pytest.raises(
            RainException, match=r"is not the access file of|access.json of a Rain server cannot be read"
        ):
            Client("localhost", server.port)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(RainException, match="fifo is not a file"):
        Client("localhost", server.port, access=str(fifo))
    with pytest.raises(RainException, match="There is no access file"):
        Client("localhost", server.port, access=str(tmp_path / "missing"))
    shutil.rmtree(path.parent)
    with pytest.raises(ConnectionLost, match="No Rain server at localhost:7999"):
        Client("localhost", server.port)


def test_nobody_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(ConnectionError) as caught:
            Client("localhost", port)
    assert isinstance(caught.value, RainException) and isinstance(caught.value, ConnectionLost)
    with pytest.raises(RainException, match="Not the name of a host") as other:
        Client("x" * 70, port)
    assert not isinstance(other.value, ConnectionError)


def test_connections_ask_whether_the_other_side_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = connect_tcp("127.0.0.1", listener.getsockname()[1], 10)
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            seconds = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            probes = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            seconds += probes * connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            assert 20 <= seconds == UNANSWERED_SECONDS <= 40
            unanswered = getattr(socket, "TCP_USER_TIMEOUT", None)
            if unanswered is not None:
                assert connection.getsockopt(socket.IPPROTO_TCP, unanswered) == 1000 * seconds


@pytest.mark.parametrize(
    ("address", "port", "meant"),
    [
        ("host", None, ("host", 7210)),
        (None, 7, ("localhost", 7)),
        ("host", "7411", ("host", 7411)),
        ("host:7411", None, ("host", 7411)),
        ("host:7411", 7411, ("host", 7411)),
        ("::1", 7411, ("::1", 7411)),
        ("[::1]:7411", None, ("::1", 7411)),
        ("", None, ("", 7210)),
    ],
)
def test_forms_of_addresses(address: str | None, port: int | str | None, meant: tuple[str, int]) -> None:
    assert server_address(address, port) == meant


@pytest.mark.parametrize(
    ("address", "port", "message"),
    [
        ("tcp://host", None, "'tcp://host'; it is HOST or HOST:PORT, without tcp://"),
        ("host:1", 2, "'host:1' has another port than 2"),
        ("host", 65536, "a port is a number up to 65535, not int: 65536"),
        ("host", True, "not bool: True"),
        ("host:x", None, "not str: 'x'"),
        (3, None, "Not the address of a server: 3"),
    ],
)
def test_what_is_no_address(address: object, port: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        server_address(address, port)


def test_advice_fits_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    there = rf"There is no {tmp_path}/server-1/access.json.*rain start --simple --listen 1"
    with pytest.raises(ConnectionLost, match=there):
        connect("localhost", 1)
    with pytest.raises(ConnectionLost, match="On that machine, 'rain status'.*rain server --listen 1 "):
        connect("127.0.0.2", 1)
