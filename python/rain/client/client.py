"""The connection to a server, as users see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base_client import BaseClient

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .futures import Executor
    from .kind import CallOptions


class Client(BaseClient):
    """A connection to a Rain server.

    A server on this machine is reached through the Unix socket that its access file names, others over TCP. Without an
    address, it is the server that RAIN_SERVER names (`rain-engine --run` sets it), or else a private server is started
    on this machine, which stops when the client is closed or the process ends; clients of one process share it. Several
    threads may use a client at once. It can be used in a ``with`` block.

    Args:
        address: The host of the server; None (unless a port is given): the one of RAIN_SERVER, or a private one.
        port: The port where it listens; 7210 if only a host is given.
        cpus: For a private server: with how many cpus it works (default: all of this machine).
        access: The access file of a server on another machine (default: the one that RAIN_ACCESS names).

    Raises:
        ConnectionLost: There is no server at this address, or it does not answer.
        UsageError: It is no address.
        RainException: The access file cannot be used, or a private server cannot be started.
    """

    def executor(self, **options: Unpack[CallOptions]) -> Executor:
        """A :class:`concurrent.futures.Executor` over a new session of this client.

        Args:
            options: Those of :class:`rain.client.Executor`.
        """
        from .futures import Executor

        return Executor(self, **options)
