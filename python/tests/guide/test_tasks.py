"""Examples of the user's guide: the quick start, and the sections up to "Built-in tasks".

The texts are the printed ones. Repairs, each of something that the printed text lacks to be a program:

- "Task names": a comma before ``name=``.
- Where the text shows a part of a program, the rest stands around it in the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from guide_examples import Guide

from rain.client import Client, Output, RainException, Session, blob, tasks
from rain.common import DataType, LabeledList


def test_quick_start(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run("""
from rain.client import Client, tasks, blob

# Connect to server
client = Client("localhost", 7210)

# Create a new session
with client.new_session() as session:

    # Create task (and two data objects)
    task = tasks.Concat((blob("Hello "), blob("world!"),))

    # Mark that the output should be kept after submit
    task.output.keep()

    # Submit all crated tasks to server
    session.submit()

    # Wait for completion of task and fetch results and get it as bytes
    result = task.output.fetch().get_bytes()

    # Prints 'Hello world!'
    print(result)
""")
    assert capsys.readouterr().out == "b'Hello world!'\n"


def test_task_definition_and_submission(guide: Guide) -> None:
    names = guide.run("""
from rain.client import Client, tasks, blob

client = Client("localhost", 7210)  # Create a connection to the server
                                    # running at localhost:7210

with client.new_session() as session:  # Creates a session

    a = blob("Hello ")    # Create a definition of data object in the current session
    b = blob("world!")    # Create a definition of data object in the current session
    tasks.Concat([a, b])  # Create a task definition in the current session
                          # that concatenates input data objects

    session.submit()      # Send the created graph into the server, where the computation
                          # is performed.
    session.wait_all()    # Wait until all submitted tasks are completed
""")
    assert names["session"].closed


def test_sessions_in_interactive_mode(guide: Guide) -> None:
    names = guide.run("""
from rain.client import Client, tasks, blob

client = Client("localhost", 7210)

session = client.new_session(default=True)  # Create a DEFAULT SESSION

a = blob("Hello ")
b = blob("world!")
tasks.Concat([a, b])

session.submit()
session.wait_all()
""")
    names["session"].close()
    names["client"].close()


def test_name_of_a_session(guide: Guide, client: Client) -> None:
    names = guide.run("""session = client.new_session(name="My session")""", client=client)
    assert names["session"].name == "My session"
    assert "My session" in str(client.status())


def test_fetching_data_objects(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run("""
from rain.client import Client, tasks, blob

client = Client("localhost", 7210)

with client.new_session() as session:
    a = blob("Hello ")
    b = blob("world!")
    t = tasks.Concat((a, b))
    t.output.keep()            # Tell server to keep result of task

    session.submit()           # Submit task graph

    result = t.output.fetch()  # Download result from the server
    print(result.get_bytes())  # Prints b'Hello world!'
""")
    assert capsys.readouterr().out == "b'Hello world!'\n"


def test_inter_task_dependencies(guide: Guide) -> None:
    names = guide.run("""
from rain.client import Client, tasks, blob

client = Client("localhost", 7210)

with client.new_session() as session:
    a = blob("Hello ")
    b = blob("world!")
    t1 = tasks.Sleep(b, 1.0)   # Wait for one second and then returns 'b'
    t2 = tasks.Concat((a, t1.output))
    t2.output.keep()

    session.submit()           # Submit task graph

    result = t2.output.fetch()  #  It will wait around 1 second
                                #  and then returns b'Hello world'
""")
    assert names["result"].get_bytes() == b"Hello world!"


def test_tasks_as_inputs(guide: Guide, session: Session) -> None:
    a = blob("Hello ")
    t1 = tasks.Sleep(blob("world!"), 0.01)
    t2 = guide.run(
        """
t2 = tasks.Concat((a, t1))
""",
        tasks=tasks,
        a=a,
        t1=t1,
    )["t2"]
    t2.output.keep()
    session.submit()
    assert t2.output.fetch().get_bytes() == b"Hello world!"


def test_more_outputs(guide: Guide, session: Session) -> None:
    text = """
