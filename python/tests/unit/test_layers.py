"""Modules of the package import each other in one direction: what is imported knows nothing of who imports it."""

from __future__ import annotations

import ast
from pathlib import Path

import rain

PACKAGE = Path(rain.__file__).parent
# Files of a layer import those of their own layer and of the layers before it, and no others.
CLIENT_LAYERS = [
    # The connection to a server.
    "locking forking tcp tls address interpreter frames direct connection contents private places",
    # What a graph consists of, and what is asked of the server about it.
    "resources explanation kind graph active forgotten fetching waiting written drawing data output task deferred",
    # Functions as tasks, and the tasks that every governor knows.
    "search_path sendable watch culprit capture function_table arguments pickler task_function",
    "paths execute remote taken_apart plain tasks",
    # Sessions: what is submitted, and how.
    "outbox submit submitting session base_client",
    # What users begin with.
    "callbacks future_errors coming calls futures client stored __init__",
]


def imports(path: Path, module: str) -> set[str]:
    """The modules of the package that a file imports, also within functions and for type checkers only."""
    found = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else origin for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES and name != module}


def module_of(path: Path) -> str:
    """The name of a file's module."""
    parts = ("rain", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}
# That of the package itself has its version only.
GRAPH = {module: imports(path, module) - {"rain"} for module, path in MODULES.items()}


def test_no_circle() -> None:
    reached = {module: set(imported) for module, imported in GRAPH.items()}
    for through in GRAPH:
        for module in GRAPH:
            if through in reached[module]:
                reached[module] |= reached[through]
    circles = {module: sorted(GRAPH[module] & {m for m in reached if module in reached[m]}) for module in GRAPH}
    assert {module: met for module, met in circles.items() if module in reached[module]} == {}


def test_sides() -> None:
    for module, imported in GRAPH.items():
        side = module.split(".")[1] if "." in module else ""
        allowed = {"client": {"client", "executor", "common"}, "executor": {"executor", "common"}, "common": {"common"}}
        strange = {name for name in imported if name.split(".")[1] not in allowed.get(side, set())}
        assert not strange, f"{module} imports {strange}"


def test_layers_of_the_client() -> None:
    layers = {name: number for number, names in enumerate(CLIENT_LAYERS) for name in names.split()}
    for module, imported in GRAPH.items():
        if not module.startswith("rain.client"):
            continue
        layer = layers[module.rpartition(".")[2] if module != "rain.client" else "__init__"]
        above = [name for name in imported if name.startswith("rain.client") and layers[name.split(".")[-1]] > layer]
        assert not above, f"{module} imports {above}, which are above it"
