"""External programs as tasks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union, cast

import msgspec

from ..common.content_type import is_subtype
from ..common.errors import UsageError
from ..common.given import named
from ..common.ids import DataType
from .active import session_for
from .data import DataObject
from .graph import Graph
from .kind import Kind, OutputSpec, TaskOptions, check_cpus, check_labels, check_name, check_options
from .output import CALL_OPTIONS, Input, Output, changed_output, changed_outputs
from .paths import check_disjoint, check_relative, is_utf8
from .task import Task, TaskInput, as_inputs, as_outputs

if TYPE_CHECKING:
    from typing_extensions import Unpack


TASK_TYPE = "buildin/execute"

Argument = Union[str, Input, Output, DataObject, Task]
Arguments = Union[str, Iterable[Argument]]
# A label stands for an input with it, in a Program.
InputPath = Union[str, Input, DataObject, Task]
OutputPath = Union[str, Output]

# So many changed kinds are remembered.
_CHANGED_KINDS = 1000

_encode = msgspec.msgpack.Encoder().encode


class Invocation:
    """The call of a program, brought into the form that the governor knows."""

    def __init__(
        self,
        args: Arguments,
        stdout: None | bool | str | Output,
        stdin: InputPath | None,
        input_paths: Iterable[InputPath],
        output_paths: Iterable[OutputPath],
        shell: bool,
        env: Mapping[str, str] | None,
    ) -> None:
        self.inputs: list[Input] = []
        self._places: list[dict[str, Any] | None] = []
        self._outputs: list[Output] = []
        self._output_places: list[dict[str, Any]] = []
        arguments = self._arguments(args, shell)
        for item in _listed(input_paths, "input_paths"):
            self._add_input(item)
        for output in as_outputs(output_paths):
            self._add_output(output)
        stdin_index = None if stdin is None else self._add_stdin(stdin)
        if stdout not in (None, False):
            self._add_stdout(stdout)
        self._check()
        self.outputs = check_labels([OutputSpec(o.label or "", o.data_type, o.content_type) for o in self._outputs])
        self.config = _encode(
            {
                "args": arguments,
                "shell": shell,
                "inputs": self._places,
                "stdin": stdin_index,
                "outputs": self._output_places,
                "env": check_environment(env),
            }
        )

    def _arguments(self, args: Arguments, shell: bool) -> list[str]:
        if isinstance(args, str):
            if shell:
                parts = [args]
            else:
                try:
                    parts = shlex.split(args)
                except ValueError as error:
                    raise UsageError(f"The command {args!r} cannot be parsed: {error}") from None
        else:
            parts = [self._argument(arg, shell) for arg in _listed(args, "args")]
        if not parts or not parts[0]:
            raise UsageError(f"Execute needs a program to run: {args!r}")
        if any("\0" in part for part in parts):
            raise UsageError(f"An argument of a program cannot contain a zero byte: {parts!r}")
        if not all(map(is_utf8, parts)):
            raise UsageError(f"An argument of a program is not text that can be encoded: {parts!r}")
        return [" ".join(parts)] if shell else parts

    def _argument(self, arg: Argument, shell: bool) -> str:
        if isinstance(arg, str):
            return arg
        if isinstance(arg, (Input, DataObject, Task)):
            path = self._add_input(arg)
        elif isinstance(arg, Output):
            path = self._add_output(arg)
        else:
            raise UsageError(
                f"An argument of a program is a str, a data object, Input or Output, not {type(arg).__name__}: {arg!r}"
            )
        return shlex.quote(path) if shell else path

    def _add_input(self, item: InputPath) -> str:
        given = _as_input(item, "input_paths")
        path = given.path or f"rain-input-{len(self.inputs)}"
        check_relative(path, "an input")
        self.inputs.append(given)
        self._places.append({"path": path, "write": given.write})
        return path

    def _add_stdin(self, item: InputPath) -> int:
        given = _as_input(item, "stdin")
        if given.data_type is not DataType.BLOB:
            raise UsageError("A directory cannot be the standard input of a program")
        self.inputs.append(given)
        self._places.append(None)
        return len(self.inputs) - 1

    def _add_output(self, output: Output) -> str:
        path = output.label if output.path is None else output.path
        if path is None:
            raise UsageError("An output of a program needs a label or a path")
        if output.encode:
            raise UsageError(f"The outputs of programs cannot be encoded: {output!r}")
        check_relative(path, "an output")
        self._outputs.append(output)
        self._output_places.append({"path": path})
        return path

    def _add_stdout(self, stdout: None | bool | str | Output) -> None:
        if stdout is True:
            output = Output("stdout")
        elif isinstance(stdout, str):
            output = Output(stdout)
        elif isinstance(stdout, Output):
            output = stdout
        else:
            raise UsageError(f"stdout is True, a label or an Output, not {stdout!r}")
        if output.path is not None:
            raise UsageError(f"The standard output of a program has no path: {output!r}")
        if output.data_type is not DataType.BLOB:
            raise UsageError("The standard output of a program cannot be a directory")
        self._outputs.append(output)
        self._output_places.append({"stdout": True})

    def _check(self) -> None:
        labels = [given.label for given in self.inputs if given.label is not None]
        for label in labels:
            if labels.count(label) > 1:
                raise UsageError(f"Label {label!r} is used for two inputs")
        check_disjoint([place["path"] for place in self._places if place is not None], "the inputs of a program")
        check_disjoint([p["path"] for p in self._output_places if "path" in p], "the outputs of a program")


class Execute(Task):
    """Runs an external program in an empty working directory of its own.

    Args:
        args: The command as a string, which is split as a shell does it, or as a list of strings, data objects and
            instances of Input and Output; for the latter ones, the path stands in the command.
        stdout: True, a label or an Output: make an output from the standard output.
        stdin: A data object to be the standard input.
        input_paths: More inputs (Input, or data objects) that are files for the program.
        output_paths: Files that the program makes (labels, or Output), as outputs.
        shell: Let a shell interpret the command.
        cpus: How many cpus the program needs.
        name: A name for people.
        env: What to add to the environment of the program.
        session: The session that the task goes to (default: the active one).
        output_files: The same as `output_paths`, as the user's guide writes it in places.
        outputs_paths: The same, too.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    __slots__ = ()
    TASK_TYPE = TASK_TYPE

    def __init__(
        self,
        args: Arguments,
        stdout: None | bool | str | Output = None,
        stdin: InputPath | None = None,
        input_paths: Iterable[InputPath] = (),
        output_paths: Iterable[OutputPath] = (),
        shell: bool = False,
        cpus: int = 1,
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        session: Graph | None = None,
        output_files: Iterable[OutputPath] = (),
        outputs_paths: Iterable[OutputPath] = (),
        **options: Unpack[TaskOptions],
    ) -> None:
        session = session_for(session)
        paths = [*as_outputs(output_paths), *as_outputs(output_files), *as_outputs(outputs_paths)]
        call = Invocation(args, stdout, stdin, input_paths, paths, shell, env)
        objects = [_object_of(given) for given in call.inputs]
        inputs = as_inputs(session, objects)
        for given, item in zip(call.inputs, inputs):
            check_object(given, item)
        labels = tuple(given.label or "" for given in call.inputs)
        kind = session._kind(TASK_TYPE, call.outputs, cpus=cpus, name=name, input_labels=labels, options=options)
        self._place(session, kind, inputs, call.config)


