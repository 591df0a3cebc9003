"""Processes that tasks leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from executor_driver import Driver, Returned

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def start(ctx: Any, command: str) -> str:
    """Run a command in the background; returns its first line."""
    shell = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    return shell.stdout.readline()


# A program that stays, and tells its number.
STAYS = "echo $$; exec sleep 1000"


@pytest.mark.parametrize(
    "command",
    [
        STAYS,
        f"setsid bash -c '{STAYS}'",
        f"setsid bash -c '{STAYS}' & exit",
        f"(setsid bash -c '{STAYS}' &) & exit",
        f"set -m; bash -c '{STAYS}' & wait",
        f"nohup setsid bash -c 'trap \"\" TERM HUP INT; {STAYS}' 2>/dev/null &",
        # Without the variable, but in the session of its task.
        f"env -u RAIN_TASK bash -c '{STAYS}' & exit",
        "bash -c 'echo $$; while :; do sleep 1000 & wait; done'",
    ],
)
def test_what_a_task_has_started_ends_with_it(driver: Driver, command: str) -> None:
    pid = int(driver.call(start, command)[0][0])
    # Before the answer came.
    assert not is_alive(pid)
    # Objects of Python may stand for it, so that this process is not used again.
    with pytest.raises(Returned, match=r"has left \d+ processes") as caught:
        driver.finish()
    assert caught.value.calls == []


def test_programs_that_execute_others_all_the_time_end(driver: Driver, tmp_path: Path) -> None:
    # The system shows no environment while a program is being executed.
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nexec "$0"\n')
    program.chmod(0o755)
    pids = driver.call(start, f'for i in {{1..30}}; do setsid {program} & echo -n "$! "; done; echo; exit')[0][0]
    alive = [pid for pid in map(int, pids.split()) if is_alive(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert len(pids.split()) == 30 and not alive
    with pytest.raises(Returned, match=r"has left \d+ processes"):
        driver.finish()


def test_many_generations_end(driver: Driver) -> None:
    def breed(ctx: Any) -> str:
        readable, writable = os.pipe()
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.setsid()
                    subprocess.Popen(["sleep", "1000"], start_new_session=True)
                    os.write(writable, b"x")
                    while True:
                        time.sleep(1000)
                os._exit(0)
        for _ in range(5):
            os.read(readable, 1)
        return str(os.getpid())

    pid = int(driver.call(breed)[0][0])
    below = subprocess.run(["ps", "-o", "stat=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    assert below.stdout == ""
    with pytest.raises(Returned):
        driver.finish()


def test_one_that_is_meant_to_live_on_does(driver: Driver) -> None:
    pid = int(driver.call(start, f"env -u RAIN_TASK setsid bash -c '{STAYS}' & exit")[0][0])
    try:
        with pytest.raises(Returned, match="live on"):
            driver.finish()
        assert is_alive(pid)
    finally:
        os.kill(pid, 9)


def test_children_that_have_ended_leave_no_trace(driver: Driver) -> None:
    def fork(ctx: Any) -> str:
        for _ in range(3):
            if os.fork() == 0:
                os._exit(0)
        subprocess.run(["true"], check=True)
        process = subprocess.Popen(["true"])
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)
        return str(os.getpid())

    def look(ctx: Any) -> str:
        try:
            return repr(os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        except ChildProcessError:
            return "none"

    def wait(ctx: Any) -> bytes:
        # Those that were running at the end of their task were ended, and so may this process be.
        return b""

    driver.call(fork)
    try:
        assert driver.call(look)[0][0] == b"none"
    except Returned as returned:
        assert "has left" in str(returned)


def test_multiprocessing_works_in_one_call_after_the_other(driver: Driver) -> None:
    def share(ctx: Any) -> str:
        from multiprocessing import resource_tracker, shared_memory

        memory = shared_memory.SharedMemory(create=True, size=100)
        memory.close()
        memory.unlink()
        return str(resource_tracker._resource_tracker._pid)  # type: ignore[attr-defined]

    def pool(ctx: Any, method: str) -> str:
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as workers:
            result = workers.map(abs, [-1, -2])
        return repr(result)

    # What multiprocessing starts for itself stays as long as the session.
    trackers = {driver.call(share)[0][0] for _ in range(3)}
    assert len(trackers) == 1
    assert is_alive(int(trackers.pop()))
    for method in ("fork", "spawn", "forkserver"):
        assert driver.call(pool, method)[0][0] == b"[1, 2]"
    driver.session_id = 6
    driver.start(share)
    with pytest.raises(Returned, match="multiprocessing|processes"):
        driver.finish()
