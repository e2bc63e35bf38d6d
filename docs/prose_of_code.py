"""Checks the English of code: comments and messages in every language, and docstrings, help texts and logs of Python.

textlint reads them as Markdown.

make prose    (python -m docs.prose_of_code; FILE… checks only these files and folders)
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.comments import comments, language
from docs.literals import PLACEHOLDER, messages

ROOT = Path(__file__).resolve().parents[1]
PROSE = ROOT / "docs/prose"
# Generated files, whose texts are checked elsewhere.
GENERATED = re.compile(r"(?:^|/)generated/|_pb2(?:_grpc)?\.pyi?$")
# Functions whose arguments are messages, by the last part of the name.
SPOKEN = {"setting", "print", "echo", "info", "warning", "warn", "error", "exception", "say"}
SPOKEN_KEYWORDS = {"help", "description", "short_help", "epilog"}
# Lines of a docstring or a comment with code, tables or drawings.
NO_PROSE = re.compile(r"^(?:>>> |\.\.\. |    )|\S {2,}\S|[│├└]")
# Maps a Markdown page to its source file and the source line of each of its lines.
Pages = dict[Path, tuple[Path, dict[int, int]]]


@dataclass(frozen=True)
class Text:
    """A text of a file: its lines with their numbers in the file."""

    lines: list[tuple[int, str]]


def texts(source: str) -> Iterator[Text]:
    """The docstrings, help texts, error messages and logs of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstring(node)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _strings([*node.exc.args, *(each.value for each in node.exc.keywords)])
        elif isinstance(node, ast.Assert) and node.msg:
            yield from _strings([node.msg])
        elif isinstance(node, ast.Call):
            if _name(node.func) in SPOKEN:
                yield from _strings(node.args)
            yield from _strings([each.value for each in node.keywords if each.arg in SPOKEN_KEYWORDS])


def texts_of(path: Path) -> Iterator[Text]:
    """The texts of a file in any language."""
    source = path.read_text(encoding="utf-8")
    if path.suffix in {".py", ".pyi"}:
        yield from texts(source)
    if lexer := language(path):
        yield from (_prose(lines) for lines in comments(source, lexer))
        yield from (Text([message]) for message in messages(path, source, lexer))


def markdown(found: Iterable[Text]) -> tuple[str, dict[int, int]]:
    """A page with a paragraph for each text, and the source line of each of its lines."""
    page, origin = [], {}
    for text in found:
        for number, line in text.lines:
            page.append(line)
            origin[len(page)] = number
        page.append("")
    return "\n".join(page), origin


def faults(paths: Iterable[Path]) -> list[str]:
    """The faults in the texts of files, each as file:line: message."""
    with tempfile.TemporaryDirectory() as folder:
        pages: Pages = {}
        for path in paths:
            content, origin = markdown(texts_of(path))
            if origin:
                page = Path(folder) / f"{len(pages)}.md"
                page.write_text(content, encoding="utf-8")
                pages[page] = path, origin
        found = sorted(set(_lint(pages, Path(folder) / "report.json"))) if pages else []
    return [f"{path}:{line}: {message}" for path, line, message in found]


def _lint(pages: Pages, report: Path) -> Iterator[tuple[str, int, str]]:
    """The faults of pages. textlint writes them to `report`, since it cuts off long output to a pipe."""
    options = ["--config", "textlint.json", "--format", "json", "--output-file", str(report)]
    command = [str(PROSE / "node_modules/.bin/textlint"), *options, *map(str, pages)]
    done = subprocess.run(command, cwd=PROSE, capture_output=True, text=True, check=False)
    if done.stderr or not report.exists():
        raise SystemExit(f"textlint failed: {done.stderr}")
    for result in json.loads(report.read_text(encoding="utf-8")):
        path, origin = pages[Path(result["filePath"])]
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        for message in result["messages"]:
            yield str(name), origin[message["line"]], " ".join(message["message"].split())


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Text]:
    """The prose of a docstring, with empty lines for code and drawings."""
    if not ast.get_docstring(node) or not isinstance(node.body[0], ast.Expr):
        return
    constant = node.body[0].value
    assert isinstance(constant, ast.Constant)
    first, *others = str(constant.value).split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in others if line.strip()), default=0)
    lines = [first.strip(), *(line[margin:].rstrip() for line in others)]
    yield _prose(list(enumerate(lines, constant.lineno)))


def _prose(lines: list[tuple[int, str]]) -> Text:
    """The lines, with empty lines for code and drawings."""
    return Text([(number, "" if NO_PROSE.search(line) else line) for number, line in lines])


def _strings(nodes: Iterable[ast.expr]) -> Iterator[Text]:
    """The outermost strings of at least three words in expressions. f-strings have placeholders."""
    for node in nodes:
        if (content := _content(node)) is None:
            yield from _strings(each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr))
        elif len(content.split()) > 2:
            # The given value, the allowed values and the remedy are separate sentences.
            for part in content.split("; "):
                yield Text([(node.lineno, " ".join(part.split()))])


def _content(node: ast.expr) -> str | None:
    """The text of a string, or None for another expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_content(each) or "" for each in node.values)
    return PLACEHOLDER if isinstance(node, ast.FormattedValue) else None


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def files(names: Iterable[str]) -> list[Path]:
    """The files of the checkout at or below these paths, except generated ones."""
    command = ["git", "ls-files", "--", *names]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if language(ROOT / name) and not GENERATED.search(name)]


def main() -> None:
    """Prints the faults of the given files, or of the whole tree. Exits with 1 if it finds any."""
    found = faults(files(sys.argv[1:]))
    print("\n".join(found) or "no faults in the texts of the code")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
