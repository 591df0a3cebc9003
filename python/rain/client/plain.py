"""Plain Python functions as tasks: they know nothing of Rain, get values and return a value."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

import msgspec

from ..common.errors import RainException
from .arguments import PLAIN_TYPES, pickle_arguments
from .capture import Capture, capture
from .data import DataObject
from .deferred import Deferred
from .execute import check_environment
from .function_table import LARGE, Sent, Template
from .graph import Graph
from .kind import Limits, OutputSpec, check_cpus, check_name, check_options
from .remote import function_options
from .resources import cpus_of
from .taken_apart import TakenApart, take_apart
from .task import Task, check_input
from .task_function import KeptCall, TaskFunction, make_call

_OWN_OPTIONS = ("outcome", "cpus", "name", "env")
_ONE_PICKLE = (OutputSpec("output", content_type="pickle"),)
_encode = msgspec.msgpack.Encoder().encode
# Templates of one set of options before they are made anew.
_TEMPLATES = 1000


class PlainOptions(NamedTuple):
    """Options for calls of plain functions, checked."""

    outcome: bool
    cpus: int
    name: str
    env: dict[str, str]
    limits: Limits
    # By name of the function and by its parts.
    templates: dict[tuple[str, tuple[Any, ...] | None], Template]

    @staticmethod
    def of(options: Mapping[str, Any]) -> PlainOptions:
        """Check options of all sorts in one dictionary.

        Args:
            options: ``outcome`` lets the task succeed also when the function raises; the result is a pair then, see
                :mod:`rain.executor.plain`. ``cpus``, ``name`` and ``env`` are as for remote functions. The rest:
                see :class:`~rain.client.TaskOptions`.

        Raises:
            RainException: One of them is wrong.
        """
        cpus = check_cpus(options.get("cpus", 1))
        limits = check_options({name: value for name, value in options.items() if name not in _OWN_OPTIONS})
        cpus_of(cpus, limits.resources)
        return PlainOptions(
            options.get("outcome", False),
            cpus,
            check_name(options.get("name")),
            check_environment(options.get("env")),
            limits,
            {},
        )

    def template(self, name: str, parts: tuple[Any, ...] | None = None) -> Template:
        """What calls of functions of this name, that are put together in this way, have in common."""
        key = (name, parts)
        template = self.templates.get(key)
        if template is None:
            if len(self.templates) >= _TEMPLATES:
                self.templates.clear()
            mode = "outcome" if self.outcome else "value"
            options = function_options(name, env=self.env, plain=mode, parts=parts)
            template = Template.make(options, _ONE_PICKLE, self.cpus, self.name or name, self.limits)
            self.templates[key] = template
        return template


class PlainFunction(TaskFunction):
    """A function that was not written for Rain, as it is now, made into one that makes tasks.

    It is called without a context. Data objects among its arguments arrive as values: loaded by their content type, or
    bytes if they have none. Its result is pickled.

    Args:
        function: Anything that can be called and pickled.
        options: How it is called.

    Raises:
        RainException: It cannot be called, or cannot be pickled.
    """

    def __init__(self, function: Callable[..., Any], options: PlainOptions) -> None:
        if not callable(function):
            raise RainException(f"A function is needed, not {type(function).__name__}: {function!r}")
        name = name_of(function)
        taken = take_apart(function)
        self.parts = taken.parts
        template = options.template(name, taken.parts)
        super().__init__(taken.function, name, template, least=0, most=sys.maxsize, special=False)
        self._captured = capture(taken.function, name)
        self.give(taken)
        self._keeps = options.outcome

    def give(self, taken: TakenApart) -> None:
        """Have the next calls be those of a callable, which differs from the one before in its values only."""
        self._args, self._kwargs = taken.args, taken.kwargs

    def is_of(self, taken: TakenApart) -> bool:
        """Whether these are calls of a callable, which has not changed, but for its values."""
        return self.parts == taken.parts and self._captured.is_of(taken.function)

    def _call_with(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        if self._args or self._kwargs:
            args = (*self._args, *args)
            kwargs = {**self._kwargs, **kwargs}
        if not self._keeps:
            return super()._call_with(session, sent, args, kwargs)
        if kwargs:
            return self._call_generally(session, sent, args, kwargs)
        values: list[Any] = []
        positions: list[int] = []
        inputs: list[Any] = []
        outcomes: list[int] = []
        for arg in args:
            if type(arg) in PLAIN_TYPES:
                values.append(arg)
                continue
            if not isinstance(arg, (Deferred, DataObject, Task)):
                return self._call_generally(session, sent, args, kwargs)
            if isinstance(arg, Deferred):
                task = arg.as_input(session)
                if task is None:
                    return self._call_generally(session, sent, args, kwargs)
                outcomes.append(len(values))
                inputs.append(task)
            else:
                inputs.append(check_input(session, arg))
            positions.append(len(values))
            values.append(None)
        config = None
        if values:
            try:
                config = _encode((values, positions, outcomes) if outcomes else (values, positions))
            except (OverflowError, UnicodeEncodeError):
                return self._call_generally(session, sent, args, kwargs)
        if sent.function is None and (config is None or len(config) <= LARGE):
            return KeptCall(session, sent.kind, tuple(inputs), config)
        return make_call(session, sent, tuple(inputs), config, True)

    def _capture(self) -> Capture:
        return self._captured

    def _capture_again(self) -> Capture:
        self._captured = Capture(self.function, self.__name__, True)
        return self._captured

    def _general_call(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        count = len(args) + len(kwargs)
        config, inputs = pickle_arguments(session, args, kwargs, [0] * count, self.__name__)
        return make_call(session, sent, inputs, config, self._keeps)


def name_of(function: Any) -> str:
    """The name of something that can be called, for people."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def plain_function(function: Callable[..., Any], options: Mapping[str, Any]) -> PlainFunction:
    """A plain function with options of all sorts in one dictionary.

    Raises:
        RainException: An option is wrong, or the function cannot be called or pickled.
    """
    return PlainFunction(function, PlainOptions.of(options))
