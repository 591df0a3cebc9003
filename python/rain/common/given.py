"""Values that users gave: as numbers, and as messages show them."""

from __future__ import annotations

import math
import operator
from typing import Any


def named(value: Any) -> str:
    """A value in messages: its type, and what it is as far as that is short."""
    try:
        shown = repr(value)
    except Exception as error:
        shown = f"(its repr() raises {type(error).__name__})"
    return f"{type(value).__name__}: {shown if len(shown) <= 200 else shown[:199] + '…'}"


def whole_number(value: Any, least: int, most: int) -> int | None:
    """A whole number of any type, NumPy's too, as an int; None if it is none, or out of range."""
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if least <= number <= most else None


def finite_number(value: Any) -> float | None:
    """A number of any type, NumPy's too, as a float; None if it is none, or not finite."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def plain_number(value: Any) -> Any:
    """A number of another package's type, such as NumPy's, as one of Python's; for encoders that know no others.

    Raises:
        TypeError: It is no number.
    """
    if str(getattr(value, "dtype", "")) == "bool":
        return bool(value)
    try:
        return operator.index(value)
    except TypeError:
        pass
    if isinstance(value, (str, bytes, bytearray)) or not hasattr(value, "__float__") or hasattr(value, "__len__"):
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return float(value)
