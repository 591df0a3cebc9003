"""How functions travel: when they are pickled again, what travels by reference, and what becomes a kind of task."""

from __future__ import annotations

import copy
import functools
import gc
import json
import os
import pickle
import subprocess
import sys
import threading
import types
import weakref
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import cloudpickle
import msgspec
import pytest
from fake_server import FakeServer, numbers

from rain.client import Client, Input, Output, RainException, RainWarning, Session, remote, tasks
from rain.client.capture import Capture
from rain.client.function_table import KINDS_OF_FAMILY, KINDS_OF_SESSION, KINDS_REMEMBERED, LARGE
from rain.client.remote import Remote
from rain.common.identity import IdentityMap
from rain.common.reference import is_by_reference

if TYPE_CHECKING:
    from a_type_checker_only_module import ModelInput  # type: ignore[import-not-found]

# As functions of a script are: other processes do not find them.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

number = 1
numbers_in_a_list = [1]
nested: dict[str, Any] = {"a": {"b": [1]}}
large_list = [0] * 200_000


class Thing:
    rate = 1

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        return self.value, self.rate

    def method(self) -> Any:
        return self.value, number


def read_number() -> int:
    return number


def read_list() -> Any:
    return numbers_in_a_list, nested


def call_helper() -> int:
    return read_number()


def read_class() -> int:
    return Thing.rate


def read_attribute() -> Any:
    return read_attribute.value  # type: ignore[attr-defined]


read_attribute.value = 1  # type: ignore[attr-defined]


def with_default(items: list[int] = [1]) -> list[int]:  # noqa: B006
    return items


def with_keyword_default(*, items: dict[str, int] = {"a": 1}) -> dict[str, int]:  # noqa: B006
    return items


def nothing() -> None:
    return None


def counting() -> tuple[Callable[[], int], Callable[[], None]]:
    count = 0

    def read() -> int:
        return count

    def add() -> None:
        nonlocal count
        count += 1

    return read, add


@pytest.fixture
def restored() -> Any:
    """Puts back what tests change in this module."""
    yield
    globals()["number"] = 1
    numbers_in_a_list[:] = [1]
    nested["a"]["b"][:] = [1]
    Thing.rate = 1
    read_attribute.value = 1  # type: ignore[attr-defined]
    with_default.__defaults__ = ([1],)
    with_keyword_default.__kwdefaults__ = {"items": {"a": 1}}
    large_list[0] = 0
    PLAIN.__class__ = Plain
    PLAIN.__dict__.clear()
    PLAIN.__init__()  # type: ignore[misc]
    SLOTTED.more = 1
    LISTED.clear()


def change_number() -> None:
    global number
    number += 1


def change_code() -> None:
    read_number.__code__ = call_helper.__code__


THING = Thing([1])
BOUND = THING.method
PARTIAL = functools.partial(pow, numbers_in_a_list)
READ, ADD = counting()


class Plain:
    def __init__(self) -> None:
        self.number: Any = 1
        self.text = "text"

    def method(self) -> Any:
        return self.number


class OtherPlain(Plain):
    pass


class Slotted(Plain):
    __slots__ = ("more",)


class Listed(Plain, list):  # type: ignore[type-arg]
    pass


PLAIN, SLOTTED, LISTED = Plain(), Slotted(), Listed()
SLOTTED.more = 1

