"""Runs an executor on the socket at file descriptor 0."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Serve the governor until it closes the socket."""
    directory = os.environ.get("RAIN_EXECUTOR_DIR")
    if directory is None:
        sys.stderr.write("rain.executor is started by a governor: RAIN_EXECUTOR_DIR is not set\n")
        return 2
    # Ctrl-C in a terminal goes to all processes there; when to end is the governor's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fd = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # msgspec would import the whole of typing_extensions, if it is installed, for nothing that is used here.
    absent = "typing_extensions" not in sys.modules
    if absent:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec.msgpack  # noqa: F401

    if absent:
        del sys.modules["typing_extensions"]
    from . import main_module
    from .executor import Executor

    main_module.install()
    Executor(fd, directory).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
