"""Data beyond the memory that it may take is on a disk, and everything comes out as without a bound."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_graphs import check_random_graphs
from real_cluster import joined, new_cluster, wait_until
from real_server import RainServer, running_server, runtime_directory, works

from rain.client import Client, Program, TaskException, blob, directory, remote, tasks

MIB = 1 << 20
BUDGET = 32 * MIB
MEMORY_FILES = Path("/dev/shm")


def is_in_memory(place: str) -> bool:
    asked = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=True)
    return asked.stdout.strip() in ("tmpfs", "ramfs")


# Where the tests are is a disk if nothing else is.
DISK = next(place for place in ("/var/tmp", "/tmp", str(Path(__file__).parent)) if not is_in_memory(place))


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Path, Path]]:
    """A directory in memory, and one on a disk."""
    with (
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=MEMORY_FILES) as memory,
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=DISK) as disk,
    ):
        yield Path(memory), Path(disk)


@pytest.fixture(scope="module")
def server(places: tuple[Path, Path]) -> Iterator[RainServer]:
    memory, disk = places
    with running_server("--simple", f"--memory={BUDGET}B", f"--spill-dir={disk}", workdir=memory) as server:
        yield server


def bytes_in(directory: Path) -> int:
    """What files below a directory take, without those that links lead to."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                about = os.lstat(os.path.join(root, name))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(about.st_mode):
                total += about.st_blocks * 512
    return total


