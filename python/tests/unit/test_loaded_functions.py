"""What an executor remembers of the functions that it has loaded."""

from __future__ import annotations

import gc
import linecache
import pickle
import sys
from typing import Any

import cloudpickle
import msgspec
import pytest

from rain.common.errors import RainException
from rain.executor import functions, sources
from rain.executor.functions import Function


@pytest.fixture(autouse=True)
def as_in_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What loading a function changes in the process is put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    tracker = cloudpickle.cloudpickle
    monkeypatch.setattr(tracker, "_DYNAMIC_CLASS_TRACKER_BY_ID", tracker._DYNAMIC_CLASS_TRACKER_BY_ID)


def kind(code: bytes | None, **options: Any) -> dict[str, Any]:
    config = {"name": "f", "load": False, "encode": None, "parameters": None, "function": code, "path": sys.path}
    return {"type": "py/run", "outputs": [["output", 0, None]], "config": msgspec.msgpack.encode({**config, **options})}


class Taken:
    """The pickle of a function in an object, and how often it was looked at."""

    def __init__(self, function: Any) -> None:
        self.code = pickle.dumps(function)
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return self.code


def test_the_function_of_a_kind() -> None:
    function = Function(kind(pickle.dumps(len)))
    assert function.call is None
    function.prepare()
    function.prepare()
    assert function.call is len


def test_functions_that_come_with_calls() -> None:
    function = Function(kind(None))
    with pytest.raises(RainException, match="without its function"):
        function.prepare()
    once, often = Taken(len), Taken(repr)
    for _ in range(3):
        function.prepare_with(once, None)
        assert function.call is len
        function.prepare_with(often, b"digest")
        assert function.call is repr
    assert (once.count, often.count) == (3, 1)


def test_a_function_that_cannot_be_loaded() -> None:
    function = Function(kind(b"\x80\x05cno_such_module\nf\n."))
    for _ in range(2):
        with pytest.raises(RainException, match=r"f\(\) cannot be loaded: ModuleNotFoundError: .*no_such_module"):
            function.prepare()
    function = Function(kind(pickle.dumps(_Exits())))
    with pytest.raises(RainException, match="cannot be loaded: SystemExit: 3"):
        function.prepare()


class _Exits:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


def test_large_functions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "LARGE_BYTES", 10_000)
    monkeypatch.setattr(functions, "_large", functions._LargeFunctions())
    function, other = Function(kind(None)), Function(kind(None))
    held = [Taken(bytes(4000) + bytes([n])) for n in range(4)]
    for number in (0, 1, 0, 2):
        function.prepare_with(held[number], bytes([number]))
    # The one that was not called for longest has gone; it comes again.
    assert [taken.count for taken in held] == [1, 1, 1, 0]
    function.prepare_with(held[1], bytes([1]))
    assert held[1].count == 2
    other.prepare_with(held[3], bytes([3]))
    assert len(functions._large._entries) == 2 and functions._large._bytes < 10_000
    # Those of a kind that is forgotten go with it.
    del function
    gc.collect()
    assert len(functions._large._entries) == 1 and functions._large._bytes == len(held[3].code)


def test_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "TEXT_BYTES", 5000)
    first, second = "/nowhere/first.py", "/nowhere/second.py"
    sources.remember([(first, 3, "def f():\n    pass\n"), (second, 1, "x = 1")])
    sources.remember([(first, 6, "def g(): ...\n"), (first, 0, "wrong\n"), (first, 1 << 30, "wrong\n")])
    linecache.checkcache()
    assert linecache.getlines(first) == ["\n", "\n", "def f():\n", "    pass\n", "\n", "def g(): ...\n"]
    assert linecache.getlines(second) == ["x = 1"]
    sources.remember([(f"/nowhere/{n}.py", 1, "y" * 1000) for n in range(10)])
    assert linecache.getlines(first) == [] and linecache.getlines("/nowhere/9.py") == ["y" * 1000]
