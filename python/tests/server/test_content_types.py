"""All content types through a real server: encoded here and there, loaded there and here."""

from __future__ import annotations

from typing import Any

import pytest

from rain.client import Client, Input, Output, RainException, Session, TaskException, blob, remote, tasks


@pytest.mark.parametrize(
    ("content_type", "value", "module"),
    [
        ("pickle", {"a": (1, 2)}, None),
        ("cloudpickle", {"a": (1, 2)}, None),
        ("json", {"a": [1, None]}, None),
        ("cbor", {"a": b"bytes"}, "cbor2"),
        ("arrow", {"a": [1, 2]}, "pyarrow"),
        ("text", "č", None),
        ("text-iso8859-2", "č", None),
    ],
)
def test_encode_and_load(session: Session, content_type: str, value: Any, module: str | None) -> None:
    if module is not None:
        pytest.importorskip(module)

    @remote(auto_load=True, auto_encode=content_type)
    def same(ctx: Any, data: Any) -> Any:
        return data

    constant = blob(value, encode=content_type)
    task = same(constant)
    constant.keep()
    task.output.keep()
    session.submit()
    fetched = task.output.fetch()
    assert fetched.content_type == content_type == task.output.spec.content_type
    assert fetched.get_bytes() == constant.fetch().get_bytes()
    loaded = fetched.load()
    assert (loaded.to_pydict() if module == "pyarrow" else loaded) == value


@pytest.mark.parametrize("content_type", ["", "mime/image/png", "user/anything"])
def test_types_without_values(session: Session, content_type: str) -> None:
    task = remote(outputs=Output(content_type=content_type))(lambda ctx: b"data")()
    task.output.keep()
    session.submit()
    fetched = task.output.fetch()
    assert (fetched.content_type or "") == content_type
    assert fetched.get_bytes() == b"data"
    with pytest.raises(RainException, match=r"use get_bytes\(\)"):
        fetched.load()


def test_static_and_dynamic_types(client: Client, session: Session) -> None:
    dynamic = remote()(lambda ctx, wanted: ctx.blob([1], encode=wanted))
    as_json, as_pickle = dynamic("json"), dynamic("pickle")
    typed = tasks.Concat([blob("[2]")], content_type="json")
    made = [as_json, as_pickle, typed]
    for task in made:
        task.output.keep()
    assert [task.output.content_type for task in made] == [None, None, "json"]
    session.submit()
    assert [task.output.fetch().load() for task in made] == [[1], [1], [2]]
    assert [task.output.content_type for task in made] == ["json", "pickle", "json"]
    assert [task.output.spec.content_type for task in made] == [None, None, "json"]
    # What is said at run time must fit to what was said before.
    with client.new_session() as other:
        remote(outputs=Output(content_type="json"))(lambda ctx: ctx.blob([1], encode="pickle"))()
        other.submit()
        with pytest.raises(TaskException, match="has content type 'json', but data of type 'pickle' was returned"):
            other.wait_all()


def test_size_hints(session: Session) -> None:
    same = remote(inputs={"data": Input(size_hint=10)}, outputs=Output("x", size_hint=20))(lambda ctx, data: data)
    task = same(blob("x"))
    task.output.keep()
    session.submit()
    assert task.output.fetch().get_bytes() == b"x"
