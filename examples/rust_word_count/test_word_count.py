"""The example against a real server, its result against a computation without Rain."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOP = HERE.parents[1]
PROGRAM = Path(os.environ.get("RAIN_BIN", TOP / "target" / "release" / "rain"))


@pytest.fixture
def environment(serve_executor):
    """A server with the example's executor; the environment of a client that finds it."""
    if shutil.which("cargo") is None:
        pytest.skip("There is no cargo")
    target = PROGRAM.resolve().parents[1]
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "rust_word_count", "--target-dir", target]
    subprocess.run(build, cwd=TOP, check=True)
    with serve_executor("words", target / "release" / "rust_word_count") as environment:
        yield environment


def test_word_count(environment):
    command = [sys.executable, HERE / "word_count.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    texts = [path for path in Path("/usr/share/common-licenses").iterdir() if path.is_file() and not path.is_symlink()]
    words = Counter(word for path in texts for word in re.findall(r"[^\W\d_]+", path.read_text().lower()))
    first, *rest = done.stdout.splitlines()
    assert first == f"{sum(words.values())} words in {len(texts)} texts, {len(words)} different ones"
    expected = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:10]
    assert [line.split() for line in rest] == [[str(count), word] for word, count in expected]
