"""Python functions as tasks."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Callable, overload

import msgspec

from ..common.content_type import check_content_type
from ..common.errors import RainException, RainWarning
from ..common.ids import DataType
from ..executor.functions import plain_function
from .active import active_session
from .arguments import PLAIN_TYPES, pickle_arguments, pickle_function
from .data import DataObject
from .execute import check_environment, check_object
from .kind import Kind, OutputSpec, TaskOptions, check_cpus, check_labels, check_name, check_options
from .output import Input, Output
from .task import OutputDefinition, Task, TaskInput, as_outputs, check_input, output_specs

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .session import Session

TASK_TYPE = "py/run"
LARGE_ARGUMENTS = 1 << 20

_encode = msgspec.msgpack.Encoder().encode
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class _Call(Task):
    """A call of a remote function."""

    __slots__ = ()
    TASK_TYPE = TASK_TYPE

    def __init__(self, session: Session, kind: Kind, inputs: tuple[TaskInput, ...], config: bytes | None) -> None:
        self._place(session, kind, inputs, config, 4)


class Remote:
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
            raise RainException(f"remote() takes a Python function, not {type(function).__name__}: {function!r}")
        self.function: Callable[..., Any] = function
        self._function = function
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._auto_load = auto_load
        self._name = check_name(name) or function.__name__
        self._cpus = check_cpus(cpus)
        self._limits = check_options(options)
        self._env = check_environment(env)
        self._set_parameters(inputs)
        self._set_outputs(outputs, check_content_type(auto_encode))

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        """Make a task in the active session that calls the function with these arguments."""
        return self._call_in(active_session(), args, kwargs)

    def _call_in(self, session: Session, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        kind = session._functions.get(self) or self._make_kind(session)
        count = len(args)
        if kwargs or not self._least <= count <= self._most or self._special:
            return self._general_call(session, kind, args, kwargs)
        values = []
        positions = []
        inputs = []
        for arg in args:
            if type(arg) in PLAIN_TYPES:
                values.append(arg)
            elif isinstance(arg, (DataObject, Task)):
                check_input(session, arg)
                positions.append(len(values))
                inputs.append(arg)
                values.append(None)
            else:
                return self._general_call(session, kind, args, kwargs)
        if not values:
            return _Call(session, kind, (), None)
        try:
            config = _encode((values, positions))
        except (OverflowError, UnicodeEncodeError):
            return self._general_call(session, kind, args, kwargs)
        if len(config) > LARGE_ARGUMENTS:
            self._warn(len(config))
        return _Call(session, kind, tuple(inputs), config)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        raise RainException(f"{self.__qualname__}() is a method; only plain functions can be remote")

    def __reduce__(self) -> Any:
        # As a global of other functions: what it was made of, so that it can be used like the function itself.
        return plain_function, (self.function,)

    def __repr__(self) -> str:
        return f"<Remote {self.__module__}.{self.__qualname__}>"

    def _set_parameters(self, inputs: Mapping[str, Input] | None) -> None:
        self._signature = inspect.signature(self.function)
        parameters = list(self._signature.parameters.values())
        if not parameters or parameters[0].kind not in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
            raise RainException(f"Remote function {self.__name__}() needs a first parameter for the context (ctx)")
        if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            raise RainException(
                f"Remote function {self.__name__}() needs a named first parameter for the context (ctx)"
            )
        parameters = parameters[1:]
        self._call_signature = self._signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
        try:
            settings = dict(inputs or {})
        except (TypeError, ValueError):
            raise RainException(f"inputs= of {self.__name__}() is a dictionary, not {inputs!r}") from None
        self._settings: list[Input | None] = []
        for parameter in parameters:
            hint = _evaluate(parameter.annotation, self._function)
            setting = settings.pop(parameter.name, None) or (hint if isinstance(hint, Input) else None)
            if setting is not None and not isinstance(setting, Input):
                raise RainException(f"inputs= of {self.__name__}() takes instances of Input, not {setting!r}")
            if setting is not None and setting.dataobj is not None:
                raise RainException(f"An Input of a remote function has no data object: {setting!r}")
            self._settings.append(setting)
        if settings:
            raise RainException(f"{self.__name__}() has no parameter named {next(iter(settings))!r}")
        self._numbers = {parameter.name: number for number, parameter in enumerate(parameters)}
        required = [p for p in parameters if p.kind in _POSITIONAL and p.default is p.empty]
        variable = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
        self._least = len(required)
        self._most = sys.maxsize if variable else sum(p.kind in _POSITIONAL for p in parameters)
        # Defaults with data objects in them must travel as arguments.
        self._send_defaults = any(p.default is not p.empty and type(p.default) not in PLAIN_TYPES for p in parameters)
        keyword_only = any(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        self._special = self._send_defaults or keyword_only or any(self._settings)

    def _set_outputs(self, outputs: OutputDefinition | None, auto_encode: str | None) -> None:
        if outputs is None:
            hint = _evaluate(self._signature.return_annotation, self._function)
            if isinstance(hint, Output) or (
                isinstance(hint, (tuple, list)) and hint and all(isinstance(item, Output) for item in hint)
            ):
                outputs = hint
            else:
                outputs = 1
        if isinstance(outputs, int):
            specs = output_specs(outputs)
            encode: list[str | None] = [None] * len(specs)
        else:
            defined = as_outputs(outputs)
            specs = check_labels([output.spec() for output in defined])
            encode = [output.encode for output in defined]
        if auto_encode is not None:
            for number, spec in enumerate(specs):
                if encode[number] is None and spec.data_type is DataType.BLOB:
                    encode[number] = auto_encode
            specs = tuple(
                OutputSpec(spec.label, spec.data_type, spec.content_type or wanted)
                for spec, wanted in zip(specs, encode)
            )
        self._outputs = specs
        self._encode = encode

    def _make_kind(self, session: Session) -> Kind:
        parameters = [
            None if setting is None else [setting.load, setting.content_type, setting.data_type.wire]
            for setting in self._settings
        ]
        config = encode_options(
            self.__name__,
            pickle_function(self._function, self._send_defaults),
            load=self._auto_load,
            encode=self._encode if any(self._encode) else None,
            parameters=parameters if any(self._settings) else None,
            env=self._env,
        )
        kind = Kind(TASK_TYPE, self._outputs, cpus=self._cpus, name=self._name, config=config, limits=self._limits)
        session._functions[self] = kind
        return kind

    def _general_call(self, session: Session, kind: Kind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        try:
            bound = self._call_signature.bind(*args, **kwargs)
        except TypeError as error:
            raise RainException(f"{self.__name__}() cannot be called like this: {error}") from None
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
        config, inputs = pickle_arguments(session, bound.args, bound.kwargs, numbers + keyword_numbers, self.__name__)
        if len(config) > LARGE_ARGUMENTS:
            self._warn(len(config))
        return _Call(session, kind, inputs, config)

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
                check_object(setting, item)

    def _warn(self, size: int) -> None:
        warnings.warn(
            f"The arguments of a call of {self.__name__}() have {size >> 20} MiB; "
            "pass large values as data objects: blob() or pickled()",
            RainWarning,
            stacklevel=4,
        )


def encode_options(
    name: str,
    function: bytes,
    *,
    load: bool = False,
    encode: list[str | None] | None = None,
    parameters: list[Any] | None = None,
    env: Mapping[str, str] | None = None,
    plain: str | None = None,
) -> bytes:
    """The configuration of a kind of task that calls a pickled function, as the executor reads it."""
    options: dict[str, Any] = {
        "name": name,
        "function": function,
        "path": [os.path.abspath(entry) for entry in sys.path],
        "load": load,
        "encode": encode,
        "parameters": parameters,
    }
    if env:
        options["env"] = env
    if plain:
        options["plain"] = plain
    return _encode(options)


@overload
def remote(function: Callable[..., Any], /) -> Remote: ...


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
) -> Callable[[Callable[..., Any]], Remote]: ...


def remote(
    function: Callable[..., Any] | None = None, /, **options: Any
) -> Remote | Callable[[Callable[..., Any]], Remote]:
    """Turn a function into one that makes tasks: ``@remote`` or ``@remote(...)`` with the options of :class:`Remote`.

    The function is called in an executor, with the context first::

        @remote()
        def hello(ctx, name):
            return "Hello " + name.get_str()
    """
    if function is not None:
        return Remote(function, **options)
    return lambda decorated: Remote(decorated, **options)


def _evaluate(annotation: Any, function: FunctionType) -> Any:
    """An annotation as a value, also where annotations are strings."""
    if isinstance(annotation, str) and ("Input" in annotation or "Output" in annotation):
        try:
            return eval(annotation, function.__globals__)
        except Exception as error:
            raise RainException(
                f"The annotation {annotation!r} of {function.__name__}() cannot be evaluated: {error}"
            ) from None
    return annotation
