"""A server of the client's own: `Client()` without an address starts it, and it ends with the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading

from ..common.errors import RainException

STOP_SECONDS = 15.0

_lock = threading.Lock()
_servers: dict[int | None, PrivateServer] = {}


class PrivateServer:
    """A running server that all clients of this process share which were made without an address.

    It listens on a free port of the loopback interface. The write end of its standard input is held by this process
    alone: when it is closed, or when the process ends in whatever way, the server stops and removes what it has made.
    """

    def __init__(self, cpus: int | None) -> None:
        self.cpus = cpus
        self.clients = 0
        program = find_program()
        wanted = "--simple" if cpus is None else f"--local-governors=[{cpus}]"
        try:
            # In a session of its own: a Ctrl-C in the terminal is for this process.
            self._process = subprocess.Popen(
                [program, "start", "--private", wanted, "--listen=127.0.0.1:0"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise RainException(f"{program} cannot be started: {error.strerror}") from None
        try:
            self.port = self._read_port(program)
        except BaseException:
            self.stop()
            raise

    def _read_port(self, program: str) -> int:
        assert self._process.stdout is not None and self._process.stderr is not None
        said = b""
        for line in self._process.stdout:
            said += line
            ready = re.search(rb"is ready on \S+:(\d+)", line)
            if ready:
                return int(ready.group(1))
        said += self._process.stderr.read()
        reason = said.decode(errors="replace").strip() or "it ended without a word"
        raise RainException(f"{program} could not start a private server: {reason}")

    def stop(self) -> None:
        """Stop the server and wait until it is gone."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def disown(self) -> None:
        """In a forked child: let go of what belongs to the parent."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        # Its end is not this process's business.
        self._process.returncode = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None


def acquire(cpus: int | None) -> tuple[PrivateServer, bool]:
    """The private server of this process for a number of cpus (None: all), and whether it was started only now."""
    with _lock:
        server = _servers.get(cpus)
        is_new = server is None or not server.alive
        if server is None or not server.alive:
            if server is not None:
                server.stop()
            if not _servers:
                atexit.register(_stop_all)
            server = _servers[cpus] = PrivateServer(cpus)
        server.clients += 1
        return server, is_new


def discard(server: PrivateServer) -> None:
    """A server cannot be used: stop it, and let the next client start another one."""
    with _lock:
        if _servers.get(server.cpus) is server:
            del _servers[server.cpus]
    server.stop()


def release(server: PrivateServer) -> None:
    """A client does not need its server any more; with the last one it is stopped."""
    with _lock:
        server.clients -= 1
        if server.clients > 0 or _servers.get(server.cpus) is not server:
            return
        del _servers[server.cpus]
    server.stop()


def find_program() -> str:
    """The path of the program ``rain``.

    The first of: what the environment variable ``RAIN_BIN`` names; the one that was installed with this package, beside
    the Python interpreter; the one built in a checkout that this package is a part of; the one in ``PATH``.
    """
    named = os.environ.get("RAIN_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise RainException(f"RAIN_BIN is {named!r}, which is not a program")
        return named
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    checkout = os.path.dirname(os.path.dirname(package))
    candidates = [
        os.path.join(os.path.dirname(sys.executable), "rain"),
        os.path.join(checkout, "target", "release", "rain"),
        shutil.which("rain"),
    ]
    for path in candidates:
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise RainException(
        "The program 'rain', which Client() without an address starts, was not found: it is installed with "
        "'pip install .' in Rain's repository; or set RAIN_BIN to its path, or give the address of a running server"
    )


def _stop_all() -> None:
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.stop()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for server in _servers.values():
        server.disown()
    _servers.clear()


os.register_at_fork(after_in_child=_after_fork)
