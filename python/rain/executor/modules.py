"""Modules in tasks: found as the client finds them, and never older than their files.

A process keeps the modules that its tasks have imported. Before the first call of a submit it looks whether the files
have changed that they came from; then another process is used. Those that belong to the interpreter are not looked at,
those of installed packages before the first call of a session only.
"""

from __future__ import annotations

import importlib.machinery
import os
import site
import sys
import time
from types import ModuleType
from typing import Any, Callable

# What a directory or file was: times of change and modification, bytes, number.
_Stamp = tuple[int, int, int, int]

# Every Python process has these from its start, before any directory is looked into; or they are the executor's own.
_KEPT = frozenset(
    [
        "__main__",
        "_collections_abc",
        "_sitebuiltins",
        "abc",
        "cloudpickle",
        "codecs",
        "encodings",
        "genericpath",
        "importlib",
        "io",
        "msgspec",
        "ntpath",
        "os",
        "posixpath",
        "rain",
        "site",
        "stat",
        "zipimport",
    ]
)
# Installed packages are in such directories, also where a batch system's modules have put them.
_PACKAGE_DIRECTORIES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
# Time stamps of files have a resolution of some milliseconds.
_RESOLUTION = 20_000_000
# A file that is changed within this time after it was compiled may look the same: bytecode notes seconds, and bytes.
_BYTECODE_RESOLUTION = 2_000_000_000


class Modules:
    """What was imported by tasks of this process, and from where."""

    def __init__(self) -> None:
        self._library = _prefixes([os.path.dirname(os.__file__), _zipped_library()])
        # Rain itself, too, wherever it is.
        own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self._packages = _prefixes([*site.getsitepackages(), site.getusersitepackages(), own])
        self._path: list[str] | None = None
        self._list = sys.path
        self._known = set(sys.modules)
        # How many modules there were when they were last looked at.
        self.count = len(sys.modules)
        # What looks into the directories of the search path, as of last time; and what makes some of it look again.
        self._finders: list[Any] = []
        self._invalidate: list[Callable[[], None]] = []
        # Files that modules came from, and None for one that may have changed while it was imported.
        self._files: dict[str, _Stamp | None] = {}
        self._package_files: dict[str, _Stamp | None] = {}
        # Directories in which modules were found or would be found before, and the package that their modules are of.
        self._places: dict[str, tuple[_Stamp | None, str]] = {}
        _mistrust_new_bytecode(self._is_watched)

    def use_path(self, path: list[str]) -> str | None:
        """Find modules as a client with this search path does.

        Returns:
            Why this process cannot do that; None if it can.
        """
        if path == self._path:
            return None
        if self._path is not None and (self._files or self._package_files):
            return "its modules were imported with another module path"
        self._path = list(path)
        self.restore_path()
        self._drop_hidden()
        return None

    def restore_path(self) -> None:
        """Take back what tasks have done to the search path."""
        sys.path = self._list
        if self._path is not None and self._list != self._path:
            self._list[:] = self._path

    def learn(self, since: int) -> None:
        """Note where modules came from.

        Args:
            since: When the task began in which they were imported, nanoseconds since 1970.
        """
        for name in sys.modules.keys() - self._known:
            module = sys.modules[name]
            file = _file_of(module)
            if file is None or self._is_library(file):
                continue
            is_package_file = self._is_package(file)
            files = self._package_files if is_package_file else self._files
            if file not in files:
                stamp = _stamp(file)
                # One that was changed meanwhile may have been read before.
                files[file] = stamp if stamp is not None and stamp[0] < since - _RESOLUTION else None
            if not is_package_file:
                self._watch(os.path.dirname(file), name.rpartition(".")[0])
        self._known = set(sys.modules)
        self.count = len(self._known)

    def _watch(self, directory: str, package: str) -> None:
        self._places.setdefault(directory, (_stamp(directory), package))
        if len(self._places) == 1:
            for entry in self._path or ():
                if self._is_watched(entry + os.sep):
                    self._places.setdefault(entry, (_stamp(entry), ""))

    def changed(self, with_packages: bool) -> str | None:
        """Look whether anything has changed since it was imported.

        Args:
            with_packages: Also in installed packages.

        Returns:
            What; None if nothing has.
        """
        if not self._files and not (with_packages and self._package_files):
            return None
        for files in (self._files, self._package_files) if with_packages else (self._files,):
            for file, known in files.items():
                if known is None or _stamp(file) != known:
                    return f"{file} has changed"
        for place, (stamp, package) in self._places.items():
            now = _stamp(place)
            if now != stamp:
                moved = self._moved(place, package)
                if moved is not None:
                    return f"module {moved} is found elsewhere"
                self._places[place] = (now, package)
        return None

    def find_new_files(self) -> None:
        """Have the next import see files that have just been made."""
        if list(sys.path_importer_cache.values()) != self._finders:
            self._take_finders()
        for invalidate in self._invalidate:
            invalidate()

    def _take_finders(self) -> None:
        self._invalidate = []
        for entry, finder in list(sys.path_importer_cache.items()):
            if finder is None:
                del sys.path_importer_cache[entry]
            elif self._is_watched(entry + os.sep):
                invalidate = getattr(finder, "invalidate_caches", None)
                if invalidate is not None:
                    self._invalidate.append(invalidate)
        self._finders = list(sys.path_importer_cache.values())

    def _is_package(self, file: str) -> bool:
        return file.startswith(self._packages) or any(name in file for name in _PACKAGE_DIRECTORIES)

    def _is_library(self, file: str) -> bool:
        return file.startswith(self._library) and not self._is_package(file)

    def _is_watched(self, file: str) -> bool:
        return not file.startswith(self._library) and not self._is_package(file)

    def _drop_hidden(self) -> None:
        """Let go of modules that this process has, and for whose names the client finds others."""
        # With those that were imported since this was made.
        self._known = set(sys.modules)
        for entry in self._list:
            if self._is_library(entry + os.sep):
                # Nothing after this is found before the modules of the interpreter.
                break
            for name in _names_in(entry) & self._known - _KEPT:
                if self._is_found_elsewhere(name, sys.modules[name]):
                    for loaded in list(sys.modules):
                        if loaded == name or loaded.startswith(name + "."):
                            del sys.modules[loaded]
                            self._known.discard(loaded)
        self.count = len(sys.modules)

    def _moved(self, place: str, package: str) -> str | None:
        """A module that was imported, and would now be found in another file because of what is in a directory."""
        prefix = f"{package}." if package else ""
        for stem in _names_in(place):
            name = prefix + stem
            module = sys.modules.get(name)
            if module is not None and stem not in _KEPT and self._is_found_elsewhere(name, module):
                return name
        return None

    def _is_found_elsewhere(self, name: str, module: ModuleType) -> bool:
        self.find_new_files()
        parent = sys.modules.get(name.rpartition(".")[0])
        path = getattr(parent, "__path__", None)
        for finder in sys.meta_path:
            find: Any = getattr(finder, "find_spec", None)
            try:
                spec = find(name, path) if find is not None else None
            except Exception:
                # What it would say to the import of this module, it says then.
                continue
            if spec is not None:
                known = getattr(module, "__spec__", None)
                # A directory without code is found when there is nothing else.
                return spec.origin is not None and getattr(known, "origin", None) != spec.origin
        return False


