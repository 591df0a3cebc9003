"""The executor of futures, `Session.map`, asyncio and cancelling, against a real server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import operator
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from rain.client import (
    BrokenExecutor,
    CancelledException,
    Client,
    Executor,
    RainException,
    RainWarning,
    Session,
    TaskException,
    TaskFuture,
    as_completed,
    blob,
    pickled,
    remote,
    tasks,
)

cloudpickle.register_pickle_by_value(sys.modules[__name__])


# Changed between calls.
scale_of_calls = 1


def square(number: int) -> int:
    return number * number


def refuse(value: Any) -> None:
    raise ValueError(f"no {value!r} here")


def read_line(path: str) -> str:
    """Waits until somebody writes."""
    with open(path) as file:
        return file.readline()


@pytest.fixture
def gate(tmp_path: Path) -> str:
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    return path


def test_submit_and_map(client: Client) -> None:
    with client.executor(name="squares") as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        future = executor.submit(square, 7)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(20) == 49 and future.result() is future.result()
        assert list(executor.map(square, range(200))) == [n * n for n in range(200)]
        assert list(executor.map(operator.add, [1, 2], [3, 4])) == [4, 6]
        assert executor.submit(pow, 2, exp=5).result(20) == 32
        assert executor.submit(lambda: {"a": [1]}).result(20) == {"a": [1]}
        session = executor.session
    assert session.closed
    with pytest.raises(RuntimeError, match="shut down") as caught:
        executor.submit(square, 1)
    assert isinstance(caught.value, RainException)


def test_waiting_for_futures(client: Client, gate: str) -> None:
    with client.executor() as executor:
        slow = executor.submit(read_line, gate)
        quick = [executor.submit(square, n) for n in range(10)]
        done, pending = concurrent.futures.wait([slow, *quick], return_when=concurrent.futures.FIRST_COMPLETED)
        assert slow in pending and done
        assert sorted(f.result() for f in concurrent.futures.as_completed(quick)) == [n * n for n in range(10)]
        with pytest.raises(concurrent.futures.TimeoutError):
            slow.result(0)
        Path(gate).write_text("through\n")
        assert slow.result(20) == "through\n"


def test_exceptions_of_calls(client: Client) -> None:
    with client.executor() as executor:
        future = executor.submit(refuse, "x")
        with pytest.raises(ValueError, match="no 'x' here") as caught:
            future.result(20)
        cause = str(caught.value.__cause__)
        assert "in refuse" in cause and f"made at {__file__}:" in cause
        with pytest.raises(ValueError, match="no 2 here"):
            list(executor.map(refuse, [2, 3]))
        # The session has not failed.
        assert executor.submit(square, 3).result(20) == 9
        unsent = executor.submit(square, sys._getframe())
        with pytest.raises(pickle.PicklingError, match="argument of square.* cannot be pickled"):
            unsent.result(20)
        with pytest.raises(RainException, match="result of .* cannot be pickled"):
            executor.submit(lambda: sys._getframe()).result(20)
        assert executor.submit(square, 4).result(20) == 16


def test_futures_as_arguments(client: Client, gate: str) -> None:
    with client.executor() as executor:
        line = executor.submit(read_line, gate)
        upper = executor.submit(str.upper, line)
        both = executor.submit(lambda parts: "".join(parts["all"]), {"all": [line, upper]})
        failed = executor.submit(refuse, line)
        after = executor.submit(square, failed)
        assert not both.done()
        Path(gate).write_text("a\n")
        assert both.result(20) == "a\nA\n"
        with pytest.raises(ValueError, match="no 'a"):
            after.result(20)
        # Also when it is done.
        assert executor.submit(len, both).result(20) == 4
        with pytest.raises(ValueError, match="no 'a"):
            executor.submit(square, failed).result(20)
        assert isinstance(both, TaskFuture)
        assert pickle.loads(pickle.dumps(both)).result() == "a\nA\n"
        assert isinstance(pickle.loads(pickle.dumps(failed)).exception(), ValueError)


def test_cancelling_futures(client: Client, gate: str, tmp_path: Path) -> None:
    with client.executor() as executor:
        started = str(tmp_path / "started")
        os.mkfifo(started)

        def run() -> str:
            with open(started, "w") as file:
                file.write("now")
            return read_line(gate)

        running = executor.submit(run)
        assert Path(started).read_text() == "now"
        assert not running.cancel() and not running.done()
        assert running.stop() and running.cancelled()
        assert concurrent.futures.wait([running], 20).done == {running}
        with pytest.raises(concurrent.futures.CancelledError):
            running.result()
        done = executor.submit(square, 2)
        assert done.result(20) == 4
        assert not done.stop() and not done.cancel() and not done.cancelled()
        blocked = [executor.submit(read_line, gate) for _ in range(20)]
        executor.shutdown(stop=True)
        assert all(future.cancelled() for future in blocked)


def test_broken_executor(client: Client, gate: str) -> None:
    with client.executor() as executor:
        other = executor.submit(read_line, gate)
        death = executor.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(TaskException, match="(?i)signal|kill"):
            death.result(20)
        with pytest.raises(BrokenExecutor, match="session has failed"):
            other.result(20)
        with pytest.raises(concurrent.futures.BrokenExecutor, match="cannot be used any more"):
            executor.submit(square, 1)


def test_executor_over_a_session(client: Client, session: Session) -> None:
    with client.new_session() as other, other.bind_only():
        elsewhere = blob("elsewhere")
    data = pickled([1, 2, 3])
    text = tasks.Concat([blob("te"), blob("xt")])
    with Executor(session, cpus=2, env={"RAIN_TEST": "set"}) as executor:
        assert executor.submit(sum, data).result(20) == 6
        assert executor.submit(lambda name: os.environ[name], "RAIN_TEST").result(20) == "set"
        with pytest.raises(RainException, match="another session"):
            executor.submit(len, elsewhere)
    assert not session.closed
    assert text.id is not None
    with pytest.raises(RainException, match="There is no option 'nonsense'"):
        Executor(session, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(RainException, match="a client or a session"):
        Executor(3)  # type: ignore[arg-type]


def test_map_of_a_session(session: Session) -> None:
    doubled = session.map(lambda n: n * 2, range(5))
    squared = session.map(square, doubled, priority=3)
    shown = session.map(remote()(lambda ctx, a, b: f"{a.load()} {b}"), squared, "abcde")
    for task in shown:
        task.output.keep()
    assert session.task_count == 15
    session.submit()
    assert [task.output.fetch().get_str() for task in shown] == ["0 a", "4 b", "16 c", "36 d", "64 e"]
    assert all(f"made at {__file__}:" in task.describe() for task in shown)
    with pytest.raises(RainException, match="something to go through"):
        session.map(square)
    with pytest.raises(RainException, match="A function is needed"):
        session.map(3, [1])  # type: ignore[arg-type]
    with pytest.raises(RainException, match="goes through iterables"):
        session.map(square, 3)  # type: ignore[arg-type]


def test_as_completed(session: Session, gate: str) -> None:
    slow = remote()(lambda ctx: read_line(gate))()
    quick = [tasks.Concat([blob("x")]) for _ in range(5)]
    session.submit()
    order = []
    for item in as_completed([slow, *quick, quick[0].output]):
        order.append(item)
        if len(order) == 6:
            Path(gate).write_text("go\n")
    assert order[-1] is slow and set(order[:-1]) == {*quick, quick[0].output}
    assert session.wait_some([slow, quick[0]]) == [slow, quick[0]]
    assert list(session.as_completed()) == [slow, *quick]
    assert list(as_completed([])) == []


def test_progress(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.Concat([blob("x")])
    task = tasks.Concat([blob("y")])
    session.submit()
    session.wait([task], progress=True) if _has_tqdm() else session.wait([task])
    # Without the package there is a warning and no bar.
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.warns(RainWarning, match="needs the package tqdm"):
        session.wait_all(progress=True)


def _has_tqdm() -> bool:
    import importlib.util

    return importlib.util.find_spec("tqdm") is not None


def test_await(client: Client, gate: str) -> None:
    async def main() -> list[Any]:
        with client.new_session() as session:
            slow = remote()(lambda ctx: read_line(gate))()
            quick = tasks.Concat([blob("quick")])
            quick.output.keep()
            slow.output.keep()
            session.submit()

            async def open_gate() -> str:
                # Only a loop that goes on while the other two are waited for comes here.
                await quick
                Path(gate).write_text("slow\n")
                return "opened"

            fetched = await asyncio.gather(slow.output, quick.output, open_gate())
            assert await slow is slow
            failing = remote()(lambda ctx: 1 // 0)()
            session.submit()
            with pytest.raises(TaskException, match="ZeroDivisionError"):
                await failing
            return list(fetched)

    slow, quick, opened = asyncio.run(main())
    assert (slow.get_str(), quick.get_str(), opened) == ("slow\n", "quick", "opened")


def test_awaiting_what_cannot_be(session: Session) -> None:
    async def fetch() -> None:
        await task.output

    task = tasks.Concat([blob("x")])
    with pytest.raises(RainException, match="it is not submitted"):
        asyncio.run(fetch())
    session.submit()
    with pytest.raises(RainException, match="Only kept objects"):
        asyncio.run(fetch())


def test_cancel(session: Session, gate: str) -> None:
    blocked = remote()(lambda ctx: read_line(gate))()
    needs_it = tasks.Concat([blocked])
    needs_it.output.keep()
    other = tasks.Concat([blob("other")])
    other.output.keep()
    session.submit()
    assert other.output.fetch().get_bytes() == b"other"
    assert session.cancel([blocked]) == [blocked, needs_it]
    for wait in (blocked.wait, needs_it.wait, needs_it.output.fetch):
        with pytest.raises(CancelledException, match=f"made at {__file__}:"):
            wait()
    session.wait_all()
    blocked.update()
    assert blocked.state == "cancelled"
    assert blocked.cancel() is False and other.cancel() is False
    more = tasks.Sleep(blob("x"), 600.0)
    session.submit()
    assert session.cancel() == [more]
    assert session.cancel([]) == []
    with pytest.raises(RainException, match="Only tasks can be cancelled"):
        session.cancel([other.output])  # type: ignore[list-item]
    with pytest.raises(RainException, match="it is not submitted"):
        tasks.Noop().cancel()


def test_retries(session: Session, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @remote(retries=2)
    def third_time(ctx: Any) -> str:
        with open(log, "a") as file:
            file.write("x")
        if log.stat().st_size < 3:
            raise ValueError("not yet")
        return "now"

    python = third_time()
    python.output.keep()
    program = tasks.Execute(f"echo y >> {log}.2; [ $(wc -l < {log}.2) = 2 ]", shell=True, retries=1)
    session.submit()
    assert python.output.fetch().get_str() == "now"
    program.wait()
    assert log.read_text() == "xxx"


def test_timeout(client: Client, session: Session, gate: str) -> None:
    remote(timeout=0.05)(lambda ctx: read_line(gate))()
    session.submit()
    with pytest.raises(TaskException, match="(?i)time"):
        session.wait_all()
    with client.new_session() as other:
        tasks.Execute(["cat", "/dev/zero"], timeout=0.05)
        other.submit()
        with pytest.raises(TaskException, match="(?i)time"):
            other.wait_all()


def test_environment(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    look = remote(env={"RAIN_TEST": "remote"})(lambda ctx: os.environ["RAIN_TEST"])()
    after = remote()(lambda ctx, before: os.environ.get("RAIN_TEST", "unset"))(look)
    program = tasks.Execute("echo $RAIN_TEST", shell=True, env={"RAIN_TEST": "program"}, stdout=True)
    for task in (look, after, program):
        task.output.keep()
    session.submit()
    assert [task.output.fetch().get_str() for task in (look, after, program)] == ["remote", "unset", "program\n"]


def test_output_of_a_failing_call(session: Session) -> None:
    def talk(ctx: Any) -> None:
        os.system("echo words of a child >&2")
        print("last words")
        raise ValueError("the end")

    remote()(talk)()
    session.submit()
    with pytest.raises(TaskException, match="(?s)the end.*last words\nwords of a child"):
        session.wait_all()


def test_empty_standard_input(session: Session) -> None:
    task = tasks.Execute(["cat"], stdout=True)
    task.output.keep()
    session.submit()
    assert task.output.fetch().get_bytes() == b""


def test_new_callables_for_each_call(client: Client) -> None:
    """Lambdas, partials and methods of the same code make one kind of task, however many there are."""

    class Local:
        def __init__(self, number: int) -> None:
            self.number = number

        def get(self, more: int = 0) -> int:
            self.number += 1
            return self.number + more

        def fail(self) -> None:
            raise ValueError(self.number)

    with client.executor() as executor:
        for make in (
            lambda number: lambda: number,
            lambda number: lambda add=number: add,
            lambda number: functools.partial(int, number),
            lambda number: functools.partial(Local(number - 1).get),
            lambda number: functools.partial(Local(number - 2).get, 1),
        ):
            futures = [executor.submit(make(number)) for number in range(40)]
            assert [future.result(30) for future in futures] == list(range(40))
        # The last two are the same method.
        assert len(executor.session._kind_ids) == 4
        error = executor.submit(Local(17).fail).exception(30)
        assert isinstance(error, ValueError) and error.args == (17,)
        assert "raise ValueError(self.number)" in str(error.__cause__) and "put_together" not in str(error.__cause__)
        mine = Local(1)
        assert executor.submit(mine.get).result(30) == 2 and mine.number == 1
        # What a function refers to is as it is at the call.
        for scale in (2, 3):
            vars(sys.modules[__name__])["scale_of_calls"] = scale
            assert executor.submit(lambda x=scale: x * scale_of_calls).result(30) == scale * scale
