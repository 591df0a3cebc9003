"""Random graphs of tasks over objects of all sizes, whose results are known beforehand."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from dataclasses import dataclass
from typing import Any

from rain.client import CancelledException, Client, DataObject, Session, blob, remote, tasks

TASKS = 40
# In how many submits a graph comes; later ones read kept objects of earlier ones.
SUBMITS = 2
# At and around the sizes from which on content is held, sent, stored or fetched in another way.
EDGES = [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 256 << 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1]
SIZE_MAX = 5_000_000


def content(seed: bytes, size: int) -> bytes:
    return hashlib.shake_128(seed).digest(size)


def mixed(size: int, inputs: list[bytes]) -> bytes:
    digest = hashlib.sha256(str(size).encode())
    for data in inputs:
        digest.update(hashlib.sha256(data).digest())
    return content(digest.digest(), size)


@remote()
def mix(ctx: Any, size: int, *inputs: Any) -> bytes:
    return mixed(size, [data.get_bytes() for data in inputs])


@dataclass
class Known:
    """An object and the content that it must have."""

    dataobj: DataObject
    content: bytes
    submit: int
    kept: bool
    inputs: list[Known]
    may_be_cancelled: bool = False


class Graph:
    """A graph that a seed makes."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.known: list[Known] = []

    def size(self) -> int:
        shape = self.random.random()
        if shape < 0.3:
            return self.random.randrange(2000)
        if shape < 0.6:
            return self.random.choice(EDGES)
        return self.random.randrange(SIZE_MAX if shape > 0.85 else 1_200_000)

    def add(self, dataobj: DataObject, data: bytes, submit: int, inputs: list[Known]) -> None:
        known = Known(dataobj, data, submit, self.random.random() < 0.4, inputs)
        if known.kept:
            dataobj.keep()
        self.known.append(known)

    def inputs(self, submit: int, most: int) -> list[Known]:
        usable = [known for known in self.known if known.submit == submit or known.kept]
        return [self.random.choice(usable) for _ in range(self.random.randrange(most + 1))] if usable else []

    def add_task(self, submit: int) -> None:
        inputs = self.inputs(submit, 4)
        dataobjs, contents = [known.dataobj for known in inputs], [known.content for known in inputs]
        shape = self.random.random()
        if shape < 0.7 or not inputs:
            size = self.size()
            self.add(mix(size, *dataobjs).output, mixed(size, contents), submit, inputs)
        elif shape < 0.8:
            self.add(tasks.Concat(dataobjs).output, b"".join(contents), submit, inputs)
        elif shape < 0.9:
            self.add(tasks.Sleep(dataobjs[0], 0.02).output, contents[0], submit, inputs[:1])
        else:
            tree = tasks.MakeDirectory([(f"d/{number}", dataobj) for number, dataobj in enumerate(dataobjs)])
            self.add(tasks.SliceDirectory(tree, f"d/{len(inputs) - 1}").output, contents[-1], submit, inputs)

    def check(self) -> None:
        with self.session.bind_only():
            for submit in range(SUBMITS):
                for _ in range(3):
                    data = content(self.random.randbytes(8), self.size())
                    self.add(blob(data), data, submit, [])
                for _ in range(TASKS):
                    self.add_task(submit)
                self.session.submit()
        if self.random.random() < 0.3:
            self.cancel_some()
        kept = [known for known in self.known if known.kept]
        self.random.shuffle(kept)
        for known in kept:
            try:
                found = known.dataobj.fetch().get_bytes()
            except CancelledException:
                assert known.may_be_cancelled, f"nobody has cancelled what makes {known.dataobj!r}"
                continue
            assert found == known.content, f"{len(found)} bytes, not the {len(known.content)} of {known.dataobj!r}"
            if self.random.random() < 0.5:
                known.dataobj.unkeep()

    def cancel_some(self) -> None:
        """Cancel some tasks, and with them all that need what they make, unless they are over."""
        made = [known for known in self.known if known.dataobj.task is not None]
        cancelled = self.random.sample(made, self.random.randrange(1, 4))
        for known in self.known:
            below = any(known_input.may_be_cancelled for known_input in known.inputs)
            known.may_be_cancelled = below or any(known is other for other in cancelled)
        for known in cancelled:
            self.session.cancel([known.dataobj.task])


def check_random_graphs(client: Client, first: int, count: int) -> None:
    """Run this many graphs, two at a time, from this seed on."""
    failures: list[str] = []

    def run(seed: int) -> None:
        try:
            with client.new_session() as session:
                Graph(session, seed).check()
        except BaseException as error:
            failures.append(f"seed {seed}: {type(error).__name__}: {error}")

    for seed in range(first, first + count, 2):
        threads = [threading.Thread(target=run, args=(each,)) for each in range(seed, min(seed + 2, first + count))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures


if __name__ == "__main__":
    with Client() as own:
        check_random_graphs(own, int(sys.argv[1]), int(sys.argv[2]))
