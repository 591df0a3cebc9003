"""Own executors in C++, Rust and Python with a real governor: what the guide shows, and all that they can do wrong."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from building import build
from real_server import PROGRAM, RainServer, running_server, skip_without_program, until_dead

from rain.client import Client, Output, OutputDir, Session, Task, TaskException, blob, directory, tasks
from rain.common import LabeledList

TOP = Path(__file__).parents[3]

# All that an executor has to do, from the protocol's page alone.
MINI_EXECUTOR = """
import os, signal, socket, sys
import msgspec

name, how = sys.argv[1:]
governor = socket.socket(fileno=os.dup(0))
stream = governor.makefile("rb")

def send(*message):
    body = msgspec.msgpack.encode(message)
    governor.sendall(len(body).to_bytes(4, "little") + body)

if how == "done-first":
    send("done", 1, [], {})
send("register", {"version": 1, "name": name, "pid": os.getpid()})
if how == "twice":
    send("register", {"version": 1, "name": name, "pid": os.getpid()})
kinds = {}
while head := stream.read(4):
    message = msgspec.msgpack.decode(stream.read(int.from_bytes(head, "little")))
    if message[0] == "define":
        kinds[message[1]] = message[2]
    elif message[0] == "call":
        _, call, kind, task, config, inputs, extra = message
        print("call of", kinds[kind]["type"], flush=True)
        if how == "unknown-call":
            send("done", call + 1000, [], {})
        elif how == "outside":
            send("done", call, [["/etc/hostname", None, None]], {})
        elif how == "no-such-input":
            send("done", call, [[7, None, None]], {})
        elif how == "content-type":
            send("done", call, [[b"", "json", None]], {})
        elif how == "long":
            governor.sendall(b"\\xff\\xff\\xff\\xff")
        elif how == "wrong-number":
            send("done", call, [[b"", None, None]] * 3, {})
        else:
            send("done", call, [[kinds[kind]["type"].encode(), None, None]], {})
"""

# What executors do that break the protocol, and what is said of it.
MINI_FAULTS = {
    "done-first": "before it registered",
    "twice": "registered twice",
    "unknown-call": "which it does not have",
    "outside": "not inside of the executor's directory",
    "no-such-input": "there is no input 7",
    "content-type": 'content type "json"',
    "long": "bytes is longer than",
    "wrong-number": "made 3 outputs, but 1 are declared",
}


def own_task(task_type: str) -> type[Task]:
    """A class for the tasks of a type, with any inputs."""

    class OwnTask(Task):
        TASK_TYPE = task_type

        def __init__(self, *inputs: Any, outputs: Any = 1, **options: Any) -> None:
            super().__init__(inputs=inputs, outputs=outputs, **options)

    return OwnTask


@pytest.fixture(scope="session")
def cpp_programs() -> Path:
    """The folder with programs in C++, built when they are not there."""
    if shutil.which("cmake") is None:
        pytest.skip("There is no cmake")
    # Not where the benchmarks build theirs, which have no sanitizers.
    folder = TOP / "target" / "cpp-sanitized"
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes may run tests.
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build("cmake", "-S", "cpp", "-B", folder, "-D", "CMAKE_BUILD_TYPE=Debug", "-D", "TASKLIB_SANITIZE=ON")
        build("cmake", "--build", folder, "--target", "trial_executor")
        # As the guide has it: a copy of the tasklib in the folder of the program.
        guide = folder / "myexecutor"
        shutil.copytree(TOP / "cpp" / "tests" / "guide", guide, dirs_exist_ok=True)
        shutil.copytree(TOP / "cpp" / "tasklib", guide / "tasklib", dirs_exist_ok=True)
        # The guide's example asks for CMake 3.1, which CMake 4 refuses unless it is told that this is all right.
        build("cmake", "-S", guide, "-B", guide / "_build", "-D", "CMAKE_POLICY_VERSION_MINIMUM=3.5")
        build("cmake", "--build", guide / "_build")
    return folder


@pytest.fixture(scope="session")
def rust_programs() -> Path:
    """The folder with examples of the Rust tasklib."""
    if shutil.which("cargo") is None:
        pytest.skip("There is no cargo")
    target = PROGRAM.resolve().parents[1]
    build("cargo", "build", "--quiet", "--release", "--locked", "-p", "rain_task", "--examples", "--target-dir", target)
    return target / "release" / "examples"


@pytest.fixture(scope="module")
def server(cpp_programs: Path, rust_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RainServer]:
    """A server whose governor has good and bad executors."""
    directory = tmp_path_factory.mktemp("own-executors")
    mini = directory / "mini.py"
    mini.write_text(MINI_EXECUTOR)
    cpp = cpp_programs / "tests" / "trial_executor"
    entries = {
        "example1": [cpp_programs / "myexecutor" / "_build" / "myexecutor"],
        "cpp": [cpp],
        "rust": [rust_programs / "trial_executor"],
        "shout": [cpp, "--name=shout", "--shout"],
        "wrong_name": [cpp, "--name=somebody"],
        "mini": [sys.executable, mini, "mini", "good"],
    }
    for how in ("garbage", "version", "crash", "exit", "hang"):
        entries[how] = [cpp, f"--{how}"]
    for how in MINI_FAULTS:
        entries[how] = [sys.executable, mini, how, how]
    config = directory / "governor.toml"
    with open(config, "w") as file:
        for name, command in entries.items():
            file.write(f"[executors.{name}]\ncommand = {[str(word) for word in command]}\n")
            if name == "hang":
                file.write("start_timeout = 0.3\n")
            if command[0] == cpp:
                # How it dies is tested here; leaks are looked for in cpp/tests.
                file.write('env = {ASAN_OPTIONS = "handle_segv=0:detect_leaks=0"}\n')
    with running_server("--local-governors=[2]", "--no-pin", f"--governor-config={config}") as server:
        yield server
    left = [pid for pid, environment in environments() if f"{server.runtime}/work" in environment]
    assert not left, "executors are left over"


def environments() -> Iterator[tuple[int, str]]:
    """Processes with their environments."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "environ").read_text(errors="replace")
            except OSError:
                continue  # It has ended, or is somebody else's.


