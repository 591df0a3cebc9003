"""What tasks do to the executor's process, and what the next ones find."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from executor_driver import Driver, Failed, Returned

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def look(ctx: Any) -> str:
    """Everything that tasks may change and that is put back."""
    import builtins
    import decimal
    import gc
    import locale
    import resource
    import warnings

    umask = os.umask(0)
    os.umask(umask)
    return repr(
        (
            sorted(os.environ.items()),
            umask,
            [signal.getsignal(number) for number in sorted(signal.valid_signals())],
            signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            [signal.getitimer(timer) for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)],
            resource.getrlimit(resource.RLIMIT_CORE),
            resource.getrlimit(resource.RLIMIT_NOFILE),
            locale.setlocale(locale.LC_ALL),
            decimal.getcontext(),
            decimal.Decimal(1) / 3,
            sys.getrecursionlimit(),
            sys.getswitchinterval(),
            socket.getdefaulttimeout(),
            [entry[:2] for entry in warnings.filters],
            sys.path,
            [str(finder) for finder in sys.meta_path + sys.path_hooks],
            sys.argv,
            sys.gettrace(),
            gc.isenabled(),
            gc.get_threshold(),
            [getattr(sys, name) is getattr(sys, f"__{name}__") for name in ("excepthook", "displayhook")],
            [getattr(sys, name).closed for name in ("stdin", "stdout", "stderr")],
            os.fstat(1).st_ino == os.fstat(2).st_ino,
            # Python 3.9 does not keep the original.
            threading.excepthook is getattr(threading, "__excepthook__", threading.excepthook),
            builtins.hex(10),
            time.tzname,
            os.getcwd(),
            os.listdir("."),
        )
    )


def change_what_can_be_put_back(ctx: Any) -> bytes:
    """All that `look` sees."""
    import builtins
    import decimal
    import gc
    import locale
    import resource
    import warnings

    os.environ["LEAK"] = "yes"
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    del os.environ["PATH"]
    os.umask(0o777)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGSEGV, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.setitimer(signal.ITIMER_REAL, 3600)
    signal.setitimer(signal.ITIMER_PROF, 3600, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    locale.setlocale(locale.LC_ALL, "C")
    decimal.getcontext().prec = 3
    decimal.DefaultContext.prec = 4
    sys.setrecursionlimit(200)
    sys.setswitchinterval(1)
    socket.setdefaulttimeout(1)
    warnings.simplefilter("error")
    sys.path.insert(0, "/leak")
    sys.argv.append("--leak")
    gc.disable()
    gc.set_threshold(1)
    sys.excepthook = sys.displayhook = lambda *_: None
    threading.excepthook = lambda *_: None

    class Finder:
        def find_spec(self, *args: Any) -> None:
            return None

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    sys.path_hooks.insert(0, lambda entry: None)  # type: ignore[arg-type,return-value]
    builtins.hex = lambda _: "7"  # type: ignore[assignment]
    os.chdir("/")
    return b""


def test_other_sessions_see_nothing_of_what_a_task_has_changed(driver: Driver) -> None:
    before = driver.call(look)[0][0]
    pid = driver.call(lambda ctx: str(os.getpid()))[0][0]
    driver.session_id = 6
    driver.call(change_what_can_be_put_back)
    driver.session_id = 7
    assert driver.call(look)[0][0].decode() == before.decode()
    assert driver.call(lambda ctx: str(os.getpid()))[0][0] == pid
    # The end of the session would have done it, too.
    driver.call(change_what_can_be_put_back)
    driver.forget(7)
    driver.session_id = 8
    assert driver.call(look)[0][0].decode() == before.decode()


def test_context_variables_are_a_sessions_own(driver: Driver) -> None:
    def count(ctx: Any) -> str:
        import contextvars

        number = sys.modules.setdefault("number", contextvars.ContextVar("number", default=0))  # type: ignore[call-overload]
        number.set(number.get() + 1)
        return str(number.get())

    assert [driver.call(count)[0][0] for _ in range(2)] == [b"1", b"2"]
    driver.session_id = 6
    assert driver.call(count)[0][0] == b"1"


def leave_thread(ctx: Any) -> bytes:
    """Start a thread that stays."""
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return b""


def leave_descriptor(ctx: Any) -> bytes:
    """Open something that stays open."""
    os.open("/", os.O_RDONLY)
    return b""


def change_root(ctx: Any) -> bytes:
    """Do something that has no way back."""
    os.nice(1)
    return b""


def lower_limits(ctx: Any) -> bytes:
    """Give up rights, which root could get back."""
    import resource

    if os.getuid() == 0:
        os.setgroups([12345])
    else:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return b""


def close_descriptors(ctx: Any) -> bytes:
    """Close one of the executor's."""
    mine = os.open("/", os.O_RDONLY)
    directories = [fd for fd in range(3, mine) if os.path.isdir(f"/proc/self/fd/{fd}")]
    os.close(mine)
    os.close(directories[0])
    return b""


