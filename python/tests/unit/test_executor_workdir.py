"""The working directory of tasks, and files that they stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from executor_driver import Driver, Failed

from rain.client import Output, OutputDir, blob, remote
from rain.executor.workdir import remove

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def object_in(driver: Driver) -> Any:
    with driver.session.bind_only():
        return blob(b"")


def make_deep(depth: int) -> None:
    """A tree that is deeper than a path can be long, in the current directory."""
    here = os.getcwd()
    for number in range(depth):
        os.mkdir("d" * 50)
        os.chdir("d" * 50)
        if number % 100 == 0:
            with open("file", "w"):
                pass
            os.symlink("/", "link")
    os.chmod(".", 0o500)
    os.chdir(here)


def test_deep_trees_are_removed_and_hurt_nobody(driver: Driver) -> None:
    def leave(ctx: Any) -> bytes:
        make_deep(3000)
        return b""

    driver.call(leave)
    assert driver.call(lambda ctx: repr(os.listdir(".")))[0][0] == b"[]"
    assert [name for name in os.listdir(driver.directory) if not name.startswith("out-")] == ["task-2"]


def test_what_is_removed_is_gone_whatever_its_rights(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "file").touch()
    (top / "link").symlink_to(outside)
    (top / "a" / "b" / "c" / "link").symlink_to(outside)
    os.mkfifo(top / "pipe")
    for path in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        path.chmod(0)
    remove(str(top))
    remove(str(tmp_path / "nothing"))
    remove(str(tmp_path / "no" / "such" / "place"))
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    assert os.listdir(outside) == ["kept"]


def test_an_inputs_file_stays_when_it_is_staged(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"i" * 100_000)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "f").write_text("x")

    def stage(ctx: Any, data: Any, tree: Any) -> Any:
        data.link("link")
        return ctx.stage_file(data.path), ctx.stage_file("link", content_type="text"), ctx.stage_directory(tree.path)

    inputs = [[str(path), None, 0, 100_000, 1, None], [str(folder), None, 1, 1, 2, None]]
    function = remote(outputs=("a", Output("b", content_type="text"), OutputDir("c")))(stage)
    outputs = driver.call(function, object_in(driver), object_in(driver), inputs=inputs)
    assert outputs == [[0, None, None], [0, "text", None], [1, None, None]]
    assert path.read_bytes() == b"i" * 100_000
    assert (folder / "f").read_text() == "x"


def test_what_is_elsewhere_is_copied(driver: Driver, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("stranger's")
    (other / "file").chmod(0o444)

    def stage(ctx: Any, file: str, folder: str) -> Any:
        return ctx.stage_file(file), ctx.stage_directory(folder)

    function = remote(outputs=("a", OutputDir("b")))(stage)
    outputs = driver.call(function, str(other / "file"), str(other))
    assert Path(outputs[0][0]).read_text() == Path(outputs[1][0], "file").read_text() == "stranger's"
    assert (other / "file").read_text() == "stranger's"
    with pytest.raises(Failed, match="no file '/nothing' to stage"):
        driver.call(lambda ctx: ctx.stage_file("/nothing"))


def test_many_outputs_are_files_above_a_few_mebibytes(driver: Driver) -> None:
    outputs = driver.call(remote(outputs=200)(lambda ctx: [b"x" * 60_000] * 200))
    sources = [source for source, _, _ in outputs]
    inline = [source for source in sources if isinstance(source, bytes)]
    assert 0 < len(inline) <= (4 << 20) // 60_000
    assert all(os.path.getsize(source) == 60_000 for source in sources if isinstance(source, str))


def test_inputs_are_let_go_when_the_call_ends(driver: Driver, tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        path = tmp_path / f"large-{number}"
        path.write_bytes(b"l" * (1 << 20))
        paths.append(path)

    def look(ctx: Any, *inputs: Any) -> bytes:
        import gc

        gc.disable()
        for item in inputs:
            item.get_view()
        return b""

    def fail(ctx: Any, *inputs: Any) -> None:
        views = [item.get_view() for item in inputs]
        try:
            raise ValueError("first")
        except ValueError as error:
            # It refers to itself through this frame.
            kept = error
        raise RuntimeError(f"{len(views)} {kept}")

    def mapped() -> int:
        return Path(f"/proc/{driver.process.pid}/maps").read_text().count(str(tmp_path / "large-"))

    inputs = [[str(path), None, 0, 1 << 20, number, None] for number, path in enumerate(paths)]
    objects = [object_in(driver) for _ in paths]
    driver.call(look, *objects, inputs=inputs)
    # The last one may be what the next task reads, too.
    assert mapped() <= 1
    with pytest.raises(Failed, match="3 first"):
        driver.call(fail, *objects, inputs=inputs)
    driver.call(lambda ctx: b"")
    assert mapped() <= 1
    driver.session_id = 6
    driver.call(lambda ctx: b"")
    assert mapped() == 0


def test_attributes_are_dictionaries(driver: Driver) -> None:
    def spoil(ctx: Any) -> bytes:
        ctx.info.user = [1]
        return b""

    with pytest.raises(Failed, match="dictionary"):
        driver.call(spoil)


def test_the_limit_of_open_files_is_raised(driver: Driver) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def look(ctx: Any) -> str:
        import resource

        return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    assert int(driver.call(look)[0][0]) >= wanted


def test_left_files_are_named(driver: Driver) -> None:
    def leave(ctx: Any, count: int) -> bytes:
        for number in range(count):
            open(f"file {number}", "w").close()  # noqa: SIM115
        return b""

    def use(ctx: Any) -> Any:
        for name in ("wanted", "other"):
            open(name, "w").close()  # noqa: SIM115
        return ctx.stage_file("wanted")

    said = "removed with the directory of the task, as they are no outputs of it: "
    for count, names in ((1, "'file 0'"), (0, None), (7, "'file 0', 'file 1', 'file 2', 'file 3', 'file 4', ...")):
        driver.start(leave, count)
        assert driver.finish()[1] == ({} if names is None else {"debug": said + names})
    driver.start(use)
    assert driver.finish()[1] == {}
    assert driver.call(lambda ctx: repr(os.listdir(".")))[0][0] == b"[]"


def test_texts_are_bounded(driver: Driver) -> None:
    def talk(ctx: Any, fail: bool) -> bytes:
        for number in range(30):
            ctx.debug(f"{number}" * 30_000)
        if fail:
            raise ValueError("x" * 3_000_000)
        return b""

    driver.start(talk, False)
    debug = driver.finish()[1]["debug"]
    assert len(debug) < (1 << 20) + 100 and debug.endswith("more characters are left out]")
    with pytest.raises(Failed) as caught:
        driver.call(talk, True)
    message = caught.value.failure["message"]
    assert len(message) < (1 << 20) + 100 and message.endswith("more characters are left out]")
    assert caught.value.failure["debug"] == debug
