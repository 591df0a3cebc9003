"""Calls that tests hold up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Gate:
    """A function whose calls wait until the gate is opened, one call for each time, and say when they have begun."""

    def __init__(self, directory: Path) -> None:
        self.begun, self.opened, self.log = (str(directory / name) for name in ("begun", "opened", "log"))
        os.mkfifo(self.begun)
        os.mkfifo(self.opened)

    def __call__(self, name: Any = "") -> str:
        with open(self.log, "a") as log:
            log.write(f"{name}\n")
        with open(self.begun, "w") as begun:
            begun.write("yes")
        with open(self.opened) as opened:
            return opened.read()

    def await_begin(self) -> None:
        """Wait until a call has begun."""
        with open(self.begun) as begun:
            assert begun.read() == "yes"

    def open(self) -> None:
        """Let the call that waits go on; it returns "through"."""
        with open(self.opened, "w") as opened:
            opened.write("through")

    def names(self) -> list[str]:
        """The arguments of all calls that have begun."""
        return Path(self.log).read_text().split()
