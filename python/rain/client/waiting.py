"""What is asked of the server about tasks and objects: waiting for them, their contents, cancelling, freeing them.

Sessions, tasks and objects have methods for it, which come here with the session's graph.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..common.columns import from_column, to_column
from ..common.data_instance import DataInstance
from ..common.errors import RainException, RainTimeout, RainWarning
from .connection import deadline_after
from .explanation import Explanation
from .fetching import Fetching
from .forgotten import about_known, check_known, is_forgotten
from .graph import Graph, Item, ObjectItem, TaskItem, as_items
from .locking import Latch

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
AnyItem = TypeVar("AnyItem", TaskItem, ObjectItem, Item)

# Items whose info is asked for at once; the server tells of about so many.
_ITEMS_OF_UPDATE = 16_384
# Objects whose contents are on their way at the same time.
_FETCHED_TOGETHER = 1_000


def wait(graph: Graph, items: Any, deadline: float | None, progress: bool = False) -> None:
    """Wait until all of some tasks and objects are finished, with a progress bar if that is wanted."""
    __tracebackhide__ = True
    listed = as_items(items, "wait for")
    if progress:
        watch(graph, listed, deadline)

    def ask(known: list[Any]) -> dict[str, Any]:
        __tracebackhide__ = True
        return graph._request("wait", graph._columns(known, "wait for"), deadline)

    # Also after watching: only this tells of tasks that were cancelled.
    about_known(listed, ask)
    _are_finished(listed)


def _are_finished(items: list[Any]) -> None:
    """What the client has been told of some tasks and objects; those that were cancelled stay so."""
    for item in items:
        if item.state != "cancelled":
            item._set_state("finished")


def wait_all(graph: Graph, deadline: float | None) -> None:
    """Wait until every submitted task is finished."""
    __tracebackhide__ = True
    graph._check_open()
    submitted = graph._submitted_tasks
    graph._request("wait_all", {}, deadline)
    graph._finished_tasks = max(graph._finished_tasks, submitted)


def wait_some(graph: Graph, listed: list[Any], deadline: float | None) -> list[Any]:
    """Wait until at least one of some tasks and objects is finished; returns those that are, in the given order."""
    __tracebackhide__ = True
    if not listed:
        return []
    columns = graph._columns(listed, "wait for")
    while True:
        over = [item for item in listed if is_forgotten(item)]
        if over:
            return over
        try:
            reply = graph._request("wait_some", columns, deadline)
        except RainException:
            # Some may have been forgotten after they were looked at.
            if any(map(is_forgotten, listed)):
                continue
            raise
        return _told_of(reply, listed)


def _told_of(reply: dict[str, Any], listed: list[Any]) -> list[Any]:
    """The items that the reply to a `wait_some` says are over."""
    tasks, objects = (set(from_column(reply[name])) for name in ("tasks", "objects"))
    over = [item for item in listed if (item._id in tasks if isinstance(item, TaskItem) else item._oid in objects)]
    _are_finished(over)
    return over


async def _wait_some_async(graph: Graph, listed: list[Any], deadline: float | None) -> list[Any]:
    """As :func:`wait_some`, without blocking the event loop."""
    import asyncio

    __tracebackhide__ = True
    over = [item for item in listed if is_forgotten(item)]
    if over:
        return over
    answer = _answer(graph, "wait_some", graph._columns(listed, "wait for"))
    try:
        return _told_of(await asyncio.wait_for(answer, seconds_left(deadline)), listed)
    except asyncio.TimeoutError:
        raise RainTimeout("Nothing more was finished in time") from None


def seconds_left(deadline: float | None) -> float | None:
    """The seconds until a deadline; None where there is none."""
    return None if deadline is None else max(deadline - time.monotonic(), 0)


def watch(graph: Graph, items: list[Any], deadline: float | None) -> None:
    """Wait until all of some tasks and objects are finished, with a progress bar."""
    __tracebackhide__ = True
    graph._check_items(items, "wait for")
    for _ in _completed(graph, items, True, deadline):
        pass


async def _nothing() -> AsyncIterator[Any]:
    nothing: tuple[Any, ...] = ()
    for item in nothing:
        yield item


class Completed(Iterator[T], AsyncIterator[T]):
    """Goes through tasks and objects in the order in which they are finished, with ``for`` or with ``async for``."""

    def __init__(self, items: Iterable[Any], progress: bool, timeout: float | None) -> None:
        __tracebackhide__ = True
        deadline = deadline_after(timeout)
        listed = as_items(items, "wait for")
        self._plain: Iterator[Any] = iter(())
        self._async: AsyncIterator[Any] = _nothing()
        if not listed:
            return
        first = listed[0]
        if not isinstance(first, (TaskItem, ObjectItem)):
            raise RainException(f"Cannot wait for {first!r}: it is neither a task nor a data object")
        graph = first._session
        graph._check_items(listed, "wait for")
        self._plain = _completed(graph, listed, progress, deadline)
        self._async = _completed_async(graph, listed, progress, deadline)

    def __next__(self) -> T:
        __tracebackhide__ = True
        found: T = next(self._plain)
        return found

    def __aiter__(self) -> Completed[T]:
        return self

    async def __anext__(self) -> T:
        __tracebackhide__ = True
        found: T = await self._async.__anext__()
        return found


def as_completed(items: Iterable[AnyItem], progress: bool = False, timeout: float | None = None) -> Completed[AnyItem]:
    """Go through tasks and objects in the order in which they are finished; also with ``async for``.

    Args:
        items: Tasks and objects of one session, submitted.
        progress: Show a progress bar (needs the package tqdm).
        timeout: Seconds from now on for all of them, after which :class:`~rain.client.RainTimeout` is raised.
    """
    __tracebackhide__ = True
    return Completed(items, progress, timeout)


def _completed(graph: Graph, listed: list[Any], progress: bool, deadline: float | None) -> Iterator[Any]:
    __tracebackhide__ = True
    with progress_bar(len(listed), progress) as bar:
        while listed:
            # All that finished meanwhile come at once, so that rounds are few when items are many.
            finished = wait_some(graph, listed, deadline)
            done = set(map(id, finished))
            listed = [item for item in listed if id(item) not in done]
            if bar is not None:
                bar.update(len(finished))
            yield from finished


async def _completed_async(
    graph: Graph, listed: list[Any], progress: bool, deadline: float | None
) -> AsyncIterator[Any]:
    __tracebackhide__ = True
    with progress_bar(len(listed), progress) as bar:
        while listed:
            finished = await _wait_some_async(graph, listed, deadline)
            done = set(map(id, finished))
            listed = [item for item in listed if id(item) not in done]
            if bar is not None:
                bar.update(len(finished))
            for item in finished:
                yield item


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


def explain(graph: Graph, task: Any, deadline: float | None) -> Explanation:
    """What the server says of a task."""
    __tracebackhide__ = True
    graph._check_open()
    graph._check_items([task], "explain")
    reply = graph._request("explain", {"tasks": graph._columns([task], "explain")["tasks"]}, deadline)
    return Explanation.of(reply["tasks"][0])


def cancel(graph: Graph, tasks: Any | None) -> list[Any]:
    """Stop tasks, by default all that are submitted, and what needs them; returns those that were cancelled."""
    __tracebackhide__ = True
    graph._check_open()
    listed = list(graph._submitted.values()) if tasks is None else as_items(tasks, "cancel")
    for item in listed:
        if isinstance(item, ObjectItem):
            raise RainException(f"Only tasks can be cancelled, not {item!r}")
    graph._check_items(listed, "cancel")
    if not listed:
        return []

    def ask(known: list[Any]) -> dict[str, Any]:
        __tracebackhide__ = True
        return graph._request("cancel", {"tasks": graph._columns(known, "cancel")["tasks"]})

    reply = about_known(listed, ask)
    # Calls of an executor may be forgotten meanwhile.
    found = map(graph._submitted.get, from_column(reply["tasks"]) if reply else ())
    cancelled = [task for task in found if task is not None]
    for task in cancelled:
        task._set_state("cancelled")
    return cancelled


def fetch(graph: Graph, dataobj: ObjectItem, deadline: float | None) -> DataInstance:
    """The content of an object that is kept; waits until it is finished."""
    __tracebackhide__ = True
    graph._check_items([dataobj], "fetch")
    fetching = Fetching(dataobj, graph._connection)
    while True:
        instance = fetching.take(graph._request("fetch", fetching.body, deadline), deadline)
        if instance is not None:
            return instance


def fetch_all(graph: Graph, dataobjs: Sequence[ObjectItem], deadline: float | None) -> list[DataInstance]:
    """The contents of objects that are kept, whose requests are sent together; waits until all are finished."""
    __tracebackhide__ = True
    graph._check_items(dataobjs, "fetch")
    instances = []
    for start in range(0, len(dataobjs), _FETCHED_TOGETHER):
        fetchings = [Fetching(dataobj, graph._connection) for dataobj in dataobjs[start : start + _FETCHED_TOGETHER]]
        for fetching, reply in zip(fetchings, _replies(graph, "fetch", [f.body for f in fetchings], deadline)):
            instance = fetching.take(reply, deadline)
            while instance is None:
                instance = fetching.take(graph._request("fetch", fetching.body, deadline), deadline)
            instances.append(instance)
    return instances


def _replies(
    graph: Graph, operation: str, bodies: list[dict[str, Any]], deadline: float | None
) -> Iterator[dict[str, Any]]:
    """The replies to requests that are sent together, in their order, as they come."""
    __tracebackhide__ = True
    answers = [_Reply() for _ in bodies]
    graph._start_requests(
        operation,
        [({"session": graph.session_id, **body}, answer.take) for body, answer in zip(bodies, answers)],
    )
    for answer in answers:
        if not answer.there.wait(seconds_left(deadline)):
            raise RainTimeout("The server has not answered in time")
        if answer.error is not None:
            raise answer.error from answer.error.__cause__
        yield answer.body
        answer.body = {}


class _Reply:
    """The reply to a request, which comes in another thread."""

    __slots__ = ("body", "error", "there")

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}
        self.error: RainException | None = None
        self.there = Latch()

    def take(self, body: dict[str, Any], error: RainException | None) -> None:
        """The reply has come."""
        self.body, self.error = body, error
        self.there.open()


def unkeep(graph: Graph, dataobjs: Any) -> None:
    """Free objects that are kept and submitted."""
    __tracebackhide__ = True
    listed = as_items(dataobjs, "unkeep")
    graph._check_items(listed, "unkeep")
    for dataobj in listed:
        if not isinstance(dataobj, ObjectItem):
            raise RainException(f"Only data objects can be freed; use unkeep_outputs() of {dataobj!r}")
        if not dataobj._kept:
            raise RainException(f"{dataobj!r} is not kept")
    body = {"session": graph.session_id, "objects": to_column(dataobj._oid for dataobj in listed)}
    request = graph._connection.prepare("unkeep", body)
    try:
        graph._call(request)
        _set_freed(listed)
    except RainException:
        raise
    except BaseException:
        # They are free if the server gets to know of it.
        if request.sent:
            _set_freed(listed)
        raise


def _set_freed(dataobjs: Iterable[Any]) -> None:
    for dataobj in dataobjs:
        dataobj._kept = False


def update(graph: Graph, items: Any, deadline: float | None = None) -> None:
    """Get the current information on tasks and objects from the server, in parts."""
    __tracebackhide__ = True
    listed = as_items(items, "update")
    for item in listed:
        check_known(item)
    for start in range(0, len(listed), _ITEMS_OF_UPDATE):
        left = listed[start : start + _ITEMS_OF_UPDATE]
        while left:
            left = _update_some(graph, left, deadline)


def locate(graph: Graph, governors: dict[int, dict[str, Any]], deadline: float | None) -> None:
    """Add the tasks that run and the objects that are there to what governors have, by their ids.

    An object is where the task runs or ran that makes it; a constant, where the first task ran that reads it.
    """
    tasks = [task for task in list(graph._submitted.values()) if not is_forgotten(task)]
    outputs = [output for task in tasks for output in task.outputs]
    constants = {item: task for task in reversed(tasks) for item in task.inputs if item.task is None}
    update(graph, [*tasks, *outputs, *constants], deadline)
    for task in tasks:
        if task.state == "running" and task.info.governor in governors:
            governors[task.info.governor]["tasks"].append(task.id)
    for item in (*constants, *outputs):
        governor = (item.task or constants[item]).info.governor
        if governor is None and len(governors) == 1:
            governor = next(iter(governors))
        if item._state == "finished" and governor in governors:
            governors[governor]["objects"].append(item.id)


def _update_some(graph: Graph, items: list[Any], deadline: float | None) -> list[Any]:
    """Get the information on as many items as the server tells of at once; those that are left."""
    __tracebackhide__ = True
    reply = graph._request("info", graph._columns(items, "update"), deadline)
    tasks = {info["id"]: info for info in reply["tasks"]}
    objects = {info["id"]: info for info in reply["objects"]}
    left = []
    for item in items:
        info = tasks.get(item._id) if isinstance(item, TaskItem) else objects.get(item._oid)
        if info is None:
            left.append(item)
        else:
            item._set_info(info)
    if len(left) == len(items):
        raise RainException("The server tells nothing of the items of update()")
    return left


async def wait_async(graph: Graph, items: list[Any]) -> None:
    """Wait until all of some tasks and objects are finished, without blocking the event loop."""
    __tracebackhide__ = True
    await _answer(graph, "wait", graph._columns(items, "wait for"))
    _are_finished(items)


async def fetch_async(graph: Graph, dataobj: ObjectItem) -> DataInstance:
    """The content of an object, without blocking the event loop."""
    __tracebackhide__ = True
    graph._check_items([dataobj], "fetch")
    fetching = Fetching(dataobj, graph._connection)
    while True:
        reply = await _answer(graph, "fetch", fetching.body)
        instance = await in_thread(fetching.take, reply) if fetching.takes_long(reply) else fetching.take(reply)
        if instance is not None:
            return instance


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """What a function returns that blocks, without blocking the event loop."""
    import asyncio

    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def _answer(graph: Graph, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    __tracebackhide__ = True
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[dict[str, Any]] = loop.create_future()

    def arrived(reply: dict[str, Any], error: RainException | None) -> None:
        # The loop may have been closed while the server worked; nobody waits then.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, future, reply, error)

    graph._start_request(operation, body, arrived)
    return await future


def _settle(future: asyncio.Future[dict[str, Any]], reply: dict[str, Any], error: RainException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(reply)
    else:
        future.set_exception(error)
