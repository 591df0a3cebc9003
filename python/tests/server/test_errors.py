"""Bad input: a clear error, and the server goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from real_server import works

from rain.client import (
    Client,
    Output,
    OutputDir,
    RainException,
    Session,
    SessionException,
    TaskException,
    blob,
    remote,
    tasks,
)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tasks.Load("/nothing/here"), "/nothing/here"),
        (lambda: tasks.LoadDir("/nothing/here"), "/nothing/here"),
        (lambda: tasks.Store(blob("x"), "/proc/nothing/here"), "/proc/nothing/here"),
        (lambda: tasks.Execute("no-such-program-anywhere"), "no-such-program-anywhere"),
        (lambda: tasks.Execute("echo words >&2; exit 3", shell=True), "(?s)3.*words"),
        (lambda: tasks.Execute("kill -9 $$", shell=True), "(?i)signal|kill"),
        (lambda: tasks.Execute("true", output_paths=["promised"]), "promised"),
        (lambda: tasks.Execute("mkdir d", shell=True, output_paths=["d"]), "d"),
        (lambda: tasks.Execute("touch f", shell=True, output_paths=[OutputDir("f")]), "f"),
        (lambda: tasks.SliceDirectory(tasks.MakeDirectory([("a", blob("x"))]), "b"), "b"),
        (lambda: tasks.SliceDirectory(tasks.MakeDirectory([("a", blob("x"))]), "a/"), "a"),
        (lambda: remote(outputs=2)(lambda ctx: b"1")(), "returned a value of type bytes, but it has 2 outputs"),
        (lambda: remote(outputs=Output(content_type="json"))(lambda ctx: ctx.blob("x"))(), "content type"),
        (lambda: remote()(lambda ctx: 1 // 0)(), "(?s)ZeroDivisionError: .*Traceback"),
    ],
)
def test_failing_tasks(client: Client, session: Session, build: Callable[[], Any], message: str) -> None:
    build()
    session.submit()
    with pytest.raises(TaskException, match=message) as caught:
        session.wait_all()
    assert f"made at {__file__}:" in str(caught.value)
    with pytest.raises(SessionException):
        session.wait_all()
    assert works(client)


def test_too_many_cpus(client: Client, session: Session) -> None:
    tasks.Execute("true", cpus=1000)
    with pytest.raises(RainException, match="1000"):
        session.submit()
    session.discard()
    t = tasks.Concat([blob("x")])
    t.output.keep()
    session.submit()
    assert t.output.fetch().get_bytes() == b"x"


def test_unknown_executor(client: Client, session: Session) -> None:
    from rain.client import Task

    class Unknown(Task):
        TASK_TYPE = "nobody/knows"

    Unknown()
    with pytest.raises(RainException, match="nobody"):
        session.submit()
        session.wait_all()
    assert works(client)


def test_failure_stops_running_tasks(client: Client, session: Session, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tasks.Execute(f"exec 3> {fifo}; sleep 600", shell=True)
    tasks.Execute(f"exec 3< {fifo}; exit 1", shell=True)
    session.submit()
    with pytest.raises(TaskException):
        session.wait_all()
    assert works(client)


def test_other_sessions_go_on(client: Client) -> None:
    with client.new_session() as good:
        t = tasks.Sleep(blob("good"), 0.05)
        t.output.keep()
        good.submit()
        with client.new_session() as bad:
            tasks.Execute("false")
            bad.submit()
            with pytest.raises(TaskException):
                bad.wait_all()
        assert t.output.fetch().get_bytes() == b"good"


def test_closing_a_session_stops_its_tasks(client: Client) -> None:
    with client.new_session() as session:
        tasks.Execute("sleep 600")
        tasks.Sleep(blob("x"), 600.0)
        session.submit()
    assert works(client)


def test_unkept_objects(session: Session) -> None:
    t = tasks.Concat([blob("x")])
    t.output.keep()
    session.submit()
    t.output.fetch()
    t.output.unkeep()
    with pytest.raises(RainException, match="Only kept objects"):
        t.output.fetch()
    with pytest.raises(RainException, match="not kept"):
        tasks.Concat([t.output])


def test_wait_and_fetch_in_threads(client: Client, session: Session) -> None:
    slow = tasks.Sleep(blob("slow"), 600.0)
    quick = tasks.Concat([blob("quick")])
    quick.output.keep()
    session.submit()
    errors: list[Exception] = []

    def wait() -> None:
        try:
            slow.wait()
        except RainException as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert quick.output.fetch().get_bytes() == b"quick"
    assert works(client)
    session.close()
    thread.join(20)
    assert errors and not thread.is_alive()


def test_interrupted_wait(server: Any, tmp_path: Path) -> None:
    script = f"""
import os
from rain.client import Client, tasks, blob
client = Client("localhost", {server.port})
with client.new_session() as session:
    gate = {str(tmp_path / "gate")!r}
    os.mkfifo(gate)
    t = tasks.Execute(f"kill -INT {{os.getpid()}}; cat {{gate}}", shell=True, stdout=True)
    t.output.keep()
    try:
        session.submit()
        session.wait_all()
    except KeyboardInterrupt:
        print("interrupted")
    with open(gate, "w") as file:
        file.write("through")
    session.wait_all()
    print(t.output.fetch().get_str())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout == "interrupted\nthrough\n", result.stderr


def test_client_that_dies(server: Any, client: Client) -> None:
    script = f"""
import sys
from rain.client import Client, tasks, blob
client = Client("localhost", {server.port})
session = client.new_session(default=True)
tasks.Sleep(blob("x"), 600.0)
session.submit()
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    assert works(client)


def test_through_tcp(server: Any, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr("rain.client.address._is_local", lambda host: False)
    with Client("127.0.0.1", server.port) as remote_client:
        assert not remote_client.local
        with remote_client.new_session() as session:
            obj = blob(os.urandom(3 << 20))
            t = tasks.Concat([obj, obj])
            t.output.keep()
            obj.keep()
            session.submit()
            assert t.output.fetch().get_bytes() == obj.fetch().get_bytes() * 2


def test_wrong_token(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAIN_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(RainException, match="(?i)token"):
        Client("127.0.0.1", server.port)


def test_status(client: Client) -> None:
    assert client.status()
