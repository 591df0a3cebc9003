"""Lambdas, partials and bound methods are functions that go to executors once, and values."""

from __future__ import annotations

import functools
import pickle
from typing import Any, Callable

import pytest

from rain.client.taken_apart import SMALL_BYTES, VALUES_MAX, take_apart
from rain.executor.parts import put_together


class Holder:
    shared = 1

    def __init__(self, *values: Any) -> None:
        self.first, *rest = values
        if rest:
            self.rest = rest[0]

    def get(self, more: int = 0) -> Any:
        return self.first, vars(self).get("rest"), more

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


class Slotted:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 1

    def get(self) -> int:
        return self.value


class OwnState(Holder):
    def __getstate__(self) -> dict[str, Any]:
        return {}


def add(*numbers: int, **named: int) -> tuple[Any, ...]:
    return numbers, named


def adder(number: Any) -> Callable[..., Any]:
    return lambda more=0: (number, more)


def defaulted(number: Any) -> Callable[..., Any]:
    def with_defaults(x: int, y: Any = number, z: str = "z") -> tuple[Any, ...]:
        return x, y, z

    return with_defaults


def again(called: Callable[..., Any]) -> Callable[..., Any]:
    """As an executor has it."""
    taken = take_apart(called)
    function: Any = taken.function
    if taken.parts is not None:
        function = put_together(function, list(taken.parts))
    return lambda *args, **kwargs: function(*taken.args, *args, **{**taken.kwargs, **kwargs})


@pytest.mark.parametrize(
    "called",
    [
        adder(3),
        adder("text"),
        lambda more=1: more,
        Holder(1).get,
        Holder(b"x", 2.5).get,
        functools.partial(adder(3), 5),
        functools.partial(functools.partial(Holder(None).get), more=7),
    ],
)
def test_what_is_taken_apart_does_the_same(called: Callable[..., Any]) -> None:
    assert take_apart(called).args or take_apart(called).kwargs
    assert again(called)() == called()
    if not isinstance(called, functools.partial):
        assert again(called)(9) == called(9)


def test_callables_of_the_same_code_have_the_function_in_common() -> None:
    assert take_apart(adder(1)).function is take_apart(adder(2)).function
    assert take_apart(adder(1))[1:] == (("function", 1, 1), (1, 0), {})
    assert take_apart(defaulted(1)).function is take_apart(defaulted(2)).function
    assert take_apart(Holder(1).get) == (Holder, ("method", "get", "first"), (1,), {})
    assert take_apart(functools.partial(add, 1, b=2)) == (add, None, (1,), {"b": 2})
    assert again(defaulted(4))(1) == (1, 4, "z")


def odd_callables() -> list[Any]:
    shadowed = Holder(1)
    shadowed.get = lambda: "own"  # type: ignore[method-assign]
    many = Holder(1)
    vars(many).update({f"a{number}": number for number in range(VALUES_MAX)})
    marked = adder(1)
    marked.__dict__["note"] = 1

    def keyword_only(*, number: int = 1) -> int:
        return number

    def recursive(number: int) -> int:
        return number and recursive(number - 1)

    return [
        add,
        len,
        Holder,
        Holder.of_class,
        "text".upper,
        adder([1]),
        adder("x" * (SMALL_BYTES + 1)),
        defaulted([]),
        keyword_only,
        recursive,
        marked,
        Holder([1]).get,
        shadowed.get,
        many.get,
        Slotted().get,
        OwnState(1).get,
        functools.partial(add, [1]),
        functools.partial(add, *range(VALUES_MAX + 1)),
    ]


@pytest.mark.parametrize("number", range(len(odd_callables())))
def test_others_are_left_as_they_are(number: int) -> None:
    called = odd_callables()[number]
    assert take_apart(called) == (called, None, (), {})


def test_the_common_function_refers_to_no_values() -> None:
    taken = take_apart(adder(12345))
    function: Any = taken.function
    assert function.__defaults__ is None
    for cell in function.__closure__:
        with pytest.raises(ValueError, match="empty"):
            _ = cell.cell_contents
    assert function.__qualname__ == adder(1).__qualname__ and function.__module__ == __name__
    assert pickle.dumps(taken.args)
