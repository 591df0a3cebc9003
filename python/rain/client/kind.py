"""Kinds of tasks: what many tasks have in common, sent to the server once per session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Union

from ..common import lending
from ..common.content_type import check_content_type
from ..common.errors import UsageError
from ..common.given import finite_number, whole_number
from ..common.ids import DataType
from .resources import Request, check_resources, cpus_of


class OutputSpec(NamedTuple):
    """One output of a kind of task; an empty label is none."""

    label: str = ""
    data_type: DataType = DataType.BLOB
    content_type: str | None = None


ONE_BLOB = (OutputSpec("output"),)


# What a task asks for, or alternatives.
Resources = Union[Mapping[str, Any], Sequence[Mapping[str, Any]]]


class TaskOptions(TypedDict, total=False):
    """Options of all kinds of tasks.

    Attributes:
        retries: How often a task that failed is run again before its session fails; 0 if absent.
        timeout: Seconds that one attempt may take; without limit if absent.
        priority: Tasks that are ready go in the order of this, highest first; 0 if absent.
        resources: What a task is given while it runs, as ``{"cpus": 2, "memory": "4GiB", "gpus": 0.5}``; of a list of
            such ones the first that fits.
    """

    retries: int
    timeout: float | None
    priority: int
    resources: Resources | None


class CallOptions(TaskOptions, total=False):
    """Options of calls of functions that are not remote.

    Attributes:
        cpus: How many cpus a call needs.
        name: A name for people (default: that of the function).
        env: Variables of the environment that are set during a call.
    """

    cpus: int
    name: str | None
    env: Mapping[str, str] | None


class Limits(NamedTuple):
    """Options of a task, checked."""

    retries: int = 0
    timeout: float | None = None
    priority: int = 0
    resources: tuple[Request, ...] = ()


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
        self.cpus = cpus_of(cpus, limits.resources)
        self.name = name
        self.config = config
        self.input_labels = tuple(input_labels)
        self.limits = limits
        self.process = process

    def resources(self) -> dict[str, Any]:
        """What a task needs to run; of several alternatives the first."""
        return {"cpus": self.cpus, **dict(next(iter(self.limits.resources), ()))}

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
        raise UsageError(f"A task runs on at least one cpu, a whole number: cpus={cpus!r}")
    return number


def check_options(options: Mapping[str, Any], own: Iterable[str] = ("cpus", "name", "session")) -> Limits:
    """Check the options that all kinds of tasks have.

    Args:
        options: Those that were given.
        own: What else could have been given there, for the message where something is not known.

    Raises:
        UsageError: One of them is not known, or has a value that it cannot have.
    """
    if not options:
        return NO_LIMITS
    for name in options:
        if name not in Limits._fields:
            raise unknown_option(name, (*own, *Limits._fields))
    limits = Limits(**options)
    retries = whole_number(limits.retries, 0, 0xFFFF_FFFF)
    if retries is None:
        raise UsageError(f"A task is run again a whole number of times: retries={limits.retries!r}")
    priority = whole_number(limits.priority, -(1 << 31), (1 << 31) - 1)
    if priority is None:
        raise UsageError(f"The priority of a task is a whole number of 32 bits: priority={limits.priority!r}")
    timeout = limits.timeout
    if timeout is not None:
        seconds = finite_number(timeout)
        if seconds is None or seconds <= 0:
            raise UsageError(f"A timeout is a number of seconds, more than 0, or None: timeout={timeout!r}")
        timeout = seconds
    return Limits(retries, timeout, priority, check_resources(limits.resources))


def unknown_option(name: str, known: Sequence[str]) -> UsageError:
    """The error for an option that is not there: which one was meant, and which there are."""
    from difflib import get_close_matches

    # As other packages call it.
    others = {"num_cpus": "cpus", "ncpus": "cpus", "max_workers": "cpus", "max_retries": "retries"}
    others.update(dict.fromkeys(("gpus", "num_gpus", "memory", "mem", "resource"), "resources"))
    near = [others[name]] if others.get(name) in known else get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    return UsageError(f"There is no option {name!r}; {hint} {', '.join(known)}")


def check_name(name: Any, what: str = "task") -> str:
    """Check the name of a task or of a session; None is no name."""
    if name is None:
        return ""
    if not isinstance(name, str):
        raise UsageError(f"The name of a {what} is a string: name={name!r}")
    return name


def check_labels(outputs: Sequence[OutputSpec]) -> tuple[OutputSpec, ...]:
    """Check that no two outputs have the same label and that content types are known."""
    used = set()
    for output in outputs:
        check_content_type(output.content_type)
        if output.label and output.label in used:
            raise UsageError(f"Label {output.label!r} is used for two outputs")
        used.add(output.label)
    return tuple(outputs)
