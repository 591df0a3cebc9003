"""Arguments of remote functions as bytes.

Plain arguments become ``[arguments, positions]`` in MessagePack: at the positions stand data objects, one input each. A
third element has those of the positions whose objects are outcomes of calls, for which their results stand.
Anything else is a pickle of ``(arguments, keyword arguments)`` in which data objects are persistent ids
``(input, parameter)``. A pickle begins with 0x80, a MessagePack array does not.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from ..common.errors import PickleException, RainException
from .graph import Graph
from .task import check_input

# What MessagePack gives back as it was.
PLAIN_TYPES = frozenset((int, str, bytes, float, bool, type(None)))


def pickle_arguments(
    session: Graph,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    parameters: list[int],
    function: str,
    names: Sequence[str] = (),
) -> tuple[bytes, tuple[Any, ...]]:
    """Pickle arguments of any shape: the bytes, and the data objects in them.

    `parameters` has the number of the parameter that each of `args` and then of `kwargs` belongs to, `names` the names
    of all parameters, if they are known.

    Raises:
        RainException: An argument cannot be pickled, or a data object is not one of the session.
    """
    inputs: dict[int, Any] = {}
    numbers: dict[int, int] = {}
    parameter = 0

    def found(item: Any) -> tuple[int, int]:
        number = numbers.get(id(item))
        if number is None:
            number = numbers[id(item)] = len(inputs)
            inputs[number] = check_input(session, item)
        return number, parameter

    # Not before it is needed: it takes longer than all the rest of this package.
    from .pickler import ArgumentPickler

    buffer = io.BytesIO()
    pickler = ArgumentPickler(buffer, found, session)
    position = 0
    try:
        # One pickle after the other with a common memo, to know which parameter a data object belongs to.
        pickler.dump((len(args), list(kwargs)))
        values = (*args, *kwargs.values())
        for position, (parameter, value) in enumerate(zip(parameters, values)):  # noqa: B007 (found() reads it)
            pickler.dump(value)
    except RainException:
        raise
    except Exception as error:
        from .culprit import culprit

        named = [names[parameters[number]] if names else number + 1 for number in range(len(args))] + list(kwargs)
        where = culprit(
            values[position],
            f"argument {named[position]!r}",
            lambda part: ArgumentPickler(io.BytesIO(), found, session).dump(part),
        )
        raise PickleException(
            f"An argument of {function}() cannot be pickled: {type(error).__name__}: {error} ({where})"
        ) from error
    return buffer.getvalue(), tuple(inputs.values())
