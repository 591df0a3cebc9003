"""Calls of plain functions, which know nothing of Rain: values in, a pickled value out.

With the mode ``"value"`` the output is the pickled result, and the task fails with the function. With ``"outcome"`` it
never does: the output is the pickle of an outcome, ``(True, result)`` or ``(False, failure)``.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Protocol

from ..common import pickling
from ..common.errors import RainException
from ..common.pickle_buffers import LARGE, Piece
from .error_text import describe_error
from .functions import Function

if TYPE_CHECKING:
    from ..common.data_instance import DataInstance


# What is pickled without the name of anything.
_NAMELESS = frozenset((int, float, bool, str, bytes, type(None)))


class PlainCall(Protocol):
    """A call of a function that was not written for Rain."""

    function: Function

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments."""


class Failure(NamedTuple):
    """An exception on its way to who waits for it: what can always be read, and itself where it can be pickled.

    Attributes:
        name: The name of its type.
        text: Its message.
        traceback: Type, message and traceback, for people.
        pickled: The pickle of the exception and its ``args``; None if they cannot be pickled.
    """

    name: str
    text: str
    traceback: str
    pickled: bytes | None


class InputFailed(Exception):
    """A call that this one gets its argument from has raised."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


def run_plain(call: PlainCall) -> list[Piece]:
    """Call the function; returns its result or outcome, pickled, in pieces."""
    function = call.function
    if function.plain == "value":
        args, kwargs = call.arguments()
        return dump(function.call(*args, **kwargs), function.name)
    try:
        args, kwargs = call.arguments()
        result = function.call(*args, **kwargs)
        if type(result) in _NAMELESS and (type(result) is not bytes or len(result) < LARGE):
            return [pickle.dumps((True, result), protocol=5)]
        return dump((True, result), function.name)
    except InputFailed as caught:
        failure = caught.failure
    # SystemExit and the like, too, are what this one call has come to.
    except BaseException as caught:
        failure = failure_of(caught)
    return [pickle.dumps((False, failure), protocol=5)]


def failure_of(error: BaseException) -> Failure:
    """An exception in the form in which it travels."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:
        text = "(the text of the error cannot be shown)"
    try:
        traceback = describe_error(error)
    except BaseException:
        traceback = f"{name}: {text}"
    return Failure(name, text, traceback, pickle_of(error))


def pickle_of(error: BaseException) -> bytes | None:
    """The pickle of an exception and its ``args``; None if they cannot be pickled."""
    try:
        return b"".join(dump((error, error.args), type(error).__name__))
    except BaseException:
        return None


class Chunk:
    """A function of which several calls are one task: it takes a list of their arguments.

    The result is a list of theirs, up to the first one that has raised, and what that one has raised.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.__wrapped__ = function
        self.__name__ = name

    def __call__(self, calls: list[tuple[Any, ...]]) -> tuple[list[Any], Failure | None]:
        function = self.__wrapped__
        results: list[Any] = []
        try:
            for args in calls:
                results.append(function(*args))  # noqa: PERF401 (those before an error are kept)
        except BaseException as error:
            return results, failure_of(error)
        return results, None


def dump(value: Any, name: str) -> list[Piece]:
    """Pickle a value in pieces, the quick way where this is possible."""
    try:
        return pickling.dump_pieces(value)
    except Exception as error:
        raise RainException(f"The result of {name}() cannot be pickled: {type(error).__name__}: {error}") from None


def value_of(instance: DataInstance) -> Any:
    """What a plain function gets for a data object."""
    return instance.load() if instance.content_type else instance.get_bytes()


def result_of(outcome: tuple[bool, Any]) -> Any:
    """The result of another call that is passed as an argument."""
    succeeded, result = outcome
    if not succeeded:
        raise InputFailed(result)
    return result
