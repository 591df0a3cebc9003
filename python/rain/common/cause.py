"""The exception that a task has failed with, on its way to the client.

Most are an exception of Python's own with a text, which the message of the failure shows. Another one travels as a
pickle, in the last line of the task's debug text, where the client takes it out.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import pickle
from typing import Any

# How the line begins; the first character is no part of texts.
_MARK = "\x1erain exception "
# Longer pickles stay where they are: both ends of a debug text of 64 KiB arrive.
_PICKLE_BYTES = 16 << 10
_TRACEBACK = "\n\nTraceback (most recent call last):\n"


def is_shown(error: BaseException) -> bool:
    """Whether the message of the failure has all that there is of an exception."""
    if type(error).__module__ != "builtins" or error.__dict__ or isinstance(error, (ImportError, SyntaxError)):
        return False
    return error.args == () or (len(error.args) == 1 and type(error.args[0]) is str and str(error) == error.args[0])


def with_pickle(debug: str, pickled: bytes | None) -> str:
    """A debug text with the pickle of an exception and its ``args``, if there is one that is not too long."""
    if pickled is None or len(pickled) > _PICKLE_BYTES:
        return debug
    line = _MARK + base64.b64encode(pickled).decode()
    return f"{debug}\n{line}" if debug else line


def split(debug: str) -> tuple[str, bytes | None]:
    """The debug text that the task has written, and the pickle that came with it."""
    text, mark, encoded = debug.rpartition(_MARK)
    if not mark:
        return debug, None
    try:
        return text.rstrip("\n"), base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return text.rstrip("\n"), None


def load(pickled: bytes | None) -> BaseException | None:
    """The exception in a pickle; None if it cannot be made again here."""
    if pickled is None:
        return None
    try:
        loaded, args = pickle.loads(pickled)
        # Its constructor may have made other ones of those that it was given.
        loaded.args = args
    except BaseException:
        return None
    return loaded if isinstance(loaded, BaseException) else None


def shown(message: str) -> BaseException | None:
    """The exception of Python's own that a message tells of; None if it tells of another one, or of none."""
    head, found, trace = message.partition(_TRACEBACK)
    # The last lines of a traceback have the name of its class with that of its module.
    if not found or not trace.rstrip().endswith(f"\n{head}"):
        return None
    name, _, text = head.partition(": ")
    made: Any = getattr(builtins, name, None)
    if not (isinstance(made, type) and issubclass(made, BaseException)):
        return None
    try:
        error = made(text) if text else made()
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None