class _Run(Task):
    """A call of a Program."""

    __slots__ = ()
    TASK_TYPE = TASK_TYPE

    def __init__(self, session: Graph, kind: Kind, inputs: tuple[TaskInput, ...]) -> None:
        self._place(session, kind, inputs, None, 3)


class Program:
    """A pattern of :class:`~rain.client.tasks.Execute`, for a program that is called often.

    The arguments are those of Execute, but where a data object could be there is an Input with a label instead, or just
    the label. The data objects are given as keyword arguments when the program is called::

        grep = Program(["grep", "rain", Input("data")], stdout=True)
        task = grep(data=blob("rain and sun"))
    """

    def __init__(
        self,
        args: Arguments,
        stdout: None | bool | str | Output = None,
        stdin: str | Input | None = None,
        input_paths: Iterable[str | Input] = (),
        output_paths: Iterable[OutputPath] = (),
        shell: bool = False,
        cpus: int = 1,
        *,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        output_files: Iterable[OutputPath] = (),
        outputs_paths: Iterable[OutputPath] = (),
        **options: Unpack[TaskOptions],
    ) -> None:
        paths = [*as_outputs(output_paths), *as_outputs(output_files), *as_outputs(outputs_paths)]
        call = Invocation(args, stdout, stdin, input_paths, paths, shell, env)
        for given in call.inputs:
            if given.dataobj is not None:
                raise UsageError(
                    f"A Program is not bound to a session: it has Input(LABEL) where the data object goes that a call "
                    f"gives as LABEL=object, not {named(given.dataobj)}"
                )
            if given.label is None:
                raise UsageError(f"An Input of a Program needs a label, by which a call gives the object: {given!r}")
        self._inputs = {given.label or "": given for given in call.inputs}
        self._kind = Kind(
            TASK_TYPE,
            call.outputs,
            cpus=check_cpus(cpus),
            name=check_name(name),
            config=call.config,
            input_labels=tuple(self._inputs),
            limits=check_options(options),
        )
        # What calls that change something of the definition have, by what they change.
        self._changed: dict[Any, Kind] = {}

    def __call__(self, *args: Any, **inputs: Any) -> Task:
        """Make a task that runs the program; data objects are given by the labels of inputs.

        Where no input has this label, a call can also give ``name=``; ``session=`` (default: the active one); and
        ``output=``, or ``outputs=`` with something for each output: a label or an Output that changes label and content
        type, or None.

        Raises:
            UsageError: An input is missing, or not one of the program, or is not what the program asks for.
        """
        if args:
            labels = ", ".join(f"{label}=" for label in self._inputs)
            raise UsageError(f"{self!r} takes its inputs by label ({labels or 'it has none'}), not {named(args[0])}")
        options = {}
        if inputs.keys() != self._inputs.keys():
            for option in CALL_OPTIONS:
                if option in inputs and option not in self._inputs:
                    options[option] = inputs.pop(option)
            missing = [label for label in self._inputs if label not in inputs]
            unknown = [label for label in inputs if label not in self._inputs]
            if unknown or missing:
                problem = f"no input labelled {unknown[0]!r}" if unknown else f"input {missing[0]!r} is missing"
                raise UsageError(f"{self!r}: {problem}")
        session = session_for(options.pop("session", None))
        kind = self._kind_with(**options) if options else self._kind
        ordered = as_inputs(session, [inputs[label] for label in self._inputs])
        for given, item in zip(self._inputs.values(), ordered):
            check_object(given, item)
        return _Run(session, kind, ordered)

    def _kind_with(self, name: str | None = None, output: Any = None, outputs: Any = None) -> Kind:
        """The kind of tasks with what a call changes of the definition."""
        kind = self._kind
        labels = [spec.label for spec in kind.outputs]
        changes = changed_outputs(kind.n_outputs, output, outputs, repr(self), labels)
        for change in changes:
            if isinstance(change, Output) and change.encode:
                raise UsageError(f"The outputs of programs cannot be encoded: {change!r}")
        specs = check_labels([changed_output(spec, change) for spec, change in zip(kind.outputs, changes)])
        key = (check_name(name), specs)
        changed = self._changed.get(key)
        if changed is None:
            if len(self._changed) >= _CHANGED_KINDS:
                self._changed.clear()
            changed = self._changed[key] = Kind(
                TASK_TYPE,
                specs,
                cpus=kind.cpus,
                name=check_name(name) or kind.name,
                config=kind.config,
                input_labels=kind.input_labels,
                limits=kind.limits,
            )
        return changed

    def __repr__(self) -> str:
        args = msgspec.msgpack.decode(self._kind.config)["args"]
        return f"<Program {' '.join(args)!r} with inputs {', '.join(map(repr, self._inputs)) or 'none'}>"


