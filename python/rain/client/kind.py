"""Kinds of tasks: what many tasks have in common, sent to the server once per session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..common.content_type import check_content_type
from ..common.errors import RainException
from ..common.ids import DataType


class OutputSpec(NamedTuple):
    """One output of a kind of task; an empty label is none."""

    label: str = ""
    data_type: DataType = DataType.BLOB
    content_type: str | None = None


ONE_BLOB = (OutputSpec("output"),)


class Kind:
    """Task type, configuration, resources, labels and outputs of tasks. Kinds are told apart by identity."""

    __slots__ = ("config", "cpus", "input_labels", "n_outputs", "name", "outputs", "task_type")

    def __init__(
        self,
        task_type: str,
        outputs: Sequence[OutputSpec] = ONE_BLOB,
        *,
        cpus: int = 1,
        name: str = "",
        config: bytes = b"",
        input_labels: Sequence[str] = (),
    ) -> None:
        self.task_type = task_type
        self.outputs = tuple(outputs)
        self.n_outputs = len(self.outputs)
        self.cpus = cpus
        self.name = name
        self.config = config
        self.input_labels = tuple(input_labels)

    def wire(self) -> dict[str, Any]:
        """The kind as the protocol has it."""
        return {
            "type": self.task_type,
            "cpus": self.cpus,
            "name": self.name,
            "config": self.config,
            "inputs": self.input_labels,
            "outputs": [(label, data_type.wire, content_type) for label, data_type, content_type in self.outputs],
        }


def check_cpus(cpus: Any) -> int:
    """Check the number of cpus a task asks for."""
    if not isinstance(cpus, int) or isinstance(cpus, bool) or not 1 <= cpus <= 0xFFFF_FFFF:
        raise RainException(f"A task runs on at least one cpu, a whole number: cpus={cpus!r}")
    return cpus


def check_name(name: Any) -> str:
    """Check the name of a task; None is no name."""
    if name is None:
        return ""
    if not isinstance(name, str):
        raise RainException(f"The name of a task is a string: name={name!r}")
    return name


def check_labels(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """Check that no two outputs have the same label and that content types are known."""
    used = set()
    for output in outputs:
        check_content_type(output.content_type)
        if output.label and output.label in used:
            raise RainException(f"Label {output.label!r} is used for two outputs")
        used.add(output.label)
    return tuple(outputs)
