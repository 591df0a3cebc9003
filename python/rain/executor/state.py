"""The state of the process that tasks may change: put back before tasks of another session come.

What was changed and cannot be put back makes the process unfit for them; then another one is used, and nobody is
blamed. To look at everything takes some 40 µs. What is kept with `contextvars`, the decimal context among it, is a
session's own anyway.
"""

from __future__ import annotations

import _locale
import _thread
import builtins
import contextlib
import contextvars
import faulthandler
import fcntl
import functools
import gc
import importlib
import io
import os
import resource
import signal
import sys
import time
import warnings
from typing import Any, Callable

from .streams import Use, open_output

# What the module signal makes enumerations of, which takes ten times as long.
_signal: Any = importlib.import_module("_signal")
_SIGNALS = tuple(sorted({int(number) for number in signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP}))
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)
_LIMITS = tuple(sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}))
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook", "meta_path", "path_hooks", "argv")
_STREAMS = ("stdin", "stdout", "stderr")
# How long threads that were told to end may take, seconds.
_THREAD_SECONDS = 0.03

# How settings of the interpreter are read and written.
_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (sys.getdlopenflags, sys.setdlopenflags),
    (gc.get_threshold, lambda threshold: gc.set_threshold(*threshold)),
    (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    (gc.get_debug, gc.set_debug),
]
if hasattr(sys, "set_int_max_str_digits"):
    _SETTINGS.append((sys.get_int_max_str_digits, sys.set_int_max_str_digits))


class Unfit(Exception):
    """The process cannot be used for other tasks; why."""


class ProcessState:
    """How the process was before its first task."""

    def __init__(self) -> None:
        # Whether Python has written anything since this was last taken back.
        self.output = Use(self._restore_descriptors)
        # Copies of the standard descriptors: tasks may close theirs, or put others in their places.
        self._standard = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in range(3)]
        self._standard_ids = [_file_id(fd) for fd in range(3)]
        # Kept, so that their descriptors are not closed.
        self._before = (sys.stdin, sys.stdout, sys.stderr)
        self._streams: list[Any] = [sys.stdin, self._open(1), self._open(2)]
        for name, stream in zip(_STREAMS, self._streams):
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        self._timers = _watch_timers()
        self._environ = os.environ
        self._variables = _variables()
        self._umask = os.umask(0o22)
        os.umask(self._umask)
        self._handlers = [_signal.getsignal(number) for number in _SIGNALS]
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self._limits = [_limit(number) for number in _LIMITS]
        self._locale = _locale.setlocale(_locale.LC_ALL, None)
        self._hooks = [getattr(sys, name) for name in _HOOKS]
        self._argv = list(sys.argv)
        self._finders: list[list[Any]] = [list(sys.meta_path), list(sys.path_hooks)]
        self._settings = [read() for read, _ in _SETTINGS]
        self._builtins = dict(vars(builtins))
        self._filters = list(warnings.filters)
        self._showwarning = warnings.showwarning
        self._threads = _thread._count()
        self._identity = _identity()
        self._fds = _open_fds()
        self._context = contextvars.copy_context()

    def new_context(self) -> contextvars.Context:
        """A context for the calls of one session."""
        return self._context.copy()

    def note_variables(self) -> None:
        """The environment is now as it is to be for all tasks of this process."""
        self._variables = _variables()

    def flush_streams(self) -> None:
        """Let go of what Python has not written, so that it is the output of the task that ends."""
        _, output, errors = self._streams
        try:
            output.flush()
            errors.flush()
        except (OSError, ValueError):
            # One was closed; the other one may have something.
            with contextlib.suppress(OSError, ValueError):
                errors.flush()

    def has_timers(self) -> bool:
        """Whether Python code has set a timer since they were stopped; what else sets some takes longer."""
        return self._timers.seen

    def stop_timers(self) -> None:
        """Keep signals of timers that a task has left from the next one, also of its own session."""
        self._timers.seen = False
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)

    def check_streams(self) -> None:
        """Make standard input, output and error what they were, for the next task of the same session, too.

        That a descriptor was closed is found out when something is written to it.
        """
        stdin, output, errors = self._streams
        if (
            sys.stdout is not output
            or sys.stderr is not errors
            or sys.stdin is not stdin
            or output.closed
            or errors.closed
        ):
            self.restore_streams()

    def restore_streams(self) -> None:
        """Make standard input, output and error what they were, whatever was done to them."""
        self._restore_descriptors()
        for place, name in enumerate(_STREAMS):
            stream = self._streams[place]
            if stream.closed:
                stream = self._streams[place] = self._open(place)
                setattr(sys, f"__{name}__", stream)
            if getattr(sys, name, None) is not stream:
                setattr(sys, name, stream)

    def _restore_descriptors(self) -> None:
        for fd in range(3):
            if _file_id(fd) != self._standard_ids[fd]:
                os.dup2(self._standard[fd], fd)

    def _open(self, fd: int) -> Any:
        if fd > 0:
            return open_output(fd, self.output, self._before[fd])
        return io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))

    def restore(self, own_fds: set[int]) -> None:
        """Put everything back.

        Args:
            own_fds: Descriptors of the executor that have come since it started.

        Raises:
            Unfit: Something cannot be put back.
        """
        try:
            self.stop_timers()
            self.restore_streams()
            self._restore_signals()
            self._restore_python()
            self._restore_environment()
            self._check_threads()
            self._check_descriptors(own_fds)
            if _identity() != self._identity:
                raise Unfit("a task has changed its user, priority or root directory")
        except Unfit:
            raise
        # Whatever was done to what is used here.
        except BaseException as error:
            raise Unfit(f"what a task has changed cannot be put back: {type(error).__name__}: {error}") from None

    def _restore_signals(self) -> None:
        handlers = [_signal.getsignal(number) for number in _SIGNALS]
        if handlers != self._handlers:
            for number, handler, wanted in zip(_SIGNALS, handlers, self._handlers):
                if handler is not wanted:
                    if wanted is None:
                        raise Unfit(f"a task has changed the handler of signal {number}")
                    _signal.signal(number, wanted)
            # Python does not know of the handlers that this has.
            faulthandler.disable()
            faulthandler.enable()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        _signal.set_wakeup_fd(-1)

    def _restore_python(self) -> None:
        for name, value in zip(_HOOKS, self._hooks):
            if getattr(sys, name, None) is not value:
                setattr(sys, name, value)
        if sys.argv != self._argv:
            sys.argv[:] = self._argv
        lists: list[Any] = [sys.meta_path, sys.path_hooks]
        for finders, wanted in zip(lists, self._finders):
            if finders != wanted:
                # Those of modules, which need them, stay.
                finders[:] = [*wanted, *(f for f in finders if f not in wanted and not _is_of_a_script(f))]
        for value, (read, write) in zip(self._settings, _SETTINGS):
            if read() != value:
                write(value)
        names: Any = vars(builtins)
        if names != self._builtins:
            for name, value in self._builtins.items():
                # What modules add, they may need.
                if names.get(name, self) is not value:
                    names[name] = value
        filters: Any = warnings.filters
        if filters != self._filters:
            filters[:] = [*(entry for entry in filters if _is_of_a_module(entry, self._filters)), *self._filters]
        warnings.showwarning = self._showwarning
        # A session shows its warnings, whichever others have been shown.
        mutated = getattr(warnings, "_filters_mutated", None)
        if mutated is not None:
            mutated()
        _restore_modules()

    def _restore_environment(self) -> None:
        os.environ = self._environ  # noqa: B003 (what a task has put in its place is of no use to others)
        variables = _variables()
        if variables != self._variables:
            environ = os.environb
            for name in variables.keys() - self._variables.keys():
                del environ[name]
            for name, value in self._variables.items():
                if variables.get(name) != value:
                    environ[name] = value
            time.tzset()
        os.umask(self._umask)
        if _locale.setlocale(_locale.LC_ALL, None) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        for number, wanted in zip(_LIMITS, self._limits):
            if wanted is not None and _limit(number) != wanted:
                try:
                    resource.setrlimit(number, wanted)
                except (OSError, ValueError):
                    raise Unfit("a task has lowered its limits") from None

    def _check_threads(self) -> None:
        end = time.monotonic() + _THREAD_SECONDS
        while _thread._count() != self._threads:
            if time.monotonic() > end:
                raise Unfit(f"a task has left {_thread._count() - self._threads} threads")
            time.sleep(0.001)

    def _check_descriptors(self, own_fds: set[int]) -> None:
        expected = self._fds | own_fds
        if _open_fds() == expected:
            return
        # Files that are in cycles are closed when these are found.
        gc.collect()
        fds = _open_fds()
        if fds != expected:
            raise Unfit(f"a task has left {len(fds - expected)} open descriptors and closed {len(expected - fds)}")


