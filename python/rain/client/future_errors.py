"""What futures raise, beside the exceptions of the calls themselves."""

from __future__ import annotations

import concurrent.futures

from ..common.errors import RainException, TaskException


class BrokenExecutor(RainException, concurrent.futures.BrokenExecutor):
    """The session of an executor has failed: a process that ran a call died, or a call took too long."""


class BrokenByCall(TaskException, BrokenExecutor):
    """The process that ran this call died, or the call took too long, and with it the executor has failed."""


class ExecutorShutdown(RainException, RuntimeError):
    """The executor was shut down and takes no more calls."""


class RemoteException(RainException):
    """A call has raised an exception that cannot be made again here; the message has its type and its text.

    Attributes:
        type_name: The name of the exception's type.
        text: Its message.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name


class RemoteTraceback(RainException):
    """The cause of an exception that was raised in a call: the traceback there."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"
