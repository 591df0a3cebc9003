"""Tasks as a client sees them."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime, timezone
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Union

import msgspec

from ..common.attributes import TaskInfo, TaskSpec, TaskSpecInput, read_user
from ..common.data_instance import DataInstance
from ..common.errors import RainException, UsageError
from ..common.given import named, plain_number, whole_number
from ..common.ids import ID, DataType
from ..common.labeled_list import LabeledList
from . import waiting
from .active import session_for
from .connection import deadline_after
from .data import DataObject, SentAgain, sent_again
from .drawing import attributes_html
from .explanation import Explanation
from .graph import Anything, Graph, TaskItem
from .kind import Kind, OutputSpec, TaskOptions, check_labels
from .output import Input, Output
from .written import written_by

if TYPE_CHECKING:
    from typing_extensions import Unpack


PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

TaskInput = Union["Task", DataObject]
OutputDefinition = Union[int, str, Output, Iterable[Union[str, Output]], Mapping[str, Union[Output, None]]]


class Task(TaskItem, Anything):  # type: ignore[misc] # (a subclass of Any)
    """A task in the graph of a session.

    A class for the tasks of an own executor gives the task type and passes on inputs and outputs::

        class Hello(Task):
            TASK_TYPE = "example1/hello"

            def __init__(self, obj):
                super().__init__(inputs=(obj,), outputs=1)

    Args:
        inputs: Data objects, or tasks with one output; a labelled list or a dictionary labels the inputs, and so does
            an :class:`~rain.client.Input` with a label and ``dataobj=``.
        outputs: A number of blobs, or labels, or instances of :class:`~rain.client.Output`.
        config: What the executor gets as configuration; anything that MessagePack can hold.
        cpus: How many cpus the task needs.
        name: A name for people; "/" separates groups.
        session: The session that the task goes to (default: the active one).
        task_type: The task type (default: that of the class).
        user_spec: What ``spec.user`` has.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = (
        "__weakref__",
        "_code",
        "_config",
        "_id",
        "_info",
        "_inputs",
        "_instruction",
        "_kind",
        "_oid",
        "_outputs",
        "_session",
        "_spec",
        "_state",
    )

    TASK_TYPE: ClassVar[str] = ""
    _inputs: tuple[TaskInput, ...]
    _code: CodeType
    _instruction: int
    # `_outputs` to `_state` do not exist until they are first used.
    _outputs: LabeledList[DataObject]
    _spec: TaskSpec
    _info: TaskInfo
    _state: str

    def __init__(
        self,
        inputs: Iterable[TaskInput] = (),
        outputs: OutputDefinition = 1,
        *,
        config: Any = None,
        cpus: int = 1,
        name: str | None = None,
        session: Graph | None = None,
        task_type: str | None = None,
        user_spec: Mapping[str, Any] | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        task_type = self.TASK_TYPE if task_type is None else task_type
        if not isinstance(task_type, str) or "/" not in task_type:
            what = "task_type=" if task_type != self.TASK_TYPE else "TASK_TYPE"
            raise UsageError(f"{what} of {type(self).__name__} is not of the form EXECUTOR/METHOD: {task_type!r}")
        session = session_for(session)
        objects, labels = _labelled_inputs(inputs)
        kind = session._kind(
            task_type,
            output_specs(outputs),
            cpus=cpus,
            name=name,
            input_labels=tuple(label or "" for label in labels),
            options=options,
        )
        try:
            encoded = None if config is None else msgspec.msgpack.encode(config, enc_hook=plain_number)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"The configuration of {type(self).__name__} cannot be encoded: {error}") from None
        self._place(session, kind, as_inputs(session, objects), encoded)
        if user_spec:
            self.spec.user.update(user_spec)

    def _place(
        self, session: Graph, kind: Kind, inputs: tuple[TaskInput, ...], config: bytes | None, depth: int = 2
    ) -> None:
        """Put the task into the graph; what makes it is `depth` frames away."""
        self._session = session
        self._kind = kind
        self._inputs = inputs
        self._config = config
        self._oid = -1
        frame = sys._getframe(depth)
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE) or code.co_name == "__init__":
            frame = _users_frame(frame, self)
            code = frame.f_code
        self._code = code
        self._instruction = frame.f_lasti
        session._new_tasks.append(self)

    @property
    def session(self) -> Any:
        """The session the task belongs to."""
        return self._session

    @property
    def id(self) -> ID | None:
        """The identifier of the task; None before the submit."""
        return ID(self._session.session_id, self._id) if self._oid >= 0 else None

    @property
    def name(self) -> str:
        """The name of the task; empty if it has none."""
        return self._kind.name

    @property
    def inputs(self) -> LabeledList[DataObject]:
        """The data objects that the task reads."""
        labels = [label or None for label in self._kind.input_labels]
        inputs = self._shown_inputs
        labels += [None] * (len(inputs) - len(labels))
        return LabeledList([as_object(item) for item in inputs], labels)

    @property
    def outputs(self) -> LabeledList[DataObject]:
        """The data objects that the task makes, by index and by label."""
        try:
            return self._outputs
        except AttributeError:
            outputs = self._kind.outputs
            objects = [DataObject._output(self, index, output) for index, output in enumerate(outputs)]
            made = self._outputs = LabeledList(objects, [output.label or None for output in outputs])
            return made

    @property
    def output(self) -> DataObject:
        """The only output of the task; an error if it has none or more than one."""
        if self._kind.n_outputs != 1:
            raise RainException(f"{self.describe()} has {self._kind.n_outputs} outputs; use .outputs")
        return self.outputs[0]

    @property
    def spec(self) -> TaskSpec:
        """The specification of the task; ``spec.user`` may be filled before the submit."""
        try:
            return self._spec
        except AttributeError:
            pass
        labels = self._kind.input_labels + ("",) * (len(self._shown_inputs) - len(self._kind.input_labels))
        spec = TaskSpec(
            None,
            self._kind.task_type,
            self._readable_config(),
            [TaskSpecInput(None, label or None) for label in labels],
            [None] * self._kind.n_outputs,
            self._kind.resources(),
        )
        if self._oid < 0:
            self._session._specified.append(self)
        # In this order: after an interrupt, what has a specification is surely in the list.
        self._spec = spec
        if self._oid >= 0:
            self._finish_spec()
        return spec

    @property
    def info(self) -> TaskInfo:
        """What is known of the execution, as of the last :meth:`update`."""
        try:
            return self._info
        except AttributeError:
            self._info = TaskInfo()
            return self._info

    @property
    def state(self) -> str | None:
        """What the task is doing, as of the last :meth:`update`.

        One of ``"waiting"``, ``"running"``, ``"finished"``, ``"failed"`` and ``"cancelled"``; None before the submit.
        What a wait, a fetch, a cancel or an error has told of the task counts as well.
        """
        if self._oid < 0:
            return None
        state = getattr(self, "_state", "waiting")
        if self._id < self._session._finished_tasks and state in ("waiting", "running"):
            return "finished"
        return state

    @property
    def stdout(self) -> str:
        """What the task has written to standard output, asked of the server: the last 64 KiB, "" until it has ended.

        Programs and Python functions have one. A program whose standard output is an output of its task has it there.
        A session keeps the latest 32 MiB of what its tasks have written.

        Raises:
            RainException: The task was not submitted.
        """
        return written_by(self).stdout

    @property
    def stderr(self) -> str:
        """What the task has written to standard error, as :attr:`stdout`."""
        return written_by(self).stderr

    def _set_state(self, state: str) -> None:
        """The client has been told something of the task, without the rest of its info."""
        self._state = state

    def keep_outputs(self) -> None:
        """Keep all outputs when they are made.

        Raises:
            RainException: The task was submitted.
        """
        for output in self.outputs:
            output.keep()

    def unkeep_outputs(self) -> None:
        """Free all outputs that were kept."""
        for output in self.outputs:
            output.unkeep()

    def fetch_outputs(self, timeout: float | None = None) -> list[DataInstance]:
        """The contents of all outputs; waits until they are finished.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: An output is not kept, or the task is not submitted.
            TaskException: A task of the session has failed.
            CancelledException: It was cancelled, or a task that it needs.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        deadline = deadline_after(timeout)
        return waiting.fetch_all(self._session, self.outputs, deadline)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task is finished.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: The task is not submitted.
            TaskException: A task of the session has failed.
            CancelledException: It was cancelled, or a task that it needs.
            RainTimeout: The timeout is over; what was waited for goes on.
        """
        __tracebackhide__ = True
        waiting.wait(self._session, [self], deadline_after(timeout))

    def update(self) -> None:
        """Get the current :attr:`info` from the server.

        Raises:
            RainException: The task is not submitted.
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        waiting.update(self._session, [self])

    def explain(self, timeout: float | None = None) -> Explanation:
        """Why the task does not run, or where it does: which inputs are missing, which resources are short.

        Args:
            timeout: After so many seconds, :class:`~rain.client.RainTimeout` is raised.

        Raises:
            RainException: The task is not submitted.
            TaskException: A task of the session has failed.
            RainTimeout: The timeout is over.
        """
        __tracebackhide__ = True
        return waiting.explain(self._session, self, deadline_after(timeout))

    def cancel(self) -> bool:
        """Stop the task, and what needs its outputs; the session goes on. False if it has finished before.

        Raises:
            RainException: The task is not submitted.
            TaskException: A task of the session has failed.
        """
        __tracebackhide__ = True
        return self in waiting.cancel(self._session, [self])

    def __await__(self) -> Generator[Any, None, Task]:
        """In asyncio: wait until the task is finished; the task itself is the result."""
        __tracebackhide__ = True
        yield from waiting.wait_async(self._session, [self]).__await__()
        return self

    def describe(self) -> str:
        """The task in words: its name, its type, and where in the user's code it was made."""
        number = f" {self._id}" if self._oid >= 0 else ""
        name = f" {self._kind.name!r}" if self._kind.name else ""
        return f"task{number}{name} ({self._kind.task_type}), made at {self.origin}"

    @property
    def origin(self) -> str:
        """Where the task was made: ``file:line``, or in a notebook ``In [cell], line``."""
        from .places import place

        return place(self._code, self._instruction)

    def __repr__(self) -> str:
        return f"<{self.describe()}>"

    def _repr_html_(self) -> str:
        return attributes_html(self.describe(), self)

    def __reduce__(self) -> Any:
        raise RainException(f"A task can only be passed to other tasks as an argument: {self.describe()}")

    @property
    def _shown_inputs(self) -> tuple[TaskInput, ...]:
        """The inputs that the user has given."""
        return self._inputs[: len(self._inputs) - self._hidden] if self._hidden else self._inputs

    @property
    def _data_type(self) -> DataType:
        return self._kind.outputs[0].data_type

    @property
    def _content_type(self) -> str | None:
        return self._kind.outputs[0].content_type

    def _readable_config(self) -> Any:
        if self._kind.task_type.startswith("py/"):
            # The function is in the kind; the arguments are pickled if they are not plain.
            return _readable_arguments(self._config)
        config = self._kind.config if self._config is None else self._config
        if not config or not self._kind.task_type.startswith("buildin/"):
            return config or None
        return msgspec.msgpack.decode(config)

    def _finish_spec(self) -> None:
        session_id = self._session.session_id
        spec: TaskSpec | None = getattr(self, "_spec", None)
        if spec is None or spec._frozen:
            return
        spec.id = ID(session_id, self._id)
        for spec_input, item in zip(spec.inputs, self._shown_inputs):
            spec_input.id = ID(session_id, item._oid)
        spec.outputs = [ID(session_id, self._oid + index) for index in range(self._kind.n_outputs)]
        spec.freeze()

    def _set_info(self, info: dict[str, Any]) -> None:
        user, fault = read_user(info.get("user"))
        started = info.get("start_time")
        self._state = info.get("state", "")
        self._info = TaskInfo(
            error=info.get("error") or "",
            start_time=None if started is None else datetime.fromtimestamp(started, timezone.utc),
            duration=info.get("duration"),
            governor=info.get("governor"),
            debug="\n".join(filter(None, (info.get("debug"), fault))),
            user=user,
        )
        if self._state in ("finished", "failed", "cancelled"):
            self._info.freeze()


