"""More objects than a process may have open files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from real_server import PROGRAM, runtime_directory

SCRIPT = """
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from rain.client import Client, remote

@remote()
def large(ctx, number):
    return bytes([number % 256]) * 70_000

@remote()
def total(ctx, parts):
    return str(sum(len(part.get_view()) for part in parts))

with Client(cpus=2) as client, client.new_session() as session:
    made = [large(number) for number in range(400)]
    whole = total(made)
    for task in (*made, whole):
        task.output.keep()
    session.submit()
    print(whole.output.fetch().get_str())
    fetched = [task.output.fetch() for task in made]
    print(sum(len(instance.get_view()) for instance in fetched), sum(len(instance.get_bytes()) for instance in fetched))
    print(all(instance.get_bytes()[-1] == number % 256 for number, instance in enumerate(fetched)))
"""


@pytest.mark.skipif(not PROGRAM.exists(), reason=f"There is no program {PROGRAM}")
def test_more_objects_than_descriptors() -> None:
    """As inputs of one function, and as what a client has fetched."""
    with runtime_directory():
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={**os.environ, "RAIN_BIN": str(PROGRAM)},
        )
    assert ran.stdout.splitlines() == ["28000000", "28000000 28000000", "True"], ran.stderr
