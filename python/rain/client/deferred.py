"""What stands for the result of a task, wherever that is."""

from __future__ import annotations

from typing import Any

from .graph import Graph, TaskItem


class Deferred:
    """Something that stands for the result of a task, and travels as that when it is an argument."""

    def as_argument(self, session: Graph | None) -> tuple[Any, ...]:
        """How to pickle it as an argument of a call in a session, in the form of ``__reduce__``.

        Without a session it stands in something that can refer to no data objects.
        """
        raise NotImplementedError

    def as_input(self, session: Graph) -> TaskItem | None:
        """The task whose output, an outcome, can be an input of a call in a session; None where there is none.

        Asked while the lock is held with which tasks of the session are submitted.
        """
        raise NotImplementedError
