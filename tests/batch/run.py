"""`make test-batch`: runs the scripts in pbs/ on a Slurm cluster that exists only for the test.

This part needs nothing but Python's own library. It makes new namespaces of mounts, names and processes, and runs
`inside.py` in them. Everything that is installed, written and started there is gone with the first process in there,
also when this one is killed.

Usage: run.py [--keep-going-for SECONDS] [arguments of pytest]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Installing takes a minute where the network is slow, the tests themselves a few.
TIME_MAX = 1200.0
# As `timeout` has it.
TIMED_OUT = 124


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time-max", type=float, default=TIME_MAX, metavar="SECONDS", help="end it after this time")
    options, for_pytest = parser.parse_known_args()
    if os.geteuid() != 0:
        print("test-batch: only root can make the cluster; try: sudo make test-batch", file=sys.stderr)
        return 1
    command = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--"]
    cluster = subprocess.Popen([*command, sys.executable, str(HERE / "inside.py"), *for_pytest])
    try:
        return cluster.wait(options.time_max)
    except subprocess.TimeoutExpired:
        print(f"test-batch: not done after {options.time_max:.0f} s, given up", file=sys.stderr)
        return TIMED_OUT
    finally:
        # The kernel ends the processes in there together with unshare's child.
        cluster.kill()
        cluster.wait()


if __name__ == "__main__":
    sys.exit(main())