# The following task creates two outputs labeled "output1" and "output2" with
# an equivalent of 'cat data | tee output1 > output2'.
t = tasks.Execute(["tee", Output("output1")], stdout="output2", stdin=data)

t.outputs["output1"]  # Access to output "output1"
t.outputs["output2"]  # Access to output "output2"

# There is also some helper functions:
# Keep all outputs (equivalent to: for o in t.outputs: o.keep())
t.keep_outputs()

# After submit
# Fetch all outputs (equivalent to: [o.fetch() for o in t.outputs])
t.fetch_outputs()
"""
    before, after = text.split("# After submit")
    names = guide.run(before, tasks=tasks, Output=Output, data=blob("data"))
    t = names["t"]
    session.submit()
    guide.run(after, t=t)
    assert isinstance(t.outputs, LabeledList)
    assert [instance.get_bytes() for instance in t.fetch_outputs()] == [b"data", b"data"]
    assert t.outputs["output1"] is t.outputs[0] and t.outputs["output2"] is t.outputs[1]
    with pytest.raises(RainException, match="has 2 outputs"):
        t.output  # noqa: B018
    none = tasks.Execute("true")
    with pytest.raises(RainException, match="has 0 outputs"):
        none.output  # noqa: B018
    assert len(none.outputs) == 0


def test_object_data_types(session: Session) -> None:
    assert blob("x").spec.data_type == "blob" == DataType.BLOB
    assert tasks.MakeDirectory([]).output.spec.data_type == "dir" == DataType.DIRECTORY


def test_constant_data_objects(guide: Guide, session: Session) -> None:
    guide.run("""
from rain.client import blob, pickled
blob(b"Raw data")  # Creates a data object with a defined content
blob(b"Raw data", label="input data")  # Data with a non-default label
                                       # (Default label is 'const')
blob("String data")  # Creates a data object from a string, the content type
                     # is set to 'text'
blob("[1, 2, 3, 4]", content_type="json")  # Data with a specified content type
blob([1, 2, 3, 4], encode="json")  # Serialize python object to JSON and set
                                   # content type to "json"
blob([1, 2, 3, 4], encode="pickle")  # Serialize python object by pickle
                                     # content type to "pickle"
pickled([1, 2, 3, 4])  # Short-cut for blob(..., encode="pickle")
""")
    constants = list(session._constants)
    for constant in constants:
        constant.keep()
    session.submit()
    fetched = [constant.fetch() for constant in constants]
    assert [instance.content_type for instance in fetched] == [None, None, "text", "json", "json", "pickle", "pickle"]
    assert [constant.label for constant in constants[:2]] == ["const", "input data"]
    assert [instance.load() for instance in fetched[3:]] == [[1, 2, 3, 4]] * 4
    assert [instance.get_bytes() for instance in fetched[:3]] == [b"Raw data", b"Raw data", b"String data"]


def test_task_names(guide: Guide, session: Session) -> None:
    names = guide.run(
        """
t1 = tasks.Concat(objects1, name="my-plain-name")
t2 = tasks.Execute(["train", "xyz"], name="main_tasks/training/train1")
t3 = tasks.Execute(["train", "abc"], name="main_tasks/training/train1")
""",
        tasks=tasks,
        objects1=[blob("a"), blob("b")],
    )
    session.submit()
    session.wait_all()
    assert [names[name].name for name in ("t1", "t2", "t3")] == ["my-plain-name"] + ["main_tasks/training/train1"] * 2


def test_built_in_tasks(guide: Guide, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("file, ")
    guide.run("""
# This example demonstrates usage of four built-in tasks
from rain.client import tasks, Client, blob

client = Client("localhost", 7210)

with client.new_session() as session:

    # Create tasks opening an external file
    data1 = tasks.Load("/path/to/data")

    # Create a constant object
    data2 = blob("constant data")

    # Merge two objects
    merge = tasks.Concat((data1, data2))

    # Sleep for 1s
    result = tasks.Sleep(merge, 1.0)

    # Write result into file
    tasks.Store(result, "/path/to/result")

    session.submit()
    session.wait_all()
""")
    assert (tmp_path / "result").read_text() == "file, constant data"
