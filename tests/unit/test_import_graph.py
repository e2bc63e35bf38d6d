"""Which module imports which, read from the source: no circle in a package, and nothing in the client needs the server.
Imports inside functions count, and those for type checkers alone.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = {
    "sentriton": ROOT / "client/python/sentriton",
    "sentriton_gateway": ROOT / "gateway/sentriton_gateway",
    "sentriton_server": ROOT / "server/sentriton_server",
    "benchmarks": ROOT / "benchmarks",
    **{f"model_repository.{path.parts[-3]}": path.parent for path in (ROOT / "model_repository").glob("*/1/model.py")},
    "server_config.pytorch": ROOT / "server_config/backends/pytorch",
}


def modules(package: str) -> dict[str, Path]:
    """The files of a package by the names of their modules."""
    folder = PACKAGES[package]
    found = {}
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).with_suffix("").parts
        found[".".join((package, *(inside[:-1] if inside[-1] == "__init__" else inside)))] = path
    return found


def imported(module: str, path: Path) -> set[str]:
    """The names that a module's import statements mention, whether they are modules or members of one."""
    names = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def graph(package: str) -> dict[str, set[str]]:
    """The modules of the same package that each module imports. A name that is no module is its parent's member."""
    files = modules(package)
    edges = {}
    for module, path in files.items():
        names = imported(module, path)
        edges[module] = {name if name in files else name.rpartition(".")[0] for name in names} & files.keys()
    return edges


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    try:
        TopologicalSorter(graph(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_the_graph_has_the_imports_that_the_source_has() -> None:
    client = graph("sentriton")
    assert "sentriton.errors" in client["sentriton.client"]
    assert "sentriton.files.outputs" in client["sentriton.files.embedding"]
    assert "sentriton.files.parquet" in client["sentriton.files.outputs"], "inside a function"
    folder = "model_repository.embed_tokens"
    assert graph(folder)[f"{folder}.scheduler"] == {f"{folder}.{name}" for name in ("batch_size", "lane", "request")}


@pytest.mark.parametrize(
    ("package", "others"),
    [("sentriton", {"sentriton_server", "sentriton_gateway"}), ("sentriton_gateway", {"sentriton_server", "torch"})],
)
def test_nothing_in_client_and_gateway_imports_the_server(package: str, others: set[str]) -> None:
    found = {
        module
        for module, path in modules(package).items()
        if any(name.split(".")[0] in others for name in imported(module, path))
    }
    assert not found
