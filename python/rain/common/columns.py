"""Columns of the protocols: unsigned numbers of 32 bits, little-endian, one after the other."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable


def to_column(numbers: Iterable[int]) -> bytes:
    """The column that has each of some numbers."""
    column = array("I", numbers)
    if sys.byteorder != "little":
        column.byteswap()
    return column.tobytes()


def from_column(column: bytes) -> array[int]:
    """The numbers of a column."""
    numbers = array("I", column)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers
