"""Python functions as tasks."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Callable, cast, overload

from ..common.content_type import check_content_type
from ..common.errors import RainException, RainWarning, UsageError
from ..common.given import named
from ..common.ids import DataType
from .active import active_session, session_for
from .arguments import PLAIN_TYPES, pickle_arguments
from .capture import Capture
from .data import DataObject
from .execute import check_environment, check_object
from .function_table import Sent, Template
from .graph import Graph
from .kind import OutputSpec, TaskOptions, check_cpus, check_labels, check_name, check_options
from .output import CALL_OPTIONS, Input, Output, changed_output, changed_outputs
from .resources import cpus_of
from .task import OutputDefinition, Task, as_outputs, output_specs
from .task_function import TaskFunction, make_call

if TYPE_CHECKING:
    from typing import Generic

    from typing_extensions import Concatenate, ParamSpec, Unpack

    P = ParamSpec("P")


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# An annotation that sets something for Rain.
_SETTING = re.compile(r"\b(?:Input|Output)(?:Dir)?\s*\(")
# So many changes of one function that calls have made are remembered.
_CHANGED_FUNCTIONS = 1000
# A larger function is pickled once for each submit, not for each call, where it can change unseen.
PICKLED_FOR_EACH_CALL = 256 << 10


class Remote(TaskFunction):
    """A function that makes a task when it is called; :func:`remote` turns functions into such ones.

    Args:
        function: The function; its first parameter gets the :class:`~rain.executor.context.Context`.
        auto_load: Pass loaded values instead of data instances.
        auto_encode: Content type to encode all results with.
        inputs: Settings of parameters (:class:`~rain.client.Input`) by name.
        outputs: A number of outputs, or labels, or instances of :class:`~rain.client.Output`.
        cpus: How many cpus a call needs.
        name: A name for people (default: that of the function).
        env: Variables of the environment that are set during a call.
        options: ``retries``, ``timeout`` and ``priority``, see :class:`~rain.client.TaskOptions`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        auto_load: bool = False,
        auto_encode: str | None = None,
        inputs: Mapping[str, Input] | None = None,
        outputs: OutputDefinition | None = None,
        cpus: int = 1,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        if not isinstance(function, FunctionType):
            raise UsageError(
                f"remote() takes a Python function, not {named(function)}; others can be called in one, or with "
                "session.map() and client.executor()"
            )
        for is_wrong, what in _NOT_REMOTE:
            if is_wrong(function):
                raise UsageError(
                    f"A remote function cannot be {what[0]}: {function.__name__}() at {_place_of(function)}; {what[1]}"
                )
        self._function = function
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        name = check_name(name) or function.__name__
        cpus = check_cpus(cpus)
        limits = check_options(options, _OWN_OPTIONS)
        cpus_of(cpus, limits.resources)
        env = check_environment(env)
        self._signature = inspect.signature(function)
        parameters = self._check_parameters()
        # What callers see: the context is not given by them.
        self.__signature__ = self._call_signature
        settings = self._read_settings(parameters, inputs)
        specs, encode = self._read_outputs(outputs, check_content_type(auto_encode))
        template = Template.make(
            function_options(
                function.__name__,
                load=auto_load,
                encode=encode if any(encode) else None,
                parameters=settings if any(settings) else None,
                env=env,
            ),
            specs,
            cpus,
            name,
            limits,
        )
        required = [p for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
        variable = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
        # Defaults with data objects in them must travel as arguments.
        self._send_defaults = any(p.default is not p.empty and type(p.default) not in PLAIN_TYPES for p in parameters)
        keyword_only = any(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        super().__init__(
            function,
            function.__name__,
            template,
            least=len(required),
            most=sys.maxsize if variable else sum(p.kind in _POSITIONAL for p in parameters),
            special=self._send_defaults or keyword_only or any(self._settings),
        )
        self._captured: Capture | None = None
        # Options of calls that are no parameters; the same function with what calls have changed of it; and of
        # such a one, the function as it was defined.
        self._options = frozenset(CALL_OPTIONS).difference(parameter.name for parameter in parameters)
        self._changed: dict[Any, Remote] = {}
        self._origin: Remote | None = None
        self._encode = encode

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        """Make a task in the active session that calls the function with these arguments.

        Where the function has no parameter of this name, a call can also give ``name=``; ``session=`` (default: the
        active one); and ``output=``, or ``outputs=`` with something for each output: None, or a label or an Output,
        which change label, content type and encoding.

        Raises:
            UsageError: The arguments are not those of the function, or not what it asks for.
            PickleException: The function or an argument cannot be pickled.
        """
        if kwargs and not self._options.isdisjoint(kwargs) and not _is_context(args):
            return self._call_with_options(args, kwargs)
        try:
            session = active_session()
        except RainException:
            # In an executor, where the module was imported: another function of the module calls this one.
            if _is_context(args):
                return cast("Task", self.function(*args, **kwargs))
            raise
        # As _now() does it, which would take longer.
        sent = self._sent
        if (
            sent is None
            or sent.batch is not session._batch
            or sent.path != sys.path
            or (sent.differs is not None and sent.differs())
        ):
            sent = self._send(session)
        return self._call_with(session, sent, args, kwargs)

    def _call_with_options(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """A call that changes something of the definition."""
        options = {name: kwargs.pop(name) for name in CALL_OPTIONS if name in self._options and name in kwargs}
        session = session_for(options.pop("session", None))
        changed = self._with(**options) if options else self
        return changed._call_with(session, changed._now(session), args, kwargs)

    def _with(self, name: str | None = None, output: Any = None, outputs: Any = None) -> Remote:
        """The same function with another name and other outputs."""
        template = self._template
        labels = [spec.label for spec in template.outputs]
        changes = changed_outputs(len(labels), output, outputs, f"{self.__name__}()", labels)
        specs = check_labels([changed_output(spec, change) for spec, change in zip(template.outputs, changes)])
        encode = [
            (change.encode if isinstance(change, Output) else None) or given
            for given, change in zip(self._encode, changes)
        ]
        for spec, wanted in zip(specs, encode):
            if wanted and spec.content_type != wanted:
                raise UsageError(
                    f"Output {spec.label!r} of {self.__name__}() is encoded as {wanted!r}, so its content type cannot "
                    f"be {spec.content_type!r}; give Output(encode=...) to change both"
                )
        key = (check_name(name), specs, tuple(encode))
        changed = self._changed.get(key)
        if changed is None:
            if len(self._changed) >= _CHANGED_FUNCTIONS:
                self._changed.clear()
            changed = object.__new__(Remote)
            changed.__dict__.update(self.__dict__)
            options = {**template.options, "encode": encode if any(encode) else None}
            name = check_name(name) or template.name
            changed._template = Template.make(options, specs, template.cpus, name, template.limits)
            changed._encode = encode
            changed._sent = None
            changed._origin = self
            self._changed[key] = changed
        return changed

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        raise UsageError(f"{self.__qualname__}() is a method; only plain functions can be remote")

    def __repr__(self) -> str:
        return f"<Remote {self.__module__}.{self.__qualname__}>"

    def _check_parameters(self) -> list[inspect.Parameter]:
        """The parameters after the context."""
        name = self._function.__name__
        parameters = list(self._signature.parameters.values())
        if not parameters or parameters[0].kind not in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
            raise UsageError(f"Remote function {name}() needs a first parameter for the context (ctx)")
        if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            raise UsageError(f"Remote function {name}() needs a named first parameter for the context (ctx)")
        self._call_signature = self._signature.replace(
            parameters=parameters[1:], return_annotation=inspect.Signature.empty
        )
        return parameters[1:]

    def _read_settings(
        self, parameters: list[inspect.Parameter], inputs: Mapping[str, Input] | None
    ) -> list[list[Any] | None]:
        """The settings of the parameters, as the executor reads them."""
        name = self._function.__name__
        try:
            settings = dict(inputs or {})
        except (TypeError, ValueError):
            raise UsageError(
                f"inputs= of {name}() is a dictionary, not {inputs!r}: it has an Input for the names of parameters"
            ) from None
        self._settings: list[Input | None] = []
        for parameter in parameters:
            hint = _evaluate(parameter.annotation, self._function)
            setting = settings.pop(parameter.name, None) or (hint if isinstance(hint, Input) else None)
            if isinstance(setting, str):
                setting = Input(setting)
            if setting is not None and not isinstance(setting, Input):
                raise UsageError(
                    f"inputs= of {name}(): for {parameter.name!r}, an Input is needed, not {named(setting)}"
                )
            if setting is not None and setting.dataobj is not None:
                raise UsageError(f"An Input of a remote function has no data object: {setting!r}")
            self._settings.append(setting)
        if settings:
            known = ", ".join(parameter.name for parameter in parameters) or "none but the context"
            raise UsageError(f"{name}() has no parameter named {next(iter(settings))!r} for inputs=; it has: {known}")
        self._numbers = {parameter.name: number for number, parameter in enumerate(parameters)}
        return [
            None if setting is None else [setting.load, setting.content_type, setting.data_type.wire]
            for setting in self._settings
        ]

    def _read_outputs(
        self, outputs: OutputDefinition | None, auto_encode: str | None
    ) -> tuple[tuple[OutputSpec, ...], list[str | None]]:
        """The outputs, and what each is to be encoded with."""
        if outputs is None:
            hint = _evaluate(self._signature.return_annotation, self._function)
            if isinstance(hint, Output) or (
                isinstance(hint, (tuple, list)) and hint and all(isinstance(item, Output) for item in hint)
            ):
                outputs = hint
            else:
                outputs = 1
        if isinstance(outputs, (str, Output, Iterable)):
            defined = as_outputs(outputs)
            specs = check_labels([output.spec() for output in defined])
            encode = [output.encode for output in defined]
        else:
            specs = output_specs(outputs)
            encode = [None] * len(specs)
        if auto_encode is not None:
            for number, spec in enumerate(specs):
                if encode[number] is None and spec.data_type is DataType.BLOB:
                    encode[number] = auto_encode
            specs = tuple(
                OutputSpec(spec.label, spec.data_type, spec.content_type or wanted)
                for spec, wanted in zip(specs, encode)
            )
        return specs, encode

    def _watch(self, capture: Capture, session: Graph) -> Callable[[], bool] | None:
        if self._origin is not None:
            return self._origin._watch(capture, session)
        # Without a reference to the session, which this function may outlive.
        return partial(self._differs, capture, session._taken_once) if capture.can_change else None

    def _differs(self, captured: Capture, taken_once: dict[Remote, Capture]) -> bool:
        if captured.size > PICKLED_FOR_EACH_CALL and not captured.is_certain:
            taken_once[self] = captured
            return False
        return not captured.is_of(self)

    def _check_taken_once(self, captured: Capture) -> None:
        """Warn if a function that was taken once for many calls is another one by now."""
        if Capture(self, self.__name__, not self._send_defaults).digest != captured.digest:
            warnings.warn(
                f"{self.__name__}() refers to {captured.size >> 10} KiB of data, which was changed after a call. So "
                "much is taken once for each submit: all calls get it as it was at the first of them. Submit before "
                "changing it, or pass it as an argument",
                RainWarning,
                stacklevel=3,
            )

    def _capture(self) -> Capture:
        if self._origin is not None:
            return self._origin._capture()
        captured = self._captured
        return captured if captured is not None and captured.is_of(self) else self._capture_again()

    def _capture_again(self) -> Capture:
        if self._origin is not None:
            return self._origin._capture_again()
        self._captured = Capture(self, self.__name__, not self._send_defaults)
        return self._captured

    def _general_call(self, session: Graph, sent: Sent, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        if _is_context(args):
            # In a task that has a client of its own: another function of the module calls this one.
            return cast("Task", self.function(*args, **kwargs))
        try:
            bound = self._call_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{self.__name__}() cannot be called like this: {error}{self._hint(args)}") from None
        if self._send_defaults:
            bound.apply_defaults()
        numbers: list[int] = []
        keyword_numbers: list[int] = []
        for name, value in bound.arguments.items():
            number = self._numbers[name]
            self._check_static(number, value)
            parameter = self._call_signature.parameters[name]
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                numbers += [number] * len(value)
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                keyword_numbers += [number] * len(value)
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                keyword_numbers.append(number)
            else:
                numbers.append(number)
        config, inputs = pickle_arguments(
            session, bound.args, bound.kwargs, numbers + keyword_numbers, self.__name__, tuple(self._numbers)
        )
        return make_call(session, sent, inputs, config)

    def _hint(self, args: tuple[Any, ...]) -> str:
        """What may be wrong with a definition whose calls have too many arguments."""
        first = next(iter(self._signature.parameters))
        shown = f"{self.__name__}{self._call_signature}"
        if len(args) == len(self._call_signature.parameters) + 1 and first not in ("ctx", "context", "_ctx", "_"):
            return (
                f"; a call is {shown}, as the first parameter of a remote function gets the context: "
                f"def {self.__name__}(ctx, {first}, ...)"
            )
        return f"; a call is {shown}"

    def _check_static(self, number: int, value: Any) -> None:
        setting = self._settings[number]
        if setting is None:
            return
        kind = list(self._call_signature.parameters.values())[number].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values = list(value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            values = list(value.values())
        else:
            values = [value]
        for item in values:
            if isinstance(item, DataObject) or (isinstance(item, Task) and item._kind.n_outputs == 1):
                check_object(setting, item, f"Argument {list(self._numbers)[number]!r} of {self.__name__}(): ")


# What a task cannot do anything with.
_NOT_REMOTE = (
    (inspect.iscoroutinefunction, ("a coroutine", "call asyncio.run() in a plain function")),
    (inspect.isasyncgenfunction, ("an asynchronous generator", "call asyncio.run() in a plain function")),
    (inspect.isgeneratorfunction, ("a generator", "return a value, or a list with Output(encode='pickle')")),
)
_OWN_OPTIONS = ("auto_load", "auto_encode", "inputs", "outputs", "cpus", "name", "env")


def _place_of(function: FunctionType) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"


def function_options(
    name: str,
    *,
    load: bool = False,
    encode: list[str | None] | None = None,
    parameters: list[Any] | None = None,
    env: Mapping[str, str] | None = None,
    plain: str | None = None,
    parts: tuple[Any, ...] | None = None,
) -> dict[str, Any]:
    """The configuration of a kind of task that calls a function, as the executor reads it, without the function."""
    options: dict[str, Any] = {"name": name, "load": load, "encode": encode, "parameters": parameters}
    if env:
        options["env"] = env
    if plain:
        options["plain"] = plain
    if parts:
        options["parts"] = parts
    return options


def _is_context(args: tuple[Any, ...]) -> bool:
    """Whether the first argument is what a running task works with."""
    if not args or type(args[0]).__name__ != "Context":
        return False
    from ..executor.context import Context

    return isinstance(args[0], Context)


if TYPE_CHECKING:

    class RemoteFunction(Remote, Generic[P]):
        """A remote function whose calls are checked: its parameters are those after the context.

        Tasks and data objects may be given for any parameter. Options of a call are there with any arguments.
        """

        @overload
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Task: ...

        @overload
        def __call__(self, *args: Any, name: str, **kwargs: Any) -> Task: ...

        @overload
        def __call__(self, *args: Any, session: Graph, **kwargs: Any) -> Task: ...

        @overload
        def __call__(self, *args: Any, output: str | Output, **kwargs: Any) -> Task: ...

        @overload
        def __call__(self, *args: Any, outputs: Iterable[str | Output | None], **kwargs: Any) -> Task: ...

        def __call__(self, *args: Any, **kwargs: Any) -> Task:
            """Make a task that calls the function."""
else:
    RemoteFunction = Remote


@overload
def remote(function: Callable[Concatenate[Any, P], Any], /) -> RemoteFunction[P]: ...


@overload
def remote(
    *,
    auto_load: bool = False,
    auto_encode: str | None = None,
    inputs: Mapping[str, Input] | None = None,
    outputs: OutputDefinition | None = None,
    cpus: int = 1,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    **options: Unpack[TaskOptions],
) -> Callable[[Callable[Concatenate[Any, P], Any]], RemoteFunction[P]]: ...


def remote(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Turn a function into one that makes tasks: ``@remote`` or ``@remote(...)`` with the options of :class:`Remote`.

    The function is called in an executor, with the context first::

        @remote()
        def hello(ctx, name):
            return "Hello " + name.get_str()
    """
    if function is not None:
        return Remote(function, **options)
    # Here, where the options are written, and not first where the function is.
    check_options({name: value for name, value in options.items() if name not in _OWN_OPTIONS}, _OWN_OPTIONS)
    return lambda decorated: Remote(decorated, **options)


def _evaluate(annotation: Any, function: FunctionType) -> Any:
    """An annotation as a value, also where annotations are strings; a string that sets nothing for Rain stays one."""
    if not isinstance(annotation, str):
        return annotation
    names = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
    try:
        return eval(annotation, function.__globals__, {name: cell.cell_contents for name, cell in names.items()})
    except Exception as error:
        # Many annotations are for type checkers only.
        if _SETTING.search(annotation) is None:
            return annotation
        raise UsageError(
            f"The annotation {annotation!r} of {function.__name__}() cannot be evaluated: {error}"
        ) from None