def _readable_arguments(config: bytes | None) -> Any:
    """The configuration of a call of a function for people: its arguments, or how large their pickle is."""
    if not config:
        return {"args": []}
    if config[0] >> 4 != 9:
        return {"args": f"pickled, {len(config)} bytes"}
    args, positions, *_ = msgspec.msgpack.decode(config)
    for number, position in enumerate(positions):
        args[position] = f"input {number}"
    return {"args": args}


def _labelled_inputs(inputs: Any) -> tuple[Any, tuple[str | None, ...]]:
    """Inputs in one of the forms that a task takes, as objects and their labels."""
    if isinstance(inputs, Mapping):
        return list(inputs.values()), tuple(inputs)
    if isinstance(inputs, LabeledList):
        return inputs, inputs.labels
    if isinstance(inputs, (list, tuple)) and any(isinstance(item, Input) for item in inputs):
        given = [item if isinstance(item, Input) else Input(dataobj=item) for item in inputs]
        for item in given:
            if item.dataobj is None:
                raise UsageError(f"{item!r} has no data object; give it as dataobj=")
        return [item.dataobj for item in given], tuple(item.label for item in given)
    return inputs, ()


def as_inputs(session: Graph, items: Iterable[TaskInput]) -> tuple[TaskInput, ...]:
    """Check that things can be inputs of a task in a session."""
    if isinstance(items, (Task, DataObject)):
        raise UsageError(f"A list of data objects is needed, not a single {type(items).__name__}: {items!r}")
    try:
        inputs = tuple(items)
    except TypeError:
        raise UsageError(f"A list of data objects is needed, not {type(items).__name__}: {items!r}") from None
    for item in inputs:
        if check_input(session, item) is not item:
            # Rare: a constant of an earlier submit.
            return tuple([check_input(session, item) for item in inputs])
    return inputs