CHANGES: dict[str, tuple[Callable[[], Callable[..., Any]], Callable[[], Any]]] = {
    "global": (lambda: read_number, change_number),
    "mutated global": (lambda: read_list, lambda: numbers_in_a_list.append(1)),
    "deep in a global": (lambda: read_list, lambda: nested["a"]["b"].append(1)),
    "global of a helper": (lambda: call_helper, change_number),
    "class attribute": (lambda: read_class, lambda: setattr(Thing, "rate", 2)),
    "new class attribute": (lambda: read_class, lambda: setattr(Thing, "another", 2)),
    "attribute": (lambda: read_attribute, lambda: setattr(read_attribute, "value", 2)),
    "mutated default": (lambda: with_default, lambda: with_default()[:].append(1) or with_default().append(1)),
    "replaced defaults": (lambda: with_default, lambda: setattr(with_default, "__defaults__", ([2],))),
    "keyword default": (lambda: with_keyword_default, lambda: with_keyword_default().update(b=2)),
    "closure": (lambda: READ, ADD),
    "callable": (lambda: THING, lambda: THING.value.append(1)),
    "class of a callable": (lambda: THING, lambda: setattr(Thing, "rate", 3)),
    "object of a method": (lambda: THING.method, lambda: THING.value.append(1)),
    "global of a method": (lambda: THING.method, change_number),
    "attribute of a plain object": (lambda: PLAIN.method, lambda: setattr(PLAIN, "number", True)),
    "new attribute of a plain object": (lambda: PLAIN.method, lambda: setattr(PLAIN, "more", 2)),
    "class of a plain object": (lambda: PLAIN.method, lambda: setattr(PLAIN, "__class__", OtherPlain)),
    "slot of an object": (lambda: SLOTTED.method, lambda: setattr(SLOTTED, "more", 2)),
    "content of an object": (lambda: LISTED.method, lambda: LISTED.append(2)),
    "list in a partial function": (lambda: PARTIAL, lambda: numbers_in_a_list.append(1)),
    "lambda in a list": (lambda: functools.partial(list, [READ]), ADD),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_has_changed_is_seen(case: str, restored: None) -> None:
    make, change = CHANGES[case]
    before = Capture(make(), "f", True)
    change()
    assert not before.is_of(make())
    assert Capture(make(), "f", True).digest != before.digest


@pytest.mark.parametrize(
    "function",
    [nothing, read_number, read_list, call_helper, read_class, read_attribute, with_default, READ, THING, THING.method],
)
def test_what_has_not_changed_is_not_pickled_again(function: Any) -> None:
    before = Capture(function, "f", True)
    assert before.is_certain and before.is_of(function)
    assert Capture(function, "f", True).digest == before.digest


def test_a_helper_that_was_defined_again(restored: None) -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec("def helper(): return 1\nold = helper\nfunctions = {'h': helper}\ndef f(): return functions['h']()", namespace)
    before = Capture(namespace["f"], "f", True)
    assert before.is_of(namespace["f"])
    # The same name, the same code, and the old one is still there.
    exec("def helper(): return 1\nfunctions['h'] = helper", namespace)
    assert not before.is_of(namespace["f"])


def test_what_is_large_or_cannot_be_compared_is_not_certain() -> None:
    lock_like = type("LockLike", (), {"__reduce__": lambda self: (nothing, ())})()
    large = bytearray(100_000)
    assert Capture(lambda: lock_like, "f", True).is_certain
    assert not Capture(lambda: large, "f", True).is_certain
    # Of bytes it is enough to see that they are the same ones.
    fixed = bytes(100_000)
    assert Capture(lambda: fixed, "f", True).is_certain


def test_watching_keeps_nothing_alive() -> None:
    def make() -> Callable[[], Any]:
        def itself(depth: int = 0) -> Any:
            return itself, Thing, numbers_in_a_list

        return itself

    function = make()
    capture = Capture(function, "f", True)
    assert capture.is_of(function)
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert gone() is None and capture.is_certain


def submitted_kinds(server: FakeServer) -> list[dict[str, Any]]:
    return [kind for body in server.bodies("submit") for kind in body["kinds"]]


def test_a_function_is_what_it_is_at_the_call(session: Session, server: FakeServer, restored: None) -> None:
    function = remote()(lambda ctx: str(read_number()))
    function()
    function()
    change_number()
    function()
    session.submit()
    assert numbers(server.bodies("submit")[0]["kind"]) == [0, 0, 1]
    function()
    session.submit()
    assert numbers(server.bodies("submit")[1]["kind"], 1) == [1]
    assert len(submitted_kinds(server)) == 2


def test_equal_functions_are_one_kind(session: Session, server: FakeServer) -> None:
    for _ in range(3):
        remote()(lambda ctx: b"")()
        session.submit()
    assert len(submitted_kinds(server)) == 1


def test_many_variants_of_a_function_do_not_make_many_kinds(session: Session, server: FakeServer) -> None:
    for n in range(100):
        remote()(lambda ctx: str(n))()  # noqa: B023
    made = [function() for function in [remote()(lambda ctx: b"")] * 20]
    session.submit()
    (body,) = server.bodies("submit")
    assert len(body["kinds"]) == KINDS_OF_FAMILY + 2
    without = [kind for kind in body["kinds"] if msgspec.msgpack.decode(kind["config"])["function"] is None]
    assert len(without) == 1 and len({task._kind for task in made}) == 1
    # Their tracebacks have source lines all the same.
    assert "remote()(lambda ctx: str(n))()" in msgspec.msgpack.decode(without[0]["config"])["sources"][0][2]
    config = msgspec.msgpack.decode(body["configs"][-1])
    assert sorted(config) == ["args", "function"] and type(config["function"]) is bytes


def test_a_variant_that_is_called_often_gets_a_kind(session: Session, server: FakeServer) -> None:
    functions = [remote()(lambda ctx, n=n: str(n)) for n in range(20)]
    for _ in range(30):
        functions[-1]()
        session.submit()
        for function in functions[:3]:
            function()
    counts = Counter(number for body in server.bodies("submit") for number in numbers(body["kind"], body["count"]))
    assert len(counts) <= 6


def test_the_kinds_of_a_session_are_bounded(session: Session, server: FakeServer) -> None:
    for n in range(KINDS_OF_SESSION + 500):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def function(ctx): return {n}", namespace)
        remote()(namespace["function"])()
    session.submit()
    assert len(submitted_kinds(server)) <= KINDS_OF_SESSION + 1


def test_kinds_that_are_not_used_any_more_are_forgotten(session: Session, server: FakeServer) -> None:
    def made(n: int) -> Remote:
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def function(ctx): return {n}", namespace)
        return remote()(namespace["function"])

    used, *others = [made(n) for n in range(KINDS_REMEMBERED + 100)]
    for function in (*others, others[0]):
        used()
        function()
        session.submit()
    session.client.status()
    assert len(submitted_kinds(server)) == KINDS_REMEMBERED + 101
    forgotten = [number for body in server.bodies("forget") for number in numbers(body["kinds"])]
    # The first one is used all the time, the second one came again.
    assert forgotten == list(range(1, 102))
    assert numbers(server.bodies("submit")[-1]["kind"]) == [0, KINDS_REMEMBERED + 100]


def test_small_partial_functions_share_the_kind_of_their_function(session: Session, server: FakeServer) -> None:
    options = {"name": None}
    for n in range(30):
        partial = functools.partial(nothing, n, "text", key=n)
        session._plain_function(partial, options)._call_in(session, (), {})
        session._plain_function(functools.partial(partial, None), options)._call_in(session, (1,), {"other": 2})
    session.submit()
    assert len(submitted_kinds(server)) == 1


def test_large_functions_travel_as_objects(session: Session, server: FakeServer) -> None:
    content = os.urandom(LARGE)
    function = remote()(lambda ctx, *args: content)
    tasks_made = [function(), function(b"x"), function(b"y" * (LARGE + 1))]
    assert [len(task.inputs) for task in tasks_made] == [0, 0, 0] and session.dataobj_count == 3
    session.submit()
    (body,) = server.bodies("submit")
    assert len(body["kinds"]) == 1 and len(body["kinds"][0]["config"]) < 4000
    assert numbers(body["input_count"]) == [1, 1, 2] and len(body["consts"]) == 2 and numbers(body["keep"]) == []
    assert set(numbers(body["inputs"])) == {0, 1}
    configs = [msgspec.msgpack.decode(config) for config in body["configs"]]
    assert [config["function"] for config in configs] == [0, 0, 0] and configs[2]["args"] == 1
    # What is used again is kept for further submits.
    for expected in ([1], [], []):
        function()
        session.submit()
        body = server.bodies("submit")[-1]
        assert [len(body["consts"]), len(numbers(body["keep"]))] == [sum(expected), sum(expected)]
    assert len(submitted_kinds(server)) == 1


def test_large_functions_are_not_kept_for_ever(session: Session, server: FakeServer) -> None:
    for _ in range(20):
        content = os.urandom(LARGE)
        function = remote()(lambda ctx, content=content: content)
        for _ in range(2):
            function()
            session.submit()
    freed = sum(len(numbers(body["objects"])) for body in server.bodies("forget"))
    kept = sum(len(numbers(body["keep"])) for body in server.bodies("submit"))
    assert (kept, freed) == (20, 12)


def test_a_large_function_is_taken_once_for_each_submit(session: Session, server: FakeServer, restored: None) -> None:
    function = remote()(lambda ctx: str(large_list[0]))
    function()
    function()
    session.submit()
    large_list[0] = 1
    function()
    session.submit()
    first, second = server.bodies("submit")
    assert msgspec.msgpack.decode(first["configs"][0]) != msgspec.msgpack.decode(second["configs"][0])
    function()
    large_list[0] = 2
    function()
    with pytest.warns(RainWarning, match=r"refers to \d+ KiB of data, which was changed after a call") as caught:
        session.submit()
    assert caught[0].filename == __file__


def test_functions_are_not_kept_by_sessions(session: Session, server: FakeServer) -> None:
    import gc

    gone = []
    for n in range(30):

        def function(n: int = n) -> int:
            return n

        session._plain_function(function, {})._call_in(session, (), {})
        gone.append(weakref.ref(function))
    session.submit()
    del function
    gc.collect()
    assert [reference() for reference in gone] == [None] * 30


def test_sessions_are_not_kept_by_functions(client: Client, server: FakeServer) -> None:
    content = os.urandom(2 * LARGE)
    functions = [remote()(lambda ctx: b""), remote()(lambda ctx: content), remote()(lambda ctx: str(numbers_in_a_list))]
    session = client.new_session()
    with session.bind_only():
        for function in functions:
            function()
            session.submit()
            function()
    session.close()
    gone = weakref.ref(session)
    del session
    # Tasks and their session refer to each other.
    gc.collect()
    assert gone() is None


def test_withdrawn_calls_leave_no_arguments(session: Session, server: FakeServer) -> None:
    large = session._plain_function(nothing, {})._call_in(session, (b"x" * (2 * LARGE),), {})
    session._withdraw([large])
    tasks.Noop()
    session.submit()
    assert server.bodies("submit")[0]["consts"] == []


def test_the_search_path_tells_processes_apart(
    session: Session, server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    function = remote()(lambda ctx: b"")
    tasks.Noop()
    function()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    function()
    monkeypatch.setattr(sys, "path", [*sys.path[1:], str(tmp_path)])
    function()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.chdir(tmp_path)
    function()
    monkeypatch.chdir("/")
    function()
    session.submit()
    kinds = submitted_kinds(server)
    assert "process" not in kinds[0]
    processes = [kind["process"] for kind in kinds[1:]]
    assert len(set(processes)) == 5 and all(processes)
    paths = [msgspec.msgpack.decode(kind["config"])["path"] for kind in kinds[1:]]
    assert paths[1][0] == paths[2][-1] == paths[3][0] == str(tmp_path) and paths[4][0] == "/"


def test_a_search_path_of_all_sorts(
    session: Session, server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["", "/no\udcff", tmp_path, *sys.path])
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    remote()(lambda ctx: b"")()
    session.submit()
    path = msgspec.msgpack.decode(submitted_kinds(server)[0]["config"])["path"]
    assert path == [b"/no\xff", *(entry for entry in sys.path[3:])]


def test_restart(client: Client, session: Session, server: FakeServer) -> None:
    function = remote()(lambda ctx: b"")
    tasks.Noop()
    function()
    session.submit()
    function()
    client.restart()
    tasks.Noop()
    function()
    session.submit()
    first, second = server.bodies("submit")
    assert numbers(second["kind"]) == [2, 0, 2]
    assert len(second["kinds"]) == 1 and second["kinds"][0]["process"] != first["kinds"][1]["process"]
    function()
    session.submit()
    assert server.bodies("submit")[2]["kinds"] == [] and numbers(server.bodies("submit")[2]["kind"], 1) == [2]


def test_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_module.py").write_text("def f(): pass\nclass C:\n    def m(self): pass\n")
    (tmp_path / "found_package").mkdir()
    (tmp_path / "found_package" / "inside.py").write_text("def f(): pass\n")
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text("def f(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import found_module  # type: ignore[import-not-found]
    import found_package.inside  # type: ignore[import-not-found]

    assert all(map(is_by_reference, (found_module.f, found_module.C, found_module.C.m, found_package.inside.f)))
    assert all(map(is_by_reference, (json.loads, os.path.join, pow, threading.Thread, Client, subprocess.run)))
    assert not any(map(is_by_reference, (nothing, Thing, lambda: None, 5, functools.partial(pow, 2))))
    in_memory = types.ModuleType("in_memory")
    exec("def f(): pass", in_memory.__dict__)
    monkeypatch.setitem(sys.modules, "in_memory", in_memory)
    assert not is_by_reference(in_memory.f)
    # A file that the import of this name would not find.
    import importlib.util

    spec = importlib.util.spec_from_file_location("renamed", elsewhere)
    assert spec is not None and spec.loader is not None
    renamed = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "renamed", renamed)
    spec.loader.exec_module(renamed)
    assert not is_by_reference(renamed.f)
    function, found_module.f = found_module.f, lambda: 1
    assert not is_by_reference(function)
    # The search path has changed, so that it is not found any more.
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    assert not is_by_reference(found_module.C)


def test_a_remote_function_is_copied_and_pickled_as_functions_are() -> None:
    local = remote()(lambda ctx: b"")
    assert copy.copy(local) is local and copy.deepcopy([local])[0] is local
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(local)
    assert pickle.loads(pickle.dumps(remote_of_this_module)) is remote_of_this_module


@remote()
def remote_of_this_module(ctx: Any) -> bytes:
    return b""


class WholeNumber:
    """A number of another package, such as NumPy's."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_numbers_of_other_packages(session: Session, server: FakeServer) -> None:
    two = WholeNumber(2)
    remote(cpus=two, retries=two, priority=two, timeout=two, outputs=two)(lambda ctx: b"")()
    tasks.Sleep(tasks.Noop(), two)
    Output("x", size_hint=two)
    session.submit()
    kind = submitted_kinds(server)[0]
    assert [kind[name] for name in ("cpus", "retries", "priority", "timeout")] == [2, 2, 2, 2.0]
    assert [type(kind[name]) for name in ("cpus", "retries", "priority", "timeout")] == [int, int, int, float]
    assert len(kind["outputs"]) == 2
    for wrong in (True, 1.5, "2", WholeNumber(0)):
        with pytest.raises(RainException, match="cpus="):
            remote(cpus=wrong)(lambda ctx: b"")


def test_annotations_for_type_checkers(session: Session) -> None:
    @remote()
    def function(ctx: Any, model: ModelInput, loaded: Input(load=True)) -> ModelInput:  # type: ignore[valid-type]
        return b""

    settings = function._settings
    assert settings[0] is None and settings[1] is not None and settings[1].load
    alias = Input(load=True)

    @remote()
    def with_alias(ctx: Any, loaded: alias) -> bytes:  # type: ignore[valid-type]
        return b"" if alias else b"x"

    assert with_alias._settings == [alias]
    with pytest.raises(RainException, match=r"annotation 'Input\(lod=True\)' .* cannot be evaluated"):

        @remote()
        def wrong(ctx: Any, loaded: Input(lod=True)) -> bytes:  # type: ignore[call-arg,valid-type]
            return b""


def test_a_context_means_a_direct_call() -> None:
    from rain.executor.context import Context

    @remote()
    def double(ctx: Any, n: int) -> int:
        return 2 * n

    # As in an executor that has imported the module of a remote function, where no session is active.
    assert double(Context(None), 4) == 8  # type: ignore[arg-type,comparison-overlap]


def test_identity_map() -> None:
    table: IdentityMap[int] = IdentityMap()
    things = [Thing(n) for n in range(3)]
    for n, thing in enumerate(things):
        assert table.set(thing, n)
    assert [table.get(thing) for thing in things] == [0, 1, 2] and len(table) == 3
    assert not table.set(5, 1) and table.get(5) is None
    del things, thing
    assert len(table) == 0
