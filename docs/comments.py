"""The comments of source files in every language of the repository, as pygments finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String

# A file's language, by its suffix or by the beginning of its name.
LANGUAGES = {
    **{".py": "python", ".pyi": "python", ".proto": "protobuf", ".pbtxt": "bash", ".sh": "bash", ".toml": "toml"},
    **{".yaml": "yaml", ".yml": "yaml", ".go": "go", ".rs": "rust", ".java": "java", ".h": "cpp", ".hpp": "cpp"},
    **{".cpp": "cpp", ".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".js": "js", ".mjs": "js"},
    **{"Makefile": "make", "Dockerfile": "docker", "CMakeLists": "cmake"},
}
# Marks at the beginning of a comment's lines, and at its end.
MARKS = re.compile(r"^\s*(?:///?!?|/\*\*?|\*(?!/)|#+!?) ?|\s*\*/\s*$")
# Javadoc's and TSDoc's code and links, such as {@code port}.
CODE = re.compile(r"\{@\w+ ([^}]*)\}")
# HTML would begin a block that textlint does not read. A tag such as @param begins a paragraph.
TAG = re.compile(r"</?\w+>")
PARAGRAPH = re.compile(r"^\s*(?:<p>|<li>|[@\\]\w+ )")


def language(path: Path) -> str | None:
    """The name of a file's lexer, or None for a file without checked comments."""
    return LANGUAGES.get(path.suffix) or LANGUAGES.get(path.name.split(".")[0])


def comments(source: str, lexer: str) -> Iterator[list[tuple[int, str]]]:
    """The comments of a file. Each is a list of line numbers and lines without comment marks.

    Consecutive lines form one comment, unless one of them follows code.
    """
    lines: list[tuple[int, str]] = []
    for start, token, value in get_lexer_by_name(lexer).get_tokens_unprocessed(f"{source}\n"):
        if not _is_comment(token, lexer) or not value.strip():
            continue
        number = source.count("\n", 0, start) + 1
        follows_code = bool(source[source.rfind("\n", 0, start) + 1 : start].strip())
        if lines and (follows_code or number != lines[-1][0] + 1):
            yield lines
            lines = []
        lines += [part for at, line in enumerate(value.rstrip("\n").split("\n")) for part in _prose(number + at, line)]
        if follows_code:
            yield lines
            lines = []
    if lines:
        yield lines


def _is_comment(token: object, lexer: str) -> bool:
    if token in (Comment.Preproc, Comment.PreprocFile, Comment.Hashbang):
        return False
    return token in Comment or (lexer == "rust" and token in String.Doc)


def _prose(number: int, line: str) -> Iterator[tuple[int, str]]:
    """The text of a line, after an empty line if it begins a paragraph."""
    text = CODE.sub(r"`\1`", MARKS.sub("", line))
    if PARAGRAPH.match(text):
        yield number, ""
    yield number, TAG.sub(" ", text)
