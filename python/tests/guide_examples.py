"""Runs the examples of the user's guide as they are printed."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from real_server import RainServer

# Programs that the guide calls and that are not there, or need a network. They check what they are given.
STAND_INS = {
    "wget": """
        [ "$1" = https://github.com/ ] || exit 1
        echo "<html>" > index.html
        if [ "$2" = --output-file ]; then echo saved > "$3"; fi
    """,
    "git": """
        [ "$1 $2" = "clone https://github.com/substantic/rain" ] || exit 1
        mkdir rain
        echo Rain > rain/README.md
    """,
    "a-program": """
        [ "$1" = argument1 ] || exit 1
        if [ -n "$2" ]; then [ "$2" = myfile ]; cat "$2"; elif [ -e myfile ]; then cat myfile; else cat; fi > content
        [ "$(cat content)" = "my data" ]
    """,
    "a-parallel-program": "true",
    "train": """
        echo "training $1"
    """,
}


class Guide:
    """Runs examples against a server."""

    def __init__(self, server: RainServer, directory: Path) -> None:
        self.port = server.port
        self.directory = directory

    def run(self, text: str, replace: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
        """Run the text of an example, with some names given; returns all names in the end.

        The text names port 7210, files below /path/to and whole seconds; it is run with the port of the server, files
        below the directory of the test, and hundredths of seconds.
        """
        general = {"7210": str(self.port), "/path/to": str(self.directory), "1.0": "0.01", "2.0": "0.02"}
        for printed, run in {**general, **(replace or {})}.items():
            text = text.replace(printed, run)
        names: dict[str, Any] = {"__name__": "__main__", **given}
        exec(compile(textwrap.dedent(text), "guide", "exec"), names)
        return names
