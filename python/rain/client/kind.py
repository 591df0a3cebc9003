"""Kinds of tasks: what many tasks have in common, sent to the server once per session."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from ..common import lending
from ..common.content_type import check_content_type
from ..common.errors import RainException
from ..common.ids import DataType


class OutputSpec(NamedTuple):
    """One output of a kind of task; an empty label is none."""

    label: str = ""
    data_type: DataType = DataType.BLOB
    content_type: str | None = None


ONE_BLOB = (OutputSpec("output"),)


class TaskOptions(TypedDict, total=False):
    """Options of all kinds of tasks.

    Attributes:
        retries: How often a task that failed is run again before its session fails; 0 if absent.
        timeout: Seconds that one attempt may take; without limit if absent.
        priority: Tasks that are ready go in the order of this, highest first; 0 if absent.
    """

    retries: int
    timeout: float | None
    priority: int


class Limits(NamedTuple):
    """Options of a task, checked."""

    retries: int = 0
    timeout: float | None = None
    priority: int = 0


NO_LIMITS = Limits()


class Kind:
    """Task type, configuration, resources, labels and outputs of tasks. Kinds are told apart by identity.

    `process` tells executor processes apart that must not run each other's tasks; empty where it does not matter.
    """

    __slots__ = ("config", "cpus", "input_labels", "limits", "n_outputs", "name", "outputs", "process", "task_type")

    def __init__(
        self,
        task_type: str,
        outputs: Sequence[OutputSpec] = ONE_BLOB,
        *,
        cpus: int = 1,
        name: str = "",
        config: bytes = b"",
        input_labels: Sequence[str] = (),
        limits: Limits = NO_LIMITS,
        process: str = "",
    ) -> None:
        self.task_type = task_type
        self.outputs = tuple(outputs)
        self.n_outputs = len(self.outputs)
        self.cpus = cpus
        self.name = name
        self.config = config
        self.input_labels = tuple(input_labels)
        self.limits = limits
        self.process = process

    def wire(self, generation: str = "") -> dict[str, Any]:
        """The kind as the protocol has it, for executor processes of a generation: the client's."""
        kind: dict[str, Any] = {
            "type": self.task_type,
            "cpus": self.cpus,
            "name": self.name,
            "config": self.config,
            "inputs": self.input_labels,
            "outputs": [(label, data_type.wire, content_type) for label, data_type, content_type in self.outputs],
        }
        if self.limits is not NO_LIMITS:
            # Omit default limits.
            kind.update((name, value) for name, value in self.limits._asdict().items() if value)
        if lending.priority is not None:
            # Made by a task, which will wait for it.
            kind["priority"] = kind.get("priority", 0) + lending.priority()
        if self.process:
            kind["process"] = self.process + generation
        return kind


def check_cpus(cpus: Any) -> int:
    """Check the number of cpus a task asks for."""
    number = whole_number(cpus, 1, 0xFFFF_FFFF)
    if number is None:
        raise RainException(f"A task runs on at least one cpu, a whole number: cpus={cpus!r}")
    return number


def check_options(options: Mapping[str, Any]) -> Limits:
    """Check the options that all kinds of tasks have."""
    if not options:
        return NO_LIMITS
    unknown = [name for name in options if name not in Limits._fields]
    if unknown:
        raise RainException(f"There is no option {unknown[0]!r}; there are {', '.join(Limits._fields)}")
    limits = Limits(**options)
    retries = whole_number(limits.retries, 0, 0xFFFF_FFFF)
    if retries is None:
        raise RainException(f"A task is run again a whole number of times: retries={limits.retries!r}")
    priority = whole_number(limits.priority, -(1 << 31), (1 << 31) - 1)
    if priority is None:
        raise RainException(f"The priority of a task is a whole number of 32 bits: priority={limits.priority!r}")
    timeout = limits.timeout
    if timeout is not None:
        seconds = finite_number(timeout)
        if seconds is None or seconds <= 0:
            raise RainException(f"A timeout is a number of seconds, more than 0, or None: timeout={timeout!r}")
        timeout = seconds
    return Limits(retries, timeout, priority)


def whole_number(value: Any, least: int, most: int) -> int | None:
    """A whole number of any type, NumPy's too, as an int; None if it is none, or out of range."""
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if least <= number <= most else None


def finite_number(value: Any) -> float | None:
    """A number of any type, NumPy's too, as a float; None if it is none, or not finite."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


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