def check_object(given: Input, item: Any, where: str = "") -> None:
    """Check an object against what an Input asks for; `where` names it in messages."""
    if given.data_type is not item._data_type:
        wanted = "InputDir, not Input" if item._data_type is DataType.DIRECTORY else "Input, not InputDir"
        raise UsageError(f"{where}A {item._data_type.name.lower()} needs {wanted} for {given!r}: {item!r}")
    if given.content_type and item._content_type and not is_subtype(item._content_type, given.content_type):
        raise UsageError(
            f"{where}{given!r} asks for content type {given.content_type!r}, but {item!r} has {item._content_type!r}"
        )


def _as_input(item: Any, where: str) -> Input:
    if isinstance(item, Input):
        return item
    if isinstance(item, str):
        return Input(item)
    if isinstance(item, (DataObject, Task)):
        given = Input(dataobj=item)
        if isinstance(item, DataObject) or item._kind.n_outputs == 1:
            given.data_type = item._data_type
        return given
    raise UsageError(f"{where}: a data object, an Input or (in a Program) its label is needed, not {named(item)}")


def _object_of(given: Input) -> TaskInput:
    if given.dataobj is None:
        raise UsageError(f"{given!r} has no data object; give it as dataobj=, or use a Program, whose calls give it")
    return cast("TaskInput", given.dataobj)


def check_environment(env: Mapping[str, str] | None) -> dict[str, str]:
    """Check variables for the environment of a task."""
    try:
        variables = dict(env or {})
    except (TypeError, ValueError):
        raise UsageError(f"env= is a dictionary of strings, not {env!r}") from None
    for key, value in variables.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key or "=" in key or "\0" in key + value:
            raise UsageError(f"Not a variable of the environment: {key!r}={value!r}")
        if not is_utf8(key + value):
            raise UsageError(f"Not a variable of the environment: {key!r}={value!r}")
    return variables


def _listed(items: Any, what: str) -> list[Any]:
    if isinstance(items, (str, DataObject, Task, Input, Output)):
        raise UsageError(f"{what} is a list, not a single {type(items).__name__}: {items!r}")
    try:
        return list(items)
    except TypeError:
        raise UsageError(f"{what} is a list, not {type(items).__name__}: {items!r}") from None
