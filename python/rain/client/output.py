"""Settings of the inputs and outputs of tasks."""

from __future__ import annotations

import sys

from ..common.content_type import check_content_type
from ..common.errors import RainException
from ..common.ids import DataType
from .graph import Item
from .kind import OutputSpec, whole_number


class Input:
    """Settings of one input of a task.

    Args:
        label: The label of the input.
        path: Where the program finds the object, relative to its working directory (default: the label).
        dataobj: The data object (not in a Program or a remote function).
        content_type: The content type that is asked for.
        load: In a remote function: pass the loaded value instead of a DataInstance.
        write: For a program: a copy that it may change, not a read-only link.
        size_hint: How large the object is expected to be, in bytes.
    """

    data_type = DataType.BLOB

    def __init__(
        self,
        label: str | None = None,
        *,
        path: str | None = None,
        dataobj: Item | None = None,
        content_type: str | None = None,
        load: bool = False,
        write: bool = False,
        size_hint: int | None = None,
    ) -> None:
        self.label = _check_label(label)
        self.path = label if path is None else path
        self.dataobj = dataobj
        self.content_type = check_content_type(content_type)
        self.load = load
        self.write = write
        self.size_hint = _check_size(size_hint)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r}, path={self.path!r})"


class InputDir(Input):
    """Settings of one input of a task that is a directory."""

    data_type = DataType.DIRECTORY

    def __init__(
        self,
        label: str | None = None,
        *,
        path: str | None = None,
        dataobj: Item | None = None,
        write: bool = False,
        size_hint: int | None = None,
    ) -> None:
        super().__init__(label, path=path, dataobj=dataobj, write=write, size_hint=size_hint)


class Output:
    """Settings of one output of a task.

    Args:
        label: The label of the output.
        path: The file that the program makes, relative to its working directory (default: the label).
        content_type: The content type of the output.
        encode: In a remote function: the content type that the returned value is to be encoded with.
        size_hint: How large the object is expected to be, in bytes.
    """

    data_type = DataType.BLOB

    def __init__(
        self,
        label: str | None = None,
        *,
        path: str | None = None,
        content_type: str | None = None,
        encode: str | None = None,
        size_hint: int | None = None,
    ) -> None:
        self.label = _check_label(label)
        self.path = path
        self.encode = check_content_type(encode)
        self.content_type = check_content_type(content_type) or self.encode
        if self.encode and self.content_type != self.encode:
            raise RainException(f"An output encoded as {encode!r} cannot have the content type {content_type!r}")
        self.size_hint = _check_size(size_hint)

    def spec(self) -> OutputSpec:
        """The output as a part of the graph."""
        return OutputSpec(self.label or "", self.data_type, self.content_type)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r}, path={self.path!r})"


class OutputDir(Output):
    """Settings of one output of a task that is a directory."""

    data_type = DataType.DIRECTORY

    def __init__(self, label: str | None = None, *, path: str | None = None, size_hint: int | None = None) -> None:
        super().__init__(label, path=path, size_hint=size_hint)


def _check_label(label: str | None) -> str | None:
    if label is not None and not isinstance(label, str):
        raise RainException(f"A label is a string, not {type(label).__name__}: {label!r}")
    return label


def _check_size(size: int | None) -> int | None:
    if size is None:
        return None
    number = whole_number(size, 0, sys.maxsize)
    if number is None:
        raise RainException(f"size_hint= is a number of bytes: {size!r}")
    return number
