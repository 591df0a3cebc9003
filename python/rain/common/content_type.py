"""Content types: what the bytes of a data object mean, and how to go from values to bytes and back.

=====================  =========================================
``None`` or ``""``     raw bytes, unknown or unspecified
``pickle``             Python object serialized with pickle
``cloudpickle``        Python object serialized with cloudpickle
``json``               JSON
``cbor``               CBOR (needs the package cbor2)
``arrow``              Arrow IPC stream (needs the package pyarrow)
``text``               UTF-8 text
``text-<ENCODING>``    text in another encoding
``mime/<MIME>``        a MIME type
``user/<TYPE>``        a type of the user's own
=====================  =========================================
"""

from __future__ import annotations

from typing import Any

from .errors import RainException, UsageError
from .given import plain_number
from .mapped_file import MappedFile
from .pickle_buffers import Piece, load_file

_PLAIN = frozenset(("pickle", "cloudpickle", "json", "cbor", "arrow", "text"))


def check_content_type(name: str | None) -> str | None:
    """Check that a content type is a known one; returns it, or None for an unspecified one."""
    if name is None or name == "":
        return None
    if not isinstance(name, str):
        raise UsageError(f"A content type is a string, not {type(name).__name__}: {name!r}")
    if name in _PLAIN:
        return name
    if name.startswith("text-"):
        text_encoding(name)
        return name
    if name.startswith(("mime/", "user/")) and len(name) > 5:
        return name
    raise UsageError(
        f"Unknown content type {name!r}; known are {', '.join(sorted(_PLAIN))}, "
        "text-<ENCODING>, mime/<MIME>, user/<TYPE>"
    )


def is_subtype(name: str | None, of: str | None) -> bool:
    """Whether a content type may stand where another is asked for. Any type is a sub-type of the unspecified one."""
    return not of or name == of


def merge_content_types(static: str | None, dynamic: str | None) -> str | None:
    """The actual content type of an object with a type from the graph and one set at run time."""
    if not dynamic:
        return static or None
    if not is_subtype(dynamic, static):
        raise UsageError(f"Content type {dynamic!r} is not a sub-type of {static!r}")
    return dynamic


def text_encoding(name: str | None) -> str:
    """The encoding of the text in objects of a content type (UTF-8 if it does not say)."""
    if not name or not name.startswith("text-"):
        return "utf-8"
    import codecs

    try:
        "".encode(name[5:])
        return codecs.lookup(name[5:]).name
    except (LookupError, ValueError):
        raise UsageError(f"Unknown text encoding in content type {name!r}") from None


def _not_encoded(value: Any, name: str, error: Exception) -> RainException:
    return RainException(f"A {type(value).__name__} cannot be encoded as {name!r}: {type(error).__name__}: {error}")


def _not_loaded(name: str | None, error: Exception) -> RainException:
    return RainException(f"The data cannot be loaded as {name!r}: {type(error).__name__}: {error}")


def encode_value(value: Any, name: str) -> bytes:
    """Serialize a value into a content type."""
    try:
        return _encode(value, name)
    except RainException:
        raise
    except Exception as error:
        raise _not_encoded(value, name, error) from error


def encode_pieces(value: Any, name: str) -> list[Piece]:
    """As :func:`encode_value`, in pieces: what is large in a pickle is not copied."""
    if name != "pickle":
        return [encode_value(value, name)]
    from .pickling import dump_pieces

    try:
        return dump_pieces(value)
    except RainException:
        raise
    except Exception as error:
        raise _not_encoded(value, name, error) from error


def decode_file(file: MappedFile, name: str | None) -> Any:
    """As :func:`decode_value`, of what is in a file: large arrays in a pickle are not copied."""
    if name not in ("pickle", "cloudpickle"):
        return decode_value(file.view(), name)
    try:
        return load_file(file)
    except RainException:
        raise
    except Exception as error:
        raise _not_loaded(name, error) from error


def decode_value(data: Any, name: str | None) -> Any:
    """Make the value again from the bytes of an object of a content type."""
    try:
        return _decode(data, name)
    except RainException:
        raise
    except Exception as error:
        raise _not_loaded(name, error) from error


def _encode(value: Any, name: str) -> bytes:
    if name == "pickle":
        from .pickling import dump

        return dump(value)
    if name == "cloudpickle":
        from .by_value import dump_by_value

        return dump_by_value(value)
    if name == "json":
        import json

        return json.dumps(value, default=plain_number).encode()
    if name == "cbor":
        return bytes(_optional("cbor2", "cbor").dumps(value))
    if name == "arrow":
        from .arrow import encode_arrow

        return encode_arrow(_optional("pyarrow", "arrow"), value)
    if name == "text" or name.startswith("text-"):
        if not isinstance(value, str):
            raise UsageError(f"Only a str can be encoded as {name!r}, not {type(value).__name__}")
        return value.encode(text_encoding(name))
    raise RainException(f"Rain does not know how to encode values as {name!r}")


def _decode(data: Any, name: str | None) -> Any:
    if name in ("pickle", "cloudpickle"):
        import pickle

        return pickle.loads(data)
    if name == "json":
        import json

        return json.loads(bytes(data))
    if name == "cbor":
        return _optional("cbor2", "cbor").loads(bytes(data))
    if name == "arrow":
        from .arrow import decode_arrow

        return decode_arrow(_optional("pyarrow", "arrow"), data)
    if name == "text" or (name and name.startswith("text-")):
        return str(data, text_encoding(name))
    if not name:
        raise RainException("An object without a content type cannot be loaded; use get_bytes()")
    raise RainException(f"Rain does not know how to load content type {name!r}; use get_bytes()")


def _optional(module: str, name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise RainException(
            f"Content type {name!r} needs the Python package {module}; install it with: pip install 'rain[{name}]'"
        ) from None
