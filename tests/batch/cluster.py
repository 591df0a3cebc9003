"""A Slurm cluster of network namespaces: a login node with the controller, and nodes that run jobs.

It must be called in the layer that `inside.py` makes: it writes to /etc, and what it starts ends with the layer.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).resolve().parent / "config"
USER = "rainuser"
HOME = Path("/home") / USER
NODES = ("node1", "node2", "node3")
CPUS = 2
LOGIN_ADDRESS = "10.99.0.254"
PATIENCE = 60.0
JOB_PATIENCE = 150.0
ACTIVE = frozenset(("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"))


class Ended(NamedTuple):
    """A job, or an array of them, that has ended: its states, exit codes and all that it wrote."""

    states: list[str]
    codes: list[str]
    output: str


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def call(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Cluster:
    """Starts everything; `programs` are to be found by the user's shells, by name."""

    def __init__(self, programs: dict[str, Path]) -> None:
        self.state = Path("/run/rain-test")
        self.state.mkdir(mode=0o755)
        self._daemons: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._holders: dict[str, int] = {}
        self._uid = pwd.getpwnam(USER).pw_uid
        self._make_network()
        self._make_user(programs)
        self._start_munge()
        self._start_slurm()

    def _log(self, name: str) -> Path:
        return self.state / f"{name}.log"

    def _start(self, name: str, *command: str) -> None:
        with self._log(name).open("wb") as log:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._daemons.append((name, daemon))

    def logs(self) -> str:
        """The end of what each daemon said, for the report of a failure."""
        tails = (
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in self.state.glob("slurm*.log")
        )
        return "\n".join(sorted(tails))

    def check_daemons(self) -> None:
        for name, daemon in self._daemons:
            assert daemon.poll() is None, f"{name} has ended with {daemon.returncode}\n{self.logs()}"

    def _make_network(self) -> None:
        call("hostname", "login")
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", "rain0", "type", "bridge")
        call("ip", "address", "add", f"{LOGIN_ADDRESS}/24", "dev", "rain0")
        call("ip", "link", "set", "rain0", "up")
        hosts = ["127.0.0.1 localhost", f"{LOGIN_ADDRESS} login"]
        for number, node in enumerate(NODES, start=1):
            self._start(node, "unshare", "--net", "--uts", "--mount", "sleep", "infinity")
            holder = self._daemons[-1][1].pid
            self._holders[node] = holder
            # unshare becomes this when its namespaces are there.
            comm = Path(f"/proc/{holder}/comm")
            wait_until(lambda comm=comm: comm.read_text() == "sleep\n", f"the namespaces of {node}")
            call("ip", "link", "add", f"rain{number}", "type", "veth", "peer", "name", "eth0", "netns", str(holder))
            call("ip", "link", "set", f"rain{number}", "master", "rain0", "up")
            for command in (
                ["hostname", node],
                ["ip", "link", "set", "lo", "up"],
                ["ip", "address", "add", f"10.99.0.{number}/24", "dev", "eth0"],
                ["ip", "link", "set", "eth0", "up"],
            ):
                call(*self.on(node), *command)
            hosts.append(f"10.99.0.{number} {node}")
        Path("/etc/hosts").write_text("\n".join(hosts) + "\n")
        for node in NODES:
            self._make_scratch(node)

    def _make_scratch(self, node: str) -> None:
        """Nodes share no /tmp and no memory; but the working tree, which they share, may be below /tmp."""
        for command in (
            ["mount", "-t", "tmpfs", "-o", "mode=1777", "rain-test", "/dev/shm"],
            ["mount", "--rbind", str(TOP), "/mnt"],
            ["mount", "-t", "tmpfs", "-o", "mode=1777", "rain-test", "/tmp"],
            ["mkdir", "-p", str(TOP)],
            ["mount", "--rbind", "/mnt", str(TOP)],
        ):
            call(*self.on(node), *command)

    def on(self, node: str) -> list[str]:
        """What to put before a command that is to run on a node."""
        if node == "login":
            return []
        return ["nsenter", "--target", str(self._holders[node]), "--net", "--uts", "--mount", "--"]

    def _make_user(self, programs: dict[str, Path]) -> None:
        directory = HOME / "bin"
        directory.mkdir()
        for name, path in programs.items():
            (directory / name).symlink_to(path)
        ssh = HOME / ".ssh"
        ssh.mkdir(mode=0o700)
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "id_ed25519"))
        (ssh / "authorized_keys").write_text((ssh / "id_ed25519.pub").read_text())
        (ssh / "config").write_text("StrictHostKeyChecking no\nLogLevel ERROR\n")
        call("chown", "-R", f"{USER}:{USER}", str(HOME))
        Path("/run/sshd").mkdir(exist_ok=True)
        call("ssh-keygen", "-A")
        for node in NODES:
            self._start(f"sshd-{node}", *self.on(node), "/usr/sbin/sshd", "-D", "-e", "-o", "PidFile=none")

    def _start_munge(self) -> None:
        Path("/run/munge").mkdir(mode=0o755)
        key = Path("/etc/munge/munge.key")
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        call("chown", "-R", "root:root", "/etc/munge", "/var/lib/munge", "/var/log/munge")
        self._start("munged", "/usr/sbin/munged", "--foreground")
        wait_until(Path("/run/munge/munge.socket.2").exists, "munged")

    def _start_slurm(self) -> None:
        for name in ("slurm.conf", "task-prolog"):
            target = Path("/etc/slurm") / name
            target.write_text((CONFIG / name).read_text())
            target.chmod(0o755)
        (self.state / "controller").mkdir()
        self._start("slurmctld", "/usr/sbin/slurmctld", "-D")
        for node in NODES:
            (self.state / node).mkdir()
            self._start(f"slurmd-{node}", *self.on(node), "/usr/sbin/slurmd", "-D", "-N", node)

        def all_are_idle() -> bool:
            self.check_daemons()
            done = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, timeout=PATIENCE)
            return done.stdout.split() == ["idle"] * len(NODES)

        try:
            wait_until(all_are_idle, "all nodes are idle")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def as_user(self, node: str, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, who has logged in to a node."""
        environment = ["env", "-i", f"HOME={HOME}", f"USER={USER}", f"LOGNAME={USER}", "SHELL=/bin/bash"]
        environment.append(f"PATH={HOME}/bin:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
        return subprocess.run(
            [*self.on(node), "runuser", "-u", USER, "--", *environment, *command],
            cwd=directory,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )

    def submit(self, directory: Path, *command: str) -> str:
        """Submit a job; its number, which is the last word that sbatch and qsub print."""
        done = self.as_user("login", directory, *command)
        words = done.stdout.split()
        assert done.returncode == 0 and words and words[-1].isdigit(), f"{command}: {done.stdout}{done.stderr}"
        return words[-1]

    def states(self, job: str) -> list[str]:
        """The state of a job, or of each job of an array."""
        return call("squeue", "-h", "--array", "-j", job, "-t", "all", "-o", "%T").split()

    def wait(self, job: str, directory: Path) -> Ended:
        """Wait until a job, or each job of an array, has ended; they are cancelled when they take too long."""
        try:
            wait_until(lambda: ACTIVE.isdisjoint(self.states(job)), f"job {job} has ended", JOB_PATIENCE)
        except AssertionError as error:
            about = call("scontrol", "show", "job", job)
            call("scancel", job)
            raise AssertionError(f"{error}\n{about}\n{written(job, directory)}\n{self.logs()}") from None
        shown = call("scontrol", "--oneliner", "show", "job", job).strip()
        fields = [
            dict(word.partition("=")[::2] for word in line.split()) for line in shown.splitlines() if line.strip()
        ]
        states, codes = [field["JobState"] for field in fields], [field["ExitCode"] for field in fields]
        return Ended(states, codes, written(job, directory))

    def left_over(self) -> list[str]:
        """Processes of the user, and files on the nodes that are no logs."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            fields = dict(field.partition(":")[::2] for field in status.splitlines())
            if int(fields["Uid"].split()[0]) == self._uid and fields["State"].split()[0] != "Z":
                found.append(f"process {pid}: {line}")
        for node in NODES:
            listed = call(
                *self.on(node), "find", "/tmp", "/dev/shm", "-mindepth", "1", "-user", USER, "-not", "-type", "d"
            )
            found += [
                f"{node}:{path}" for path in listed.splitlines() if "/logs/" not in path and not is_of_others(path)
            ]
        return found


def is_of_others(path: str) -> bool:
    """Whether a file is none of Rain's: a node file of the test's own task-prolog, or what a killed Open MPI leaves."""
    return path.startswith(("/tmp/pbs-nodefile.", "/dev/shm/vader_segment.", "/tmp/ompi."))


def written(job: str, directory: Path) -> str:
    """What a job has written, or all jobs of an array, as Slurm and qsub name such files."""
    names = (f"slurm-{job}.out", f"slurm-{job}_*.out", f"*.o{job}*", f"*.e{job}*")
    paths = sorted(path for name in names for path in directory.glob(name))
    return "".join(f"--- {path.name}\n{path.read_text(errors='replace')}" for path in paths)
