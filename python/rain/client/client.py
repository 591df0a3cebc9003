"""The connection to a server, as users see it."""

from __future__ import annotations

from typing import Any

from ..common.errors import RainException
from .active import set_default
from .connection import Connection, RequestError
from .session import Session

DEFAULT_PORT = 7210


class Client:
    """A connection to a Rain server.

    A server on this machine is reached through the Unix socket that its access file names, others over TCP.
    Several threads may use a client at once. It can be used in a ``with`` block.

    Args:
        address: The host of the server.
        port: The port where it listens.
    """

    def __init__(self, address: str = "localhost", port: int = DEFAULT_PORT) -> None:
        if not isinstance(address, str) or not isinstance(port, int) or not 0 < port < 65536:
            raise RainException(f"Not the address of a server: {address!r}, {port!r}")
        self._connection = Connection(address, port)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine and data need not go through a socket."""
        return self._connection.local

    def new_session(self, name: str = "", default: bool = False) -> Session:
        """Make a session.

        Args:
            name: A name for people, as in the dashboard.
            default: Use this session for tasks and objects made when no session is active.
        """
        reply = self._ask("new_session", {"name": name})
        session = Session(self, reply["session"], name)
        if default:
            set_default(session)
        return session

    def status(self) -> dict[str, Any]:
        """What the server says of itself, its governors and sessions, as ``rain status --json`` prints it."""
        return self._ask("status", {})

    def close(self) -> None:
        """Drop the connection; the server closes all sessions of the client."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._connection.name}{' closed' if self._connection.closed else ''}>"

    def _request(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._connection.request(operation, body)

    def _ask(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request that is not about a session."""
        try:
            return self._request(operation, body)
        except RequestError as error:
            raise RainException(f"The server refused {operation}: {error}") from None
