"""Modules in tasks: the client's, and as they are now."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from executor_driver import Driver, Returned

# Functions of this module cannot be imported in the executor.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is first in the client's search path."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def value_of(ctx: Any, name: str) -> str:
    """What a module says."""
    import importlib

    return str(importlib.import_module(name).VALUE)


def write(path: Path, value: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"VALUE = {value!r}\n")


def settle(path: Path) -> None:
    """Let a file be older than what reads it: until its time of change is past for certain."""
    import time

    while time.time_ns() - os.stat(path).st_ctime_ns < 60_000_000:
        time.sleep(0.001)


def is_given_back(driver: Driver, name: str) -> bool:
    driver.submit += 1
    driver.start(value_of, name)
    try:
        driver.finish()
    except Returned:
        return True
    return False


def change(path: Path) -> None:
    # As many bytes, and within the same second.
    write(path, "new")


def touch_time(path: Path) -> None:
    status = path.stat()
    write(path, "new")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    write(other, "new")
    os.replace(other, path)


@pytest.mark.parametrize("how", [change, touch_time, replace, Path.unlink])
@pytest.mark.parametrize("place", ["helper.py", "package/__init__.py", "package/inner.py", "space/inner.py"])
def test_a_changed_file_is_not_used(driver: Driver, project: Path, place: str, how: Any) -> None:
    path = project / place
    if place == "package/inner.py":
        write(path.with_name("__init__.py"), "package")
    write(path, "old")
    settle(path)
    name = place.removesuffix(".py").replace("/__init__", "").replace("/", ".")
    assert driver.call(value_of, name)[0][0] == b"old"
    # Neither the next call of this submit nor one of another submit finds a reason to go elsewhere.
    assert driver.call(value_of, name)[0][0] == b"old"
    assert not is_given_back(driver, name)
    how(path)
    # Only the first call of a submit looks.
    assert driver.call(value_of, name)[0][0] == b"old"
    assert is_given_back(driver, name)


def test_a_new_process_reads_what_was_written_in_the_same_second(tmp_path: Path, project: Path) -> None:
    path = project / "helper.py"
    values = []
    for number, value in enumerate(("old", "new")):
        write(path, value)
        driver = Driver(tmp_path / str(number))
        try:
            values.append(driver.call(value_of, "helper")[0][0])
        finally:
            driver.close()
    assert values == [b"old", b"new"]


def test_a_file_that_is_new_hides_one_that_was_imported(driver: Driver, project: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    write(later / "helper.py", "later")
    settle(later / "helper.py")
    sys.path.insert(sys.path.index(str(project)) + 1, str(later))
    try:
        assert driver.call(value_of, "helper")[0][0] == b"later"
        write(project / "unrelated.py", "x")
        assert not is_given_back(driver, "helper")
        write(project / "helper.py", "first")
        assert is_given_back(driver, "helper")
    finally:
        sys.path.remove(str(later))


def test_a_module_that_is_made_between_two_submits_is_found(driver: Driver, project: Path) -> None:
    def try_import(ctx: Any) -> str:
        try:
            import made_later  # type: ignore[import-not-found]
        except ImportError:
            return "not there"
        return str(made_later.VALUE)

    assert driver.call(try_import)[0][0] == b"not there"
    write(project / "made_later.py", "there")
    driver.submit += 1
    assert driver.call(try_import)[0][0] == b"there"


@pytest.mark.parametrize("name", ["calendar", "statistics", "traceback", "pickle", "select"])
def test_the_clients_modules_come_before_those_of_the_library(driver: Driver, project: Path, name: str) -> None:
    write(project / f"{name}.py", "own")

    def fail(ctx: Any) -> None:
        raise ValueError("shown as ever")

    # Also what this process had imported for itself, which it goes on to use.
    is_built_in = name in sys.builtin_module_names
    if not is_built_in:
        assert driver.call(value_of, name)[0][0] == b"own"
    with pytest.raises(Exception, match="shown as ever"):
        driver.call(fail)


def test_a_directory_without_code_hides_nothing(driver: Driver, project: Path) -> None:
    (project / "calendar").mkdir()
    assert driver.call(lambda ctx: __import__("calendar").__file__)[0][0] == os.fsencode(
        __import__("calendar").__file__ or ""
    )


def test_the_search_path_is_the_clients(driver: Driver, project: Path) -> None:
    def spoil(ctx: Any) -> str:
        before = repr(sys.path)
        sys.path.insert(0, "/nowhere")
        return before

    assert driver.call(spoil)[0][0].decode() == repr([os.path.abspath(entry) for entry in sys.path])
    driver.session_id = 6
    assert driver.call(spoil)[0][0].decode() == repr([os.path.abspath(entry) for entry in sys.path])


def test_another_search_path_is_for_another_process(driver: Driver, project: Path, tmp_path: Path) -> None:
    write(project / "helper.py", "a")
    assert driver.call(value_of, "helper")[0][0] == b"a"
    other = tmp_path / "other"
    write(other / "helper.py", "b")
    sys.path[sys.path.index(str(project))] = str(other)
    try:
        driver.start(lambda ctx: value_of(ctx, "helper"))
        with pytest.raises(Returned, match="another module path"):
            driver.finish()
    finally:
        sys.path[sys.path.index(str(other))] = str(project)


def test_archives_are_watched(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "modules.zip"

    def pack(value: str) -> None:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("zipped.py", f"VALUE = {value!r}\n")

    pack("old")
    settle(archive)
    monkeypatch.syspath_prepend(str(archive))
    assert driver.call(value_of, "zipped")[0][0] == b"old"
    assert not is_given_back(driver, "zipped")
    pack("new")
    assert is_given_back(driver, "zipped")


def test_installed_packages_are_looked_at_once_a_session(driver: Driver, tmp_path: Path, project: Path) -> None:
    packages = tmp_path / "lib" / "site-packages"
    path = packages / "installed.py"
    write(path, "old")
    settle(path)
    sys.path.insert(0, str(packages))
    try:
        assert driver.call(value_of, "installed")[0][0] == b"old"
        write(path, "new")
        assert not is_given_back(driver, "installed")
        driver.session_id = 6
        assert is_given_back(driver, "installed")
    finally:
        sys.path.remove(str(packages))


def test_calls_that_were_read_are_given_back_together(driver: Driver, project: Path) -> None:
    path = project / "helper.py"
    write(path, "old")
    settle(path)
    driver.call(value_of, "helper")
    write(path, "new")
    driver.submit += 1
    for _ in range(5):
        driver.start(value_of, "helper")
    calls: list[int] = []
    while len(calls) < 5:
        with pytest.raises(Returned, match=r"helper\.py has changed") as caught:
            driver.finish()
        calls += caught.value.calls
    assert calls == [2, 3, 4, 5, 6]
