"""Examples of the user's guide: the sections on directories, on mapping, and on sessions.

The texts are the printed ones; ``git`` is a stand-in, see guide_examples.py. Repairs, each of something that the
printed text lacks to be a program:

- "Directories": an unfinished line ``from rain import`` is left out; the call of make_directory that stands in one of
  MakeDirectory (they are the same) stands alone.
- "Mapping": the names of objects; a call of the function.
- Names that the text imports in other examples are given.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from guide_examples import Guide

from rain.client import Client, Input, RainException, Session, SessionException, TaskException, blob, remote, tasks


def test_directories(guide: Guide, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "sub" / "file").write_text("deep")
    text = """
from rain.client import Client, tasks, blob, OutputDir, directory

client = Client("localhost", 7210)

with client.new_session() as session:

    # Creates a directory object from client's local file system
    # Recursively collects all files and directories in /path/to/dir
    d = directory("/path/to/dir")

    # Create blob data objects
    data1 = blob(b"12345")
    data2 = blob(b"67890")

    # Task that creates a directory from data objects
    d2 = tasks.make_directory([
         ("myfile.txt", data1),  # Map 'data1' as file 'myfile.txt' into directory
         ("adir", d),  # Map directory 'd' as subdir named 'adir'
         ("a/deep/path/x", data2),  # Map 'data2' as a file 'x'; all subdirs on path is created
    ])

    # Task taking a file from a directory data object
    d3 = tasks.SliceDirectory(d2, "a/deep/path/x")

    # Task taking a directory from a directory data object
    # This is indicated by  '/' at the end of the path.
    d3 = tasks.SliceDirectory(d2, "a/deep/")

    # Taking directory as outpout of task.execute
    tasks.Execute("git clone https://github.com/substantic/rain",
                  output_paths=[OutputDir("rain")])
"""
    fetch = """
    made = list(session._tasks)
    for task in made:
        task.output.keep()
    session.submit()
    fetched = [task.output.fetch() for task in made]
"""
    whole, file, part, cloned = guide.run(text + fetch)["fetched"]
    whole.write(tmp_path / "whole")
    assert sorted(str(path.relative_to(tmp_path / "whole")) for path in (tmp_path / "whole").rglob("*")) == [
        "a",
        "a/deep",
        "a/deep/path",
        "a/deep/path/x",
        "adir",
        "adir/sub",
        "adir/sub/file",
        "myfile.txt",
    ]
    assert file.get_bytes() == b"67890"
    part.write(tmp_path / "part")
    assert (tmp_path / "part" / "path" / "x").read_text() == "67890"
    cloned.write(tmp_path / "cloned")
    assert (tmp_path / "cloned" / "README.md").read_text() == "Rain\n"


def test_mapping_of_programs(guide: Guide, client: Client) -> None:
    both = """
# THIS IS INVALID! You cannot modified linked objects
tasks.Execute("echo 'New line' >> myfile", shell=True,
              input_paths=[Input("myfile", dataobj=obj)])

# This is ok. Writable copy of 'obj' is created.
tasks.Execute("echo 'New line' >> myfile", shell=True,
              input_paths=[Input("myfile", dataobj=obj, write=True)])
"""
    invalid, valid = both.split("# This is ok")
    names: dict[str, Any] = {"tasks": tasks, "Input": Input}
    with client.new_session() as session:
        obj = blob("Line\n")
        obj.keep()
        guide.run(invalid, obj=obj, **names)
        session.submit()
        # File rights do not stop root.
        if os.geteuid() != 0:
            with pytest.raises(TaskException, match="(?s)myfile.*[Pp]ermission"):
                session.wait_all()
    with client.new_session() as session:
        obj = blob("Line\n")
        obj.keep()
        guide.run("# This is ok" + valid, obj=obj, **names)
        session.submit()
        session.wait_all()
        assert obj.fetch().get_bytes() == b"Line\n"


def test_mapping_in_python(guide: Guide, session: Session) -> None:
    text = """
@remote()
def my_remote_function(ctx, input1):
    input1.write("myfile")  # Writes data into 'myfile' that can be edited
                            # without change of the original object
    input1.link("myfile2")  # Creates a read-only file system representation
                            # of data object
"""
    change = """
    with open("myfile", "a") as file:
        file.write("more")
    return open("myfile").read() + open("myfile2").read() + input1.get_str()
"""
    obj = blob("data")
    large = tasks.Concat([blob(b"x" * 100_000)])
    function = guide.run(text + change, remote=remote)["my_remote_function"]
    made = [function(obj), function(large)]
    for task in made:
        task.output.keep()
    session.submit()
    small, big = (task.output.fetch().get_bytes() for task in made)
    assert small == b"datamoredatadata"
    assert big == b"x" * 100_000 + b"more" + b"x" * 200_000


def test_active_session(guide: Guide) -> None:
    names = guide.run("""
from rain.client import Client, tasks, blob

client = Client("localhost", 7210)

# no session is active
with client.new_session() as a:

    # 'a' is active

    with client.new_session() as b:
        # 'b' is active
        pass

    # 'b' is closed and 'a' is active again

# 'a' is closed and no session is active
""")
    assert names["a"].closed and names["b"].closed
    with pytest.raises(RainException, match="There is no active session"):
        blob("x")


def test_closing_session(guide: Guide, client: Client) -> None:
    session = guide.run(
        """
session = client.new_session()

with session.bind_only():
    # 'session' is active
    pass

# 'session' is not active here; however it is NOT closed
""",
        client=client,
    )["session"]
    assert not session.closed
    session.close()
    with pytest.raises(SessionException, match="cannot be used any more"), session:
        pass


def test_multiple_submits(guide: Guide, client: Client) -> None:
    names = guide.run(
        """
with client.new_session() as session:
   a = blob("Hello world")
   t1 = tasks.Sleep(a, 1.0)
   t1.output.keep()

   session.submit()  # First submit

   t2 = tasks.Sleep(t1.output, 1.0)

   session.submit()  # Second submit
   session.wait_all()  # Wait until everything is finished

   t3 = tasks.Sleep(t1.output, 1.0)

   session.submit()  # Third submit
   session.wait_all()  # Wait again until everything is finished
""",
        client=client,
        blob=blob,
        tasks=tasks,
    )
    assert [names[name].id.id for name in ("t1", "t2", "t3")] == [0, 1, 2]
