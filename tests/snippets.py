"""The blocks of code in Markdown files: programs with their output, and command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "node_modules" not in page.parts]


@dataclass(frozen=True)
class Program:
    """A block of Python, and its output where the block behind it has one."""

    page: Path
    line: int
    code: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def programs(page: Path) -> Iterator[Program]:
    """The blocks of Python of a page."""
    tokens = [token for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")) if token.level == 0]
    for at, token in enumerate(tokens):
        if token.type == "fence" and token.info == "python":
            behind = tokens[at + 1] if at + 1 < len(tokens) else token
            output = behind.content if behind.type == "fence" and behind.info == "text" else None
            yield Program(page, (token.map or [0])[0] + 1, token.content, output)


def commands(page: Path) -> Iterator[list[str]]:
    """The command lines of a page as words, without their comments."""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.info == "console":
            for line in token.content.replace("\\\n", " ").splitlines():
                for command in re.split(r" && ", line.removeprefix("$ ")) if line.startswith("$ ") else ():
                    yield shlex.split(command, comments=True)
