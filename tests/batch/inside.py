"""The first process of the namespaces that `run.py` makes: a copy of this machine in a throw-away layer.

The layer is an overlay file system over `/`, kept in memory. The packages are installed into it, so this machine has
none of them afterwards, nor their users, keys and states; what it had before is as it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
# What a node of the cluster has that a machine for building Rain may lack.
PACKAGES = (
    "munge",
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurm-wlm-torque",
    "openmpi-bin",
    "openssh-server",
    "openssh-client",
    "iproute2",
    "util-linux",
)
USER = "rainuser"


def run(*command: str, **options: object) -> None:
    subprocess.run(command, check=True, **options)  # type: ignore[call-overload]


def enter_layer() -> None:
    """Make the layer, and make it the root directory."""
    # Some directory that is there; what was in it is under the layer, where it is seen again.
    place = Path("/mnt")
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "rain-test", str(place))
    upper, work, root = place / "upper", place / "work", place / "root"
    for directory in (upper, work, root):
        directory.mkdir()
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", str(root))
    run("mount", "-t", "proc", "proc", f"{root}/proc")
    run("mount", "--rbind", "/sys", f"{root}/sys")
    run("mount", "--rbind", "/dev", f"{root}/dev")
    for directory in ("run", "dev/shm"):
        run(
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "mode=1777" if directory == "dev/shm" else "mode=755",
            "rain-test",
            f"{root}/{directory}",
        )
    # Below /tmp there may be the working tree.
    run("mount", "--rbind", str(TOP), f"{root}{TOP}")
    # Not chroot(2), from which entering a node's namespace would lead out.
    os.chdir(root)
    run("pivot_root", ".", "mnt")
    run("umount", "--lazy", "/mnt")
    os.chdir(TOP)


def install() -> None:
    """Install the packages, into the layer."""
    policy = Path("/usr/sbin/policy-rc.d")
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-q", "-o", "APT::Sandbox::User=root"]
    log = Path("/run/apt.log")
    with log.open("w") as output:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                [*apt, *command], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            if done.returncode != 0:
                sys.exit(f"{log.read_text()}\ntest-batch: apt-get {command[0]} failed, see above")


def main() -> None:
    enter_layer()
    print("test-batch: installing Debian packages into a throw-away layer", flush=True)
    install()
    run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    # The interpreter may be below a directory that is root's alone; this is only the layer's.
    for path in (Path(sys.executable).resolve(), TOP):
        for directory in path.parents:
            directory.chmod(directory.stat().st_mode | 0o011)
    # A network of its own, now that the packages are there.
    pytest = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir=.", "-p", "no:cacheprovider"]
    tests = subprocess.Popen(["unshare", "--net", "--", *pytest, "tests/batch", *sys.argv[1:]])
    # As the first process it also gets what others have left.
    while (ended := os.wait())[0] != tests.pid:
        pass
    sys.exit(os.waitstatus_to_exitcode(ended[1]))


if __name__ == "__main__":
    main()
