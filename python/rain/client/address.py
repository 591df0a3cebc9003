"""Finding the server: the access file that a running server leaves for its user, and the sockets it names."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any, Callable, NamedTuple

from ..common.errors import ConnectionLost, RainException, UsageError
from ..common.given import named, whole_number
from .tcp import connect_tcp
from .tls import Carrier, Credentials, connect_tls

DEFAULT_PORT = 7210
CONNECT_SECONDS = 10.0
_ACCESS_BYTES_MAX = 1 << 20
_LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1", "0.0.0.0", "::", ""))


def runtime_directory() -> str:
    """Where servers of this user keep their access files."""
    if os.environ.get("RAIN_RUNTIME_DIR"):
        return os.environ["RAIN_RUNTIME_DIR"]
    return f"/tmp/rain-{os.geteuid()}"


def access_path(port: int) -> str:
    """The access file of the server at a port."""
    return os.path.join(runtime_directory(), f"server-{port}", "access.json")


def server_of_environment() -> tuple[str, int] | None:
    """Host and port of the server that RAIN_SERVER names, which `rain-engine --run` sets; None where it is not set."""
    given = os.environ.get("RAIN_SERVER")
    if not given:
        return None
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise RainException(f"RAIN_SERVER={given} is not HOST:PORT")
    return host, int(port)


def server_address(address: Any, port: Any) -> tuple[str, int]:
    """Host and port of a server from what a user gave: HOST, or HOST:PORT in one; the port also as text.

    Raises:
        UsageError: It is no address.
    """
    host = "localhost" if address is None else address
    if not isinstance(host, str):
        raise UsageError(f"Not the address of a server: {host!r}; Client(HOST, PORT) takes a text as the host")
    scheme, found, _ = host.partition("://")
    if found:
        raise UsageError(f"Not the address of a server: {host!r}; it is HOST or HOST:PORT, without {scheme}://")
    if host.startswith("["):
        # An IPv6 address is written so where a port follows.
        host, _, rest = host[1:].partition("]")
        own = rest[1:] if rest.startswith(":") else None
    else:
        host, own = host.split(":") if host.count(":") == 1 else (host, None)
    if own and port is not None and own != str(port):
        raise UsageError(f"Not the address of a server: {address!r} has another port than {port!r}")
    given = own or (DEFAULT_PORT if port is None else port)
    number = int(given) if isinstance(given, str) and given.strip().isdecimal() else whole_number(given, 1, 65535)
    if number is None or not 0 < number < 65536:
        raise UsageError(
            f"Not the address of a server: {address!r}, {port!r}; a port is a number up to 65535, not {named(given)}"
        )
    return host, number


class Reached(NamedTuple):
    """A server that was connected to."""

    connection: socket.socket
    token: str | None
    """To be shown there; None where none is needed."""
    name: str
    """For errors."""
    credentials: Credentials | None = None
    """What was shown there, which governors take, too."""
    carrier: Carrier | None = None
    """What carries bytes between `connection` and an encrypted one, if there is one."""


def connect(host: str, port: int, access_file: str | None = None) -> Reached:
    """Connect to a server.

    The access file is the given one, else the one that RAIN_ACCESS names, else that of a server of this user here.
    """
    chosen = access_file or os.environ.get("RAIN_ACCESS") or None
    access_file = chosen or access_path(port)
    access = _read_access(access_file, chosen is not None)
    if access is not None and _is_local(host):
        path = access.get("socket")
        if isinstance(path, str) and os.path.exists(path):
            try:
                return Reached(_connect_unix(path), None, f"{host}:{port} ({path})")
            except OSError:
                # A server that was killed leaves its files; whoever has the port now may answer there.
                pass
    try:
        tcp = connect_tcp(host or "localhost", port, CONNECT_SECONDS)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            hint = "(close some, or raise the limit: ulimit -n)"
            raise RainException(f"No connection to {host}:{port} can be made: {error.strerror} {hint}") from None
        raise ConnectionLost(_refused(host, port, error, access, access_file)) from None
    except ValueError:
        raise RainException(f"Not the name of a host: {host!r}") from None
    if access is not None and isinstance(access.get("tls"), dict):
        credentials = Credentials(access["tls"], access_file)
        plain, carrier = connect_tls(tcp, credentials, f"{host}:{port}")
        return Reached(plain, None, f"{host}:{port}", credentials, carrier)
    if access is None:
        return Reached(tcp, None, f"{host}:{port} (asked without an access file: {_where_looked(access_file)})")
    return Reached(tcp, access.get("token"), f"{host}:{port}")


def _connect_unix(path: str) -> socket.socket:
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.settimeout(CONNECT_SECONDS)
        unix.connect(path)
    except OSError:
        unix.close()
        raise
    return unix


def _is_local(host: str) -> bool:
    return host in _LOCAL_HOSTS or host == socket.gethostname()


def _read_access(path: str, chosen: bool) -> dict[str, Any] | None:
    """The content of an access file; None where there is none, unless it was chosen."""
    # Not the module json: beside the user's script there may be another one.
    import msgspec

    try:
        if not chosen:
            # In /tmp, somebody else could have made the directory, for a server of their own.
            _check_private(os.path.dirname(path), os.lstat(os.path.dirname(path)), stat.S_ISDIR, "directory")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            _check_private(path, os.fstat(fd), stat.S_ISREG, "file")
            access = msgspec.json.decode(file.read(_ACCESS_BYTES_MAX))
    except FileNotFoundError:
        if chosen:
            raise ConnectionLost(f"There is no access file {path}") from None
        return None
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise RainException(f"The access file {path} of a Rain server cannot be read: {error}") from None
    if not isinstance(access, dict):
        raise RainException(f"{path} is not the access file of a Rain server")
    return access


def _check_private(path: str, status: os.stat_result, is_right: Callable[[int], bool], what: str) -> None:
    """Check that a file or directory was made by this user, and that nobody else may open it."""
    if not is_right(status.st_mode):
        raise RainException(f"The access file of a Rain server cannot be read: {path} is not a {what}")
    if status.st_uid != os.geteuid():
        raise RainException(
            f"{path}, which is to tell how to reach a Rain server, belongs to user {status.st_uid}, not to you: "
            "it is not safe to use"
        )
    mode = status.st_mode & 0o777
    if mode & 0o077:
        raise RainException(
            f"The access {what} {path} is open to other users (mode {mode:03o}); run: chmod go-rwx {path}"
        )


def _where_looked(path: str) -> str:
    return (
        f"there is no {path}; a server started with another RAIN_RUNTIME_DIR, XDG_RUNTIME_DIR or user has its file "
        "elsewhere, to be named by access= of Client or RAIN_ACCESS"
    )


def _refused(host: str, port: int, error: OSError, access: dict[str, Any] | None, path: str) -> str:
    reason = "no answer" if isinstance(error, TimeoutError) else (error.strerror or str(error))
    message = f"No Rain server at {host}:{port}: {reason}."
    if not _is_local(host):
        return (
            f"{message} On that machine, 'rain status' tells where its server listens; one for other machines is "
            f"started there with: rain server --listen {port} (see docs/cluster.md)"
        )
    if access is not None:
        message += f" ({path} was left by process {access.get('pid')}.)"
    else:
        message += f" (There is no {path}.)"
    option = "" if port == DEFAULT_PORT else f" --listen {port}"
    return f"{message} Start one with: rain start --simple{option}"
