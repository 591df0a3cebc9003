"""Files of all kinds between tasks and the file system: rights, holes, links, odd names, long commands."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from rain.client import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Session,
    TaskException,
    blob,
    directory,
    remote,
    tasks,
)

SCRIPT = "printf '#!/bin/sh\\necho I run\\n' >p; chmod 755 p"


@pytest.mark.parametrize("write", [False, True])
def test_a_program_that_was_made_runs(fetch: Any, write: bool) -> None:
    made = tasks.Execute(SCRIPT, shell=True, output_paths=[Output("p")])
    run = tasks.Execute(["./p"], input_paths=[Input("p", dataobj=made, write=write)], stdout=True)
    packed = tasks.MakeDirectory([("bin/p", made)])
    taken = tasks.Execute(["./p"], input_paths=[Input("p", dataobj=tasks.SliceDirectory(packed, "bin/p"))], stdout=True)
    inside = tasks.Execute("d/bin/p", shell=True, input_paths=[InputDir("d", dataobj=packed)], stdout=True)
    assert fetch(run, taken, inside) == [[b"I run\n"]] * 3


def test_a_loaded_program_runs_and_is_stored_as_one(session: Session, tmp_path: Path) -> None:
    loaded = tasks.Load("/bin/true")
    tasks.Execute(["./p"], input_paths=[Input("p", dataobj=loaded)])
    tasks.Store(loaded, tmp_path / "program")
    tasks.Store(blob(b"x"), tmp_path / "plain")
    session.submit()
    session.wait_all()
    umask = os.umask(0)
    os.umask(umask)
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("program", "plain")]
    assert modes == [0o777 & ~umask, 0o666 & ~umask]


def test_a_file_staged_by_a_function_keeps_its_right(fetch: Any) -> None:
    @remote()
    def make(ctx):  # type: ignore[no-untyped-def]
        with open("p", "w") as file:
            file.write("#!/bin/sh\necho I run\n")
        os.chmod("p", 0o700)
        return ctx.stage_file("p")

    assert fetch(tasks.Execute(["./p"], input_paths=[Input("p", dataobj=make())], stdout=True)) == [b"I run\n"]


def test_absolute_links_into_an_output(fetch: Any) -> None:
    made = tasks.Execute("mkdir d; echo 42 >d/a; ln -s $PWD/d/a d/b", shell=True, output_paths=[OutputDir("d")])
    look = "cat d/b; readlink d/b"
    assert fetch(tasks.Execute(look, shell=True, input_paths=[InputDir("d", dataobj=made)], stdout=True)) == [
        b"42\na\n"
    ]


def test_absolute_links_into_a_directory_of_a_function_or_the_client(fetch: Any, tmp_path: Path) -> None:
    @remote(outputs=OutputDir("d"))
    def make(ctx):  # type: ignore[no-untyped-def]
        os.makedirs("d/sub")
        Path("d/a").write_text("42")
        os.symlink(os.path.abspath("d/a"), "d/sub/b")
        return ctx.stage_directory("d")

    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_text("42")
    (tmp_path / "sub" / "b").symlink_to(tmp_path / "a")
    look = "cat d/sub/b; readlink d/sub/b"
    inputs = (make(), directory(tmp_path), tasks.LoadDir(tmp_path))
    shown = [tasks.Execute(look, shell=True, input_paths=[InputDir("d", dataobj=made)], stdout=True) for made in inputs]
    assert fetch(*shown) == [[b"42../a\n"]] * 3


def test_store_into_pipes_links_and_devices(session: Session, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "target").chmod(0o664)
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "link", "null"):
        tasks.Store(blob(content), tmp_path / name)
    session.submit()
    session.wait_all()
    reader.join(60)
    assert read == [content]
    assert stat.S_ISFIFO(os.lstat(tmp_path / "pipe").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == content
    assert stat.S_IMODE(os.stat(tmp_path / "target").st_mode) == 0o664


def test_a_store_that_nobody_reads_can_be_cancelled(client: Client, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Keeps the pipe open and takes nothing.
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with client.new_session() as session:
            storing = tasks.Store(blob(bytes(1 << 20)), tmp_path / "pipe", timeout=0.2)
            session.submit()
            with pytest.raises(TaskException, match="time"):
                storing.wait()
    finally:
        os.close(reader)


def test_long_commands(fetch: Any) -> None:
    words = " ".join(f"f{number}" for number in range(30_000))
    assert fetch(tasks.Execute(f"echo {words} | wc -w", shell=True, stdout=True)) == [b"30000\n"]


def test_an_argument_that_is_too_long_says_what_to_do(session: Session) -> None:
    task = tasks.Execute(["printf", "%s", "x" * (200 << 10)])
    session.submit()
    with pytest.raises(TaskException, match="argument 2 has 204800 bytes.*131071.*as an input"):
        task.wait()


@pytest.mark.parametrize("given", [os.fsencode, os.fsdecode, lambda path: Path(os.fsdecode(path))])
def test_paths_that_are_not_text(session: Session, tmp_path: Path, given: Any) -> None:
    base = os.fsencode(tmp_path)
    os.mkdir(base + b"/\xff dir")
    source = base + b"/\xff dir/\xfe"
    Path(os.fsdecode(source)).write_bytes(b"content")
    loaded = tasks.Load(given(source))
    tasks.Store(loaded, given(base + b"/\xfd"))
    tree = tasks.LoadDir(given(base + b"/\xff dir"))
    tree.output.keep()
    session.submit()
    session.wait_all()
    assert Path(os.fsdecode(base + b"/\xfd")).read_bytes() == b"content"
    tree.output.fetch().write(tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"\xfe"]


@pytest.mark.parametrize(("path", "hint"), [("data.csv", True), ("/nothing/here", False)])
def test_relative_paths_are_explained(session: Session, path: str, hint: bool) -> None:
    @remote()
    def read(ctx, path):  # type: ignore[no-untyped-def]
        return Path(path).read_bytes()

    task = read(path)
    session.submit()
    with pytest.raises(TaskException, match="FileNotFoundError") as caught:
        task.wait()
    assert ("empty directory of its own" in str(caught.value)) is hint


def test_what_a_program_leaves_is_named(session: Session) -> None:
    task = tasks.Execute("touch out.csv", shell=True)
    session.submit()
    task.wait()
    task.update()
    assert task.info is not None
    assert '"out.csv"' in (task.info.debug or "")


def test_sparse_files_stay_sparse(session: Session, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with open(tmp_path / "d" / "sparse", "wb") as file:
        file.seek(32 << 20)
        file.write(b"x")
        file.truncate(64 << 20)
    loaded = tasks.Load(tmp_path / "d" / "sparse")
    tasks.Store(loaded, tmp_path / "stored")
    tasks.Store(tasks.LoadDir(tmp_path / "d"), tmp_path / "tree")
    session.submit()
    session.wait_all()
    for path in (tmp_path / "stored", tmp_path / "tree" / "sparse"):
        status = os.stat(path)
        assert status.st_size == 64 << 20
        assert status.st_blocks * 512 <= max(1 << 20, os.stat(tmp_path / "d" / "sparse").st_blocks * 512)