def _zipped_library() -> str:
    """Where the library of the interpreter may be instead, which is before its directory in the search path."""
    return os.path.join(sys.base_prefix, "lib", f"python{sys.version_info[0]}{sys.version_info[1]}.zip")


def _prefixes(paths: list[str]) -> tuple[str, ...]:
    """Prefixes of what is in these directories, as they are named and as they are."""
    return tuple({name + os.sep for path in paths for name in (os.path.abspath(path), os.path.realpath(path))})


def _file_of(module: ModuleType) -> str | None:
    """The file that a module was read from."""
    try:
        file = getattr(module, "__file__", None)
        archive = getattr(getattr(module, "__loader__", None), "archive", None)
    except Exception:
        # Some libraries put objects into the table of modules that find their attributes when they are asked for.
        return None
    if not isinstance(file, str):
        return None
    return os.path.abspath(archive if isinstance(archive, str) else file)


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino


def _names_in(entry: str) -> set[str]:
    """Names of modules that may be in a directory or archive."""
    try:
        names = os.listdir(entry)
    except NotADirectoryError:
        import zipfile

        try:
            with zipfile.ZipFile(entry) as archive:
                names = [name.partition("/")[0] for name in archive.namelist()]
        except (OSError, zipfile.BadZipFile):
            return set()
    except OSError:
        return set()
    return {name.partition(".")[0] for name in names}


def _mistrust_new_bytecode(is_watched: Any) -> None:
    """Neither use nor write bytecode of a file that may be changed, or may have been, without that showing."""
    loader: Any = importlib.machinery.SourceFileLoader
    get_data, cache_bytecode = loader.get_data, loader._cache_bytecode

    def get_data_with_care(self: Any, path: str) -> bytes:
        if path.endswith(".pyc") and path != self.path and is_watched(self.path):
            # Bytecode that was written so soon may be of an earlier text with the same size.
            written = os.stat(path).st_mtime_ns
            if written - os.stat(self.path).st_mtime_ns < _BYTECODE_RESOLUTION:
                raise OSError(f"{path} may be of an earlier text")
        return get_data(self, path)  # type: ignore[no-any-return]

    def cache_with_care(self: Any, source_path: str, bytecode_path: str, data: bytes) -> Any:
        if is_watched(source_path) and time.time_ns() - os.stat(source_path).st_mtime_ns < _BYTECODE_RESOLUTION:
            return None
        return cache_bytecode(self, source_path, bytecode_path, data)

    loader.get_data = get_data_with_care
    loader._cache_bytecode = cache_with_care
