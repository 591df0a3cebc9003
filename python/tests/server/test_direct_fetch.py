"""Content on its way to clients: through the server, or from the governors that have it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from real_cluster import PATIENCE, Cluster, joined, new_cluster, run

from rain.client import Client, Executor, RainException, RainTimeout, Session, Task, blob, directory, remote, tasks
from rain.client.direct import DirectFetch
from rain.client.tls import Credentials

SMALL = 1 << 16
LENT = 1 << 20
# At and around the sizes from which on content travels in another way.
SIZES = [0, 1, SMALL - 1, SMALL, SMALL + 1, 100_000, 256 << 10, LENT - 1, LENT, LENT + 1, 3_000_000, (8 << 20) + 1]
LARGE = 5_000_000


def content(number: int, size: int) -> bytes:
    return hashlib.shake_128(bytes([number])).digest(size)


@remote()
def make(ctx: Any, number: int, size: int) -> bytes:
    return content(number, size)


@remote()
def digest(ctx: Any, made: Any) -> str:
    return hashlib.sha256(made.get_bytes()).hexdigest()


def direct_of(client: Client) -> DirectFetch:
    direct = client._connection.direct
    assert direct is not None
    return direct


def several(session: Session, count: int, size: int = LARGE) -> list[Task]:
    """Submits tasks that make kept objects."""
    made = [make(number, size) for number in range(count)]
    for task in made:
        task.output.keep()
    session.submit()
    return made


def made(session: Session, size: int = LARGE) -> Task:
    (task,) = several(session, 1, size)
    return task


@pytest.fixture
def elsewhere(cluster: Cluster) -> Client:
    """A client as on another machine, of a server with one governor."""
    cluster.govern()
    joined(cluster, 1)
    return cluster.client_elsewhere()


@pytest.mark.parametrize("options", [(), ("--data-plain",)], ids=["tls", "plain"])
def test_content_of_every_size_comes_whole_in_every_way(options: tuple[str, ...]) -> None:
    with new_cluster() as cluster:
        cluster.serve(options=options)
        for _ in range(2):
            cluster.govern()
        joined(cluster, 2)
        for way in ["local", "in frames", "by the server", "by governors"]:
            client = cluster.client() if way == "local" else cluster.client_elsewhere()
            assert client.local == (way == "local")
            if way == "by the server":
                direct_of(client)._silent = 1000
            if way == "in frames":
                client._connection.direct = None
            with client.new_session() as session:
                makers = [make(number, size) for number, size in enumerate(SIZES)]
                # Each on both governors, most likely; one of them gets it from the other.
                digests = [digest(maker) for maker in makers for _ in range(2)]
                sent = blob(content(99, LENT))
                back = tasks.Concat([sent])
                for task in [*makers, *digests, back]:
                    task.output.keep()
                session.submit()
                for number, size in enumerate(SIZES):
                    expected = content(number, size)
                    assert makers[number].output.fetch().get_bytes() == expected
                    for copy in digests[2 * number : 2 * number + 2]:
                        assert copy.output.fetch().get_str() == hashlib.sha256(expected).hexdigest()
                assert back.output.fetch().get_bytes() == content(99, LENT)
                session.update([*makers, *digests])
                assert {task.info.governor for task in [*makers, *digests]} == {0, 1}
            if way.startswith("by"):
                assert direct_of(client)._has_reached == (way == "by governors")
                assert direct_of(client)._idle


def test_only_large_content_and_clients_elsewhere_need_governors(cluster: Cluster, elsewhere: Client) -> None:
    assert cluster.client()._connection.direct is None
    with elsewhere.new_session() as session:
        small = made(session, size=1000)
        assert small.output.fetch().get_bytes() == content(0, 1000)
        assert not direct_of(elsewhere)._has_reached
        large = make(1, LARGE)
        large.output.keep()
        session.submit()
        # Not finished when it is asked for.
        instance = large.output.fetch()
        assert (instance.get_bytes(), instance.size) == (content(1, LARGE), LARGE)
        assert instance.info.size == LARGE
        assert direct_of(elsewhere)._has_reached
        # One connection is enough for one thread.
        assert large.output.fetch().get_bytes() == content(1, LARGE)
        assert [len(idle) for idle in direct_of(elsewhere)._idle.values()] == [1]
        large.output.unkeep()
        with pytest.raises(RainException, match="kept"):
            large.output.fetch()


def test_directories_come_from_governors_too(elsewhere: Client, tmp_path: Path) -> None:
    (tmp_path / "sent/deep").mkdir(parents=True)
    (tmp_path / "sent/deep/large").write_bytes(content(0, LARGE))
    (tmp_path / "sent/small").write_text("x")
    with elsewhere.new_session() as session:
        task = tasks.MakeDirectory([("all", directory(path=str(tmp_path / "sent")))])
        task.output.keep()
        session.submit()
        task.output.fetch().write(str(tmp_path / "came"))
    assert (tmp_path / "came/all/deep/large").read_bytes() == content(0, LARGE)
    assert (tmp_path / "came/all/small").read_text() == "x"
    assert direct_of(elsewhere)._has_reached


def test_several_threads_asyncio_and_futures(cluster: Cluster) -> None:
    for _ in range(2):
        cluster.govern()
    joined(cluster, 2)
    client = cluster.client_elsewhere()
    with client.new_session() as session:
        makers = several(session, 6)
        found: dict[int, bytes] = {}

        def fetch(number: int) -> None:
            found[number] = makers[number].output.fetch().get_bytes()

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert found == {number: content(number, LARGE) for number in range(6)}

        async def fetch_all() -> list[bytes]:
            return [came.get_bytes() for came in await asyncio.gather(*(maker.output for maker in makers))]

        assert asyncio.run(fetch_all()) == [content(number, LARGE) for number in range(6)]
    with Executor(client) as executor:
        futures = [executor.submit(content, number, LARGE) for number in range(6)]
        assert [future.result(PATIENCE) for future in futures] == [content(number, LARGE) for number in range(6)]
    assert direct_of(client)._has_reached


def test_a_connection_that_was_given_up_is_made_again(elsewhere: Client) -> None:
    with elsewhere.new_session() as session:
        task = made(session)
        assert task.output.fetch().get_bytes() == content(0, LARGE)
        ((_, connection),) = next(iter(direct_of(elsewhere)._idle.values()))
        connection.shutdown(socket.SHUT_RDWR)
        assert task.output.fetch().get_bytes() == content(0, LARGE)
        ((_, other),) = next(iter(direct_of(elsewhere)._idle.values()))
        assert other is not connection
    elsewhere.close()
    assert other.fileno() == -1


def test_a_server_with_governors_of_its_own_gives_content_itself() -> None:
    with new_cluster() as cluster:
        cluster.start("start", "--foreground", "--local-governors=[1,1]", "--no-pin", "--listen=0.0.0.0:0")
        (found,) = (cluster.runtime / "run").glob("server-*")
        cluster.port = int(found.name.rpartition("-")[2])
        cluster.access = found / "access.json"
        client = cluster.client_elsewhere()
        with client.new_session() as session:
            makers = several(session, 4)
            assert [maker.output.fetch().get_bytes() for maker in makers] == [content(n, LARGE) for n in range(4)]
        assert list(direct_of(client)._idle) == [("127.0.0.1", cluster.port)]


def test_the_server_is_waited_for_while_it_brings_content(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.client.direct._STALLED_SECONDS", 0.2)
    governor = cluster.govern()
    joined(cluster, 1)
    client = cluster.client_elsewhere()
    direct_of(client)._silent = 1000
    with client.new_session() as session:
        task = made(session)
        session.wait_all()
        os.kill(governor, signal.SIGSTOP)
        goes_on = threading.Timer(1.0, os.kill, (governor, signal.SIGCONT))
        goes_on.start()
        try:
            assert task.output.fetch().get_bytes() == content(0, LARGE)
        finally:
            goes_on.join()
    assert direct_of(client)._shunned == {}


def test_what_was_lost_with_its_governor_is_made_again(cluster: Cluster, elsewhere: Client) -> None:
    with elsewhere.new_session() as session:
        task = made(session)
        assert task.output.fetch().get_bytes() == content(0, LARGE)
        cluster.end(cluster.processes[-1])
        cluster.govern()
        assert task.output.fetch().get_bytes() == content(0, LARGE)


FETCH_FROM_ELSEWHERE = """
import json, sys
from rain.client import Client, remote

