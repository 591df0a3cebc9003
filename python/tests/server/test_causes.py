"""What a failed task has raised is there as an exception, and what the client's errors and warnings say."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any

import pytest

from rain.client import (
    CancelledException,
    Client,
    Input,
    Output,
    RainWarning,
    Session,
    TaskException,
    UsageError,
    blob,
    pickled,
    remote,
    tasks,
)


class Strange(Exception):
    """One that cannot be made of its text."""

    def __init__(self, first: int, second: list[int]) -> None:
        super().__init__(first, second)
        self.second = second


class Stubborn(Exception):
    """One that cannot be made again."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


@remote()
def raising(ctx: Any, kind: str) -> Any:
    ctx.debug("before {}", kind)
    if kind == "text":
        raise ValueError("no data: none\nat all")
    if kind == "nothing":
        raise ValueError
    if kind == "key":
        raise KeyError("k")
    if kind == "file":
        Path("/nowhere/file").read_text()
    if kind == "strange":
        raise Strange(1, [2])
    if kind == "stubborn":
        raise Stubborn
    if kind == "exit":
        raise SystemExit(3)
    return [1, 2]


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("text", "ValueError('no data: none\\nat all')"),
        ("nothing", "ValueError()"),
        ("key", "KeyError('k')"),
        ("file", "FileNotFoundError(2, 'No such file or directory')"),
        ("strange", "Strange(1, [2])"),
        ("stubborn", "None"),
        ("exit", "SystemExit(3)"),
        ("values", "None"),
    ],
)
def test_causes(session: Session, kind: str, cause: str) -> None:
    task = raising(kind)
    session.submit()
    with pytest.raises(TaskException) as caught:
        session.wait_all()
    error = caught.value
    assert repr(error.cause) == cause and error.__cause__ is error.cause
    # Whatever has come with it, the debug text is that of the task.
    assert error.debug == task.info.debug == f"before {kind}" and error.governor == 0
    assert str(error).endswith(f"\n\nDebug:\nbefore {kind}")
    assert task.state == "failed" and task.info.governor == 0 and "failed on" in task.info.error
    if kind == "strange":
        assert isinstance(error.cause, Strange) and error.cause.second == [2]
    if kind == "values":
        assert "2 values, but it has 1 output; to return the list as one value, use @remote(outputs=" in str(error)


def test_a_cause_can_be_caught(session: Session) -> None:
    raising("text").output.keep()
    session.submit()
    with pytest.raises(ValueError, match="no data"):
        try:
            session.wait_all()
        except TaskException as error:
            raise error.cause or error from None
    assert "direct cause of" in "".join(traceback.format_exception(TaskException, caught(session), None))


def caught(session: Session) -> TaskException:
    """What every request about a failed session raises."""
    with pytest.raises(TaskException) as found:
        session.wait_all()
    return found.value


def test_own_frames_are_hidden(session: Session) -> None:
    task = raising("text")
    task.output.keep()
    session.submit()
    for wait in (
        session.wait_all,
        task.wait,
        task.output.fetch,
        session.as_completed,
        lambda: session.fetch(task.output),
    ):
        with pytest.raises(TaskException) as error:
            list(wait() or ())  # type: ignore[call-overload]
        frames = [entry.frame.f_locals for entry in error.traceback if "/rain/client/" in str(entry.path)]
        assert frames and all(frame.get("__tracebackhide__") for frame in frames), frames


def test_how_often_it_was_tried(session: Session) -> None:
    tasks.Execute("false", retries=2)
    session.submit()
    with pytest.raises(TaskException, match=r"failed 3 times \(retries=2\), the last time on governor 0:\nprogram"):
        session.wait_all()


def test_cancelled_is_said_once(session: Session) -> None:
    stopped = tasks.Sleep(blob("x"), 100.0)
    session.submit()
    stopped.cancel()
    with pytest.raises(CancelledException) as error:
        stopped.wait()
    assert str(error.value) == f"T{stopped.describe()[1:]} was cancelled"


def test_tasks_that_were_never_submitted(client: Client) -> None:
    one = r"^task \(buildin/noop\), made at .*test_causes.py:\d+ was never"
    with pytest.warns(RainWarning, match=one) as found, client.new_session():
        tasks.Noop()
    assert found[0].filename == __file__
    several = r"2 tasks were never submitted.*call session\.submit\(\)"
    with pytest.warns(RainWarning, match=several), client.new_session() as session:
        tasks.Noop()
        session.submit()
        tasks.Noop()
        tasks.Noop()
        session.wait_all()


@pytest.mark.filterwarnings("error::rain.client.RainWarning")
def test_tasks_that_nobody_wants(client: Client) -> None:
    with client.new_session() as session:
        tasks.Noop()
        session.discard()
        blob("a constant alone is nothing to run")
    with pytest.raises(ZeroDivisionError), client.new_session():
        tasks.Noop()
        raise ZeroDivisionError
    with client.new_session() as session:
        tasks.Noop()
        session.close()


def test_words(session: Session) -> None:
    @remote(inputs={"data": Input(content_type="json")})
    def typed(ctx: Any, data: Any) -> None:
        """Takes JSON."""

    with pytest.raises(UsageError, match=r"^Argument 'data' of typed\(\): Input\(content_type='json'\) asks for"):
        typed(pickled(1))

    @remote()
    def forgotten(x: Any) -> None:
        """Has no parameter for the context."""

    with pytest.raises(
        UsageError, match=r"the first parameter of a remote function gets the context: def forgotten\(ctx, x"
    ):
        forgotten(5)
    with pytest.raises(UsageError, match="There is no option 'num_cpus'; did you mean 'cpus'"):
        remote(num_cpus=1)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="cannot be a generator: generator\\(\\) at .*test_causes.py:"):

        @remote()
        def generator(ctx: Any) -> Any:
            yield 1

    with pytest.raises(UsageError, match="cannot be a coroutine"):

        @remote(outputs=Output(encode="json"))
        async def coroutine(ctx: Any) -> Any:
            """Is never awaited."""

    with pytest.raises(Exception, match=r"it is not submitted; call session\.submit\(\) first"):
        tasks.Noop().output.fetch()
    assert str(inspect.signature(forgotten)) == "()" and str(inspect.signature(typed)) == "(data: 'Any')"
    assert repr(Input("x", load=True, content_type="json")) == "Input('x', load=True, content_type='json')"
