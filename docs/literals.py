"""The messages in the string literals of Go, Rust, Java, TypeScript, JavaScript and C++, as pygments finds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String, Whitespace

LANGUAGES = {"go", "rust", "java", "typescript", "js", "cpp"}
# Takes the place of a value in a message: it counts as a word.
PLACEHOLDER = "VALUE"
# Files whose strings are expectations and data, not messages.
TESTS = re.compile(r"(?:^|/)tests?/|_test\.go$|\.test\.mjs$")
# Formats and interpolated expressions, escaped characters, and line ends within a string.
VALUE = re.compile(r"%[-+#.\d]*[a-zA-Z]|(?<!\{)\{[\w.:?#]*\}")
ESCAPE = re.compile(r"\\(?:\s*\n\s*|(.)|$)")
ENDS = re.compile(r"[;{},=?]|(?<!:):(?!:)")


def messages(path: Path, source: str, lexer: str) -> Iterator[tuple[int, str]]:
    """The strings of at least three words with their line numbers. Strings with operators between them are joined."""
    if lexer not in LANGUAGES or TESTS.search(path.as_posix()):
        return
    first, text, between, end = 0, "", "", 0
    for start, token, value in get_lexer_by_name(lexer).get_tokens_unprocessed(f"{source}\n"):
        if token in String and token not in String.Doc and token not in String.Char:
            # Only C++ joins strings without an operator.
            if text and (ENDS.search(between) or not (between or start == end or lexer == "cpp")):
                yield from _message(first, text)
                text = ""
            elif text and between.replace("+", ""):
                text += PLACEHOLDER
            first = first if text else source.count("\n", 0, start) + 1
            text += "" if token in String.Interpol and value in {"${", "}"} else _plain(value)
            between, end = "", start + len(value)
        elif token not in Whitespace and token not in Comment:
            between += value
    yield from _message(first, text)


def _plain(literal: str) -> str:
    """A piece of a literal without its quotes, with placeholders for its values."""
    text = ESCAPE.sub(lambda match: "" if match[1] is None else " " if match[1] in "nt" else match[1], literal)
    return VALUE.sub(PLACEHOLDER, text.strip('"`') if literal[:1] in {'"', "`"} or literal[-1:] in {'"', "`"} else text)


def _message(line: int, text: str) -> Iterator[tuple[int, str]]:
    # The given value, the allowed ones and the remedy are sentences of their own.
    if len(text.split()) > 2:
        yield from ((line, " ".join(part.split())) for part in text.split("; ") if part.strip())
