"""Attributes: copies and pickles of them, what is final, and `user` texts that are not what they should be."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime, timezone
from typing import Any

import pytest
from fake_server import FakeServer
from test_client import reply

from rain.client import RainException, Session, blob, tasks
from rain.common import ID, DataInstance, DataType
from rain.common.attributes import ObjectInfo, ObjectSpec, TaskInfo, TaskSpec, TaskSpecInput

USER = {"a": [1, {"b": [2]}], "c": {"d": None}}
START = datetime(2026, 1, 2, tzinfo=timezone.utc)
SPEC = TaskSpec(ID(1, 2), "x/y", b"config", [TaskSpecInput(ID(1, 0), "in")], [ID(1, 3)], {"cpus": 2}, USER)
ALL = [
    SPEC,
    TaskInfo("failed", START, 0.5, 0, "log", USER),
    ObjectSpec(ID(1, 3), "out", "json", DataType.DIRECTORY, USER),
    ObjectInfo("", 7, "json", "log", USER),
]

# Texts that an executor may have sent, and what is told of them.
BAD_USER = {
    "[1, 2]": "a JSON value of type list",
    "3": "a JSON value of type int",
    "null": "a JSON value of type NoneType",
    '{"a": 1e999}': "not JSON that can be read",
    '{"a": "\\ud800"}': "not JSON that can be read",
    '{"a": 1': "not JSON that can be read",
    "[" * 100_000: "not JSON that can be read",
    '{"a": ' * 600 + "1" + "}" * 600: "",
}


def values(attributes: Any) -> list[str]:
    return [repr(getattr(attributes, name)) for name in attributes._fields]


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("attributes", ALL, ids=lambda attributes: type(attributes).__name__)
def test_copies(attributes: Any, final: bool) -> None:
    original = copy.deepcopy(attributes)
    if final:
        original.freeze()
    clones = [pickle.loads(pickle.dumps(original, protocol)) for protocol in range(2, 6)]
    for clone in (*clones, copy.copy(original), copy.deepcopy(original)):
        assert type(clone) is type(original)
        assert values(clone) == values(original)
        assert clone.user == USER
        if final:
            with pytest.raises(RainException, match="cannot be changed any more"):
                clone.user = {}
            with pytest.raises(RainException, match="cannot be changed"):
                clone.user["a"][1]["b"].append(3)
        else:
            clone.user = {}
    assert original.user == USER


def test_final_attributes_cannot_be_changed_inside() -> None:
    own: dict[str, Any] = {"list": [1, [2]], "map": {"x": {}}}
    info = TaskInfo(user=own)
    info.freeze()
    own["list"].append("later")
    user = info.user
    assert user == {"list": [1, [2]], "map": {"x": {}}}
    changes: list[Any] = [
        lambda: user.update(a=1),
        lambda: user.pop("list"),
        lambda: user.popitem(),
        lambda: user.clear(),
        lambda: user.setdefault("a", 1),
        lambda: user.__ior__({"a": 1}),
        lambda: user["map"].update(x=1),
        lambda: user["map"]["x"].update(y=1),
        lambda: user["list"].append(3),
        lambda: user["list"].extend([3]),
        lambda: user["list"].insert(0, 3),
        lambda: user["list"].pop(),
        lambda: user["list"].sort(),
        lambda: user["list"].__iadd__([3]),
        lambda: user["list"][1].clear(),
    ]
    for change in changes:
        with pytest.raises(TypeError, match=r"copy\.deepcopy"):
            change()
    with pytest.raises(RainException):
        del user["map"]
    with pytest.raises(RainException):
        user["list"][0] = 2
    assert json.loads(json.dumps(user)) == user
    # Copies of it are the user's own.
    for changed in (copy.deepcopy(user), {**user, "list": list(user["list"])}):
        changed["list"].append(3)
        assert changed["list"][-1] == 3
    assert type(user.copy()) is dict and type(user["list"].copy()) is list
    assert copy.copy(user["list"]) == [1, [2]]
    assert user == {"list": [1, [2]], "map": {"x": {}}}


def test_governor_0_is_shown() -> None:
    assert repr(TaskInfo(governor=0, duration=0.0)) == "TaskInfo(duration=0.0, governor=0)"
    assert repr(ObjectInfo(size=0)) == "ObjectInfo(size=0)"
    assert repr(ObjectInfo()) == "ObjectInfo()"


@pytest.mark.parametrize("text", BAD_USER, ids=lambda text: text[:12])
def test_attributes_never_hide_the_content(session: Session, server: FakeServer, text: str) -> None:
    info = {"id": 0, "state": "finished", "size": 2, "debug": "a line", "user": text}
    server.answers["fetch"] = lambda body: reply(b"[]", content_type="json", info=info)
    server.answers["info"] = lambda body: {"tasks": [info], "objects": []}
    task = tasks.Concat([blob("x")])
    task.output.keep()
    session.submit()
    fetched = task.output.fetch()
    assert fetched.get_bytes() == b"[]" and fetched.load() == []
    task.update()
    for attributes in (fetched.info, task.output.info, task.info):
        assert attributes.user == {} or not BAD_USER[text]
        assert attributes.debug.startswith("a line")
        assert BAD_USER[text] in attributes.debug
        assert len(attributes.debug) < 1000
    # The same in an executor, where the attributes of an input are read when they are asked for.
    instance = DataInstance(b"x", user_json=text)
    assert instance.get_bytes() == b"x"
    assert BAD_USER[text] in instance.info.debug
    instance.info.user["more"] = 1
