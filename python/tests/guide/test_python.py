"""Examples of the user's guide: the section "Python tasks".

The texts are the printed ones. Repairs, each of something that the printed text lacks to be a program:

- "Inputs", second example: what follows the class stands one column to the right; it is moved.
- "Inputs", third example: four dots stand as a body, which Python knows only as three.
- "Inputs", fourth example: the second line of the comment for case 2 lacks its "#".
- "Outputs": ``return`` in fn3; a closing parenthesis for fn6 and for fn7.
- "Type hints": the line ends in ";" instead of ":".
- Names that the text imports in other examples are given.
- Where the text shows a part of a program, the rest stands around it in the test.
"""

from __future__ import annotations

from typing import Any

import pytest
from guide_examples import Guide

from rain.client import Client, Input, Output, RainException, Session, TaskException, blob, remote


def test_remote(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run("""
from rain.client import Client, remote

@remote()
def hello(ctx):
    return "Hello world!"

client = Client("localhost", 7210)

with client.new_session() as session:
    t = hello()                # Create a task
    t.output.keep()
    session.submit()
    result = t.output.fetch()
    print(result)              # Prints b'Hello world!'
""")
    assert capsys.readouterr().out == "b'Hello world!'\n"


def test_inputs(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    guide.run("""
from rain.client import Client, remote, blob

@remote()
def hello(ctx, data1, data2):
    return data1 + data2.get_bytes()

client = Client("localhost", 7210)
with client.new_session() as s:

    # Create data object
    data = blob("Rain!")

    # Creates a task calling function 'hello' in governor
    t = hello(b"Hello ", data)

    t.output.keep()
    s.submit()
    s.wait_all()

    # Prints b'Hello Rain!"
    print(t.output.fetch().get_bytes())
""")
    assert capsys.readouterr().out == "b'Hello Rain!'\n"


def test_inputs_in_own_classes(guide: Guide, session: Session) -> None:
    text = """
class MyClass:

    def __init__(self, my_data):
        self.my_data = my_data


@remote()
def my_call(ctx, input):
    # If we assume a call of this function as below,
    # we obtain an instance of MyClass where attribute 'my_data'
    # is list of instances of DataInstance
    return b""

...

my_instance = MyClass([blob(b"data1"), blob(b"data2"), blob(b"data3")])
task = my_call(my_instance)
"""
    names = guide.run(text, remote=remote, blob=blob)
    # What the comment in the function says.
    look = 'return b", ".join(data.get_bytes() for data in input.my_data)'
    task = guide.run(text.replace('return b""', look), remote=remote, blob=blob)["task"]
    task.output.keep()
    names["task"].output.keep()
    session.submit()
    assert names["task"].output.fetch().get_bytes() == b""
    assert task.output.fetch().get_bytes() == b"data1, data2, data3"


def test_generators_as_arguments(session: Session) -> None:
    joined = remote()(lambda ctx, items: b"".join(item.get_bytes() for item in items))
    task = joined(blob(text) for text in ("a", "b", "c"))
    task.output.keep()
    session.submit()
    assert task.output.fetch().get_bytes() == b"abc"


def test_loading_of_inputs(guide: Guide, client: Client, session: Session) -> None:
    text = """
@remote()
def fn1(ctx, data):
    # Load according content type. Throws an error if content type is not provided
    loaded_data = data.load()
    ...

# Automatically call load() on specific argument
@remote(inputs={"data": Input(load=True)})
def fn2(ctx, data):
    ...

# Automatically call load() on all arguments
@remote(auto_load=True)
def fn3(ctx, data):
    ...

# Example of calling:
data = blob([1,2,3,4], encode="json")
fn1(data)
"""
    guide.run(text.replace("...", "return b''"), remote=remote, Input=Input, blob=blob)
    session.submit()
    session.wait_all()
    names = guide.run(
        text.replace("...", "return repr((data, locals().get('loaded_data')))") + "\nmade = [fn2(data), fn3(data)]",
        remote=remote,
        Input=Input,
        blob=blob,
    )
    with client.new_session() as other:
        names["fn1"](blob(b"no content type"))
        other.submit()
        with pytest.raises(TaskException, match="without a content type cannot be loaded"):
            other.wait_all()
    for task in names["made"]:
        task.output.keep()
    session.submit()
    assert [task.output.fetch().get_str() for task in names["made"]] == ["([1, 2, 3, 4], None)"] * 2


def test_content_types_of_inputs(guide: Guide, client: Client, session: Session) -> None:
    text = """
# The following function asks for a dataobject with content type "json" as
# its argument. If the function is called the following happens:
# 1) If the input dataobject has content type "json", it is passed as it is
# 2) If the input dataobject has no content type (None), then content type "json"
#    is set as the object content type
# 3) If the input dataobject has content type different from "json", the task fails

@remote(inputs={"data": Input(content_type="json")})
def fn1(ctx, data):
    pass
"""
    fn1 = guide.run(text.replace("pass", "return data.content_type"), remote=remote, Input=Input)["fn1"]
    untyped = remote()(lambda ctx: ctx.blob(b"[]"))()
    made = [fn1(blob("[]", content_type="json")), fn1(blob(b"[]")), fn1(untyped)]
    for task in made:
        task.output.keep()
    session.submit()
    assert [task.output.fetch().get_str() for task in made] == ["json"] * 3
    with pytest.raises(RainException, match="asks for content type 'json', but .* has 'pickle'"):
        fn1(blob([], encode="pickle"))
    with client.new_session() as other:
        fn1(remote()(lambda ctx: ctx.blob([], encode="pickle"))())
        other.submit()
        with pytest.raises(TaskException, match="takes content type 'json', but an input has 'pickle'"):
            other.wait_all()


def test_outputs(guide: Guide, session: Session) -> None:
    names = guide.run(
        """
@remote()
def fn1(ctx):
    return b"Returning bytes"

@remote()
def fn2(ctx):
    return "Returning string"

# Configuring more unlabaled outputs
@remote(outputs=3)
def fn3(ctx):
    return (b"data1", b"data2", b"data3")

# No output
@remote(outputs=0)
def fn4(ctx):
     pass

# Configuring labeled outputs
@remote(outputs=("label1", "label2"))
def fn5(ctx):
     return {"label1": b"data1", "label2": b"data2"}

# Set content types of resulting objects
@remote(outputs=(Output(content_type="json"), Output(content_type="json")))
def fn6(ctx):
    return ("[1, 2, 3]", "{'x': 123}")

# Automatically encode resulting objects
@remote(outputs=(Output(encode="pickle"), Output(encode="json")))
def fn7(ctx):
    return ([1, 2, 3], {"x": 123})
""",
        remote=remote,
        Output=Output,
    )
    made = [names[f"fn{number}"]() for number in range(1, 8)]
    for task in made:
        task.keep_outputs()
    session.submit()
    one, two, three, four, five, six, seven = (task.fetch_outputs() for task in made)
    assert (one[0].get_bytes(), one[0].content_type) == (b"Returning bytes", None)
    assert (two[0].get_bytes(), two[0].content_type) == (b"Returning string", "text")
    assert [instance.get_bytes() for instance in three] == [b"data1", b"data2", b"data3"]
    assert four == []
    assert made[4].outputs["label1"].fetch().get_bytes() == five[0].get_bytes() == b"data1"
    assert [instance.content_type for instance in six] == ["json", "json"]
    assert six[0].load() == [1, 2, 3] and six[1].get_bytes() == b"{'x': 123}"
    assert [(instance.content_type, instance.load()) for instance in seven] == [
        ("pickle", [1, 2, 3]),
        ("json", {"x": 123}),
    ]


def test_debug_stream(guide: Guide, session: Session) -> None:
    text = """
@remote()
def remote_fn(ctx):
    a = 11
    b = a + 10
    ctx.debug("Variable a = {}", a)
    ctx.debug("Variable b = {}", b)
    raise Exception("Error occured!")

# When this task is executed, you get the following error message:
#
# Exception: Error occured!
#
# Debug:
# Variable a = 11
# Variable b = 21
"""
    guide.run(text, remote=remote)["remote_fn"]()
    session.submit()
    with pytest.raises(TaskException) as caught:
        session.wait_all()
    message = str(caught.value)
    # The message of the text, with the place of the task and the traceback between.
    assert "Exception: Error occured!" in message
    assert message.endswith("\n\nDebug:\nVariable a = 11\nVariable b = 21")


def test_type_hints(guide: Guide, session: Session) -> None:
    names: dict[str, Any] = guide.run(
        """
@remote
def test1(ctx, a : Input(content_type="json")) -> Output(encode='pickle', label='test_pickle'):
    pass
""",
        remote=remote,
        Input=Input,
        Output=Output,
    )
    task = names["test1"](blob([1], encode="json"))
    task.outputs["test_pickle"].keep()
    session.submit()
    instance = task.output.fetch()
    assert (instance.content_type, instance.load()) == ("pickle", None)
    with pytest.raises(RainException, match="asks for content type 'json'"):
        names["test1"](blob("text"))
