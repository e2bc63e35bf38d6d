"""The blocks of code in Markdown files: programs with their output, and command lines."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT
from tests.unit.test_documentation import DOCUMENTS

PAGES = DOCUMENTS
# Operators between the commands of a line.
_SEPARATORS = {"&&", "|", ";", "until", "do", "done"}


@dataclass(frozen=True)
class Block:
    """A block of code. Its `output` is a block of text directly behind it. The language of indented code is "".

    `output_of` is the language of the block whose output this one is.
    """

    page: Path
    line: int
    language: str
    code: str
    output: str | None = None
    output_of: str | None = None

    @property
    def name(self) -> str:
        """The page's path in the repository."""
        return os.path.relpath(self.page, ROOT)

    def __str__(self) -> str:
        return f"{self.name}:{self.line}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The blocks of a page, or those in one language."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    found = []
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.type in ("fence", "code_block"):
            output = after.content if after and after.type == "fence" and after.info == "text" else None
            output_of = before.info if before and before.type == "fence" and token.info == "text" else None
            found.append(Block(page, (token.map or [0])[0] + 1, token.info, token.content, output, output_of))
    return [block for block in found if language in (None, block.language)]


def only(page: Path, *languages: str) -> list[str]:
    """The code of the page's only block in each of these languages."""
    found = []
    for language in languages:
        codes = [block.code for block in blocks(page, language)]
        assert len(codes) == 1, f"{page.relative_to(ROOT)} has {len(codes)} blocks of {language}; the test runs one"
        found += codes
    return found


def command_lines(block: Block) -> list[str]:
    """The commands of a block, one in each line. A line may end in a backslash and continue in the next."""
    lines = block.code.replace("\\\n", " ").splitlines()
    assert all(line.startswith("$ ") for line in lines), f"{block}: a line has no `$ ` in front"
    return [line.removeprefix("$ ") for line in lines]


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of a page as words, without their comments."""
    for block in blocks(page, "console"):
        for line in command_lines(block):
            yield from split(line)


def split(line: str) -> list[list[str]]:
    """The commands of a line as words: those of a pipe or a loop, and those that `&&` joins."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in _SEPARATORS:
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]