def check_input(session: Graph, item: Any) -> Any:
    """Check that a thing can be an input of a task in a session; returns what stands for it as one."""
    if isinstance(item, Task):
        if item._kind.n_outputs != 1:
            raise UsageError(
                f"An input has to be one object, but {item.describe()} has {item._kind.n_outputs} outputs; use .outputs"
            )
        kept = item._oid < 0 or item.outputs[0]._kept
    elif isinstance(item, DataObject):
        kept = item._oid < 0 or item._kept
    else:
        raise UsageError(f"A data object or a task is needed as an input, not {type(item).__name__}: {item!r}")
    if item._session is not session:
        raise UsageError(
            f"{item!r} belongs to another session ({item._session!r}), not to the active one ({session!r})"
        )
    return item if kept else sent_again(session, item)


def as_object(item: TaskInput) -> DataObject:
    """The data object that is meant by an input."""
    if isinstance(item, SentAgain):
        return item._origin
    return item.output if isinstance(item, Task) else item


def output_specs(outputs: OutputDefinition) -> tuple[OutputSpec, ...]:
    """The outputs that a definition in one of the allowed forms means."""
    count = whole_number(outputs, -sys.maxsize, sys.maxsize)
    if count is not None:
        if count < 0:
            raise UsageError(f"A task cannot have {count} outputs")
        return (OutputSpec("output"),) if count == 1 else (OutputSpec(),) * count
    return check_labels([output.spec() for output in as_outputs(outputs)])


