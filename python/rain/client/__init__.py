"""The client side of Rain: connecting to a server, building graphs of tasks, and fetching results.

Examples:
    >>> from rain.client import Client, tasks, blob
    >>> client = Client("localhost", 7210)
    >>> with client.new_session() as session:
    ...     task = tasks.Concat([blob("Hello "), blob("world!")])
    ...     task.output.keep()
    ...     session.submit()
    ...     print(task.output.fetch())
    b'Hello world!'
"""

from typing import TYPE_CHECKING, Any

from ..common.errors import (
    CancelledException,
    ConnectionLost,
    PickleException,
    RainException,
    RainTimeout,
    RainWarning,
    SessionException,
    TaskException,
    UsageError,
)
from . import tasks
from .client import Client
from .data import DataObject, blob, directory, pickled
from .execute import Program
from .kind import TaskOptions
from .output import Input, InputDir, Output, OutputDir
from .remote import Remote, RemoteFunction, remote
from .session import Session, get_active_session
from .stored import StoredResult, load_results
from .task import Task
from .waiting import as_completed

if TYPE_CHECKING:
    from .futures import BrokenExecutor, Executor, RemoteException, TaskFuture

__all__ = [
    "BrokenExecutor",
    "CancelledException",
    "Client",
    "ConnectionLost",
    "DataObject",
    "Executor",
    "Input",
    "InputDir",
    "Output",
    "OutputDir",
    "PickleException",
    "Program",
    "RainException",
    "RainTimeout",
    "RainWarning",
    "Remote",
    "RemoteException",
    "RemoteFunction",
    "Session",
    "SessionException",
    "StoredResult",
    "Task",
    "TaskException",
    "TaskFuture",
    "TaskOptions",
    "UsageError",
    "as_completed",
    "blob",
    "directory",
    "get_active_session",
    "load_results",
    "pickled",
    "remote",
    "tasks",
]

# Imported when they are used: they need concurrent.futures and logging.
_IN_FUTURES = ("BrokenExecutor", "Executor", "RemoteException", "TaskFuture")


def __getattr__(name: str) -> Any:
    if name in _IN_FUTURES:
        from . import futures

        return getattr(futures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
