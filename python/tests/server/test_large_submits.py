"""Graphs that are submitted in parts, with a real server."""

from __future__ import annotations

from typing import Any

import pytest

from rain.client import Client, RainException, Session, blob, directory, remote, tasks


@remote()
def join(ctx: Any, salt: bytes, *parts: Any) -> bytes:
    return b"".join(part.get_bytes() for part in parts)[-100:] + salt[:1]


def test_a_graph_in_many_parts(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Every task gets its inputs, from whatever part they are, and what nobody needs any more is dropped."""
    monkeypatch.setattr("rain.client.submit.PART_BYTES", 20_000)
    (tmp_path / "file").write_bytes(b"from a directory")
    start = tasks.SliceDirectory(directory(tmp_path), "file")
    shared = blob(b"!")
    made = [join(b"0", start, shared)]
    for number in range(1, 120):
        made.append(join(bytes([number]) * 1000, made[-1], shared, made[number // 2]))
    made[-1].output.keep()
    made[60].output.keep()
    session.submit()
    session.wait_all(timeout=60)
    expected = [b"from a directory!0"]
    for number in range(1, 120):
        expected.append((expected[-1] + b"!" + expected[number // 2])[-100:] + bytes([number]))
    assert made[-1].output.fetch().get_bytes() == expected[-1]
    assert made[60].output.fetch().get_bytes() == expected[60]
    objects = [shared, *(task.output for task in made)]
    session.update(objects)
    assert [item for item in objects if item.state != "removed"] == [made[60].output, made[-1].output]
    # The session goes on with what was kept.
    more = join(b"+", made[60].output)
    more.output.keep()
    session.submit()
    assert more.output.fetch().get_bytes() == expected[60][-100:] + b"+"


def test_more_than_a_server_takes_at_once(client: Client) -> None:
    """270 MB of arguments: a frame has at most 256 MiB."""
    with client.new_session() as session:
        made = [join(number.to_bytes(4, "big") * 15_000, blob(b"x")) for number in range(4500)]
        whole = tasks.Concat(made)
        whole.output.keep()
        session.submit()
        assert [task.id for task in made] == [(session.session_id, number) for number in range(4500)]
        assert whole.output.fetch(timeout=200).size == 2 * 4500


def test_a_part_that_is_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rain.client.submit.PART_BYTES", 20_000)
    made = [join(bytes([number]) * 1000, blob(b"x")) for number in range(60)]
    # Only the server knows that it is wrong.
    wrong = tasks.Execute("true", cpus=1000)
    last = join(b"last", made[0])
    last.output.keep()
    with pytest.raises(RainException, match="cpus"):
        session.submit()
    submitted = [task.id is not None for task in made]
    assert submitted[0] and submitted == sorted(submitted, reverse=True)
    assert (wrong.id, last.id) == (None, None)
    session.wait([task for task in made if task.id is not None], timeout=60)
    session.discard()
    session.wait_all(timeout=60)
    first = tasks.Concat([blob("goes on")])
    first.output.keep()
    session.submit()
    assert first.output.fetch().get_str() == "goes on"
