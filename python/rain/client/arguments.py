"""Arguments of remote functions as bytes.

Plain arguments become ``[arguments, positions]`` in MessagePack: at the positions stand data objects, one input each.
Anything else is a pickle of ``(arguments, keyword arguments)`` in which data objects are persistent ids
``(input, parameter)``. A pickle begins with 0x80, a MessagePack array does not.
"""

from __future__ import annotations

import io
from types import FunctionType
from typing import TYPE_CHECKING, Any, Callable

from ..common.errors import PickleException, RainException
from .task import check_input

if TYPE_CHECKING:
    from .session import Session

# What MessagePack gives back as it was.
PLAIN_TYPES = frozenset((int, str, bytes, float, bool, type(None)))


class Deferred:
    """Something that stands for the result of a task, and travels as that when it is an argument."""

    def as_argument(self, session: Session | None) -> tuple[Any, ...]:
        """How to pickle it as an argument of a call in a session, in the form of ``__reduce__``.

        Without a session it stands in something that can refer to no data objects.
        """
        raise NotImplementedError


def pickle_arguments(
    session: Session, args: tuple[Any, ...], kwargs: dict[str, Any], parameters: list[int], function: str
) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle arguments of any shape: the bytes, and the data objects in them.

    `parameters` has the number of the parameter that each of `args` and then of `kwargs` belongs to.
    """
    inputs: dict[int, Any] = {}
    numbers: dict[int, int] = {}
    parameter = 0

    def found(item: Any) -> tuple[int, int]:
        number = numbers.get(id(item))
        if number is None:
            check_input(session, item)
            number = numbers[id(item)] = len(inputs)
            inputs[number] = item
        return number, parameter

    # Not before it is needed: it takes longer than all the rest of this package.
    from .pickler import Pickler

    buffer = io.BytesIO()
    pickler = Pickler(buffer, found, session)
    try:
        # One pickle after the other with a common memo, to know which parameter a data object belongs to.
        pickler.dump((len(args), list(kwargs)))
        for parameter, value in zip(parameters, (*args, *kwargs.values())):  # noqa: B007 (found() reads it)
            pickler.dump(value)
    except RainException:
        raise
    except Exception as error:
        raise PickleException(
            f"An argument of {function}() cannot be pickled: {type(error).__name__}: {error}"
        ) from error
    return buffer.getvalue(), tuple(inputs.values())


def pickle_function(function: FunctionType, without_defaults: bool) -> bytes:
    """Pickle a function without its annotations, which only the client needs."""
    bare = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        None if without_defaults else function.__defaults__,
        function.__closure__,
    )
    bare.__kwdefaults__ = None if without_defaults else function.__kwdefaults__
    bare.__qualname__ = function.__qualname__
    bare.__module__ = function.__module__
    bare.__doc__ = None
    return pickle_callable(bare, function.__name__)


def pickle_callable(function: Callable[..., Any], name: str) -> bytes:
    """Pickle anything that can be called."""
    from .pickler import Pickler

    buffer = io.BytesIO()
    try:
        Pickler(buffer, _refuse).dump(function)
    except RainException as error:
        raise RainException(f"Remote function {name}() cannot be sent: {error}") from None
    except Exception as error:
        raise PickleException(f"Remote function {name}() cannot be pickled: {type(error).__name__}: {error}") from error
    return buffer.getvalue()


def _refuse(item: Any) -> Any:
    raise RainException(f"it uses a data object that is not passed as an argument: {item!r}")