def run(client: Client, task_type: str, *contents: str | bytes, **options: Any) -> bytes:
    """Run one task in a session of its own."""
    with client.new_session() as session:
        task = own_task(task_type)(*[blob(content) for content in contents], **options)
        task.keep_outputs()
        session.submit()
        session.wait_all()
        return b"".join(output.get_bytes() for output in task.fetch_outputs())


def error_of(client: Client, task_type: str, *contents: str | bytes, **options: Any) -> str:
    """The error of a task that has to fail; after it, other executors work."""
    with pytest.raises(TaskException) as caught:
        run(client, task_type, *contents, **options)
    assert run(client, "cpp/hello", "C++") == b"Hello C++!"
    assert run(client, "rust/hello", "Rust") == b"Hello Rust!"
    return str(caught.value)


def test_hello_of_the_guide(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    class Hello(Task):
        """Task takes one blob as input and puts b"Hello " before
        and "!" after the input."""

        TASK_TYPE = "example1/hello"

        def __init__(self, obj: Any) -> None:
            # Define task with one input and one output,
            # Outputs may be a (labelled) list of data objects or a number.
            # If a number is used than it creates the specified number of blob outputs
            super().__init__(inputs=(obj,), outputs=1)

    with client.new_session() as session:
        a = blob("Hello world")
        t = Hello(a)
        t.output.keep()  # The guide forgets it: what is not kept cannot be fetched.
        session.submit()
        print(t.output.fetch().get_bytes())
    assert capsys.readouterr().out == "b'Hello Hello world!'\n"


@pytest.mark.parametrize("language", ["cpp", "rust"])
class TestBothLanguages:
    """What both tasklibs can do."""

    def test_many_calls(self, session: Session, language: str) -> None:
        hello = own_task(f"{language}/hello")
        made = [hello(blob(str(number))) for number in range(300)]
        joined = tasks.Concat([task.output for task in made])
        joined.output.keep()
        session.submit()
        assert joined.output.fetch().get_bytes().decode() == "".join(f"Hello {number}!" for number in range(300))

    def test_large_contents_are_files(self, session: Session, language: str) -> None:
        count = 1_000_000
        made = own_task(f"{language}/range")(config={"count": count})
        total = own_task(f"{language}/sum")(made)
        other = own_task(f"{language}/sum")(blob(array("Q", range(100_000)).tobytes()))
        for task in (made, total, other):
            task.output.keep()
        session.submit()
        assert total.output.fetch().get_bytes() == str(count * (count - 1) // 2).encode()
        assert total.output.fetch().content_type == "text"
        assert other.output.fetch().get_bytes() == b"4999950000"
        assert made.output.fetch().get_bytes() == array("Q", range(count)).tobytes()

    def test_a_path_of_an_input_passes_it_on(self, session: Session, tmp_path: Path, language: str) -> None:
        (tmp_path / "a").write_text("A")
        inputs = [blob("small", content_type="text"), blob(b"1" * 300_000), directory(tmp_path)]
        declared: list[Any] = [1, 1, [OutputDir("tree")]]
        same = own_task(f"{language}/same_path")
        first = [same(given, outputs=outputs) for given, outputs in zip(inputs, declared)]
        again = [same(task, outputs=outputs) for task, outputs in zip(first, declared)]
        stages = [inputs, [task.output for task in first], [task.output for task in again]]
        for data in itertools.chain(*stages):
            data.keep()
        session.submit()
        session.wait_all()
        for number, (small, large, tree) in enumerate(stages):
            assert small.fetch().get_bytes() == b"small"
            assert small.fetch().content_type == "text"
            assert large.fetch().get_bytes() == b"1" * 300_000
            tree.fetch().write(tmp_path / f"fetched-{number}")
            assert [path.name for path in (tmp_path / f"fetched-{number}").iterdir()] == ["a"]

    def test_a_part_of_an_input_is_not_taken(self, session: Session, tmp_path: Path, language: str) -> None:
        (tmp_path / "a").write_text("A")
        own_task(f"{language}/part")(directory(tmp_path), config="a")
        session.submit()
        with pytest.raises(TaskException, match=r"a is not inside of .*new_path\(\)"):
            session.wait_all()

    def test_directories_labels_and_attributes(self, session: Session, language: str) -> None:
        class Split(Task):
            TASK_TYPE = f"{language}/split"

            def __init__(self, text: Any) -> None:
                inputs = LabeledList((text,), labels=("text",))
                super().__init__(inputs=inputs, outputs=(OutputDir("parts"), "count", "same"))

        split = Split(blob("one\ntwo\nthree"))
        split.spec.user = {"by": ["me"]}
        joined = own_task(f"{language}/join")(split.outputs["parts"])
        split.keep_outputs()
        joined.output.keep()
        session.submit()
        assert joined.output.fetch().get_bytes() == b"one;two;three;"
        assert split.outputs["same"].fetch().get_bytes() == b"one\ntwo\nthree"
        assert split.outputs["count"].fetch().load() == 3
        split.update()
        split.outputs["count"].update()
        assert split.info.debug == "split 3 lines"
        assert split.info.user == {"lines": 3, "asked": {"by": ["me"]}}
        assert split.outputs["count"].info.user == {"unit": "lines"}

    def test_attributes_are_objects(self, client: Client, language: str) -> None:
        given: dict[str, Any] = {"steps": [1, -2.5], "name": "ř \U0001f600", "nothing": None}
        with client.new_session() as session:
            task = own_task(f"{language}/attributes")(config=json.dumps(given))
            task.output.keep()
            session.submit()
            fetched = task.output.fetch()
            assert (fetched.get_bytes(), fetched.info.user) == (b"content", given)
            task.update()
            assert task.info.user == given
        for wrong in ("[1, 2]", '"text"', "7", "null"):
            assert "JSON object" in error_of(client, f"{language}/attributes", config=wrong)
        for wrong in ('{"a": 1e999}', '{"a": "\\ud800"}', "{"):
            error_of(client, f"{language}/attributes", config=wrong)

    def test_signals_of_programs_that_a_task_starts(self, session: Session, language: str) -> None:
        task = own_task(f"{language}/signals")()
        task.output.keep()
        session.submit()
        # The executor itself does not end by a SIGINT.
        assert task.output.fetch().get_bytes() == b"0"
        task.update()
        ignored, blocked = (re.search(rf"{name}:\s*(\w+)", task.info.debug) for name in ("SigIgn", "SigBlk"))
        # The C library has two signals above these for itself, which may be ignored from the start.
        assert ignored and int(ignored[1], 16) & 0x7FFFFFFF == 0
        assert blocked and int(blocked[1], 16) & 0x7FFFFFFF == 0

    def test_debug_messages_without_end(self, session: Session, language: str) -> None:
        chatter = own_task(f"{language}/chatter")()
        chatter.output.keep()
        session.submit()
        assert Path(f"/proc/{int(chatter.output.fetch().get_bytes())}").exists()
        chatter.update()
        assert chatter.info.debug.startswith("d" * 1000 + "\n" + "d" * 1000)
        assert chatter.info.debug.endswith("\n[further debug messages are left out]")
        assert len(chatter.info.debug) < 2_000_000

    def test_errors_of_tasks_leave_the_executor_alone(self, client: Client, language: str) -> None:
        # The same process answers: with one cpu at a time, there are as many executors as cpus.
        pids = {run(client, f"{language}/pid") for _ in range(20)}
        message = error_of(client, f"{language}/throw")
        assert "thrown on purpose" in message
        with pytest.raises(TaskException) as caught:
            run(client, f"{language}/throw")
        assert caught.value.debug == "about to throw"
        assert f"{language}/hello takes 1 input, but was given 0" in error_of(client, f"{language}/hello")
        assert f"has no task {language}/none" in error_of(client, f"{language}/none")
        assert len({run(client, f"{language}/pid") for _ in range(20)} | pids) <= 2

    def test_a_wrong_number_of_outputs(self, client: Client, language: str) -> None:
        assert "2 outputs, but 1" in error_of(client, f"{language}/two_outputs")

    def test_an_executor_that_dies_in_a_task(self, client: Client, language: str) -> None:
        message = error_of(client, f"{language}/abort")
        assert "SIGABRT" in message and "last words of abort" in message
        message = error_of(client, f"{language}/exit")
        assert "3" in message and "last words of exit" in message

    def test_calls_behind_one_that_kills_the_executor(self, server: RainServer, language: str) -> None:
        with Client("localhost", server.port) as client:
            for _ in range(5):
                with client.new_session() as session:
                    for number in range(40):
                        own_task(f"{language}/hello")(blob(str(number)))
                    own_task(f"{language}/abort")()
                    session.submit()
                    with pytest.raises(TaskException, match="SIGABRT"):
                        session.wait_all()


def test_a_panic(client: Client) -> None:
    message = error_of(client, "rust/panic")
    assert "panicked at" in message and "trial_executor.rs" in message and "panicked on purpose" in message


def test_a_panic_in_another_thread(client: Client) -> None:
    message = error_of(client, "rust/panic_in_thread")
    assert 'thread "worker" panicked at' in message and "trial_executor.rs" in message
    assert "panicked in a thread" in message


def test_writing_to_a_read_only_input(client: Client) -> None:
    message = error_of(client, "cpp/write_input", b"0" * 1_000_000)
    assert "task cpp/write_input wrote to its input, which is read-only" in message
    assert "SIGSEGV" in message


def test_an_executor_that_is_killed(client: Client) -> None:
    message = error_of(client, "cpp/kill")
    assert "SIGKILL" in message and "last words of kill" in message
    # One that nobody needs at the moment is replaced, without an error.
    for _ in range(4):
        pid = int(run(client, "cpp/pid"))
        os.kill(pid, signal.SIGKILL)
        until_dead(pid)
    assert run(client, "cpp/hello", "again") == b"Hello again!"


def test_an_executor_that_closes_its_connection(client: Client) -> None:
    message = error_of(client, "cpp/close")
    assert "closed its connection" in message and "last words of close" in message


def test_standard_output_is_for_people(client: Client) -> None:
    assert run(client, "shout/hello", "you") == b"Hello you!"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wrong_name", ['registered as "somebody"']),
        ("version", ["version 9 of the executor protocol", "speaks version 9"]),
        ("garbage", ["not", "message", "sends garbage"]),
        ("crash", ["SIGABRT", "about to crash"]),
        ("exit", ["3", "about to exit"]),
        ("hang", ["did not register within 300ms", "about to hang"]),
    ],
)
def test_executors_that_start_badly(client: Client, name: str, parts: list[str]) -> None:
    message = error_of(client, f"{name}/hello", "x")
    for part in [f'executor "{name}"', *parts]:
        assert part in message


