"""A server of the client's own: `Client()` without an address starts it, and it ends with the process."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import subprocess
import sys
import weakref

from ..common.errors import RainException
from .forking import watch_forks
from .locking import Mutex

STOP_SECONDS = 15.0
END_SECONDS = 5.0


class PrivateServer:
    """A running server that all clients of this process share which were made without an address.

    It listens on a free port of the loopback interface. The write end of its standard input is held by this process
    alone: when it is closed, or when the process ends in whatever way, the server stops and removes what it has made.
    """

    def __init__(self, cpus: int | None) -> None:
        self.cpus = cpus
        # The clients that need it. One that is dropped without being closed does not count.
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
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
            watch_forks(self)
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

    def _forked(self, why: str) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        # The parent waits for its end, not this process.
        self._process.returncode = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def has_ended(self) -> bool:
        """Whether the process ends within some seconds, as one does that cannot be connected to."""
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True


class _Servers:
    """The private servers of this process, by their numbers of cpus (None: all)."""

    def __init__(self) -> None:
        self._mutex = Mutex()
        self._all: dict[int | None, PrivateServer] = {}
        watch_forks(self)
        atexit.register(self.stop_all)

    def acquire(self, cpus: int | None, user: object) -> tuple[PrivateServer, bool]:
        return self._mutex.run(self._acquire, cpus, user)

    def _acquire(self, cpus: int | None, user: object) -> tuple[PrivateServer, bool]:
        server = self._all.get(cpus)
        is_new = server is None or not server.alive
        if server is not None and is_new:
            server.stop()
        if server is None or is_new:
            server = self._all[cpus] = PrivateServer(cpus)
        server.users.add(user)
        return server, is_new

    def release(self, server: PrivateServer, user: object) -> None:
        if self._mutex.run(self._release, server, user):
            server.stop()

    def _release(self, server: PrivateServer, user: object) -> bool:
        server.users.discard(user)
        if server.users or self._all.get(server.cpus) is not server:
            return False
        del self._all[server.cpus]
        return True

    def stop_all(self) -> None:
        servers, self._all = list(self._all.values()), {}
        for server in servers:
            server.stop()

    def _forked(self, why: str) -> None:
        self._mutex = Mutex()
        self._all = {}


_servers = _Servers()


def acquire(cpus: int | None, user: object) -> tuple[PrivateServer, bool]:
    """The private server of this process for a number of cpus (None: all), and whether it was started only now."""
    return _servers.acquire(cpus, user)


def release(server: PrivateServer, user: object) -> None:
    """A client does not need its server any more; with the last one it is stopped."""
    _servers.release(server, user)


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
