"""What notebooks show: graphs as pictures, tables."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from fake_server import FakeServer, Refuse

from rain.client import Client, RainException, Session, blob, tasks
from rain.common import DataInstance


@pytest.fixture
def graph(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr("shutil.which", lambda name: None)
    first = tasks.Concat([blob("<x>", label="in<put>"), blob("y")], name="prep/join & more")
    parts = tasks.Execute("x", output_paths=["left", "right"], input_paths=[first]).outputs
    tasks.Concat([parts["right"], parts["left"], first])
    return session


def test_svg(graph: Session) -> None:
    root = ElementTree.fromstring(graph.svg())
    names = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(filter(None, names)) == sorted(["in<put>", "const", "prep/join & more", "execute", "concat"])
    boxes = [
        (float(box.get("x", "")), float(box.get("y", ""))) for box in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(set(boxes)) == 5
    arrows = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("marker-end")]
    assert len(arrows) == 6
    titles = {element.text for element in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {"left", "right"} <= titles


def test_dot(graph: Session) -> None:
    dot = graph.dot()
    assert dot.startswith("digraph rain {") and dot.endswith("}")
    assert dot.count(" -> ") == 6 and '[label="right"' in dot


def test_tables(graph: Session, server: FakeServer) -> None:
    text = graph._repr_html_()
    assert "<svg" in text and "prep/join &amp; more" in text and "test_notebook.py:" in text
    task = graph._tasks[0]
    graph.submit()
    server.answers["info"] = lambda body: {
        "tasks": [{"id": 0, "state": "finished", "duration": 0.25, "debug": "<b>"}] if body["tasks"] else [],
        "objects": [{"id": 2, "state": "finished", "size": 3}] if body["objects"] else [],
    }
    task.update()
    task.output.update()
    assert "<td>info.debug</td><td>&lt;b&gt;</td>" in task._repr_html_()
    assert "<td>info.size</td><td>3</td>" in task.output._repr_html_()
    assert "0.250 s" in graph._repr_html_()


def test_large_graphs(session: Session) -> None:
    for _ in range(500):
        tasks.Noop()
    with pytest.raises(RainException, match="500 tasks is too large for a picture"):
        session.svg()
    assert "and 480 more tasks" in session._repr_html_()
    session.discard()
    assert "<svg" not in session._repr_html_()


def test_wide_graphs_are_folded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    parts = [tasks.Concat([tasks.Sleep(blob(str(number)), 0.0, name="nap")], name="part") for number in range(20)]
    few = [tasks.Noop(name="few") for _ in range(3)]
    tasks.Concat([*parts, *few, parts[0]], name="all")
    root = ElementTree.fromstring(session.svg())
    names = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(filter(None, names)) == ["all", "const ×20", "few", "few", "few", "nap ×20", "part ×20"]
    assert session.dot().count(" -> ") == 6
    for _ in range(500):
        tasks.Noop(name="more")
    with pytest.raises(RainException, match="544 tasks is too large"):
        session.svg()
    assert "more ×500" in session._repr_html_()
    for number in range(500):
        tasks.Noop(name=f"other {number}")
    assert "<svg" not in session._repr_html_()


def test_states_and_failures_are_shown(session: Session, server: FakeServer) -> None:
    first, second = tasks.Noop(name="first"), tasks.Noop(name="second")
    session.submit()
    first.wait()
    assert "<td>finished</td>" in session._repr_html_() and "<td>waiting</td>" in session._repr_html_()

    def fail(body: object) -> NoReturn:
        raise Refuse("task", "task 1 failed on governor 0: no", task=1)

    server.answers["wait_all"] = fail
    with pytest.raises(RainException):
        session.wait_all()
    text = session._repr_html_()
    assert "<td>failed</td>" in text and "failed: task 1 &#x27;second&#x27;" in text and second.info.error


def test_clients_are_shown(client: Client, session: Session) -> None:
    tasks.Noop()
    other = client.new_session("<other>")
    other.close()
    text = client._repr_html_()
    assert "Client of localhost" in text and "&lt;other&gt;" in text and "<td>closed</td>" in text
    assert f"<td>{session.session_id}</td><td></td><td>open</td><td>1</td><td>1</td>" in text


def test_places_in_notebooks(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile("\n\ntask = tasks.Noop()", "/tmp/ipykernel_1/2.py", "exec")
    names: dict[str, Any] = {"tasks": tasks}
    exec(code, names)
    task = names["task"]
    assert "made at /tmp/ipykernel_1/2.py:3" in repr(task)
    shell = SimpleNamespace(compile=SimpleNamespace(_filename_map={"/tmp/ipykernel_1/2.py": 7}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert "made at In [7], line 3" in repr(task)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert "made at /tmp/ipykernel_1/2.py:3" in repr(task)


def test_previews() -> None:
    assert repr(DataInstance(b"ab")) == "<DataInstance blob, 2 bytes: b'ab'>"
    assert repr(DataInstance("ä".encode() * 30, content_type="text")) == (
        f"<DataInstance blob text, 60 bytes: '{'ä' * 20}'…>"
    )
    assert repr(DataInstance(b"")) == "<DataInstance blob, 0 bytes>"
