"""The example against a real server, with tones of which the filter has to take some out.

The sounds of a Debian package are used too where they are: alsa-utils, in /usr/share/sounds/alsa.
"""

import math
import shutil
import struct
import subprocess
import sys
import wave
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOUNDS = Path("/usr/share/sounds/alsa")
RATE = 8000


@pytest.fixture
def environment(tmp_path, serve_executor):
    """A server with the example's executor; the environment of a client that finds it."""
    if shutil.which("cmake") is None:
        pytest.skip("There is no cmake")
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", HERE, "-B", build], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", build], check=True, stdout=subprocess.DEVNULL)
    with serve_executor("wav", build / "wav_executor") as environment:
        yield environment


def write_tone(path, frequency, channels=1):
    samples = [round(8000 * math.sin(2 * math.pi * frequency * i / RATE)) for i in range(RATE)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", sample) * channels for sample in samples))


def loudness(path):
    with wave.open(str(path)) as file:
        samples = struct.unpack(f"<{file.getnframes() * file.getnchannels()}h", file.readframes(file.getnframes()))
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def run(environment, given, result):
    command = [sys.executable, HERE / "wav_filter.py", given, result]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_wav_filter(environment, tmp_path):
    given, result = tmp_path / "given", tmp_path / "result"
    given.mkdir()
    write_tone(given / "low.wav", 100)
    write_tone(given / "high.wav", 3000, channels=2)
    for sound in sorted(SOUNDS.glob("*.wav")) if SOUNDS.is_dir() else ():
        shutil.copy(sound, given)

    done = run(environment, given, result)
    assert done.returncode == 0, done.stderr
    printed = {line.split()[0]: (float(line.split()[1]), float(line.split()[3])) for line in done.stdout.splitlines()}
    assert sorted(printed) == sorted(path.name for path in given.iterdir())
    for name, (before, after) in printed.items():
        assert before == pytest.approx(loudness(given / name), abs=0.1)
        assert after == pytest.approx(loudness(result / name), abs=0.1)
    assert printed["low.wav"][1] > 0.8 * printed["low.wav"][0]
    assert printed["high.wav"][1] < 0.1 * printed["high.wav"][0]


def test_what_is_no_sound_is_said(environment, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    (given / "text.wav").write_text("no sound")
    done = run(environment, given, tmp_path / "result")
    assert done.returncode != 0
    # Two tasks read it, and either may be the first to say so.
    assert "text.wav" in done.stderr and "not a WAV file" in done.stderr
