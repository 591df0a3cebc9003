"""Code on its way to executors: of scripts, of modules, and of what only exists in memory, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from real_server import RainServer

from rain.client import Client, Session, blob, remote

RunScript = Callable[[str], str]
HEAD = """
import sys
from rain.client import Client, Output, RainException, blob, pickled, remote, tasks
client = Client("localhost", int(sys.argv[1]))

def texts(session, *made):
    for task in made:
        task.output.keep()
    session.submit()
    return [task.output.fetch().get_str() for task in made]
"""


@pytest.fixture
def run_script(server: RainServer, tmp_path: Path) -> RunScript:
    """Runs a script that has a client, and returns what it prints."""

    def run(source: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(HEAD + textwrap.dedent(source))
        command = [sys.executable, str(path), str(server.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_functions_are_what_they_are_at_the_call(run_script: RunScript) -> None:
    run_script("""
        import functools
        number, items = 1, []

        def read():
            return number, list(items), Class.rate, Class().method(), read.attribute

        class Class:
            rate = 1
            def method(self):
                return number

        class Adder:
            def __init__(self, n): self.n = n
            def __call__(self): return self.n
            def method(self): return self.n

        @remote()
        def remote_read(ctx):
            return str((number, items))

        def closures(executor):
            def function():
                return n
            futures = []
            for n in range(20):
                futures.append(executor.submit(function))
            return futures

        with client.executor() as executor:
            futures = []
            adder = Adder(0)
            for number in range(12):
                items.append(number)
                Class.rate, read.attribute, adder.n = -number, str(number), number
                futures.append(executor.submit(read))
                futures.append(executor.submit(adder))
                futures.append(executor.submit(adder.method))
                futures.append(executor.submit(functools.partial(list, items)))
                futures.append(executor.submit(lambda: Class.rate))
                futures.append(executor.submit(getattr, Class(), "rate"))
            for n in range(12):
                expected = [(n, list(range(n + 1)), -n, n, str(n)), n, n, list(range(n + 1)), -n, -n]
                assert [f.result(60) for f in futures[6 * n : 6 * n + 6]] == expected, n
            assert [f.result(60) for f in closures(executor)] == list(range(20))
        with client.new_session() as session:
            items.clear()
            made = []
            for number in range(12):
                items.append(number)
                made.append(remote_read())
            assert texts(session, *made) == [str((n, list(range(n + 1)))) for n in range(12)]
            number = 99
            assert texts(session, remote_read()) == [str((99, items))]
            made = []
            for n in range(12):
                @remote()
                def in_a_loop(ctx):
                    return str(n)
                made.append(in_a_loop())
            assert texts(session, *made) == [str(n) for n in range(12)]
    """)


def test_state_in_executors_belongs_to_one_session(run_script: RunScript) -> None:
    run_script("""
        count = 0

        def counter():
            global count
            count += 1
            return count

        def attribute():
            attribute.calls += 1
            return attribute.calls
        attribute.calls = 0

        for _ in range(3):
            with client.executor() as executor:
                # In one process after the other, each at most this often.
                assert max(executor.submit(counter).result(60) for _ in range(3)) <= 3
                assert max(executor.submit(attribute).result(60) for _ in range(3)) <= 3
    """)


def test_what_is_in_a_script_travels(run_script: RunScript) -> None:
    run_script("""
        import abc, collections, contextlib, dataclasses, enum, functools, typing

        @functools.lru_cache(maxsize=10)
        def fibonacci(n):
            return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

        @functools.singledispatch
        def kind(value):
            return "any"

        @kind.register
        def _(value: int):
            return "int"

        class Base(abc.ABC):
            @abc.abstractmethod
            def name(self): ...

        class Child(Base):
            @functools.cached_property
            def slow(self): return 5
            @functools.lru_cache(None)
            def cached(self, n): return n
            def name(self): return "child"

        class Color(enum.Enum):
            RED = 1

        @dataclasses.dataclass
        class Data:
            value: int = 1

        Pair = collections.namedtuple("Pair", "x y")

        @contextlib.contextmanager
        def manager():
            yield 4

        def use():
            with manager() as value:
                child = Child()
                return fibonacci(20), kind(1), kind(""), child.slow, child.cached(3), child.name(), value, Data(3)

        def same(value):
            return value

        with client.executor() as executor:
            assert executor.submit(use).result(60) == (6765, "int", "any", 5, 3, "child", 4, Data(3))
            assert executor.submit(fibonacci, 10).result(60) == 55
            for value in (Color.RED, Data(2), Pair(1, 2)):
                result = executor.submit(same, value).result(60)
                assert result == value and type(result) is type(value)
            assert executor.submit(lambda color: color is Color.RED, Color.RED).result(60)
            assert executor.submit(Data, 4).result(60) == Data(4)
            assert executor.submit(Child().name).result(60) == "child"

        @remote(auto_load=True)
        def show(ctx, value):
            return repr(value)

        @remote(outputs=[Output(encode="pickle"), Output(encode="cloudpickle")])
        def give(ctx):
            return Pair(3, 4), Data(5)

        with client.new_session() as session:
            made = [show(pickled(Pair(1, 2))), show(blob(Data(), encode="cloudpickle")), show(pickled(Color.RED))]
            assert texts(session, *made) == ["Pair(x=1, y=2)", "Data(value=1)", "<Color.RED: 1>"]
            given = give()
            given.keep_outputs()
            session.submit()
            pair, data = [output.fetch().load() for output in given.outputs]
            assert pair == Pair(3, 4) and type(pair) is Pair and data == Data(5)
    """)


def test_results_leave_the_classes_of_a_script_as_they_are(run_script: RunScript) -> None:
    run_script("""
        number = 1

        class Class:
            rate = 1
            def method(self):
                return number, self.rate

        before = Class.method
        with client.executor() as executor:
            future = executor.submit(lambda: Class())
            Class.rate = 2
            result = future.result(60)
        number = 2
        assert type(result) is Class and Class.method is before and result.method() == (2, 2)
    """)


def test_processes_in_tasks(run_script: RunScript) -> None:
    run_script("""
        import concurrent.futures, multiprocessing, pickle
        offset = 3

        class Point:
            def __init__(self, x): self.x = x

        def add(x):
            return x + offset

        def pool(method):
            context = multiprocessing.get_context(method)
            with context.Pool(2) as pool, concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
                points = pool.map(Point, range(2))
                return pool.map(add, range(3)), list(executor.map(add, range(3))), [
                    isinstance(point, Point) and point.x for point in points
                ]

        def pickles():
            return pickle.loads(pickle.dumps(Point(4))).x, pickle.loads(pickle.dumps(add))(1)

        with client.executor() as executor:
            assert executor.submit(pickles).result(60) == (4, 4)
            for method in ("fork", "spawn", "forkserver"):
                assert executor.submit(pool, method).result(100) == ([3, 4, 5], [3, 4, 5], [0, 1]), method
    """)


MODULE = """
import sys
import threading
from rain.client import remote

