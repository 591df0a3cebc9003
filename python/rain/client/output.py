"""Settings of the inputs and outputs of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..common.content_type import check_content_type
from ..common.errors import UsageError
from ..common.given import finite_number, named
from ..common.ids import DataType
from .graph import Item, ObjectItem, TaskItem
from .kind import OutputSpec

# What a call of a remote function or of a Program may give beside its arguments: to change something of the definition.
CALL_OPTIONS = ("name", "output", "outputs", "session")


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
        path: str | None = None,
        dataobj: Item | None = None,
        load: bool = False,
        content_type: str | None = None,
        write: bool = False,
        size_hint: float | None = None,
    ) -> None:
        self.label = _check_label(label)
        self.path = label if path is None else path
        if dataobj is not None and not isinstance(dataobj, (TaskItem, ObjectItem)):
            raise UsageError(f"dataobj= of {self!r} is a data object or a task, not {named(dataobj)}")
        self.dataobj = dataobj
        self.content_type = check_content_type(content_type)
        self.load = load
        self.write = write
        self.size_hint = _check_size(size_hint)

    def __repr__(self) -> str:
        shown = [] if self.label is None else [repr(self.label)]
        if self.path != self.label:
            shown.append(f"path={self.path!r}")
        shown += _set_options(self, "load", "content_type", "write", "size_hint", "dataobj")
        return f"{type(self).__name__}({', '.join(shown)})"


class InputDir(Input):
    """Settings of one input of a task that is a directory."""

    data_type = DataType.DIRECTORY

    def __init__(
        self,
        label: str | None = None,
        path: str | None = None,
        dataobj: Item | None = None,
        load: bool = False,
        content_type: str | None = None,
        write: bool = False,
        size_hint: float | None = None,
    ) -> None:
        if load:
            raise UsageError(f"A directory cannot be loaded as a value: InputDir({label!r}, load=True)")
        if content_type is not None:
            raise UsageError(f"A directory has no content type: InputDir({label!r}, content_type={content_type!r})")
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
        size_hint: float | None = None,
    ) -> None:
        self.label = _check_label(label)
        self.path = path
        self.encode = check_content_type(encode)
        self.content_type = check_content_type(content_type) or self.encode
        if self.encode and self.content_type != self.encode:
            raise UsageError(f"An output encoded as {encode!r} cannot have the content type {content_type!r}")
        self.size_hint = _check_size(size_hint)

    def spec(self) -> OutputSpec:
        """The output as a part of the graph."""
        return OutputSpec(self.label or "", self.data_type, self.content_type)

    def __repr__(self) -> str:
        shown = [] if self.label is None else [repr(self.label)]
        shown += _set_options(self, "path", "encode", "size_hint")
        if self.content_type != self.encode:
            shown.append(f"content_type={self.content_type!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class OutputDir(Output):
    """Settings of one output of a task that is a directory."""

    data_type = DataType.DIRECTORY

    def __init__(self, label: str | None = None, *, path: str | None = None, size_hint: float | None = None) -> None:
        super().__init__(label, path=path, size_hint=size_hint)


def changed_output(spec: OutputSpec, change: str | Output | None) -> OutputSpec:
    """An output of a definition with what a call changes of it: a label, or an Output; None leaves it as it is.

    Raises:
        UsageError: It would be another kind of data, or lie in another place.
    """
    if change is None:
        return spec
    if isinstance(change, str):
        change = Output(change)
    if not isinstance(change, Output):
        raise UsageError(f"An output is changed by a label, an Output or None, not {named(change)}")
    # An OutputDir says what it is, an Output may just have a label for one.
    if spec.data_type is not change.data_type and (change.data_type is DataType.DIRECTORY or change.content_type):
        raise UsageError(
            f"{change!r} cannot change the output {spec.label!r}, which is a {spec.data_type.name.lower()}"
        )
    if change.path is not None:
        raise UsageError(f"{change!r}: a call cannot change the path of an output")
    return OutputSpec(change.label or spec.label, spec.data_type, change.content_type or spec.content_type)


def changed_outputs(count: int, output: Any, outputs: Any, what: str, labels: Sequence[str] = ()) -> list[Any]:
    """What ``output=`` and ``outputs=`` of a call change: something for each of so many outputs, None for nothing.

    Raises:
        UsageError: They cannot be those of so many outputs.
    """
    if output is not None and outputs is not None:
        raise UsageError(f"{what}: either output= or outputs= is given, not both")
    if output is not None:
        if count != 1:
            raise UsageError(f"{what} has {count} outputs; output= is for one, use outputs=[...]")
        return [output]
    if outputs is None:
        return [None] * count
    if isinstance(outputs, (str, Output)):
        outputs = [outputs]
    elif isinstance(outputs, Mapping):
        unknown = [label for label in outputs if label not in labels]
        if unknown:
            raise UsageError(
                f"{what} has no output labelled {unknown[0]!r}; its outputs are {', '.join(map(repr, labels))}"
            )
        outputs = [outputs.get(label) for label in labels]
    try:
        listed = list(outputs)
    except TypeError:
        raise UsageError(f"outputs= of {what} is a list with something for each output, not {named(outputs)}") from None
    if len(listed) != count:
        raise UsageError(
            f"{what} has {count} outputs, but outputs= has {len(listed)}: give None for what stays as it is"
        )
    return listed


def _check_label(label: str | None) -> str | None:
    if label is not None and not isinstance(label, str):
        raise UsageError(f"A label is a string, not {type(label).__name__}: {label!r}")
    return label


def _check_size(size: float | None) -> float | None:
    if size is None:
        return None
    number = finite_number(size)
    if number is None or number < 0:
        raise UsageError(f"size_hint= is a number of bytes: {size!r}; it is not negative, or None")
    return number


def _set_options(item: Input | Output, *names: str) -> list[str]:
    """The options that are not as they are by default, as they are written in a call."""
    return [f"{name}={value!r}" for name, value in ((name, getattr(item, name, None)) for name in names) if value]
