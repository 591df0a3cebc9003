"""Calls of plain functions, which know nothing of Rain: values in, a pickled value out.

With the mode ``"value"`` the output is the pickled result. With ``"outcome"`` the task does not fail with the function:
the output is the pickle of ``(result, None, "")``, or of ``(None, exception, traceback)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common import pickling
from ..common.errors import RainException

if TYPE_CHECKING:
    from ..common.data_instance import DataInstance
    from .call import Call


class InputFailed(Exception):
    """A call that this one gets its argument from has raised."""

    def __init__(self, error: BaseException, traceback: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.traceback = traceback


def run_plain(call: Call) -> bytes:
    """Call the function; returns its result or outcome, pickled."""
    function = call.function
    if function.plain == "value":
        args, kwargs = call.arguments()
        return dump(function.call(*args, **kwargs), function.name)
    try:
        args, kwargs = call.arguments()
        outcome: tuple[Any, BaseException | None, str] = (function.call(*args, **kwargs), None, "")
        return dump(outcome, function.name)
    except Exception as caught:
        from .executor import describe_error

        error: BaseException = caught
        if isinstance(caught, InputFailed):
            error, text = caught.error, caught.traceback
        else:
            text = describe_error(caught)
        try:
            return dump((None, error, text), function.name)
        except RainException:
            # An exception that cannot be pickled is told in words.
            return dump((None, RainException(text.partition("\n")[0]), text), function.name)


def dump(value: Any, name: str) -> bytes:
    """Pickle a value, the quick way where this is possible."""
    try:
        return pickling.dump(value)
    except Exception as error:
        raise RainException(f"The result of {name}() cannot be pickled: {type(error).__name__}: {error}") from None


def value_of(instance: DataInstance) -> Any:
    """What a plain function gets for a data object."""
    return instance.load() if instance.content_type else instance.get_bytes()


def result_of(outcome: tuple[Any, BaseException | None, str]) -> Any:
    """The result of another call that is passed as an argument."""
    result, error, traceback = outcome
    if error is not None:
        raise InputFailed(error, traceback)
    return result