lock = threading.Lock()
local = threading.local()
table = bytes(10_000_000)
calls = []

def locked(x):
    with lock:
        local.x = x
        return local.x + len(table) - 10_000_000

def same_state():
    import a_module
    return a_module.calls is calls

@remote()
def remote_locked(ctx, n):
    with lock:
        return str(n)

@remote()
def factorial(ctx, n):
    return "1" if n == 0 else str(n * int(factorial(ctx, n - 1)))
"""


def test_functions_of_modules(run_script: RunScript, tmp_path: Path) -> None:
    (tmp_path / "a_module.py").write_text(MODULE)
    run_script("""
        import json, operator, subprocess, tempfile, types
        import a_module

        @remote()
        def of_the_script(ctx, n):
            return a_module.remote_locked(ctx, n) + a_module.factorial(ctx, n)

        with client.executor() as executor:
            assert executor.submit(json.loads, "[1]").result(60) == [1]
            assert executor.submit(subprocess.check_output, ["echo", "x"]).result(60) == b"x\\n"
            assert executor.submit(operator.methodcaller("upper"), "a").result(60) == "A"
            assert executor.submit(a_module.locked, 1).result(60) == 1
            assert executor.submit(a_module.same_state).result(60)
            assert executor.submit(tempfile.gettempdir).result(60)
        with client.new_session() as session:
            made = [a_module.remote_locked(1), a_module.factorial(5), of_the_script(3)]
            assert texts(session, *made) == ["1", "120", "36"]
            made = session.map(a_module.locked, range(3))
            for task in made:
                task.output.keep()
            session.submit()
            assert [task.output.fetch().load() for task in made] == [0, 1, 2]
        # What is in memory only travels by value.
        module = types.ModuleType("in_memory")
        exec("number = 9\\ndef f(x): return x + number\\nclass C: pass", module.__dict__)
        sys.modules["in_memory"] = module
        with client.executor() as executor:
            assert executor.submit(module.f, 2).result(60) == 11
            assert type(executor.submit(module.C).result(60)) is module.C
    """)


def test_modules_are_imported_without_the_client(server: RainServer, tmp_path: Path) -> None:
    (tmp_path / "plain_module.py").write_text("import sys\ndef loaded(name): return name in sys.modules\n")
    source = HEAD + "import plain_module\nwith client.executor() as executor:\n"
    source += "    print(executor.submit(plain_module.loaded, 'rain.client').result(60))\n"
    (tmp_path / "script.py").write_text(source)
    # With a search path of its own, and so in a process in which nothing has run before.
    command = [sys.executable, str(tmp_path / "script.py"), str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


def test_tracebacks_show_source_lines_of_files_that_are_nowhere(run_script: RunScript) -> None:
    run_script("""
        import linecache, traceback

        # As notebooks do it; and so it is with files that the node of a governor does not have.
        cell = '''

        def deep(x):
            raise ValueError("no data")  # in a helper

        @remote()
        def outer(ctx):
            deep(1)  # in a remote function

        class Class:
            def method(self):
                return [deep(x) for x in [1]]  # in a method

        def submit_lambda(executor, n):
            return executor.submit(lambda: deep(n))  # in a lambda
        '''
        name = "/nowhere/ipykernel_1/7.py"
        linecache.cache[name] = len(cell), None, cell.splitlines(keepends=True), name
        exec(compile(cell, name, "exec"))

        def error_of(call):
            try:
                call()
            except BaseException as error:
                return "".join(traceback.format_exception(type(error), error, error.__traceback__))
            raise AssertionError

        def check(text, function, line, source):
            # Lines of carets may follow.
            assert f'  File "{name}", line {line}, in {function}\\n    {source}\\n' in text, text

        deep_line = 'raise ValueError("no data")  # in a helper'
        with client.new_session() as session:
            task = outer()
            session.submit()
            text = error_of(session.wait_all)
            check(text, "outer", 8, "deep(1)  # in a remote function")
            check(text, "deep", 4, deep_line)
        with client.executor() as executor:
            text = error_of(lambda: executor.submit(Class().method).result(60))
            check(text, "method", 12, "return [deep(x) for x in [1]]  # in a method")
            for n in range(30):
                text = error_of(submit_lambda(executor, n).result)
                check(text, "<lambda>", 15, "return executor.submit(lambda: deep(n))  # in a lambda")
                check(text, "deep", 4, deep_line)
    """)


def test_restart_gives_new_processes(client: Client) -> None:
    with client.executor() as executor:
        before = {executor.submit(os.getpid).result(60) for _ in range(20)}
        client.restart()
        after = {executor.submit(os.getpid).result(60) for _ in range(20)}
        assert not before & after
        client.restart()
        assert executor.submit(os.getpid).result(60) not in before | after


@pytest.fixture
def path_entry(tmp_path: Path) -> Iterator[str]:
    sys.path.insert(0, str(tmp_path))
    yield str(tmp_path)
    sys.path.remove(str(tmp_path))


def test_other_search_paths_are_other_processes(client: Client, path_entry: str) -> None:
    with client.executor() as executor:
        first = {executor.submit(os.getpid).result(60) for _ in range(20)}
        sys.path.append("/nowhere")
        try:
            second = {executor.submit(os.getpid).result(60) for _ in range(20)}
        finally:
            sys.path.remove("/nowhere")
        third = {executor.submit(os.getpid).result(60) for _ in range(20)}
        assert not first & second and third <= first | third and not third & second


def memory_of(pid: int) -> int:
    """Bytes that a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise ValueError(pid)


