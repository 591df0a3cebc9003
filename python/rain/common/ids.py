"""Identifiers of tasks and objects, and the two types of data."""

from __future__ import annotations

import enum
from typing import NamedTuple


class ID(NamedTuple):
    """The identifier of a task or of a data object."""

    session_id: int
    id: int

    def __str__(self) -> str:
        return f"{self.session_id}:{self.id}"


class DataType(str, enum.Enum):
    """What a data object is: a block of bytes (``"blob"``) or a directory (``"dir"``)."""

    BLOB = "blob"
    DIRECTORY = "dir"

    def __str__(self) -> str:
        return str(self.value)

    @property
    def wire(self) -> int:
        """The number that stands for it in the protocols."""
        return 0 if self is DataType.BLOB else 1

    @staticmethod
    def from_wire(number: int) -> DataType:
        """The data type for a number of the protocols."""
        return DataType.DIRECTORY if number else DataType.BLOB
