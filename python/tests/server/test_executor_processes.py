"""Which executor processes tasks get, and what stays of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from real_server import RainServer, running_server

from rain.client import Client, TaskException, blob, remote, tasks

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE = 60.0


@pytest.fixture(scope="module")
def narrow() -> Iterator[RainServer]:
    """A server with one cpu."""
    with running_server("--local-governors=[1]", "--no-pin") as server:
        yield server


@pytest.fixture
def client(narrow: RainServer) -> Iterator[Client]:
    with Client("localhost", narrow.port) as client:
        yield client


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for something that happens by itself."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def run(client: Client, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The result of a plain function, in a session of its own."""
    with client.executor(**options) as executor:
        return executor.submit(function, *args).result(PATIENCE)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_sessions_share_a_process_and_widths_do_not() -> None:
    def look(_: int) -> tuple[int, str | None]:
        return os.getpid(), os.environ.get("OMP_NUM_THREADS")

    with running_server("--local-governors=[2]", "--no-pin") as server, Client("localhost", server.port) as client:
        narrow = {run(client, look, 0) for _ in range(3)}
        wide = {run(client, look, 0, cpus=2) for _ in range(3)}
        again = {run(client, look, 0) for _ in range(3)}
    assert {threads for _, threads in narrow | again} == {"1"}
    assert {threads for _, threads in wide} == {"2"}
    assert not {pid for pid, _ in narrow | again} & {pid for pid, _ in wide}
    assert {pid for pid, _ in narrow} & {pid for pid, _ in again}


def test_what_a_task_leaves_gives_the_next_session_another_process(client: Client) -> None:
    def leave() -> int:
        import threading

        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return os.getpid()

    first = run(client, leave)
    assert run(client, os.getpid) != first
    eventually(lambda: not is_alive(first))


def test_nobody_is_blamed_for_a_process_that_is_given_up(client: Client) -> None:
    def leave(number: int) -> int:
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        return number

    with client.executor() as executor:
        assert list(executor.map(leave, range(20))) == list(range(20))


def test_what_is_meant_to_live_on_outlives_its_executor(client: Client) -> None:
    def start() -> tuple[int, int]:
        command = "env -u RAIN_TASK setsid bash -c 'echo $$; exec sleep 1000 >&- 2>&-' & exit"
        shell = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, text=True)
        assert shell.stdout is not None
        return os.getpid(), int(shell.stdout.readline())

    executor, survivor = run(client, start)
    try:
        eventually(lambda: not is_alive(executor))
        assert run(client, abs, -1) == 1
        assert is_alive(survivor)
    finally:
        os.kill(survivor, 9)


def test_an_error_has_its_own_output_only(client: Client) -> None:
    def say() -> None:
        print("SECRET of another session")

    @remote()
    def die(ctx: Any) -> bytes:
        print("last words", flush=True)
        os._exit(3)

    @remote()
    def quiet(ctx: Any) -> bytes:
        os._exit(4)

    for function, expected in ((die, "status 3; the end of its output:\nlast words"), (quiet, "status 4")):
        run(client, say)
        with client.new_session() as session:
            function()
            session.submit()
            with pytest.raises(TaskException) as caught:
                session.wait_all()
        assert str(caught.value).endswith(expected)


def test_printing_takes_no_room(client: Client, narrow: RainServer) -> None:
    @remote()
    def chatter(ctx: Any) -> str:
        for _ in range(64 << 10):
            print("x" * 1023)
        here = os.path.dirname(os.getcwd())
        return str(sum(path.stat().st_size for path in Path(here).rglob("*") if path.is_file()))

    with client.new_session() as session:
        task = chatter()
        task.output.keep()
        session.submit()
        assert task.output.fetch().get_str() == "0"


def test_inputs_are_freed_with_their_session(client: Client) -> None:
    @remote()
    def make(ctx: Any) -> bytes:
        return bytes(1 << 20)

    @remote()
    def look(ctx: Any, data: Any) -> str:
        data.get_view()
        return str(os.getpid())

    with client.new_session() as session:
        task = look(make())
        task.output.keep()
        session.submit()
        pid = int(task.output.fetch().get_str())

    def mapped() -> bool:
        maps = Path(f"/proc/{pid}/maps").read_text() if is_alive(pid) else ""
        return any("(deleted)" in line and "memfd:" not in line for line in maps.splitlines())

    eventually(lambda: not mapped())


def test_functions_start_anew_in_each_session(client: Client) -> None:
    def count() -> int:
        count.calls = getattr(count, "calls", 0) + 1  # type: ignore[attr-defined]
        return count.calls  # type: ignore[attr-defined,no-any-return]

    def twice() -> list[int]:
        with client.executor() as executor:
            return [executor.submit(count).result(PATIENCE) for _ in range(2)]

    assert [twice(), twice()] == [[1, 2], [1, 2]]


def test_a_call_that_cannot_be_sent_holds_nobody_up() -> None:
    with running_server("--local-governors=[1]", "--no-pin") as server, Client("localhost", server.port) as client:
        function = remote(retries=1, timeout=PATIENCE)(lambda ctx, *inputs: b"never")
        store = server.runtime / "work"
        with client.new_session() as session:
            function()
            session.submit()
            session.wait_all()
            # All together are more than goes into a call, and the rest cannot be written to files.
            parts = [tasks.Concat([blob(bytes([number]) * 60_000)]) for number in range(110)]
            for part in parts:
                part.output.keep()
            session.submit()
            session.wait_all()
            hidden = store.with_name("hidden")
            store.rename(hidden)
            try:
                function(*[part.output for part in parts])
                session.submit()
                with pytest.raises(TaskException, match="No such file"):
                    session.wait_all()
                # Nothing that needs a file.
                with client.new_session() as other:
                    tasks.Noop([], 1)
                    other.submit()
                    other.wait_all()
            finally:
                hidden.rename(store)
