"""Waiting for tasks and objects: one after the other, with a progress bar, and in asyncio."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Callable, TypeVar, Union

from ..common.errors import RainException, RainWarning
from .connection import deadline_after
from .data import DataObject
from .fetching import Fetching
from .task import Task

if TYPE_CHECKING:
    import asyncio

    from ..common.data_instance import DataInstance
    from .session import Session

Item = Union[Task, DataObject]
T = TypeVar("T")


def as_completed(items: Iterable[Item], progress: bool = False, timeout: float | None = None) -> Iterator[Item]:
    """Go through tasks and objects in the order in which they are finished.

    Args:
        items: Tasks and objects of one session, submitted.
        progress: Show a progress bar (needs the package tqdm).
        timeout: Seconds from now on for all of them, after which :class:`~rain.client.RainTimeout` is raised.
    """
    deadline = deadline_after(timeout)
    listed = as_items(items, "wait for")
    if not listed:
        return iter(())
    first = listed[0]
    if not isinstance(first, (Task, DataObject)):
        raise RainException(f"Cannot wait for {first!r}: it is neither a task nor a data object")
    session = first._session
    session._check_items(listed, "wait for")
    return completed(session, listed, progress, deadline)


def completed(session: Session, listed: list[Item], progress: bool, deadline: float | None) -> Iterator[Item]:
    """As :func:`as_completed`, for items that were checked."""
    with progress_bar(len(listed), progress) as bar:
        while listed:
            # All that finished meanwhile come at once, so that rounds are few when items are many.
            finished = session._wait_some(listed, deadline)
            done = set(map(id, finished))
            listed = [item for item in listed if id(item) not in done]
            if bar is not None:
                bar.update(len(finished))
            yield from finished


def progress_bar(total: int, wanted: bool) -> Any:
    """A progress bar to use in a ``with`` block, where it is None if none is wanted or tqdm is not installed."""
    if not wanted:
        return nullcontext()
    try:
        # In a notebook a widget, else a line in the terminal.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        warnings.warn(
            "A progress bar needs the package tqdm; install it with: pip install 'rain[progress]'",
            RainWarning,
            stacklevel=4,
        )
        return nullcontext()
    return tqdm(total=total, unit="task")


def as_items(items: Any, action: str) -> list[Item]:
    """A list of tasks and objects from what a user gave."""
    if isinstance(items, (Task, DataObject)):
        return [items]
    try:
        return list(items)
    except TypeError:
        raise RainException(
            f"Cannot {action} {items!r}: a list of tasks and data objects is needed, not {type(items).__name__}"
        ) from None


async def wait_async(session: Session, items: list[Item]) -> None:
    """Wait until all of some tasks and objects are finished, without blocking the event loop."""
    await _answer(session, "wait", session._columns(items, "wait for"))


async def fetch_async(session: Session, dataobj: DataObject) -> DataInstance:
    """The content of an object, without blocking the event loop."""
    session._check_items([dataobj], "fetch")
    fetching = Fetching(dataobj, session.client._connection)
    while True:
        reply = await _answer(session, "fetch", fetching.body)
        instance = await _in_thread(fetching.take, reply) if fetching.takes_long(reply) else fetching.take(reply)
        if instance is not None:
            return instance


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def _answer(session: Session, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[dict[str, Any]] = loop.create_future()

    def arrived(reply: dict[str, Any], error: RainException | None) -> None:
        # The loop may have been closed while the server worked; nobody waits then.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, future, reply, error)

    session._start_request(operation, body, arrived)
    return await future


def _settle(future: asyncio.Future[dict[str, Any]], reply: dict[str, Any], error: RainException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(reply)
    else:
        future.set_exception(error)
