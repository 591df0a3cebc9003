"""Examples of the user's guide: the sections on attributes and on waiting.

The texts are the printed ones. Names that the text imports in other examples are given.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from guide_examples import Guide

from rain.client import Client, RainException, Session, blob, remote, tasks
from rain.common import ID
from rain.common.attributes import ObjectInfo, ObjectSpec, TaskInfo, TaskSpec, TaskSpecInput


def test_attributes_of_a_task(guide: Guide, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run(
        """
with client.new_session() as s:
    task = tasks.Execute("sleep 1")
    s.submit()

    s.wait_all()

    # Download recent attributes
    task.update()

    # Print name of governor where task was executed
    print(task.info.governor)
""",
        {"sleep 1": "sleep 0.01"},
        client=client,
        tasks=tasks,
    )
    assert capsys.readouterr().out == "0\n"


def test_user_attributes(guide: Guide, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run(
        """
@remote()
def attr_demo(ctx):
   # read user defined attributes
   foo = ctx.spec.user["foo"]

   # setup new "user_info" attribute
   ctx.info.user["bar"] = [1, 2, foo]

   # Write some debug log
   ctx.debug("Running at governor", ctx.info.governor)
   return b"Result"

with client.new_session() as session:
    task = attr_demo()
    task.spec.user["foo"] = 42
    session.submit()
    session.wait_all()
    task.update()

    # prints: [1, 2, 42]
    print(task.info.user["bar"])

    # prints the debug log
    print(task.info.debug)
""",
        client=client,
        remote=remote,
    )
    assert capsys.readouterr().out == "[1, 2, 42]\nRunning at governor 0\n"


def test_waiting(guide: Guide, client: Client) -> None:
    names = guide.run(
        """
with client.new_session() as session:
    a = blob("Hello world")
    t1 = tasks.Sleep(a, 1.0)
    t2 = tasks.Sleep(a, 2.0)
    session.submit()

    t1.wait()  # This blocks until t1 is finished, independently of t2
    t2.output.wait()  # Waits until a data object is not finished

    # The same as two lines above, but since we are doing it at once, it is
    # slightly more efficient
    session.wait([t1, t2.output])
""",
        client=client,
        blob=blob,
        tasks=tasks,
    )
    assert names["session"].closed


def test_lists_of_attributes(session: Session) -> None:
    """All attributes that the sections "Task spec and info" and "Data object spec and info" list."""

    @remote(outputs=("label", "other"))
    def function(ctx, data):  # type: ignore[no-untyped-def]
        ctx.info.user["x"] = [1]
        made = ctx.blob([1], encode="json")
        made.info.user["y"] = 2
        return made, b""

    constant = blob("x", content_type="text")
    constant.spec.user["constant"] = True
    task = function(constant)
    task.spec.user["a"] = {"b": None}
    assert (task.info.error, task.info.start_time, task.info.user) == ("", None, {})
    task.outputs["label"].keep()
    session.submit()
    session.wait_all()
    task.update()
    task.outputs["label"].update()
    spec, info = task.spec, task.info
    assert isinstance(spec, TaskSpec) and isinstance(info, TaskInfo)
    assert isinstance(spec.id, ID) and spec.id == task.id
    assert spec.task_type == "py/run"
    assert isinstance(spec.inputs[0], TaskSpecInput)
    assert (spec.inputs[0].id, spec.inputs[0].label) == (constant.id, None)
    assert spec.outputs == [output.id for output in task.outputs]
    assert spec.resources == {"cpus": 1}
    assert spec.user == {"a": {"b": None}}
    assert spec.config is not None
    assert (info.error, info.governor, info.debug, info.user) == ("", 0, "", {"x": [1]})
    assert isinstance(info.start_time, datetime) and isinstance(info.duration, float)
    made = task.outputs["label"]
    assert isinstance(made.spec, ObjectSpec) and isinstance(made.info, ObjectInfo)
    assert (made.spec.id, made.spec.label, made.spec.data_type) == (made.id, "label", "blob")
    assert (made.spec.content_type, made.spec.user) == (None, {})
    assert (made.info.error, made.info.size, made.info.content_type, made.info.debug) == ("", 3, "json", "")
    assert made.info.user == {"y": 2}
    # Immutable, but for the debug log, to which lines may be added.
    for attributes, name in ((spec, "config"), (info, "error"), (made.spec, "label"), (made.info, "size")):
        with pytest.raises(RainException, match="cannot be changed any more"):
            setattr(attributes, name, None)
    for user in (spec.user, info.user, made.spec.user, made.info.user):
        with pytest.raises(TypeError):
            user["new"] = 1
    info.debug += "more"
