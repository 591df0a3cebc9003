"""Runs an executor on the socket at file descriptor 0."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

_OF_THE_JOB = (signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """Serve the governor until it closes the socket."""
    directory = os.environ.get("RAIN_EXECUTOR_DIR")
    if directory is None:
        sys.stderr.write("rain.executor is started by a governor: RAIN_EXECUTOR_DIR is not set\n")
        return 2
    # Ctrl-C in a terminal goes to all processes there; when to end is the governor's decision. Programs that a task
    # starts would inherit that a signal is ignored, but they do not inherit a handler. Batch systems send the user's
    # signals to all processes of a job, for its script.
    for number in (signal.SIGINT, *_OF_THE_JOB):
        signal.signal(number, _ignore)
    os.register_at_fork(after_in_child=_handle_as_others)
    fd = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # The error of a task whose process crashes shows where it was.
    faulthandler.enable()
    # msgspec would import the whole of typing_extensions, if it is installed, for nothing that is used here.
    absent = "typing_extensions" not in sys.modules
    if absent:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec.msgpack  # noqa: F401

    if absent:
        del sys.modules["typing_extensions"]
    from . import main_module
    from .executor import Executor
    from .process import OwnProcess

    main_module.install()
    Executor(fd, directory, OwnProcess()).run()
    # Nothing that a task has left, such as a thread or a function for the end of the process, holds this up.
    os._exit(0)


def _ignore(number: int, frame: object) -> None:
    pass


def _handle_as_others() -> None:
    """A process that a task forks ends by signals as others do, unless the task has decided something else."""
    if signal.getsignal(signal.SIGINT) is _ignore:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _OF_THE_JOB:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
