"""The end of a script, of an executor that nobody refers to, and forks, with calls that are pending."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from gates import Gate
from real_server import RainServer

from rain.client import Client, Executor, RainException, blob, tasks
from rain.client.calls import _live

PATIENCE_S = 60
START = """
import atexit, os, signal, sys, threading, time
from rain.client import Client, Executor
client = Client("localhost", int(sys.argv[1]))
directory = sys.argv[2]
def note(number):
    with open(f"{directory}/{number}", "w"):
        return number
def wait_for(path):
    with open(path) as file:
        return file.read()
"""


def run(script: str, port: int, directory: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", START + script, str(port), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def output(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    try:
        said, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return said, errors, process.returncode


@pytest.mark.parametrize(
    "executor", ["client.executor()", "Executor(client.new_session())", "Executor()"], ids=["client", "session", "own"]
)
@pytest.mark.parametrize("after", ["", "executor.shutdown(wait=False)", "del executor"])
def test_pending_calls_are_finished(server: RainServer, tmp_path: Path, executor: str, after: str) -> None:
    script = f"""
executor = {executor}
gate = directory + "/gate"
os.mkfifo(gate)
first = executor.submit(wait_for, gate)
def needs(number, text):
    return note(number)
for number in range(20):
    executor.submit(needs, number, first).add_done_callback(lambda future: note(100 + future.result()))
del first
{after}
with open(gate, "w") as file:
    file.write("go")
"""
    assert output(run(script, server.port, tmp_path)) == ("", "", 0)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"gate", *map(str, range(20)), *map(str, range(100, 120))}


def test_large_results_that_come_at_the_end(server: RainServer, tmp_path: Path) -> None:
    script = """
executor = client.executor()
gate = directory + "/gate"
os.mkfifo(gate)
def large(text):
    return b"x" * (3 << 20)
first = executor.submit(wait_for, gate)
for _ in range(3):
    executor.submit(large, first).add_done_callback(lambda future: print(len(future.result())))
def open_gate():
    with open(gate, "w") as file:
        file.write("go")
# Called when the interpreter ends, before executors are waited for: no thread can be started then.
threading._register_atexit(open_gate)
"""
    assert output(run(script, server.port, tmp_path)) == ("3145728\n" * 3, "", 0)


def test_calls_after_the_end_are_refused(server: RainServer, tmp_path: Path) -> None:
    script = """
@atexit.register
def late():
    try:
        executor.submit(note, 1)
    except RuntimeError as error:
        print(type(error).__name__, error)
executor = client.executor()
executor.submit(note, 0)
"""
    said, errors, code = output(run(script, server.port, tmp_path))
    assert said == "ExecutorShutdown cannot schedule new futures after interpreter shutdown\n"
    assert (errors, code) == ("", 0) and (tmp_path / "0").exists()


def test_an_interrupt_ends_the_wait_at_the_end(server: RainServer, tmp_path: Path) -> None:
    script = """
executor = Executor()
os.mkfifo(directory + "/never")
executor.submit(wait_for, directory + "/never")
executor.submit(note, 1).result()
# Called when the interpreter ends, right before executors are waited for.
threading._register_atexit(lambda: print("end", flush=True))
"""
    process = run(script, server.port, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "end\n"
    process.send_signal(signal.SIGINT)
    said, errors, _ = output(process)
    assert said == "" and (not errors or "KeyboardInterrupt" in errors)


def test_an_executor_that_nobody_refers_to(client: Client, gate: Gate) -> None:
    executor = client.executor()
    session, calls = executor.session, executor._calls
    future = executor.submit(gate)
    gate.await_begin()
    alive = weakref.ref(executor)
    del executor
    gc.collect()
    assert alive() is None and not session.closed
    gate.open()
    assert future.result(PATIENCE_S) == "through"
    assert calls._over.wait(PATIENCE_S) and session.closed and calls not in _live
    # One that was never used.
    calls = client.executor()._calls
    gc.collect()
    assert calls._over.wait(PATIENCE_S) and calls.session.closed


def test_threads_end_with_their_executor(client: Client) -> None:
    with client.executor() as executor:
        executor.submit(max, 1, 2).add_done_callback(lambda future: None)
        assert len(executor.submit(bytes, 3 << 20).result(PATIENCE_S)) == 3 << 20
        own = [thread for thread in threading.enumerate() if thread.name in ("rain-calls", "rain-fetch")]
        assert executor._calls._thread in own
    for thread in own:
        if thread in (executor._calls._thread, *executor._calls._fetchers.threads):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_a_forked_child_is_told_and_the_parent_goes_on(client: Client, gate: Gate) -> None:
    with client.executor() as executor:
        future = executor.submit(gate)
        gate.await_begin()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                try:
                    with executor:
                        executor.submit(max, 1, 2)
                except RuntimeError as error:
                    os.write(write, f"{error}\n".encode())
                os.write(write, str(future.exception(PATIENCE_S)).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read().split("\n")
        os.waitpid(child, 0)
        assert len(said) == 2 and all("belongs to the parent of this forked process" in line for line in said)
        gate.open()
        assert future.result(PATIENCE_S) == "through"
        assert executor.submit(max, 1, 2).result(PATIENCE_S) == 2


def test_the_end_of_the_session_or_client_under_an_executor(client: Client, server: RainServer, gate: Gate) -> None:
    session = client.new_session()
    with Executor(session) as executor:
        future = executor.submit(gate)
        gate.await_begin()
        session.close()
        assert isinstance(future.exception(PATIENCE_S), RainException)
    other = Client("localhost", server.port)
    executor = other.executor()
    future = executor.submit(gate)
    gate.await_begin()
    other.close()
    assert isinstance(future.exception(PATIENCE_S), RainException)
    executor.shutdown()


def test_a_session_that_was_not_closed(client: Client) -> None:
    session = client.new_session("forgotten")
    with session.bind_only():
        tasks.Concat([blob("x")])
    with pytest.warns(ResourceWarning, match="forgotten.* was not closed"):
        del session
        gc.collect()
