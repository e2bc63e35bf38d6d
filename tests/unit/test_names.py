"""A public name means one thing: no two modules of the packages define it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PACKAGES = (ROOT / "client/python/sentriton", ROOT / "gateway/sentriton_gateway", ROOT / "server/sentriton_server")
# One meaning in all of their modules.
ALLOWED = {
    "app": "a module's Typer app",
    "main": "what a module does as a program",
    "export": "the function, and the command that calls it",
    "train": "the function, and the command that calls it",
    "BLOCK_MULTIPLE_TOKENS": "the same number: the import of encoder/packed.py needs torch (a test compares them)",
    "MAX_BMM_TOKENS": "the same number: the import of encoder/attention.py needs torch (a test compares them)",
}


def defined(tree: ast.Module) -> Iterator[str]:
    """The names that the statements of a module define: imports do not count."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_no_public_name_has_two_meanings() -> None:
    modules: dict[str, set[Path]] = defaultdict(set)
    for package in PACKAGES:
        for path in package.rglob("*.py"):
            for name in defined(ast.parse(path.read_text(encoding="utf-8"))):
                if not name.startswith("_"):
                    modules[name].add(path.relative_to(ROOT))
    several = {name: sorted(map(str, paths)) for name, paths in modules.items() if len(paths) > 1}
    assert {name: paths for name, paths in several.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(several), "a name that has become unique needs no exception"