@pytest.mark.parametrize(
    ("leave", "reason"),
    [
        (leave_thread, "1 threads"),
        (leave_descriptor, "1 open descriptors"),
        (change_root, "priority"),
        (lower_limits, "user|limits"),
    ],
)
def test_what_cannot_be_put_back_gives_calls_to_another_process(driver: Driver, leave: Any, reason: str) -> None:
    driver.call(leave)
    # Its own session may go on with it.
    driver.call(lambda ctx: b"")
    driver.session_id = 6
    for _ in range(2):
        driver.start(lambda ctx: b"not here")
    with pytest.raises(Returned, match=reason) as caught:
        driver.finish()
    calls = caught.value.calls
    while len(calls) < 2:
        with pytest.raises(Returned, match=reason) as caught:
            driver.finish()
        calls += caught.value.calls
    assert calls == [3, 4]


def test_a_session_that_is_over_is_told_at_once(driver: Driver) -> None:
    driver.call(leave_thread)
    driver.forget(5)
    with pytest.raises(Returned, match="1 threads") as caught:
        driver.finish()
    assert caught.value.calls == []


def test_a_directory_that_cannot_be_renewed_is_nobodys_fault(driver: Driver) -> None:
    driver.call(close_descriptors)
    with pytest.raises(Returned, match="cannot be put in order") as caught:
        driver.finish()
    assert caught.value.calls == []


@pytest.mark.parametrize("how", ["close", "none", "descriptor", "replace"])
def test_the_next_task_has_its_streams(driver: Driver, how: str) -> None:
    def spoil(ctx: Any, how: str) -> bytes:
        import io

        if how == "close":
            sys.stdout.close()
            sys.stderr.close()
        elif how == "none":
            sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]
        elif how == "descriptor":
            os.close(1)
            os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        else:
            sys.stdout = io.StringIO()
        return b""

    def fail(ctx: Any) -> None:
        print("own words")
        sys.stderr.write("and errors")
        raise ValueError("real reason")

    driver.call(spoil, how)
    with pytest.raises(Failed, match="ValueError: real reason") as caught:
        driver.call(fail)
    places = caught.value.failure["output"]
    written = [stream.text(*place) for stream, place in zip((driver.output, driver.errors), places)]
    assert written == ["own words\n", "and errors"]


def test_the_output_of_a_call_is_its_own(driver: Driver) -> None:
    def write(ctx: Any, text: str, fails: bool) -> bytes:
        sys.stdout.write(text)
        if fails:
            raise ValueError
        return b""

    def program(ctx: Any, text: str) -> None:
        subprocess.run(["echo", text], check=True)
        raise ValueError

    words = ["one", "two", "", "three"]
    for word in words:
        driver.start(write, word, True)
        driver.start(write, "nothing of this", False)
    driver.start(program, "four")
    answers: list[Any] = []
    for number in range(2 * len(words) + 1):
        if number % 2 == 0:
            with pytest.raises(Failed) as caught:
                driver.finish()
            answers.append(caught.value.failure)
        else:
            answers.append(driver.finish()[1])
    ranges = [answer.get("output") for answer in answers]
    # A call that has not failed has an output, too.
    assert ranges[4] is None and ranges[1] is not None
    shown = [driver.output.text(0, end)[start:end] for (start, end), _ in filter(None, ranges)]
    other = "nothing of this"
    assert shown == ["one", other, "two", other, other, "three", other, "four\n"]
    # Where the last call began, for the governor, had the process died in it.
    assert driver.output.begun == answers[-1]["output"][0][0]