def test_large_arguments_stay_nowhere(client: Client, session: Session) -> None:
    pid = client.status()["pid"]
    with client.executor() as executor:
        assert executor.submit(len, b"x" * (3 << 20)).result(60) == 3 << 20
        before = memory_of(pid)
        for n in range(60):
            assert executor.submit(len, bytes([n]) * (3 << 20)).result(60) == 3 << 20
        assert memory_of(pid) - before < 60 << 20
        assert sum(executor.map(len, [bytes(5 << 20)] * 8)) == 40 << 20

    @remote()
    def sizes(ctx, *args, key=b""):  # type: ignore[no-untyped-def]
        return str(
            ([len(arg.get_bytes() if hasattr(arg, "size") else arg) for arg in args], len(key), len(ctx.spec.inputs))
        )

    made = [sizes(b"x" * 100_000, blob("abc")), sizes([b"x" * 100_000], key=b"y" * 100_000), sizes(blob(""), b"x")]
    for task in made:
        task.output.keep()
    session.submit()
    assert [task.output.fetch().get_str() for task in made] == [
        "([100000, 3], 0, 1)",
        "([1], 100000, 0)",
        "([0, 1], 0, 1)",
    ]


def test_arguments_and_functions_beyond_the_size_of_a_frame(run_script: RunScript) -> None:
    run_script("""
        large = bytes(270 << 20)
        with client.executor() as executor:
            assert executor.submit(len, large).result(100) == 270 << 20
            assert executor.submit(lambda: len(large)).result(100) == 270 << 20
    """)


