"""`make test-batch`: runs the scripts in pbs/ on a Slurm cluster that exists only for the test.

This part needs nothing but Python's own library. It makes new namespaces of mounts, names and processes, and runs
`inside.py` in them. What is installed, written and started there is gone with the first process in there, also when
this one is killed; at the end it looks whether that is so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Installing takes a minute where the network is slow, the tests themselves a few.
TIME_MAX = 1200.0
# As `timeout` has it.
TIMED_OUT = 124
# What the packages and the tests would leave on this machine if they were not in a layer.
USERS = ("munge", "slurm", "rainuser")
PLACES = (
    "/etc/munge",
    "/etc/slurm",
    "/home/rainuser",
    "/run/munge",
    "/run/rain-test",
    "/usr/sbin/munged",
    "/usr/sbin/slurmctld",
    "/usr/sbin/slurmd",
    "/var/lib/munge",
    "/var/lib/slurm",
    "/var/log/munge",
)


def traces() -> set[str]:
    """Of what could be left, that which is here."""
    users = [line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines()]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if "rain-test" in line]
    interfaces = [name for name in os.listdir("/sys/class/net") if name.startswith("rain")]
    found = {f"user {user}" for user in USERS if user in users} | {place for place in PLACES if Path(place).exists()}
    return found | {f"mount {mount}" for mount in mounts} | {f"interface {name}" for name in interfaces}


def run(time_max: float, for_pytest: list[str]) -> int:
    # The kernel kills unshare when this process dies, its child when unshare dies, and all others with that one.
    command = ["setpriv", "--pdeathsig", "KILL", "--"]
    command += ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--"]
    command += [sys.executable, str(HERE / "inside.py"), *for_pytest]
    cluster = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return cluster.wait(time_max)
    except subprocess.TimeoutExpired:
        print(f"test-batch: not done after {time_max:g} s, given up", file=sys.stderr)
        return TIMED_OUT
    finally:
        cluster.kill()
        cluster.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the scripts in pbs/ with a real Slurm.")
    parser.add_argument("--time-max", type=float, default=TIME_MAX, metavar="SECONDS", help="end it after this time")
    options, for_pytest = parser.parse_known_args()
    if os.geteuid() != 0:
        print("test-batch: only root can make the cluster; try: sudo make test-batch", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    before = traces()
    status = run(options.time_max, for_pytest)
    if left := traces() - before:
        print(f"test-batch: left behind: {', '.join(sorted(left))}", file=sys.stderr)
        return status or 1
    return status


if __name__ == "__main__":
    sys.exit(main())
