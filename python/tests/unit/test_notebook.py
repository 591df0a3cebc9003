"""What notebooks show: graphs as pictures, tables."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from fake_server import FakeServer

from rain.client import RainException, Session, blob, tasks


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
