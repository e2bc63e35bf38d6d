"""The documentation site has every page: `make docs` fails for one that is not in the navigation of mkdocs.yml."""

from __future__ import annotations

import ast
import re
from types import SimpleNamespace
from typing import Any

from sentriton.options import resolve_options
from tests.conftest import ROOT

NAVIGATION = set(re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M))
README_LINES = 130


def literal(file: str, name: str) -> dict[str, str]:
    """The value of a name in a file, which imports packages of `make docs`."""
    (found,) = [
        node.value
        for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
    ]
    value: dict[str, str] = ast.literal_eval(found)
    return value


def outside() -> dict[str, str]:
    """The places of the pages outside docs/."""
    return literal("docs/hooks.py", "OUTSIDE")


def test_the_navigation_has_every_page_and_no_other() -> None:
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md") if "node_modules" not in page.parts}
    assert NAVIGATION | {"index.md"} == pages | set(outside().values())
    assert all((ROOT / source).is_file() for source in outside())


def test_the_readme_fits_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_github_shows_no_place_of_the_reference() -> None:
    """It would show `::: sentriton.SentenceEncoder` as it is. The hooks read the places from comments."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    assert sum(page.count("\n<!-- ::: sentriton") for page in pages) >= 8
    assert not [page for page in pages if re.search("^:::", page, re.M)]
    assert all(page.count("<!-- only on GitHub -->\n") == page.count("<!-- end -->\n") == 1 for page in pages)


def test_the_reference_shows_the_defaults_of_the_code() -> None:
    manifest: Any = SimpleNamespace(max_batch_size=64, dimension=256)
    options = resolve_options({}, "", manifest)
    shown = literal("docs/signatures.py", "_DEFAULTS")
    assert {name: ast.literal_eval(value) for name, value in shown.items()} == {
        name: getattr(options, name) for name in shown
    }