class _Timers:
    """Whether a timer was set."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False


def _watch_timers() -> _Timers:
    """Notice when Python code sets a timer."""
    timers = _Timers()

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            timers.seen = True
            return function(*args)

        return call

    module: Any = signal
    module.alarm, module.setitimer = watched(signal.alarm), watched(signal.setitimer)
    return timers


def _variables() -> dict[bytes, bytes]:
    data = getattr(os.environ, "_data", None)
    return dict(os.environb if data is None else data)


def _limit(number: int) -> tuple[int, int] | None:
    try:
        return resource.getrlimit(number)
    except ValueError:
        # This kernel has no such limit.
        return None


def _identity() -> tuple[Any, ...]:
    root = os.stat("/")
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return os.getresuid(), os.getresgid(), os.getgroups(), priority, root.st_dev, root.st_ino


def _file_id(fd: int) -> tuple[int, int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def _open_fds() -> set[int]:
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)}


def _is_open(fd: int) -> bool:
    """Whether a descriptor is open: the one with which they are listed is not any more."""
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _is_of_a_script(thing: Any) -> bool:
    """Whether something was defined by a task, and not by a module that it has imported."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return module == "__main__" or module not in sys.modules


def _is_of_a_module(entry: Any, known: list[Any]) -> bool:
    """Whether a filter of warnings may be one that a module has added for itself: it hides certain warnings only."""
    action, message, _, module, _ = entry
    return entry not in known and action == "ignore" and (message is not None or module is not None)


def _restore_modules() -> None:
    """Put back what modules keep for the whole process."""
    loaded = sys.modules
    socket = loaded.get("_socket")
    if socket is not None and socket.getdefaulttimeout() is not None:
        socket.setdefaulttimeout(None)
    decimal = loaded.get("decimal")
    if decimal is not None:
        # Every context begins as a copy of this one.
        default = decimal.DefaultContext
        if (default.prec, default.rounding) != (28, decimal.ROUND_HALF_EVEN):
            default.prec, default.rounding = 28, decimal.ROUND_HALF_EVEN
    events: Any = loaded.get("asyncio.events")
    if events is not None and getattr(events, "_event_loop_policy", None) is not None:
        events._event_loop_policy = None
    threading: Any = loaded.get("threading")
    original = getattr(threading, "__excepthook__", None)
    if original is not None:
        threading.excepthook = original