def test_an_executor_from_the_page_alone(client: Client) -> None:
    assert run(client, "mini/anything") == b"mini/anything"


@pytest.mark.parametrize("how", MINI_FAULTS)
def test_executors_that_break_the_protocol(client: Client, how: str) -> None:
    options = {"outputs": [Output("text", content_type="text")]} if how == "content-type" else {}
    assert MINI_FAULTS[how] in error_of(client, f"{how}/x", **options)


def test_an_executor_that_nobody_registered(client: Client) -> None:
    assert "nobody" in error_of(client, "nobody/hello")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[executors.a]\ncommand = "/no/such/program"\n', 2, "/no/such/program"),
        ('[executors.a]\ncommand = "sh"\nspeed = 1\n', 3, "speed"),
    ],
)
def test_a_wrong_configuration_is_said_at_once(tmp_path: Path, text: str, line: int, message: str) -> None:
    skip_without_program()
    config = tmp_path / "governor.toml"
    config.write_text(text)
    environment = {**os.environ, "RAIN_RUNTIME_DIR": str(tmp_path)}
    command = [PROGRAM, "start", "--simple", "--listen=127.0.0.1:0", f"--governor-config={config}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"{config}:{line}: " in done.stderr and message in done.stderr


def test_processes_are_reaped(client: Client, server: RainServer) -> None:
    """Executors that ended in these ways leave no zombies of the engine."""
    engine = json.loads(server.rain("status", "--json", f"--listen={server.port}").stdout)["pid"]
    # Python executors are started before they are needed, which may have failed: that is not what this is about.
    before = zombies(engine)
    for task_type in ("cpp/abort", "rust/exit", "crash/x", "hang/x", "twice/x"):
        error_of(client, task_type)
    end = time.monotonic() + 20
    while zombies(engine) - before and time.monotonic() < end:
        time.sleep(0.02)
    assert not zombies(engine) - before


def zombies(parent: int) -> set[int]:
    """Children of a process that have ended and were not waited for."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent_id = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # It has gone meanwhile.
        if state == "Z" and int(parent_id) == parent:
            found.add(int(stat.parent.name))
    return found
