"""The executor's own process: what tasks may do to it, and what is done about that."""

from __future__ import annotations

import contextvars
import resource
import sys

from . import children
from .log import Log, open_log
from .modules import Modules
from .state import ProcessState, Unfit
from .threads import limit_threads
from .workdir import Workdir

# More descriptors are of no use, as a process can have about as many mappings; and some programs look at each one.
_DESCRIPTORS_MAX = 1 << 16


class OwnProcess:
    """Keeps the process fit for the next task, or finds out that it is not."""

    def __init__(self) -> None:
        _raise_descriptor_limit()
        children.adopt_orphans()
        self.log: Log | None = open_log()
        self.modules = Modules()
        self._workdir: Workdir | None = None
        self._state: ProcessState | None = None
        self._cpus = 0
        # Newest submit of each session of which a call has come.
        self._submits: dict[int, int] = {}

    def ready(self, workdir: Workdir) -> None:
        """The process is ready for its first task; what it is like now is what is put back."""
        self._workdir = workdir
        self._state = ProcessState()

    def new_context(self) -> contextvars.Context:
        """Variables in the sense of `contextvars`, for the calls of one session."""
        assert self._state is not None
        return self._state.new_context()

    def restore(self) -> str | None:
        """The session whose calls came is over, or calls of another one come.

        Returns:
            Why this process must not run them; None if it can.
        """
        assert self._state is not None and self._workdir is not None
        if children.has_children():
            return children.end_children() or "helpers of multiprocessing are left"
        try:
            self._state.restore(self._workdir.descriptors())
            self.modules.restore_path()
        except Unfit as unfit:
            return str(unfit)
        return None

    def begin_submit(self, session: int, submit: int) -> str | None:
        """A call of a session and submit comes, perhaps the first one.

        Returns:
            Why this process must not run it; None if it can.
        """
        newest = self._submits.get(session)
        if newest is not None and newest >= submit:
            return None
        self._submits[session] = submit
        self.modules.find_new_files()
        return self.modules.changed(with_packages=newest is None)

    def forget_session(self, session: int) -> None:
        """No more calls of a session come."""
        self._submits.pop(session, None)

    def use(self, path: list[str], cpus: int) -> str | None:
        """A call comes whose function was not called before.

        Args:
            path: The client's module search path.
            cpus: How many cpus its tasks have.

        Returns:
            Why this process must not run it; None if it can.
        """
        if self._cpus == 0:
            assert self._state is not None
            self._cpus = cpus
            limit_threads(cpus)
            self._state.note_variables()
        elif self._cpus != cpus:
            return f"it has run tasks of {self._cpus} cpus"
        return self.modules.use_path(path)

    def end_task(self, began: int, is_last: bool) -> str | None:
        """A task has ended.

        Args:
            began: When it began, nanoseconds since 1970.
            is_last: No other one follows at once.

        Returns:
            Why this process must not be used for another one; None if it can.
        """
        assert self._state is not None
        try:
            self._state.flush_streams()
            if self.modules.has_new():
                self.modules.learn(began)
            if is_last:
                self._state.stop_timers()
                if children.has_children():
                    return children.end_children()
        # Signals may still have handlers that a task has given them.
        except BaseException as error:
            return f"what a task has left cannot be found: {type(error).__name__}: {error}"
        return None

    def restore_streams(self) -> None:
        """The next task finds its streams in order, whatever the last one has done to them."""
        assert self._state is not None
        self._state.restore_streams()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            sys.stderr.write(f"The limit of {soft} open files cannot be raised: {error}\n")
