"""The exceptions of Rain."""

from __future__ import annotations

import pickle
from typing import Any


class RainException(Exception):
    """Base of all errors that Rain raises."""


class UsageError(RainException, TypeError, ValueError):
    """An argument, an option or a value is not what can be taken; nothing was sent to the server for it."""


class RainWarning(Warning):
    """A call is allowed, but its effect is probably not what was intended."""


class SessionException(RainException):
    """The session is closed or has failed, so it cannot be used any more."""


class TaskException(SessionException):
    """A task failed, and its session with it.

    Attributes:
        task: The task that failed (:class:`rain.client.Task`), if it is known.
        error: The error as it came from where the task ran, with the remote traceback.
        debug: The debug messages of the task.
        governor: The number of the governor where it ran, if it is known.
        cause: The exception that a function has raised, where it can be made again here; it is the ``__cause__``, too.
    """

    def __init__(
        self,
        message: str,
        task: Any | None = None,
        error: str = "",
        debug: str = "",
        *,
        governor: int | None = None,
        cause: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.task = task
        self.error = error
        self.debug = debug
        self.governor = governor
        self.cause = cause
        self.__cause__ = cause


class RainTimeout(RainException, TimeoutError):
    """The ``timeout=`` of a wait or a request is over. What was waited for goes on, and so can the session."""


class ConnectionLost(RainException, ConnectionError):
    """There is no connection to the server: it cannot be reached, or the connection to it broke."""


class PickleException(RainException, pickle.PicklingError):
    """A function or an argument cannot be pickled, so it cannot be sent."""


class CancelledException(RainException):
    """A task was cancelled, so there is nothing to wait for or to fetch; its session goes on."""


class LabelException(RainException, KeyError, ValueError):
    """A label that is not there, or that is used twice."""

    def __str__(self) -> str:
        # KeyError would show it quoted.
        return Exception.__str__(self)
