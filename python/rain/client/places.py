"""Places in the user's code, as people know them."""

from __future__ import annotations

import dis
import sys
from types import CodeType
from typing import Any


def place(code: CodeType, instruction: int) -> str:
    """Where an instruction of some code is: ``file:line``, or in a notebook ``In [cell], line``."""
    line = code.co_firstlineno
    for offset, start in dis.findlinestarts(code):
        if offset > instruction:
            break
        line = start or line
    cell = _cell(code.co_filename)
    return f"{code.co_filename}:{line}" if cell is None else f"In [{cell}], line {line}"


def _cell(filename: str) -> int | None:
    """The number of the cell of a notebook whose code is under this file name; None if it is no such name."""
    ipython: Any = sys.modules.get("IPython")
    if ipython is None:
        return None
    try:
        # What IPython has compiled, by name: how often a cell had been run before.
        number = ipython.get_ipython().compile._filename_map.get(filename)
    except AttributeError:
        return None
    return number if isinstance(number, int) else None