def test_large_functions(run_script: RunScript) -> None:
    run_script("""
        import os
        content = os.urandom(2 << 20)

        def size(x):
            return len(content) + x

        @remote()
        def remote_size(ctx, data, n):
            return str(len(content) + data.size + len(n) + len(ctx.spec.inputs))

        with client.executor() as executor:
            for _ in range(3):
                assert list(executor.map(size, range(50))) == [(2 << 20) + n for n in range(50)]
            for n in range(30):
                content = os.urandom((1 << 20) + n)
                assert executor.submit(size, 0).result(60) == (1 << 20) + n
        with client.new_session() as session:
            for n in range(4):
                made = [remote_size(blob("abc"), b"x" * n) for n in (1, 100_000)]
                assert texts(session, *made) == [str(len(content) + 4 + n) for n in (1, 100_000)]
    """)


def test_a_package_that_only_the_client_finds(server: RainServer, tmp_path: Path) -> None:
    """An interpreter without any packages, whose client gets them through PYTHONPATH."""
    import msgspec

    import rain

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    folders = [str(Path(module.__file__ or "").parents[1]) for module in (rain, msgspec)]
    (tmp_path / "script.py").write_text(HEAD + "with client.executor() as e: print(e.submit(max, 1, 2).result(60))\n")
    done = subprocess.run(
        [str(tmp_path / "bare" / "bin" / "python"), str(tmp_path / "script.py"), str(server.port)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "2\n", done.stdout + done.stderr
