"""Tasks that the server was told to forget: calls of executors that are over, and whose results were taken."""

from __future__ import annotations

from typing import Any, Callable

from ..common.errors import RainException


def is_forgotten(item: Any) -> bool:
    """Whether an item that was submitted is such a task or its result, of which the server knows nothing more."""
    task = getattr(item, "_task", item)
    if getattr(task, "_oid", -1) < 0:
        return False
    session = task._session
    # Numbers of a submit that is being made are not below this.
    return task._id < session._submitted_tasks and task._id not in session._submitted


def check_known(item: Any) -> None:
    """Raise an exception if the server knows nothing more of a task or object."""
    if is_forgotten(item):
        raise RainException(f"The server knows nothing more of {item!r}: the call of an executor is over")


def about_known(items: list[Any], request: Callable[[list[Any]], dict[str, Any]]) -> dict[str, Any] | None:
    """Make a request about those of some tasks and objects that are not forgotten; None if there are none."""
    __tracebackhide__ = True
    while True:
        known = [item for item in items if not is_forgotten(item)]
        if items and not known:
            return None
        try:
            return request(known)
        except RainException as error:
            # Some may have been forgotten after they were looked at. Others of the kind are about the tasks themselves.
            if type(error) is not RainException or not any(map(is_forgotten, known)):
                raise
