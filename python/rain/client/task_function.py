"""What makes tasks that call a function: the common part of remote functions and plain ones."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any, Callable

import msgspec

from .arguments import PLAIN_TYPES
from .capture import Capture
from .data import DataObject
from .function_table import LARGE, TASK_TYPE, FunctionTable, HiddenObject, Sent, Template
from .graph import Graph
from .kind import Kind
from .search_path import SearchPath, search_path
from .sendable import Sendable
from .task import Task, TaskInput, check_input

_encode = msgspec.msgpack.Encoder().encode


class Call(Task):
    """A call of a function."""

    __slots__ = ()
    TASK_TYPE = TASK_TYPE

    def __init__(self, session: Graph, kind: Kind, inputs: tuple[TaskInput, ...], config: bytes | None) -> None:
        self._place(session, kind, inputs, config, 4)


class CallWithObjects(Call):
    """A call whose arguments or whose function are in objects, which are its last inputs."""

    __slots__ = ("_hidden",)

    def __init__(
        self,
        session: Graph,
        kind: Kind,
        inputs: tuple[TaskInput, ...],
        config: bytes | None,
        hidden: tuple[HiddenObject, ...],
    ) -> None:
        self._hidden = len(hidden)
        self._place(session, kind, (*inputs, *hidden), config, 4)


class KeptCall(Call):
    """A call of an executor: its output is kept until the server was told to forget it."""

    __slots__ = ("_keeps_output",)

    def __init__(self, session: Graph, kind: Kind, inputs: tuple[TaskInput, ...], config: bytes | None) -> None:
        self._keeps_output = True
        super().__init__(session, kind, inputs, config)

    def _let_go(self) -> None:
        self._keeps_output = False


class KeptCallWithObjects(CallWithObjects):
    """A call of an executor whose arguments or whose function are in objects."""

    __slots__ = ("_keeps_output",)

    def __init__(
        self,
        session: Graph,
        kind: Kind,
        inputs: tuple[TaskInput, ...],
        config: bytes | None,
        hidden: tuple[HiddenObject, ...],
    ) -> None:
        self._keeps_output = True
        super().__init__(session, kind, inputs, config, hidden)

    _let_go = KeptCall._let_go


class TaskFunction(Sendable):
    """Makes tasks that call a function, which travels as it is when the task is made.

    Args:
        function: What is called.
        name: Its name in messages.
        template: What all its tasks have in common.
        least: How many positional arguments it needs.
        most: How many it takes at most.
        special: Arguments have to be looked at one by one.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, template: Template, least: int, most: int, special: bool
    ) -> None:
        self.function = function
        self.__name__ = name
        self._template = template
        self._least = least
        self._most = most
        self._special = special
        self._sent: Sent | None = None
        self._keeps = False

    def _call_in(self, session: Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Make a task in a session that calls the function with these arguments."""
        return self._call_with(session, self._now(session), args, kwargs)

    def _calls_in(self, session: Graph, calls: Iterable[tuple[Any, ...]]) -> list[Task]:
        """Make a task for each of some tuples of arguments; all call the function as it is now."""
        sent = self._now(session)
        return [self._call_with(session, sent, args, {}) for args in calls]

    def _now(self, session: Graph) -> Sent:
        """How the function gets to executors, as it is now."""
        sent = self._sent
        if (
            sent is None
            or sent.batch is not session._batch
            or sent.path != sys.path
            or (sent.differs is not None and sent.differs())
        ):
            sent = self._send(session)
        return sent

    def _call_with(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        count = len(args)
        if kwargs or not self._least <= count <= self._most or self._special:
            return self._call_generally(session, sent, args, kwargs)
        values = []
        positions = []
        inputs = []
        for arg in args:
            if type(arg) in PLAIN_TYPES:
                values.append(arg)
            elif isinstance(arg, (DataObject, Task)):
                positions.append(len(values))
                inputs.append(check_input(session, arg))
                values.append(None)
            else:
                return self._call_generally(session, sent, args, kwargs)
        if not values:
            config = None
        else:
            try:
                config = _encode((values, positions))
            except (OverflowError, UnicodeEncodeError):
                return self._call_generally(session, sent, args, kwargs)
        if sent.function is None and (config is None or len(config) <= LARGE):
            return Call(session, sent.kind, tuple(inputs), config)
        return make_call(session, sent, tuple(inputs), config, self._keeps)

    def _capture(self) -> Capture:
        """The function as it is now."""
        raise NotImplementedError

    def _capture_again(self) -> Capture:
        """The function as it is now, with its pickle."""
        raise NotImplementedError

    def _watch(self, capture: Capture, session: Graph) -> Callable[[], bool] | None:
        """What asks before further calls of one submit whether the function may differ from what was captured."""
        return None

    def _call_generally(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        if not session._has_calls:
            return self._general_call(session, sent, args, kwargs)
        # There may be a future among the arguments, whose result must not go before the task is there.
        session.client._connection.check_process()
        return session._submitting.run(self._general_call, session, sent, args, kwargs)

    def _general_call(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        raise NotImplementedError

    def _send(self, session: Graph) -> Sent:
        """Have the function sent as it is now."""
        path = search_path()
        functions: FunctionTable = session._functions
        capture = self._capture()
        sent = functions.send(session, self._template, capture, path)
        if sent is None:
            capture = self._capture_again()
            sent = functions.send(session, self._template, capture, path)
            assert sent is not None, "a new capture has its pickle"
        sent.differs = self._watch(capture, session)
        if path.directory is not None:
            sent.differs = partial(_may_differ, path, sent.differs)
        self._sent = sent
        return sent


def _may_differ(path: SearchPath, differs: Callable[[], bool] | None) -> bool:
    return not path.is_current() or (differs is not None and differs())


def make_call(
    session: Graph, sent: Sent, inputs: tuple[TaskInput, ...], config: bytes | None, keeps: bool = False
) -> Task:
    """Make a task that calls a function, with `config` as its arguments; what is large goes into objects.

    `keeps`: the output is kept, as those of an executor are.
    """
    hidden: list[HiddenObject] = []
    arguments: bytes | int | None = config
    large = sent.function() if isinstance(sent.function, weakref.ref) else None
    if large is not None:
        hidden.append(large)
        if config is not None and len(config) > LARGE:
            hidden.append(HiddenObject.make(session, config))
            arguments = len(inputs) + 1
        config = _encode({"function": len(inputs), "digest": sent.digest, "args": arguments})
    else:
        if sent.function is not None:
            config = _encode({"function": sent.function, "args": config})
        if config is not None and len(config) > LARGE:
            hidden.append(HiddenObject.make(session, config))
            config = _encode({"args": len(inputs)})
    if not hidden:
        return (KeptCall if keeps else Call)(session, sent.kind, inputs, config)
    made = KeptCallWithObjects if keeps else CallWithObjects
    return made(session, sent.kind, inputs, config, tuple(hidden))
