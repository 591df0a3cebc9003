"""Errors of tasks as texts for people."""

from __future__ import annotations

import os
import sys
from types import ModuleType, TracebackType

from ..common.errors import RainException

# Said of a relative path that was not found.
HINT_NOT_FOUND = (
    " (the call runs in an empty directory of its own on the governor's machine: use an absolute path, or pass a blob()"
    " or directory() with the content)"
)
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


# A governor takes texts of a MiB.
TEXT_CHARACTERS = 1 << 20


def first_part(text: str) -> str:
    """A text as far as it travels, with a note of how much there was."""
    more = len(text) - TEXT_CHARACTERS
    return text if more <= 0 else f"{text[:TEXT_CHARACTERS]}\n[{more} more characters are left out]"


def traceback_module() -> ModuleType:
    """The module, which a client may have another one for."""
    global _traceback_module
    if _traceback_module is None:
        import traceback

        _traceback_module = traceback
    return _traceback_module


_traceback_module: ModuleType | None = None


def describe_error(error: BaseException) -> str:
    """Type and text of an error, and the traceback from where the user's code begins."""
    try:
        text = str(error)
    except Exception:
        text = "(the text of the error cannot be shown)"
    if isinstance(error, ImportError):
        text += f" (in the executor: {sys.executable}, Python {sys.version.split()[0]})"
    if isinstance(error, FileNotFoundError) and _is_relative(error.filename):
        text += HINT_NOT_FOUND
    begin = users_traceback(error.__traceback__)
    if begin is None:
        return text if isinstance(error, RainException) else f"{type(error).__name__}: {text}"
    name = type(error).__name__
    head = f"{name}: {text}" if text else name
    trace = "".join(traceback_module().format_exception(type(error), error, begin))
    return f"{head}\n\n{trace.rstrip()}"


def _is_relative(path: object) -> bool:
    return isinstance(path, (str, bytes)) and bool(path) and not os.path.isabs(path)


def users_traceback(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from where the user's code begins."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
        trace = trace.tb_next
    return trace