def as_outputs(outputs: Any) -> list[Output]:
    """Instances of Output for what may stand for them: labels, one or many."""
    if isinstance(outputs, (str, Output)):
        outputs = (outputs,)
    if isinstance(outputs, Mapping):
        outputs = [_with_label(label, output) for label, output in outputs.items()]
    try:
        listed: Sequence[Any] = list(outputs)
    except TypeError:
        raise UsageError(f"Outputs are a number, labels or instances of Output, not {outputs!r}") from None
    for output in listed:
        if not isinstance(output, (str, Output)):
            raise UsageError(f"An output is a label or an Output, not {type(output).__name__}: {output!r}")
    return [Output(output) if isinstance(output, str) else output for output in listed]


def _with_label(label: Any, output: Any) -> Any:
    """An output of a dictionary of outputs by label."""
    if isinstance(output, Output) and output.label in (None, label):
        labelled = copy(output)
        labelled.label = label
        return labelled
    if output is None or output == label:
        return label
    raise UsageError(f"Output {label!r} is an Output without another label, or None, not {named(output)}")


def _users_frame(frame: FrameType, task: Task) -> FrameType:
    """The first frame outside of this package and of the constructors of the task."""
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(PACKAGE)
        or (frame.f_code.co_name == "__init__" and frame.f_locals.get(frame.f_code.co_varnames[0]) is task)
    ):
        frame = frame.f_back
    return frame
