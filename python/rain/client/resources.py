"""What tasks ask for beside a number of cpus, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Union

from ..common.errors import UsageError
from ..common.given import finite_number, named, whole_number

# What a task is given all at once: amounts by name, in the order of the names.
Request = tuple[tuple[str, Union[int, float]], ...]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}iB": 1 << 10 * place for place, letter in enumerate("KMGT", 1)},
    **{letter: 1 << 10 * place for place, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000**place for place, letter in enumerate("KMGT", 1)},
    "kB": 1000,
}
# What the server can count.
_LEAST = 0.0001
_MOST = 1 << 50
_ALTERNATIVES_MAX = 16
_NAMES_MAX = 64


def check_resources(resources: Any) -> tuple[Request, ...]:
    """Check what a task asks for: one mapping of amounts by name, or several of which the first that fits is taken.

    Raises:
        UsageError: Something of it cannot be.
    """
    if resources is None or resources == ():
        return ()
    alternatives = resources if isinstance(resources, (list, tuple)) else [resources]
    if not alternatives or len(alternatives) > _ALTERNATIVES_MAX:
        raise UsageError(f"resources= has between 1 and {_ALTERNATIVES_MAX} alternatives, not {len(alternatives)}")
    return tuple(map(_check_request, alternatives))


def _check_request(request: Any) -> Request:
    if not isinstance(request, Mapping):
        raise UsageError(
            'resources= is a dictionary, as {"gpus": 1, "memory": "4GiB"}, or a list of such ones, of which the first '
            f"that fits is taken; it is not {named(request)}"
        )
    if len(request) > _NAMES_MAX:
        raise UsageError(f"A task asks for {_NAMES_MAX} resources at most, not for {len(request)}")
    for name in request:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise UsageError(
                "The name of a resource is made of letters, digits, '_', '-' and '.', begins with a letter, and has 64 "
                f"of them at most: {named(name)}"
            )
    return tuple((name, _check_amount(name, request[name])) for name in sorted(request))


def _check_amount(name: str, amount: Any) -> int | float:
    number = _as_number(amount)
    if number is None:
        example = ', or a text as "4GiB"' if name != "cpus" else ""
        raise UsageError(f"The amount of a resource is a number{example}: resources={{{name!r}: {amount!r}}}")
    if name == "cpus":
        cpus = whole_number(number, 1, 0xFFFF_FFFF)
        if cpus is None:
            raise UsageError(f"A task runs on at least one cpu, a whole number: resources={{'cpus': {amount!r}}}")
        return cpus
    if number < _LEAST:
        raise UsageError(
            f"A task asks for more than nothing of a resource ({_LEAST} is the least), or does not name it: "
            f"resources={{{name!r}: {amount!r}}}"
        )
    if number > _MOST:
        raise UsageError(f"Nobody has so much (2**50 is the most): resources={{{name!r}: {amount!r}}}")
    if name == "memory" and not isinstance(number, int):
        raise UsageError(f"Memory is a whole number of bytes: resources={{'memory': {amount!r}}}")
    return number


def _as_number(amount: Any) -> int | float | None:
    if isinstance(amount, str):
        match = _AMOUNT.fullmatch(amount)
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None:
            return None
        return int(float(match[1]) * unit) if match[2] or "." not in match[1] else float(match[1])
    whole = whole_number(amount, -(1 << 63), 1 << 63)
    if whole is not None:
        return whole
    number = finite_number(amount)
    return int(number) if number is not None and number.is_integer() else number


def cpus_of(cpus: int, alternatives: tuple[Request, ...]) -> int:
    """The least number of cpus that a task takes: those of `cpus`, where 1 is the default, or of its resources.

    Raises:
        UsageError: They contradict each other.
    """
    said = [dict(request).get("cpus") for request in alternatives]
    for other in said:
        if other is not None and other != cpus != 1:
            raise UsageError(f"A task takes one number of cpus: cpus={cpus}, but resources={{'cpus': {other}}}")
    return min([int(other) if other is not None else cpus for other in said], default=cpus)
