"""Takes the high tones out of a directory of WAV files, with tasks that are written in C++ (executor.cpp).

    cd examples/cpp_wav_filter
    cmake -B _build && cmake --build _build
    rain start --simple --governor-config=governor.toml
    python wav_filter.py DIRECTORY RESULT
    rain stop

Debian's package alsa-utils has sounds to try it with, in /usr/share/sounds/alsa: DIRECTORY may be that one, though they
have few high tones. The address of the server may be given in RAIN_SERVER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rain.client import Client, OutputDir, Task, tasks

SERVER, PORT = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)


class LowPass(Task):
    """A directory of WAV files with what is above `cutoff` Hz taken out."""

    TASK_TYPE = "wav/low_pass"

    def __init__(self, directory, cutoff):
        super().__init__(inputs=(directory,), outputs=[OutputDir("filtered")], config={"cutoff": cutoff})


class Loudness(Task):
    """How loud a WAV file is: the root of the mean of its samples' squares."""

    TASK_TYPE = "wav/loudness"

    def __init__(self, file, name):
        super().__init__(inputs=(file,), outputs=1, name=f"loudness of {name}")


def filter_directory(directory: Path, result: Path, cutoff: float = 500.0) -> dict[str, tuple[float, float]]:
    """Filter the files of a directory into a new one; returns how loud each was and is."""
    names = sorted(path.name for path in directory.glob("*.wav"))
    with Client(SERVER, int(PORT)) as client, client.new_session("wav filter") as session:
        given = tasks.LoadDir(str(directory.resolve()))
        filtered = LowPass(given, cutoff)
        loudness = [[Loudness(tasks.SliceDirectory(of, name), name) for of in (given, filtered)] for name in names]
        filtered.output.keep()
        for task in sum(loudness, []):
            task.output.keep()
        session.submit()
        filtered.output.fetch().write(str(result))
        levels = [[task.output.fetch().load() for task in pair] for pair in loudness]
    return {name: (before, after) for name, (before, after) in zip(names, levels)}


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for name, (before, after) in filter_directory(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{name:<30} {before:8.1f} -> {after:8.1f}")


if __name__ == "__main__":
    main()
