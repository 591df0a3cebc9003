"""Whatever becomes of a call is the outcome of its future, and of no other one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import signal
import sys
import threading
from typing import Any, Callable

import cloudpickle
import pytest
from gates import Gate

from rain.client import BrokenExecutor, Client, Executor, RainException, RemoteException, TaskException, TaskFuture

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 30
CLIENT = os.getpid()


class OwnBase(BaseException):
    pass


class OtherArguments(Exception):
    def __init__(self, code: int, url: str) -> None:
        super().__init__(f"{url} answered {code}")


class KeywordsOnly(ValueError):
    def __init__(self, *, where: str) -> None:
        super().__init__()
        self.where = where


class Worded(Exception):
    """The constructor makes other arguments of its own."""

    def __init__(self, code: Any) -> None:
        super().__init__(f"code {code}")
        self.code = code


class WithLock(Exception):
    def __init__(self) -> None:
        super().__init__("has a lock")
        self.lock = threading.Lock()


class FailsAtLoad(Exception):
    def __reduce__(self) -> Any:
        return int, ("no number",)


class LoadsAsOther(Exception):
    def __reduce__(self) -> Any:
        return int, ("7",)


class LeavesAtLoad(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (5,)


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd:
    """Can be pickled, and is loaded by `make`."""

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self.reduced = make, args

    def __reduce__(self) -> Any:
        return self.reduced

    def __call__(self) -> str:
        return "called"


def only_in(client: bool, what: type[BaseException]) -> str:
    """Can be loaded in this process, or only in another one."""
    if (os.getpid() == CLIENT) != client:
        raise what("not here")
    return "here"


def throw(error: BaseException) -> None:
    raise error


def throw_new(kind: Callable[..., BaseException], *args: Any, **kwargs: Any) -> None:
    raise kind(*args, **kwargs)


@pytest.fixture
def executor(client: Client) -> Any:
    with client.executor() as executor:
        # It is whole before and after.
        assert executor.submit(max, 1, 2).result(PATIENCE_S) == 2
        yield executor
        assert executor.submit(max, 3, 4).result(PATIENCE_S) == 4


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, MemoryError, StopIteration, OwnBase]
)
def test_any_exception_is_that_of_its_call(executor: Executor, kind: type[BaseException]) -> None:
    bad = executor.submit(throw_new, kind, 3)
    others = [executor.submit(pow, n, 2) for n in range(4)]
    passed_on = executor.submit(str, bad)
    for future in (bad, passed_on):
        error = future.exception(PATIENCE_S)
        assert type(error) is kind and error.args == (3,)
        assert "in throw_new" in str(error.__cause__)
    assert [other.result(PATIENCE_S) for other in others] == [0, 1, 4, 9]
    if kind is SystemExit:
        assert isinstance(error, SystemExit) and error.code == 3


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        ((OtherArguments, 503, "http://x"), "OtherArguments: http://x answered 503"),
        ((WithLock,), "WithLock: has a lock"),
        ((FailsAtLoad, "why"), "FailsAtLoad: why"),
        ((LoadsAsOther, "why"), "LoadsAsOther: why"),
        ((LeavesAtLoad, "why"), "LeavesAtLoad: why"),
    ],
)
def test_an_exception_that_cannot_be_rebuilt_arrives_as_text(executor: Executor, raised: Any, text: str) -> None:
    direct = executor.submit(throw_new, *raised)
    before = executor.submit(str, direct)
    direct.exception(PATIENCE_S)
    after = executor.submit(str, {"deep": [direct]})
    for future in (direct, before, after):
        error = future.exception(PATIENCE_S)
        assert type(error) is RemoteException and isinstance(error, RainException)
        assert str(error) == text and error.type_name == raised[0].__name__ and text.endswith(error.text)
        cause = str(error.__cause__)
        assert text in cause and "in throw_new" in cause and f"made at {__file__}:" in cause
        copied = pickle.loads(pickle.dumps(future)).exception()
        assert type(copied) is RemoteException and str(copied) == text


def test_an_exception_that_takes_keywords_or_has_no_text(executor: Executor) -> None:
    error = executor.submit(throw_new, KeywordsOnly, where="here").exception(PATIENCE_S)
    assert type(error) is RemoteException and str(error) == "KeywordsOnly"
    error = executor.submit(throw_new, WithoutText).exception(PATIENCE_S)
    assert type(error).__name__ == "WithoutText" and "cannot be shown" in str(error.__cause__)


def test_an_exception_keeps_its_text_and_attributes(executor: Executor) -> None:
    error = executor.submit(throw_new, Worded, 5).exception(PATIENCE_S)
    assert type(error).__name__ == "Worded" and str(error) == "code 5" and error.code == 5  # type: ignore[union-attr]
    error = executor.submit(open, "/nowhere").exception(PATIENCE_S)
    assert isinstance(error, FileNotFoundError) and error.filename == "/nowhere" and error.errno == 2
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        executor.submit(bytes.decode, b"\xff").result(PATIENCE_S)


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_what_cannot_be_loaded_there(executor: Executor, kind: type[BaseException]) -> None:
    argument = executor.submit(str, Odd(only_in, True, kind))
    function = executor.submit(Odd(only_in, True, kind))
    assert "cannot be unpickled" in str(argument.exception(PATIENCE_S))
    assert "cannot be loaded" in str(function.exception(PATIENCE_S))
    for future in (argument, function):
        assert isinstance(future.exception(), RainException) and kind.__name__ in str(future.exception())
        after = executor.submit(str, future).exception(PATIENCE_S)
        assert type(after) is type(future.exception()) and str(after) == str(future.exception())


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_what_cannot_be_loaded_here(executor: Executor, kind: type[BaseException]) -> None:
    future = executor.submit(Odd, only_in, False, kind)
    with pytest.raises(RainException, match=f"result of .* cannot be unpickled: {kind.__name__}: not here"):
        future.result(PATIENCE_S)


def test_what_cannot_be_pickled(executor: Executor) -> None:
    lock = threading.Lock()
    argument = executor.submit(str, lock)
    function = executor.submit(lambda: lock)
    result = executor.submit(threading.Lock)
    assert isinstance(argument, TaskFuture)
    for future in (argument, function):
        assert future.done() and not future.cancel() and not future.stop() and not future.running()
        with pytest.raises(pickle.PicklingError, match="cannot be pickled"):
            future.result()
    with pytest.raises(RainException, match="cannot be pickled: TypeError"):
        result.result(PATIENCE_S)
    # As an argument, too.
    assert isinstance(executor.submit(str, argument).exception(PATIENCE_S), pickle.PicklingError)
    # One item of many.
    results = executor.map(str, [1, lock, 3])
    assert next(results) == "1"
    with pytest.raises(pickle.PicklingError, match="cannot be pickled"):
        next(results)


def test_a_result_of_exceptions(executor: Executor) -> None:
    result = executor.submit(lambda: [ValueError("a"), OwnBase("b")]).result(PATIENCE_S)
    assert [(type(error).__name__, str(error)) for error in result] == [("ValueError", "a"), ("OwnBase", "b")]


@pytest.mark.parametrize("death", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGSEGV)])
def test_a_process_that_dies(client: Client, gate: Gate, death: Callable[[], None]) -> None:
    with client.executor() as executor:
        before = executor.submit(max, 1, 2)
        assert before.result(PATIENCE_S) == 2
        pending = executor.submit(gate)
        dead = executor.submit(death)
        with pytest.raises(TaskException, match="exited with status 3|SIGSEGV|signal 11") as caught:
            dead.result(PATIENCE_S)
        assert isinstance(caught.value, BrokenExecutor) and caught.value.task is dead.task
        with pytest.raises(concurrent.futures.BrokenExecutor, match=f"session has failed: .*made at {__file__}"):
            pending.result(PATIENCE_S)
        with pytest.raises(BrokenExecutor, match="cannot be used any more"):
            executor.submit(max, 1, 2)
        assert before.result() == 2
    # The next one is whole.
    with client.executor() as executor:
        assert executor.submit(max, 3, 4).result(PATIENCE_S) == 4


def test_a_call_that_takes_too_long(client: Client, gate: Gate) -> None:
    with client.executor(timeout=0.05) as executor, pytest.raises(BrokenExecutor, match="longer than its timeout"):
        executor.submit(gate).result(PATIENCE_S)


def test_calls_in_chunks(client: Client) -> None:
    def double(number: int) -> int:
        if number == 57:
            raise ValueError(number)
        return 2 * number

    with client.executor() as executor:
        for size in (1, 2, 7, 100):
            assert list(executor.map(double, range(50), chunksize=size)) == [2 * number for number in range(50)]
        assert list(executor.map(pow, [2, 3, 4], [1, 2, 3], chunksize=2, buffersize=1)) == [2, 9, 64]
        late = executor.map(abs, range(5), buffersize=5)
        for size in (1, 2, 3, 100):
            assert list(executor.map(abs, range(20), buffersize=size)) == list(range(20))
        futures = [executor.submit(double, number) for number in range(5)]
        assert list(executor.map(double, futures, chunksize=2)) == [0, 4, 8, 12, 16]
        # What comes before an error in its chunk is there, and the error is the call's own.
        results = executor.map(double, range(100), chunksize=10)
        found = []
        with pytest.raises(ValueError, match="57") as caught:
            for result in results:
                found.append(result)  # noqa: PERF402
        assert found == [2 * number for number in range(57)]
        assert "in double" in str(caught.value.__cause__)
        task = executor.submit(double, 1).task
        assert task is not None and task.name == "double"
    # There is nothing left to submit.
    assert list(late) == list(range(5))
