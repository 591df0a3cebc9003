"""Which words are the most frequent ones in the licences that Debian ships? With tasks that are written in Rust.

    cargo build --release -p rust_word_count
    rain start --simple --governor-config=examples/rust_word_count/governor.toml
    python examples/rust_word_count/word_count.py [FILE...]
    rain stop

Each text is split in pieces, the words of each piece are counted, and the counts are added up. The address of the
server may be given in RAIN_SERVER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rain.client import Client, Task, tasks

SERVER, PORT = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)
TEXTS = Path("/usr/share/common-licenses")
PIECES = 4


class Split(Task):
    """A text in pieces, cut between lines."""

    TASK_TYPE = "words/split"

    def __init__(self, text, pieces):
        super().__init__(inputs=(text,), outputs=pieces)


class Count(Task):
    """How often a text has each word."""

    TASK_TYPE = "words/count"

    def __init__(self, text):
        super().__init__(inputs=(text,), outputs=1)


class Merge(Task):
    """The sum of counts."""

    TASK_TYPE = "words/merge"

    def __init__(self, counts):
        super().__init__(inputs=counts, outputs=1)


def count_words(paths: list[Path]) -> dict[str, int]:
    """How often each word is in some files, together."""
    with Client(SERVER, int(PORT)) as client, client.new_session("word count") as session:
        counts = []
        for path in paths:
            split = Split(tasks.Load(str(path.resolve())), PIECES)
            counts += [Count(piece) for piece in split.outputs]
        total = Merge(counts)
        total.output.keep()
        session.submit()
        return total.output.fetch().load()


def main() -> None:
    paths = [Path(name) for name in sys.argv[1:]]
    paths = paths or sorted(path for path in TEXTS.iterdir() if path.is_file() and not path.is_symlink())
    counts = count_words(paths)
    print(f"{sum(counts.values())} words in {len(paths)} texts, {len(counts)} different ones")
    for word in sorted(counts, key=lambda word: (-counts[word], word))[:10]:
        print(f"{counts[word]:6} {word}")


if __name__ == "__main__":
    main()
