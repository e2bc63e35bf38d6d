"""Links in Markdown files point to files and headings that exist; no file names a folder beside the checkout."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

LIST = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
NAMES = subprocess.run(LIST, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
FILES = [ROOT / name for name in NAMES if name and (ROOT / name).is_file()]
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]
BESIDE = ("../" + "shared").encode()


def links(document: Path) -> Iterator[str]:
    """Targets of the links and images of a document, code left out."""
    for token in _tokens(document):
        for part in token.children or ():
            target = part.attrs.get("href", part.attrs.get("src"))
            if target is not None:
                yield str(target)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives a document's headings: small letters, hyphens for spaces, a number if repeated."""
    found: set[str] = set()
    tokens = _tokens(document)
    for opening, heading in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(part.content for part in heading.children or ())
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = 0
            while (name := f"{anchor}-{number}" if number else anchor) in found:
                number += 1
            found.add(name)
    return found


def _tokens(document: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text(encoding="utf-8"))


def broken(document: Path, root: Path = ROOT) -> list[str]:
    """The relative links of a document whose file or heading does not exist below `root`."""
    wrong = []
    for link in links(document):
        target = urlsplit(link)
        if target.scheme or target.netloc:
            continue
        path = document.parent / unquote(target.path) if target.path else document
        inside = path.exists() and path.resolve().is_relative_to(root)
        if not inside or (target.fragment and target.fragment not in anchors(path)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_to_what_exists(document: Path) -> None:
    assert broken(document) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    text = "# A `b`, c\n# A b c\n[1](#a-b-c-1) [2](#a-b-c-2) [3](none.md) [4](..)\n`[5](no.md)` [6](https://none.example)\n"
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    assert broken(tmp_path / "page.md", root=tmp_path) == ["#a-b-c-2", "none.md", ".."]


def test_no_file_names_a_folder_beside_the_checkout() -> None:
    named = [path for path in FILES if BESIDE in path.read_bytes()]
    assert [str(path.relative_to(ROOT)) for path in named] == [".ci/run"]