class Peak:
    """The most that a directory has held while a ``with`` block ran, bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bytes = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self.over.wait(0.01):
            self.bytes = max(self.bytes, bytes_in(self.directory))

    def __enter__(self) -> Peak:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.thread.join()


@remote()
def made(ctx: Any, number: int, size: int) -> bytes:
    return bytes([number]) * size


@remote()
def added(ctx: Any, one: Any, other: Any) -> bytes:
    return bytes([one.get_bytes()[0] + other.get_bytes()[-1]]) * len(one.get_bytes())


def test_a_graph_of_many_times_the_memory(client: Client, places: tuple[Path, Path]) -> None:
    count, size = 80, 2 * MIB
    memory, disk = places
    with Peak(memory) as peak, client.new_session() as session:
        sources = [made(number, size) for number in range(count)]
        sums = [added(sources[number], sources[-1 - number]) for number in range(count)]
        for task in sums:
            task.output.keep()
        session.submit()
        session.wait_all()
        assert bytes_in(disk) > count * size - BUDGET
        for task in sums:
            assert task.output.fetch().get_bytes() == bytes([count - 1]) * size
            task.output.unkeep()
    # What tasks make is in memory before it is an object.
    assert peak.bytes < 1.2 * BUDGET + 4 * size
    # The directory itself stays until the end.
    assert bytes_in(disk) == 0


def test_random_graphs(client: Client) -> None:
    check_random_graphs(client, 7700, 4)


def test_programs_read_and_pass_on_what_is_on_the_disk(client: Client, places: tuple[Path, Path]) -> None:
    copy = Program("cat /dev/stdin", stdin="given", stdout="copied")
    link = Program(["ln", "-s", "given", "passed"], input_paths=["given"], output_paths=["passed"])
    with client.new_session() as session:
        sources = [blob(bytes([number]) * MIB) for number in range(40)]
        copies = [copy(given=source) for source in sources]
        links = [link(given=task) for task in copies]
        for task in links:
            task.output.keep()
        session.submit()
        session.wait_all()
        assert bytes_in(places[1]) > 0
        for number, task in enumerate(links):
            assert task.output.fetch().get_bytes() == bytes([number]) * MIB


@remote(outputs=1)
def same(ctx: Any, given: Any) -> Any:
    return given


def test_functions_map_and_pass_on_what_is_on_the_disk(client: Client, places: tuple[Path, Path]) -> None:
    with client.new_session() as session:
        sources = [made(number, MIB) for number in range(60)]
        again = [same(task) for task in sources]
        for task in again:
            task.output.keep()
        session.submit()
        session.wait_all()
        for number, task in enumerate(again):
            data = task.output.fetch()
            assert (data.get_view()[0], len(data.get_view())) == (number, MIB)


def test_directories(client: Client, places: tuple[Path, Path], tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_bytes(b"x" * MIB)
    with client.new_session() as session:
        given = directory(str(source))
        trees = [
            tasks.MakeDirectory([("a", made(number, MIB)), ("b/c", made(number + 100, MIB)), ("d", given)])
            for number in range(30)
        ]
        parts = [tasks.SliceDirectory(tree, "b/c") for tree in trees]
        for task in parts:
            task.output.keep()
        session.submit()
        session.wait_all()
        for number, task in enumerate(parts):
            assert task.output.fetch().get_bytes() == bytes([number + 100]) * MIB


@remote()
def spoil(ctx: Any, given: Any) -> bytes:
    os.chmod(given.path, 0o600)
    with open(given.path, "wb") as file:
        file.write(b"other")
    return b""


def test_who_changes_an_input_on_the_disk_is_told(client: Client) -> None:
    with client.new_session() as session:
        given = made(1, MIB)
        others = [made(number, 2 * MIB) for number in range(30)]
        for task in [given, *others]:
            task.output.keep()
        session.submit()
        session.wait_all()
        spoil(given)
        session.submit()
        with pytest.raises(TaskException, match="changed|Permission denied|Read-only"):
            session.wait_all()


@pytest.mark.parametrize("wrong", ["much", "10", "1KiB", "-1GiB"])
def test_sizes_that_are_none(wrong: str, places: tuple[Path, Path], server: RainServer) -> None:
    refused = server.rain("start", "--simple", "--listen=127.0.0.1:0", f"--memory={wrong}")
    assert refused.returncode == 2
    assert f"--memory={wrong}" in refused.stderr
    assert "16GiB" in refused.stderr


def test_a_place_in_memory_is_no_disk(places: tuple[Path, Path], server: RainServer) -> None:
    refused = server.rain("start", "--simple", "--listen=127.0.0.1:0", f"--spill-dir={places[0]}")
    assert refused.returncode == 1
    assert f"--spill-dir={places[0]}" in refused.stderr
    assert "in memory" in refused.stderr


def fill(client: Client, count: int) -> None:
    """Make more than there is memory for, and keep it."""
    with client.new_session() as session:
        for number in range(count):
            made(number, MIB).output.keep()
        session.submit()
        session.wait_all()


def test_a_disk_that_takes_nothing_fails_who_makes_more(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=MEMORY_FILES) as memory,
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=DISK) as above,
    ):
        disk = Path(above, "disk")
        with running_server("--simple", f"--memory={BUDGET}B", f"--spill-dir={disk}", workdir=Path(memory)) as server:
            disk.rmdir()
            client = Client("127.0.0.1", server.port)
            fill(client, 16)
            with pytest.raises(TaskException, match=f"{BUDGET} bytes.*{disk}.*--memory") as caught:
                fill(client, 80)
            assert "made" in str(caught.value)
            # The session has ended, and with it what it had.
            assert works(client)
            wait_until(lambda: bytes_in(Path(memory)) < BUDGET / 2)
            fill(client, 16)


def test_nothing_stays_on_the_disk_when_an_engine_is_killed() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=MEMORY_FILES) as memory,
        tempfile.TemporaryDirectory(prefix="rain-test-", dir=DISK) as disk,
        runtime_directory() as runtime,
    ):
        options = ("--simple", f"--memory={BUDGET}B", f"--spill-dir={disk}")
        server = RainServer(runtime, *options, address="127.0.0.1", workdir=Path(memory))
        client = Client("127.0.0.1", server.port)
        session = client.new_session()
        with session.bind_only():
            for number in range(64):
                made(number, MIB).output.keep()
        session.submit()
        session.wait_all()
        assert bytes_in(Path(disk)) > 0
        os.kill(int(server.announcement.partition("pid ")[2].split()[0]), signal.SIGKILL)
        wait_until(lambda: not os.listdir(disk) and not os.listdir(memory))


def test_governors_get_from_each_other_what_is_on_a_disk(places: tuple[Path, Path]) -> None:
    disk = places[1]
    before = os.listdir(disk)
    count, size = 40, 2 * MIB
    with tempfile.TemporaryDirectory(prefix="rain-test-", dir=MEMORY_FILES) as memory, new_cluster() as cluster:
        cluster.work = Path(memory)
        cluster.serve()
        for _ in range(2):
            cluster.govern(options=(f"--memory={BUDGET}B", f"--spill-dir={disk}"))
        client = joined(cluster, 2)
        with client.new_session() as session:
            sources = [made(number, size) for number in range(count)]
            sums = [added(sources[number], sources[-1 - number]) for number in range(count)]
            for task in [*sources, *sums]:
                task.output.keep()
            session.submit()
            session.wait_all()
            assert bytes_in(disk) > 0
            for task in sums:
                assert task.output.fetch().get_bytes() == bytes([count - 1]) * size
            for number, task in enumerate(sources):
                assert task.output.fetch().get_bytes() == bytes([number]) * size
    assert os.listdir(disk) == before
