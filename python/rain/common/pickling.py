"""Values as pickles that other processes can load: the quick way where that is enough."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from . import pickle_buffers
from .pickle_buffers import Piece, without_contents
from .reference import PROTOCOL

# Names of the script's module (the second one is in processes of multiprocessing), and how they stand in pickles.
_MAIN = {"__main__": b"\x8c\x08__main__", "__mp_main__": b"\x8c\x0b__mp_main__"}
_END = b"main__"


def dump(value: Any) -> bytes:
    """Pickle a value; functions and classes that are not found under their name elsewhere travel by value.

    Raises:
        Exception: Whatever the pickling of something that cannot be pickled raises.
    """
    pieces = dump_pieces(value)
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


def dump_pieces(value: Any) -> list[Piece]:
    """As :func:`dump`, in pieces: large contents are not copied, but referred to."""
    if not has_own_modules():
        try:
            pieces = pickle_buffers.dump_pieces(_quick_pickler, value)
        except Exception:
            # Something local, which has no name; or else the same error comes again.
            pieces = []
        if pieces and not _names_script(pieces):
            return pieces
    # Not before it is needed: it imports cloudpickle.
    from .by_value import ByValuePickler

    return pickle_buffers.dump_pieces(ByValuePickler, value)


def _names_script(pieces: list[Piece]) -> bool:
    """As :func:`names_script`, of a pickle in pieces."""
    if len(pieces) == 1:
        return names_script(bytes(pieces[0]))
    return any(names_script(bytes(piece)) for piece in without_contents(pieces))


def _quick_pickler(file: Any) -> pickle.Pickler:
    return pickle.Pickler(file, protocol=PROTOCOL)


def names_script(data: bytes) -> bool:
    """Whether a pickle refers to the script by name, which is another one in other processes."""
    # Hardly any has this, and it is asked for each result.
    return _END in data and any(written in data for name, written in _MAIN.items() if name in sys.modules)


def has_own_modules() -> bool:
    """Whether the user has registered modules with cloudpickle whose content travels by value."""
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    if cloudpickle is None:
        return False
    # What the function makes a copy of.
    registry = getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", None)
    return bool(cloudpickle.list_registry_pickle_by_value() if registry is None else registry)
