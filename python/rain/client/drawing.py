"""Pictures of graphs: DOT for graphviz, and SVG, with graphviz where it is installed and without it elsewhere."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from ..common.errors import RainException
from .graph import Graph

# A picture of more says nothing.
LARGEST = 400
# More tasks than this that differ in nothing but their number are one node.
FOLDED = 8
# A notebook shows pictures of larger graphs where folding makes them small.
_LARGEST_FOLDED = 20_000

_COLOURS = {
    None: "#dbe7f5",
    "waiting": "#eeeeee",
    "running": "#fff2b3",
    "finished": "#d5efd5",
    "failed": "#f6c9c9",
    "cancelled": "#e0d5e8",
}
_NODE_WIDTH, _NODE_HEIGHT = 150, 34
_GAP_X, _GAP_Y = 24, 46
_MARGIN = 12


class _Folded:
    """Which tasks and constants are one node in a picture: many of the same name and state that read the same."""

    def __init__(self, tasks: list[Any]) -> None:
        signatures: dict[tuple[Any, ...], int] = {}
        self._of: dict[int, int] = {}
        self._counts: dict[int, int] = {}

        def add(item: Any, *signature: Any) -> int:
            number = signatures.setdefault(signature, len(signatures))
            self._of[id(item)] = number
            self._counts[number] = self._counts.get(number, 0) + 1
            return number

        for task in tasks:
            read = set()
            for item in task._shown_inputs:
                maker = _maker(item)
                known = self._of.get(id(maker))
                if known is None:
                    known = -1 if _is_task(maker) else add(maker, "const", maker._label)
                read.add((known, _label(item)))
            add(task, _title(task), task._kind.task_type, task.state, tuple(sorted(read)))
        self.has_folded = any(count > FOLDED for count in self._counts.values())

    def node(self, item: Any) -> object:
        """What stands for a task or constant: itself, or all that are folded with it."""
        number = self._of.get(id(item), -1)
        return ("folded", number) if self._counts.get(number, 0) > FOLDED else id(item)

    def title(self, item: Any, title: str) -> str:
        """The title of the node, with how many there are."""
        count = self._counts.get(self._of.get(id(item), -1), 0)
        return f"{title} ×{count}" if count > FOLDED else title


class Picture:
    """The graph of a session: tasks and constants as nodes, data objects as the arrows between them."""

    def __init__(self, session: Graph, most: int = LARGEST) -> None:
        self.names: list[str] = []
        self.colours: list[str] = []
        self.round: list[bool] = []
        # From, to, label.
        self.arrows: list[tuple[int, int, str]] = []
        tasks = session._tasks
        if len(tasks) > most:
            raise RainException(f"A graph of {len(tasks)} tasks is too large for a picture (at most {most})")
        folded = _Folded(tasks)
        numbers: dict[object, int] = {}
        arrows: dict[tuple[int, int, str], None] = {}
        for task in tasks:
            for item in task._shown_inputs:
                if item is _maker(item) and not _is_task(item) and folded.node(item) not in numbers:
                    name = folded.title(item, item._label or "const")
                    numbers[folded.node(item)] = self._add(name, "#ffffff", False)
            node = folded.node(task)
            if node not in numbers:
                name = folded.title(task, _title(task))
                numbers[node] = self._add(name, _COLOURS.get(task.state, "#ffffff"), True)
            for item in task._shown_inputs:
                maker = folded.node(_maker(item))
                if maker in numbers:
                    arrows[numbers[maker], numbers[node], _label(item)] = None
        if len(self.names) > LARGEST:
            raise RainException(f"A graph of {len(tasks)} tasks is too large for a picture (at most {most})")
        # Two that read the same object twice have it twice; what is folded has each arrow once.
        self.arrows = list(arrows) if folded.has_folded else self._all_arrows(tasks, numbers, folded)

    def _all_arrows(self, tasks: list[Any], numbers: dict[object, int], folded: _Folded) -> list[tuple[int, int, str]]:
        return [
            (numbers[folded.node(_maker(item))], numbers[folded.node(task)], _label(item))
            for task in tasks
            for item in task._shown_inputs
            if folded.node(_maker(item)) in numbers
        ]

    def _add(self, name: str, colour: str, is_task: bool) -> int:
        self.names.append(name)
        self.colours.append(colour)
        self.round.append(is_task)
        return len(self.names) - 1

    def dot(self) -> str:
        """The graph in the language of graphviz."""
        lines = ["digraph rain {", '  node [fontname="sans-serif", fontsize=11, style="filled,rounded", shape=box];']
        for number, (name, colour, is_task) in enumerate(zip(self.names, self.colours, self.round)):
            shape = "" if is_task else ", shape=note, style=filled"
            lines.append(f'  n{number} [label="{_escape(name)}", fillcolor="{colour}"{shape}];')
        for start, end, label in self.arrows:
            shown = f' [label="{_escape(label)}", fontsize=9]' if label else ""
            lines.append(f"  n{start} -> n{end}{shown};")
        return "\n".join([*lines, "}"])

    def __str__(self) -> str:
        return self.dot()

    def _repr_svg_(self) -> str:
        return self.svg()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the graph into a file: as SVG if its name ends so, else in the language of graphviz."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg() if os.fspath(path).endswith(".svg") else self.dot() + "\n")

    def svg(self) -> str:
        """The graph as a picture, drawn by graphviz if its program ``dot`` is there."""
        program = shutil.which("dot")
        if program is not None:
            drawn = subprocess.run([program, "-Tsvg"], input=self.dot(), capture_output=True, text=True, check=False)
            begin = drawn.stdout.find("<svg")
            if drawn.returncode == 0 and begin >= 0:
                return drawn.stdout[begin:]
        return self._own_svg()

    def _own_svg(self) -> str:
        rows = self._rows()
        widest = max((len(row) for row in rows), default=1)
        width = widest * (_NODE_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
        height = max(len(rows), 1) * (_NODE_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
        places: dict[int, tuple[float, float]] = {}
        for level, row in enumerate(rows):
            left = (width - len(row) * (_NODE_WIDTH + _GAP_X) + _GAP_X) / 2
            for position, number in enumerate(row):
                places[number] = (left + position * (_NODE_WIDTH + _GAP_X), _MARGIN + level * (_NODE_HEIGHT + _GAP_Y))
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" font-size="11">',
            '<defs><marker id="rain-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#777"/></marker></defs>',
        ]
        for start, end, label in self.arrows:
            x1, y1 = places[start][0] + _NODE_WIDTH / 2, places[start][1] + _NODE_HEIGHT
            x2, y2 = places[end][0] + _NODE_WIDTH / 2, places[end][1]
            bend = (y2 - y1) / 2
            path = f"M{x1:g} {y1:g} C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
            title = f"<title>{html.escape(label)}</title>" if label else ""
            parts.append(f'<path d="{path}" fill="none" stroke="#777" marker-end="url(#rain-arrow)">{title}</path>')
        for number, (x, y) in places.items():
            name = self.names[number]
            shown = name if len(name) <= 22 else name[:21] + "…"
            corner = 6 if self.round[number] else 0
            parts.append(
                f'<g><title>{html.escape(name)}</title><rect x="{x:g}" y="{y:g}" width="{_NODE_WIDTH}" '
                f'height="{_NODE_HEIGHT}" rx="{corner}" fill="{self.colours[number]}" stroke="#555"/>'
                f'<text x="{x + _NODE_WIDTH / 2:g}" y="{y + _NODE_HEIGHT / 2 + 4:g}" text-anchor="middle" '
                f'fill="#222">{html.escape(shown)}</text></g>'
            )
        return "".join([*parts, "</svg>"])

    def _rows(self) -> list[list[int]]:
        """The nodes in layers, each below all that it needs, ordered so that arrows are rather straight."""
        level = [0] * len(self.names)
        before: list[list[int]] = [[] for _ in self.names]
        after: list[list[int]] = [[] for _ in self.names]
        for start, end, _ in self.arrows:
            before[end].append(start)
            after[start].append(end)
        # Nodes are numbered so that arrows go from smaller to larger numbers.
        for number in range(len(level)):
            level[number] = max((level[other] + 1 for other in before[number]), default=0)
        for number, is_task in enumerate(self.round):
            if not is_task and after[number]:
                level[number] = max(min(level[other] for other in after[number]) - 1, 0)
        rows: list[list[int]] = [[] for _ in range(max(level, default=-1) + 1)]
        for number, layer in enumerate(level):
            rows[layer].append(number)
        position: dict[int, float] = {}
        for row in rows:
            place: dict[int, float] = {
                number: sum(position.get(other, 0.5) for other in before[number]) / len(before[number])
                if before[number]
                else 0.5
                for number in row
            }
            row.sort(key=place.__getitem__)
            for index, number in enumerate(row):
                position[number] = (index + 0.5) / len(row)
        return rows


def session_html(session: Graph) -> str:
    """A session for a notebook: what it is, its graph, its tasks."""
    name = f" “{html.escape(session.name)}”" if session.name else ""
    tasks = session._tasks
    state = "closed" if session.closed else f"{len(tasks)} tasks, {len(session._new_tasks)} not submitted"
    failed = next((task for task in tasks if task.state == "failed"), None)
    if failed is not None:
        state += f"; failed: {html.escape(failed.describe())}"
    head = f"<p><b>Session {session.session_id}</b>{name}: {state}</p>"
    if not tasks:
        return head
    if len(tasks) > LARGEST:
        picture = ""
        with contextlib.suppress(RainException):
            picture = Picture(session, _LARGEST_FOLDED).svg()
        return head + picture + tasks_html(tasks[:20]) + f"<p>… and {len(tasks) - 20} more tasks</p>"
    return head + Picture(session).svg() + tasks_html(tasks)


def client_html(title: str, sessions: Iterable[Graph]) -> str:
    """A client for a notebook: its server, and its sessions."""
    rows = [
        (
            session.session_id,
            session.name,
            "closed" if session.closed else "failed" if session._failed else "open",
            len(session._tasks),
            len(session._new_tasks),
        )
        for session in sorted(sessions, key=lambda session: session.session_id)
    ]
    head = f"<p><b>{html.escape(title)}</b></p>"
    return head + table(("session", "name", "state", "tasks", "not submitted"), rows) if rows else head


def tasks_html(tasks: Iterable[Any]) -> str:
    """A table of tasks for a notebook."""
    rows = [
        (
            task._id if task._oid >= 0 else "",
            task.name,
            task._kind.task_type,
            task.state or "",
            len(task._shown_inputs),
            task._kind.n_outputs,
            "" if task.info.duration is None else f"{task.info.duration:.3f} s",
            task.origin,
        )
        for task in tasks
    ]
    return table(("id", "name", "type", "state", "inputs", "outputs", "duration", "made at"), rows)


def attributes_html(title: str, item: Any) -> str:
    """The attributes of one task or object for a notebook."""
    rows = [("state", item.state)]
    for part, attributes in (("spec", item.spec), ("info", item.info)):
        rows += [(f"{part}.{name}", getattr(attributes, name)) for name in attributes._fields]
    filled = [(name, _shown(value)) for name, value in rows if value not in (None, "", [], {})]
    return f"<p><b>{html.escape(title)}</b></p>" + table(("attribute", "value"), filled)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """An HTML table of plain values."""

    def line(tag: str, cells: Iterable[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line("th", head) + "".join(line("td", row) for row in rows) + "</table>"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (dict, list, bytes)) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _is_task(item: Any) -> bool:
    return hasattr(item, "_kind")


def _maker(item: Any) -> Any:
    """The task that makes an input; of a constant, itself."""
    if _is_task(item):
        return item
    return item if item._task is None else item._task


def _label(item: Any) -> str:
    label = item._kind.outputs[0].label if _is_task(item) else item._label
    return "" if label in ("output", "const") else label


def _title(task: Any) -> str:
    name: str = task.name or task._kind.task_type.rpartition("/")[2]
    return name


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
