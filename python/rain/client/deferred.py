"""What stands for the result of a task, wherever that is."""

from __future__ import annotations

from typing import Any

from .graph import Graph


class Deferred:
    """Something that stands for the result of a task, and travels as that when it is an argument."""

    def as_argument(self, session: Graph | None) -> tuple[Any, ...]:
        """How to pickle it as an argument of a call in a session, in the form of ``__reduce__``.

        Without a session it stands in something that can refer to no data objects.
        """
        raise NotImplementedError