def test_much_output_stops_nobody(driver: Driver) -> None:
    def write(ctx: Any) -> None:
        for _ in range(1 << 10):
            print("x" * (16 << 10))
        raise ValueError

    with pytest.raises(Failed) as caught:
        driver.call(write)
    (start, end), _ = caught.value.failure["output"]
    assert end - start == (1 << 10) * ((16 << 10) + 1)


def test_a_left_alarm_hurts_nobody(driver: Driver) -> None:
    def leave(ctx: Any) -> bytes:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        signal.setitimer(signal.ITIMER_PROF, 0.2)
        return b""

    def busy(ctx: Any) -> bytes:
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass
        return b"alive"

    driver.call(leave)
    assert driver.call(busy)[0][0] == b"alive"


def test_a_fork_that_returns_answers_for_nobody(driver: Driver) -> None:
    def fork(ctx: Any, fails: bool) -> str:
        if os.fork() == 0:
            if fails:
                raise SystemExit(7)
            return "child"
        return f"parent {os.waitstatus_to_exitcode(os.wait()[1])}"

    assert driver.call(fork, False)[0][0] == b"parent 0"
    assert driver.call(fork, True)[0][0] == b"parent 7"
    assert driver.call(lambda ctx: b"next")[0][0] == b"next"


def test_interrupts_reach_what_a_task_starts(driver: Driver) -> None:
    def program(ctx: Any) -> str:
        child = subprocess.Popen(["sleep", "1000"])
        child.send_signal(signal.SIGINT)
        return str(child.wait())

    def forked(ctx: Any) -> str:
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(told, b"x")
                time.sleep(1000)
            except KeyboardInterrupt:
                os._exit(9)
        os.read(ready, 1)
        os.kill(pid, signal.SIGINT)
        return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    assert driver.call(program)[0][0] == b"-2"
    assert driver.call(forked)[0][0] == b"9"
    driver.process.send_signal(signal.SIGINT)
    assert driver.call(lambda ctx: b"alive")[0][0] == b"alive"


def test_a_crash_shows_where_it_was(driver: Driver) -> None:
    def crash_in_here(ctx: Any) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    driver.start(crash_in_here)
    assert driver.process.wait(20) == -signal.SIGSEGV
    driver.stream.close()
    driver.socket.close()
    driver.output.close()
    driver.errors.close()
    assert "crash_in_here" in driver.errors.text()
    # So that the fixture has one that it can close.
    driver.__init__(driver.directory.parent / "another")  # type: ignore[misc]


def test_threads_of_libraries_are_as_many_as_cpus(driver: Driver, tmp_path: Path) -> None:
    from rain.client import remote

    @remote(cpus=3)
    def wide(ctx: Any) -> str:
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
        return repr([os.environ.get(name) for name in names])

    @remote(cpus=3, env={"OMP_NUM_THREADS": "1"})
    def own(ctx: Any) -> str:
        return os.environ["OMP_NUM_THREADS"]

    assert driver.call(wide)[0][0] == b"['3', '3', '3', '3']"
    assert driver.call(own)[0][0] == b"1"
    driver.session_id = 6
    assert driver.call(wide)[0][0] == b"['3', '3', '3', '3']"
    driver.start(lambda ctx: b"")
    with pytest.raises(Returned, match="tasks of 3 cpus"):
        driver.finish()
    other = Driver(tmp_path / "other", {"MKL_NUM_THREADS": "5"})
    try:
        assert other.call(wide)[0][0] == b"['3', '3', '5', '3']"
    finally:
        other.close()
