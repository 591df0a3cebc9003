"""The connection to a server with its sessions."""

from __future__ import annotations

import json
import os
import sys
import weakref
from typing import Any, TypeVar

from ..common.errors import ConnectionLost, PickleException, RainException, UsageError
from ..common.given import named, whole_number
from . import private, waiting
from .active import set_default
from .address import access_path, server_address, server_of_environment
from .connection import Connection, Request, RequestError, Taker, deadline_after
from .drawing import client_html
from .kind import check_name
from .session import Session

AnyClient = TypeVar("AnyClient", bound="BaseClient")


class BaseClient:
    """What :class:`~rain.client.Client` is, without what works on top of sessions."""

    def __init__(
        self,
        address: str | None = None,
        port: int | str | None = None,
        *,
        cpus: int | None = None,
        access: str | None = None,
    ) -> None:
        self._private: private.PrivateServer | None = None
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        # Another one for each restart(), so that executor processes of before are not used again.
        self._generation = ""
        if cpus is not None:
            number = whole_number(cpus, 1, sys.maxsize)
            if number is None:
                raise UsageError(f"A server works with at least one cpu, a whole number: cpus= is not {named(cpus)}")
            cpus = number
        chosen = server_of_environment() if address is None and port is None else None
        if chosen is not None:
            address, port = chosen
        if address is None and port is None:
            self._connection = self._connect_private(cpus)
            return
        if cpus is not None:
            where = " (RAIN_SERVER names one here)" if chosen is not None else ""
            raise UsageError(f"cpus= is for a private server, without an address{where}; others have theirs already")
        self._connection = Connection(*server_address(address, port), access)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine and data need not go through a socket."""
        return self._connection.local

    @property
    def closed(self) -> bool:
        """Whether the client was closed, or its connection broke."""
        return self._connection.closed

    def new_session(self, name: str = "", default: bool = False, timeout: float | None = None) -> Session:
        """Make a session.

        Args:
            name: A name for people, as in the dashboard.
            default: Use this session for tasks and objects made when no session is active.
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            ConnectionLost: The connection broke.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        name = check_name(name, "session")
        request = self._connection.prepare("new_session", {"name": name})
        request.forsaken = self._close_unused
        try:
            reply = self._call(request, deadline_after(timeout))
            session = Session(self, reply["session"], name)
            self._sessions.add(session)
            if default:
                set_default(session)
            return session
        except BaseException:
            if request.reply is not None:
                self._close_unused(request)
            raise

    def _close_unused(self, request: Request) -> None:
        """Close a session that nobody got, because of an interrupt or a timeout."""
        assert request.reply is not None
        if request.reply[0] == "ok":
            self._connection.post("close_session", {"session": request.reply[2].get("session")})

    def status(self, timeout: float | None = None) -> dict[str, Any]:
        """What the server says of itself, its governors and sessions, as ``rain status --json`` prints it.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            ConnectionLost: The connection broke.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        return self._request("status", {}, deadline_after(timeout))

    @property
    def dashboard_link(self) -> str | None:
        """The address of the server's page for browsers (``docs/dashboard.md``), with its token; None if it has none.

        A private server has a page from when this is asked for on. It keeps no event log, so that shows what is just
        now.

        Raises:
            ConnectionLost: The connection broke.
        """
        __tracebackhide__ = True
        reply = self._request("view", {"path": "dashboard?open=true"})
        link: str | None = json.loads(reply["json"])["link"]
        return link

    def get_server_info(self, timeout: float | None = None) -> dict[str, Any]:
        """What each governor has, of the sessions of this client.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Returns:
            ``{"governors": [{"governor_id", "tasks", "objects", "objects_to_delete", "resources"}]}``: ``tasks`` are
            the ids of those that run there, ``objects`` of those that were made there and are not dropped,
            ``resources`` is ``{"cpus": number}``. Objects are dropped at once, so ``objects_to_delete`` is empty.

        Raises:
            ConnectionLost: The connection broke.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        deadline = deadline_after(timeout)
        governors = {
            governor["id"]: {
                "governor_id": governor["id"],
                "tasks": [],
                "objects": [],
                "objects_to_delete": [],
                "resources": {"cpus": governor["cpus"]},
            }
            for governor in self._request("status", {}, deadline)["governors"]
        }
        for session in list(self._sessions):
            if not (session.closed or session._failed):
                waiting.locate(session, governors, deadline)
        return {"governors": list(governors.values())}

    def restart(self) -> None:
        """Use fresh executor processes for all Python functions that are submitted from now on.

        They import everything anew. What was submitted before goes on in the processes that it has. Edited modules
        are seen without this; it is for modules in packages that were installed again, and for what tasks have left
        behind in their processes.
        """
        self._generation = f"-{os.urandom(6).hex()}"

    def close(self) -> None:
        """Drop the connection; the server closes all sessions of the client."""
        self._connection.close()
        self._release()

    def __enter__(self: AnyClient) -> AnyClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self: AnyClient) -> AnyClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        # A private server ends with its last client.
        await waiting.in_thread(self.close)

    def __reduce__(self) -> Any:
        raise PickleException("A client cannot be sent to a task; make one there: Client(host, port)")

    def __repr__(self) -> str:
        kind = "private server at " if self._private is not None else ""
        return f"<Client of {kind}{self._connection.name}{' closed' if self._connection.closed else ''}>"

    def _repr_html_(self) -> str:
        return client_html(repr(self).strip("<>"), list(self._sessions))

    def _connect_private(self, cpus: int | None) -> Connection:
        while True:
            server, is_new = private.acquire(cpus, self)
            try:
                self._private = server
                connection = Connection("127.0.0.1", server.port, access_path(server.port))
                # The tasks of a private server run on the cpus of the task that has started it.
                connection.lend(False)
                return connection
            except BaseException as error:
                # Others may be content with the server.
                self._release()
                # One that was started before may have died just now; then there is to be another one.
                if is_new or not isinstance(error, ConnectionLost) or not server.has_ended():
                    raise

    def _release(self) -> None:
        if self._private is not None:
            private.release(self._private, self)
            self._private = None

    def _start_request(self, operation: str, body: dict[str, Any], taker: Taker) -> None:
        self._connection.start_request(operation, body, taker)

    def _request(self, operation: str, body: dict[str, Any], deadline: float | None = None) -> dict[str, Any]:
        __tracebackhide__ = True
        return self._call(self._connection.prepare(operation, body), deadline)

    def _call(self, request: Request, deadline: float | None) -> dict[str, Any]:
        """Send a request that is not about a session, and wait for the reply."""
        __tracebackhide__ = True
        try:
            return self._connection.call(request, deadline)
        except RequestError as error:
            raise RainException(f"The server refused {request.operation}: {error}") from None