@remote()
def make(ctx, number):
    return bytes([number]) * 5_000_000

with Client("10.77.0.1", int(sys.argv[1]), access=sys.argv[2]) as client, client.new_session() as session:
    makers = [make(number) for number in range(4)]
    for maker in makers:
        maker.output.keep()
    session.submit()
    assert [m.output.fetch().get_bytes() for m in makers] == [bytes([number]) * 5_000_000 for number in range(4)]
    direct = client._connection.direct
    places = [host for (host, _), idle in direct._idle.items() if idle]
    print(json.dumps([places, direct._has_reached, direct._silent]))
"""


@pytest.mark.parametrize("firewall", [False, True], ids=["open", "firewall"])
def test_a_client_on_a_host_of_its_own(hosts: list[str], firewall: bool) -> None:
    with new_cluster() as cluster:
        cluster.serve("10.77.0.1", hosts[0])
        cluster.govern("10.77.0.1", namespace=hosts[1])
        joined(cluster, 1)
        if firewall:
            # The governor hears the client, and its answers are lost.
            run("ip", "-n", hosts[1], "route", "add", "blackhole", "10.77.0.3")
        command = ["ip", "netns", "exec", hosts[2], sys.executable, "-c", FETCH_FROM_ELSEWHERE]
        done = subprocess.run(
            [*command, str(cluster.port), str(cluster.access_elsewhere())],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        places, has_reached, silent = json.loads(done.stdout)
        if firewall:
            # From the server.
            assert (places, has_reached, silent) == (["10.77.0.1"], False, 1)
        else:
            assert (places, has_reached, silent) == (["10.77.0.2"], True, 0)


def credentials(cluster: Cluster) -> dict[str, Any]:
    tls: dict[str, Any] = json.loads(cluster.access.read_text())["tls"]
    return tls


class FakeGovernor:
    """Listens with a governor's credentials and treats each client in its own way."""

    def __init__(self, tls: dict[str, Any], path: Path, treat: Callable[[ssl.SSLSocket], None]) -> None:
        self.clients = 0
        self._treat = treat
        pem = path / "governor.pem"
        pem.touch(mode=0o600)
        pem.write_text(tls["governor"]["certificate"] + tls["governor"]["key"])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._context.load_verify_locations(cadata=tls["authority"])
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.set_alpn_protocols(["rain-content/1"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = (None, self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                tcp, _ = self._listener.accept()
                self.clients += 1
                with suppress(OSError), self._context.wrap_socket(tcp, server_side=True) as client:
                    client.settimeout(PATIENCE)
                    length = int.from_bytes(client.recv(4), "little")
                    assert msgspec.msgpack.decode(client.recv(length))[0] == "fetch"
                    self._treat(client)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()


def say(client: ssl.SSLSocket, length: int, data: bytes) -> None:
    header = {"size": length, "length": length, "data_type": 0, "content_type": None}
    frame = msgspec.msgpack.encode(["ok", 0, header])
    client.sendall(len(frame).to_bytes(4, "little") + frame + data)


@contextmanager
def fake_governor(cluster: Cluster, path: Path, treat: Callable[[ssl.SSLSocket], None]) -> Iterator[tuple[Any, Any]]:
    """A fake governor, and what fetches from it."""
    tls = credentials(cluster)
    governor = FakeGovernor(tls, path, treat)
    direct = DirectFetch(("127.0.0.1", cluster.port), Credentials(tls, str(cluster.access)))
    try:
        yield governor, direct
    finally:
        direct.close()
        governor.close()


def test_what_ends_too_early_is_asked_of_the_server(cluster: Cluster, tmp_path: Path) -> None:
    answers: list[Callable[[ssl.SSLSocket], None]] = [
        lambda client: say(client, 1000, b"x" * 999),
        lambda client: client.sendall((1 << 20).to_bytes(4, "little")),
        lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda client: client.sendall(b"\x01\x00\x00\x00\xc1"),
        lambda client: None,
        lambda client: say(client, 4, b"good"),
    ]
    with fake_governor(cluster, tmp_path, lambda client: answers.pop(0)(client)) as (governor, direct):
        for asked in range(1, 6):
            assert direct.fetch([governor.place], 1, 7) is None
            assert governor.clients == asked
            # For a while it is not asked again.
            assert direct.fetch([governor.place], 1, 7) is None
            assert governor.clients == asked
            direct._shunned.clear()
        header, data = direct.fetch([governor.place], 1, 7)
        assert (header["size"], data) == (4, b"good")


GOOD_HEADER = {"size": 4, "length": 4, "data_type": 0, "content_type": None}
MALFORMED: list[Any] = [
    None,
    "ok",
    ["ok", 0],
    ["ok", 0, {}, 1],
    ["ok", 0, None],
    ["ok", 0, {}],
    *(
        ["ok", 0, {**GOOD_HEADER, "size": size, "length": size}]
        for size in (-1, 2**62, 2**63, 2**64 - 1, "4", True, 4.0)
    ),
    ["ok", 0, {**GOOD_HEADER, "size": 5}],
    ["ok", 0, {"size": 4, "length": 4}],
]


def test_malformed_answers_mean_that_the_server_is_asked(cluster: Cluster, tmp_path: Path) -> None:
    answers = list(MALFORMED)

    def say_next(client: ssl.SSLSocket) -> None:
        body = msgspec.msgpack.encode(answers[0])
        client.sendall(len(body).to_bytes(4, "little") + body + b"more")

    with fake_governor(cluster, tmp_path, say_next) as (governor, direct):
        while answers:
            assert direct.fetch([governor.place], 1, 7) is None, answers[0]
            del answers[0]
            direct._shunned.clear()
        assert governor.clients == len(MALFORMED)
        answers = [["ok", 0, GOOD_HEADER]]
        assert direct.fetch([governor.place], 1, 7) == (GOOD_HEADER, b"more")


@pytest.mark.parametrize("said", [b"", b"half"], ids=["silent", "in the middle"])
def test_who_does_not_answer_is_not_waited_for_without_end(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    over = threading.Event()

    def stall(client: ssl.SSLSocket) -> None:
        if said:
            say(client, 1000, said)
        over.wait(PATIENCE)

    tls = credentials(cluster)
    governor = FakeGovernor(tls, tmp_path, stall)
    # As the place of the server, of which more is to be expected.
    monkeypatch.setattr("rain.client.direct._SERVER_NAME", "governor.rain")
    direct = DirectFetch(("127.0.0.1", governor.place[1]), Credentials(tls, str(cluster.access)))
    try:
        with pytest.raises(RainTimeout):
            direct.fetch([], 1, 7, time.monotonic() + 0.2)
        # It was the user who did not want to wait longer.
        assert direct._shunned == {}
        over.set()
        over.clear()
        monkeypatch.setattr("rain.client.direct._BROUGHT_SECONDS", 0.2)
        monkeypatch.setattr("rain.client.direct._STALLED_SECONDS", 0.5)
        assert direct.fetch([], 1, 7) is None
        assert list(direct._shunned) == [("127.0.0.1", governor.place[1])]
    finally:
        over.set()
        direct.close()
        governor.close()


def test_an_interrupted_fetch_leaves_nothing_behind(cluster: Cluster, tmp_path: Path) -> None:
    ended = threading.Event()

    def send_half(client: ssl.SSLSocket) -> None:
        say(client, 1000, b"x" * 500)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert client.recv(1) == b""
        ended.set()

    with fake_governor(cluster, tmp_path, send_half) as (governor, direct):
        with pytest.raises(KeyboardInterrupt):
            direct.fetch([governor.place], 1, 7)
        assert ended.wait(PATIENCE)
        assert direct._idle == {}


def test_what_does_not_answer_is_left_out_for_a_while(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.client.direct._STALLED_SECONDS", 0.1)
    direct = DirectFetch(("127.0.0.1", cluster.port), Credentials(credentials(cluster), str(cluster.access)))
    with ExitStack() as stack:
        # Connections are made, and then nothing comes.
        deaf = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        closed = socket.create_server(("127.0.0.1", 0))
        refusing = closed.getsockname()[1]
        closed.close()
        at = [(None, refusing), *((None, one.getsockname()[1]) for one in deaf)]
        # The server answers that it does not have such an object.
        assert direct.fetch(at, 1, 7) is None
        assert len(direct._shunned) == 3
        assert [len(idle) for idle in direct._idle.values()] == [1]
    direct.close()
    assert direct.fetch([], 1, 7) is None


def test_a_governor_that_stops_in_the_middle_is_not_waited_for_long(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rain.client.direct._STALLED_SECONDS", 0.3)
    over = threading.Event()

    def stall(client: ssl.SSLSocket) -> None:
        say(client, 1000, b"x" * 500)
        over.wait(PATIENCE)

    with fake_governor(cluster, tmp_path, stall) as (governor, direct):
        assert direct.fetch([governor.place], 1, 7) is None
        over.set()


def test_results_of_governors_elsewhere(cluster: Cluster) -> None:
    cluster.govern()
    for client in (cluster.client(), cluster.client_elsewhere()):
        with client.executor() as executor:
            for size in (10, 100_000, 300_000):
                assert [len(content) for content in executor.map(bytes, [size] * 20)] == [size] * 20
