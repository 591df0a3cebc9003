"""The client side of Rain: connecting to a server, building graphs of tasks, and fetching results.

>>> from rain.client import Client, tasks, blob
>>> client = Client("localhost", 7210)
>>> with client.new_session() as session:
...     task = tasks.Concat([blob("Hello "), blob("world!")])
...     task.output.keep()
...     session.submit()
...     print(task.output.fetch())
b'Hello world!'
"""

from ..common.errors import RainException, RainWarning, SessionException, TaskException
from . import tasks
from .client import Client
from .data import DataObject, blob, directory, pickled
from .execute import Program
from .output import Input, InputDir, Output, OutputDir
from .remote import Remote, remote
from .session import Session
from .task import Task

__all__ = [
    "Client",
    "DataObject",
    "Input",
    "InputDir",
    "Output",
    "OutputDir",
    "Program",
    "RainException",
    "RainWarning",
    "Remote",
    "Session",
    "SessionException",
    "Task",
    "TaskException",
    "blob",
    "directory",
    "pickled",
    "remote",
    "tasks",
]
