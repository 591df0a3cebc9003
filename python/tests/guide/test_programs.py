"""Examples of the user's guide: the section "Running external programs".

The texts are the printed ones. ``wget`` and the programs that have no real name are stand-ins, see guide_examples.py.
Repairs, each of something that the printed text lacks to be a program:

- ``tasks`` is given where the text imports ``task`` and uses ``tasks``; ``blob``, ``Input``, ``Output`` where it
  imports them before, or not at all.
- "Inputs", second example: the object that stands as ``...``.
- Where the text shows a part of a program, the rest stands around it in the test.
"""

from __future__ import annotations

from typing import Any

import pytest
from guide_examples import Guide

from rain.client import Input, Output, Session, Task, blob, tasks


def run_all(session: Session, made: list[Task]) -> list[list[bytes]]:
    for task in made:
        task.keep_outputs()
    session.submit()
    session.wait_all()
    return [[instance.get_bytes() for instance in task.fetch_outputs()] for task in made]


@pytest.mark.parametrize(
    "text",
    [
        """
tasks.Execute("sleep 1")
""",
        """
tasks.Execute(("sleep",  "1"))
""",
        """
tasks.Execute("sleep 1 && sleep 1", shell=True)
""",
    ],
)
def test_execute(guide: Guide, session: Session, text: str) -> None:
    guide.run(text, {"sleep 1": "sleep 0.01", '"1"': '"0.01"'}, tasks=tasks)
    assert run_all(session, session._tasks) == [[]]


def test_output(guide: Guide) -> None:
    names = guide.run(
        """
from rain.client import Client, task, Output

client = Client("localhost", 7210)

with client.new_session() as session:
    t = tasks.Execute("wget https://github.com/",
                       output_paths=[Output("index", path="index.html")])
    t.output.keep()

    session.submit()
    result = t.output.fetch().get_bytes()
""",
        tasks=tasks,
    )
    assert names["result"] == b"<html>\n"
    assert names["t"].output.label == "index"


def test_output_as_a_string(guide: Guide, session: Session) -> None:
    names = guide.run(
        """
t = tasks.Execute("wget https://github.com/", output_paths=["index.html"])
""",
        tasks=tasks,
    )
    assert run_all(session, [names["t"]]) == [[b"<html>\n"]]
    assert names["t"].output.label == "index.html"


def test_two_outputs(guide: Guide, session: Session) -> None:
    names = guide.run(
        """
t = tasks.Execute("wget https://github.com/ --output-file log",
                  outputs_paths=["index.html", "log"])
""",
        tasks=tasks,
    )
    assert run_all(session, [names["t"]]) == [[b"<html>\n", b"saved\n"]]
    assert names["t"].outputs["log"].fetch().get_bytes() == b"saved\n"


def test_output_as_an_argument(guide: Guide, session: Session) -> None:
    names = guide.run(
        """
t = tasks.Execute(["wget", "https://github.com/", "--output-file", Output("log")],
                  output_paths=["index.html"])
""",
        tasks=tasks,
        Output=Output,
    )
    run_all(session, [names["t"]])
    assert {output.label: output.fetch().get_bytes() for output in names["t"].outputs} == {
        "log": b"saved\n",
        "index.html": b"<html>\n",
    }


def test_standard_output(guide: Guide, session: Session) -> None:
    guide.run(
        """
# Creates output from stdout labelled "stdout"
tasks.Execute("ls /", stdout=True)

# Creates output from stdout with label "my_label"
tasks.Execute("ls /", stdout="my_label")

# Creates output through Output object, argument 'path' is not allowed
tasks.Execute("ls /", stdout=Output("my_label"))
""",
        tasks=tasks,
        Output=Output,
    )
    made = list(session._tasks)
    results = run_all(session, made)
    assert [task.output.label for task in made] == ["stdout", "my_label", "my_label"]
    assert results[0] == results[1] == results[2] and b"tmp\n" in results[0][0]


def test_inputs(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run(
        """
from rain.client import Client, task, blob

client = Client("localhost", 7210)

with client.new_session() as session:
    data = blob(b"It is\\nrainy day\\n")

    # Maps 'data' into file XXX where is a random name and executes
    # "grep rain XXX"
    task = tasks.Execute(["grep", "rain", data], stdout=True)
    task.output.keep()

    session.submit()
    print(task.output.fetch().get_bytes())  # Prints b"rainy day"
""",
        tasks=tasks,
    )
    assert capsys.readouterr().out == "b'rainy day\\n'\n"


def test_input_with_settings(guide: Guide, session: Session) -> None:
    text = """
from rain.client import Client, task, Input

...

# It executes a program "a-program" with arguments "argument1" and "myfile"
# and while it maps dataobject in variable 'data' into file 'myfile'
my_data = ... # A data object
task = tasks.Execute(["a-program", "argument1",
                      Input("my_label", path="myfile", dataobj=my_data)])
"""
    guide.run(text.replace("my_data = ...", "my_data = given"), tasks=tasks, given=blob("my data"))
    assert run_all(session, session._tasks) == [[]]


def test_input_paths(guide: Guide, session: Session) -> None:
    guide.run(
        """
# It executes a program "a-program" with arguments "argument1"
# and while it maps dataobject in variable 'data' into file 'myfile'
tasks.Execute(["a-program", "argument1"],
              input_paths=[Input("my_label", path="myfile", dataobj=my_data)])
""",
        tasks=tasks,
        Input=Input,
        my_data=blob("my data"),
    )
    assert run_all(session, session._tasks) == [[]]


def test_standard_input(guide: Guide, session: Session) -> None:
    guide.run(
        """
# Executes a program "a-program" with argument "argument1" while mapping
# a data object on the standard input
tasks.Execute(["a-program", "argument1"], stdin=my_data)
""",
        tasks=tasks,
        my_data=blob("my data"),
    )
    assert run_all(session, session._tasks) == [[]]


def test_program(guide: Guide) -> None:
    text = """
from rain.client import Client, blob, Program, Input

rain_grep = Program(["grep", "rain", Input("my_input", path="my_file")], stdout=True)

client = Client("localhost", 7210)

with client.new_session() as session:
    data = blob(b"It is\\nrainy day\\n")

    # Creates a task that executes "grep rain my_file" where dataobject in variable
    # 'data' is mapped into <FILE>
    task = rain_grep(my_input=data)
"""
    fetch = """
    task.output.keep()
    session.submit()
    result = task.output.fetch().get_bytes()
"""
    assert guide.run(text + fetch)["result"] == b"rainy day\n"


def test_resources(guide: Guide, session: Session) -> None:
    names: dict[str, Any] = guide.run(
        """
from rain.client import remote, tasks

# Reserve 4 CPUs for execution of a program
tasks.Execute("a-parallel-program", cpus=4)

# Resere 4 CPUs for a Python task
@remote(cpus=4)
def myfunction(ctx):
    pass

call = myfunction()
"""
    )
    assert [task.spec.resources for task in session._tasks] == [{"cpus": 4}, {"cpus": 4}]
    session.discard()
    guide.run("""tasks.Execute("a-parallel-program", cpus=4)""", tasks=tasks)
    assert run_all(session, session._tasks) == [[]]
    assert names["call"].name == "myfunction"
