"""Plain Python functions as tasks: they know nothing of Rain, get values and return a value."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, Callable

from ..common.errors import RainException
from .arguments import pickle_arguments, pickle_callable, pickle_function
from .execute import check_environment
from .kind import Kind, OutputSpec, check_cpus, check_name, check_options
from .remote import LARGE_ARGUMENTS, TASK_TYPE, Remote, _Call, encode_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .session import Session
    from .task import Task

_OWN_OPTIONS = ("outcome", "cpus", "name", "env")
_ONE_PICKLE = (OutputSpec("output", content_type="pickle"),)


class PlainFunction(Remote):
    """A function that was not written for Rain, made into one that makes tasks.

    It is called without a context. Data objects among its arguments arrive as values: loaded by their content type, or
    bytes if they have none. Its result is pickled.

    Args:
        function: Anything that can be called and pickled.
        outcome: Let the task succeed also when the function raises; the result is a pair then, see
            :mod:`rain.executor.plain`.
        cpus: How many cpus a call needs.
        name: A name for people.
        env: Variables of the environment that are set during a call.
        options: See :class:`~rain.client.TaskOptions`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        outcome: bool = False,
        cpus: int = 1,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(function):
            raise RainException(f"A function is needed, not {type(function).__name__}: {function!r}")
        self.function = function
        self.__name__ = getattr(function, "__name__", None) or type(function).__name__
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__module__ = getattr(function, "__module__", None) or ""
        self.__doc__ = function.__doc__
        self._mode = "outcome" if outcome else "value"
        self._name = check_name(name) or self.__name__
        self._cpus = check_cpus(cpus)
        self._limits = check_options(options or {})
        self._env = check_environment(env)
        self._least = 0
        self._most = sys.maxsize
        self._special = False
        self._outputs = _ONE_PICKLE

    def _make_kind(self, session: Session) -> Kind:
        if isinstance(self.function, FunctionType):
            code = pickle_function(self.function, False)
        else:
            code = pickle_callable(self.function, self.__name__)
        config = encode_options(self.__name__, code, env=self._env, plain=self._mode)
        kind = Kind(TASK_TYPE, self._outputs, cpus=self._cpus, name=self._name, config=config, limits=self._limits)
        session._functions[self] = kind
        return kind

    def _general_call(self, session: Session, kind: Kind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        count = len(args) + len(kwargs)
        config, inputs = pickle_arguments(session, args, kwargs, [0] * count, self.__name__)
        if len(config) > LARGE_ARGUMENTS:
            self._warn(len(config))
        return _Call(session, kind, inputs, config)


def plain_function(function: Callable[..., Any], options: Mapping[str, Any]) -> PlainFunction:
    """A plain function with options of all sorts in one dictionary."""
    own = {name: value for name, value in options.items() if name in _OWN_OPTIONS}
    rest = {name: value for name, value in options.items() if name not in _OWN_OPTIONS}
    return PlainFunction(function, **own, options=rest)
