"""The executor's own process: what tasks may do to it, and what is done about that."""

from __future__ import annotations

import contextvars
import resource
import sys
import time

from . import children
from .log import Log, Positions, open_log
from .modules import Modules
from .state import ProcessState, Unfit
from .streams import Use
from .threads import limit_threads
from .workdir import Workdir

# More descriptors are of no use, as a process can have about as many mappings; and some programs look at each one.
_DESCRIPTORS_MAX = 1 << 16
# Nobody starts a process in so few nanoseconds: the quickest way takes several times as long.
_FORK_NS = 20_000


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
        self._modules = sys.modules
        self._use = Use(lambda: None)
        # How much was written before the current task, and whether nothing can have been written since it was counted.
        self._positions: Positions = (0, 0)
        self._is_quiet = False
        # Whether a task has taken long enough to start a process since it was last looked for some.
        self._was_long = False
        # Whether this process has to end by itself, so that what it has started lives on.
        self.must_leave = False
        # Newest submit of each session of which a call has come.
        self._submits: dict[int, int] = {}

    def ready(self, workdir: Workdir) -> None:
        """The process is ready for its first task; what it is like now is what is put back."""
        self._workdir = workdir
        self._state = ProcessState()
        self._use = self._state.output

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
            return self._end_children() or "helpers of multiprocessing are left"
        try:
            self._state.restore(self._workdir.descriptors())
            self.modules.restore_path()
        except Unfit as unfit:
            return str(unfit)
        return None

    def begin_submit(self, session: int, submit: int, has_looked: bool = False) -> str | None:
        """A call of a session and submit comes, perhaps the first one.

        Args:
            session: The session.
            submit: The submit's first task.
            has_looked: This was called since the submit was made, for another one.

        Returns:
            Why this process must not run it; None if it can.
        """
        newest = self._submits.get(session)
        if newest is not None and newest >= submit:
            return None
        self._submits[session] = submit
        if has_looked and newest is not None:
            return None
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

    def begin_task(self) -> Positions:
        """A task begins; returns how much was written before it, bytes."""
        # Quick tasks write nothing that Python does not know of: they start no program.
        if self._is_quiet and not self._use.seen:
            return self._positions
        log = self.log
        if log is None:
            return self._positions
        self._use.seen = False
        self._is_quiet = True
        self._positions = log.begin()
        return self._positions

    def written(self, start: Positions) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """After :meth:`end_task`: where the task's standard output and error begin and end, if it wrote any."""
        log = self.log
        if log is None or (self._is_quiet and not self._use.seen):
            return None
        end = log.positions()
        return None if start == end else ((start[0], end[0]), (start[1], end[1]))

    def end_task(self, began: int, is_last: bool) -> str | None:
        """A task has ended.

        Args:
            began: When it began, nanoseconds since 1970.
            is_last: No other one follows at once.

        Returns:
            Why this process must not be used for another one; None if it can.
        """
        state = self._state
        assert state is not None
        try:
            if self._use.seen:
                state.flush_streams()
            if len(self._modules) != self.modules.count:
                self.modules.learn(began)
            # The clock may be set back.
            if not 0 <= time.time_ns() - began < _FORK_NS:
                self._was_long = True
                self._is_quiet = False
            if is_last:
                was_long = self._was_long
                if was_long or state.has_timers():
                    state.stop_timers()
                if was_long and children.has_children():
                    return self._end_children()
        # Signals may still have handlers that a task has given them.
        except BaseException as error:
            return f"what a task has left cannot be found: {type(error).__name__}: {error}"
        return None

    def _end_children(self) -> str | None:
        left = children.end_children()
        self.must_leave = self.must_leave or left.live_on
        return left.reason

    def rest(self) -> None:
        """The process waits for the next task, which finds its streams in order, whatever was done to them."""
        assert self._state is not None
        # One that was long may have done more than can be seen from Python.
        if self._was_long:
            self._was_long = False
            self._state.restore_streams()
        else:
            self._state.check_streams()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            sys.stderr.write(f"The limit of {soft} open files cannot be raised: {error}\n")
