"""The documentation site has every page: `make docs` fails for one that is not in the navigation of mkdocs.yml."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

NAVIGATION = set(re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
README_LINES = 130


def outside() -> dict[str, str]:
    """The places of the pages outside docs/, from docs/hooks.py, which imports MkDocs."""
    (literal,) = [
        node.value
        for node in ast.parse((ROOT / "docs/hooks.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["OUTSIDE"]
    ]
    places: dict[str, str] = ast.literal_eval(literal)
    return places


def test_the_navigation_has_every_page_and_no_other() -> None:
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md") if "node_modules" not in page.parts}
    assert NAVIGATION | {"index.md"} == pages | set(outside().values())
    assert all((ROOT / source).is_file() for source in outside())


def test_the_readme_fits_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
