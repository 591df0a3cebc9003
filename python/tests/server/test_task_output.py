"""What tasks write to standard output and error is there for their client."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rain.client import RainException, RainTimeout, TaskException, remote, tasks
from rain.client.session import Session


@remote(outputs=0)
def say(ctx: Any, word: str, fails: bool = False) -> None:
    """Writes to both streams, from Python and from a program."""
    print(word)
    print(f"{word}!", file=sys.stderr)
    subprocess.run(["sh", "-c", f"echo {word} of a program; echo and errors >&2"], check=True)
    if fails:
        raise ValueError(word)


def test_functions(session: Session) -> None:
    said = [say(word) for word in ("one", "two")]
    quiet = tasks.Noop()
    assert_refused(said[0])
    session.submit()
    session.wait_all()
    for task, word in zip(said, ("one", "two")):
        assert task.stdout == f"{word}\n{word} of a program\n"
        assert task.stderr == f"{word}!\nand errors\n"
    assert (quiet.stdout, quiet.stderr) == ("", "")


def assert_refused(task: Any) -> None:
    with pytest.raises(RainException, match="ask for the output of .*not submitted"):
        task.stdout  # noqa: B018


def test_calls_that_are_sent_ahead_have_their_own(session: Session) -> None:
    @remote(outputs=0)
    def count(ctx: Any, number: int) -> None:
        if number % 3:
            print(number)
        if number % 5 == 0:
            sys.stderr.write(f"{number}")

    counted = [count(number) for number in range(1000)]
    session.submit()
    session.wait_all()
    for number, task in enumerate(counted):
        if number % 50 < 6:
            assert task.stdout == (f"{number}\n" if number % 3 else "")
            assert task.stderr == ("" if number % 5 else f"{number}")


def test_programs(session: Session) -> None:
    plain = tasks.Execute("echo one; echo two >&2; echo three", shell=True)
    captured = tasks.Execute("echo one; echo two >&2", shell=True, stdout=True)
    captured.output.keep()
    much = tasks.Execute("seq 100000", shell=True)
    session.submit()
    session.wait_all()
    assert (plain.stdout, plain.stderr) == ("one\nthree\n", "two\n")
    assert (captured.stdout, captured.stderr) == ("", "two\n")
    assert captured.output.fetch().get_bytes() == b"one\n"
    assert much.stdout.startswith("...") and much.stdout.endswith("99999\n100000\n")
    assert len(much.stdout) == (64 << 10) + 3


def test_of_a_failed_session(session: Session) -> None:
    first = say("one")
    session.submit()
    session.wait_all()
    second = say("two", True)
    session.submit()
    with pytest.raises(TaskException, match="ValueError: two"):
        session.wait_all()
    assert first.stdout == "one\none of a program\n"
    assert (second.stdout, second.stderr) == ("two\ntwo of a program\n", "two!\nand errors\n")


def test_a_program_that_fails(session: Session) -> None:
    task = tasks.Execute("echo one; echo two >&2; exit 3", shell=True)
    session.submit()
    with pytest.raises(TaskException, match="exited with status 3"):
        session.wait_all()
    assert (task.stdout, task.stderr) == ("one\n", "two\n")


def test_wait_all_shows_what_was_written(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    for word in ("one", "two"):
        say(word)
    session.submit()
    session.wait_all(output=True)
    shown = capfd.readouterr()
    assert sorted(shown.out.splitlines()) == ["one", "one of a program", "two", "two of a program"]
    assert sorted(shown.err.splitlines()) == ["and errors", "and errors", "one!", "two!"]
    # Once.
    session.wait_all(output=True)
    assert capfd.readouterr() == ("", "")
    say("three")
    session.submit()
    session.wait_all(output=True)
    assert capfd.readouterr().out == "three\nthree of a program\n"
    say("four", True)
    session.submit()
    with pytest.raises(TaskException):
        session.wait_all(output=True)
    assert capfd.readouterr() == ("four\nfour of a program\n", "four!\nand errors\n")


def test_it_is_shown_while_others_run(session: Session, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    go_on = tmp_path / "go on"

    def wait(ctx: Any, path: str) -> None:
        end = time.monotonic() + 30
        while not Path(path).exists() and time.monotonic() < end:
            time.sleep(0.01)
        print("last")

    say("first")
    remote(outputs=0)(wait)(str(go_on))
    session.submit()
    shown = ""
    end = time.monotonic() + 30
    while "first of a program" not in shown and time.monotonic() < end:
        with pytest.raises(RainTimeout):
            session.wait_all(output=True, timeout=0.3)
        shown += capfd.readouterr().out
    assert shown.startswith("first\nfirst of a program\n") and "last" not in shown
    go_on.touch()
    session.wait_all(output=True)
    assert capfd.readouterr().out.endswith("last\n")
