"""Where a run's sentences come from: arguments, standard input, a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentriton.errors import InvalidInput
from sentriton.files.columns import checked
from sentriton.files.sentences import check_kind, count, read_lines, read_sentences


@dataclass(frozen=True)
class SentenceSource:
    """Sentences by `read`, in order. `path` is the file that they can be read from again, if there is one; `identity`
    says which content was meant.
    """

    name: str
    identity: dict[str, Any]
    read: Callable[[], Iterator[str]]
    path: Path | None = None
    given: int | None = None

    @property
    def resumable(self) -> bool:
        return self.path is not None

    def count(self) -> int | None:
        """How many sentences there are, None where only reading can tell. Reads a whole file, and so finds what is
        wrong in it before anything is embedded.
        """
        return count(self.read()) if self.resumable else self.given

    def check_unchanged(self) -> None:
        """Raises `InvalidInput` when the file is no longer what it was."""
        if self.path is not None and _file_identity(self.path) != self.identity:
            raise InvalidInput(f"{self.path} changed while it was read; give --restart to embed it as it is now")


def open_source(texts: Sequence[str] | None, path: Path | None, column: str | None) -> SentenceSource:
    """The source that the arguments of a command name. Raises `InvalidInput` when they name none, or two."""
    if texts and path is not None:
        raise InvalidInput("both TEXT and --input were given; give one of them")
    from_file = path is not None and str(path) != "-"
    if column is not None and not from_file:
        raise InvalidInput(f"--column is {column!r}; it needs --input FILE with columns")
    if texts:
        sentences = [checked(text, f"TEXT {number}") for number, text in enumerate(texts, start=1)]
        return SentenceSource("arguments", {"input": "arguments"}, lambda: iter(sentences), given=len(sentences))
    if path is None or not from_file:
        return _standard_input(required=path is not None)
    check_kind(path, column)
    if not path.is_file():
        return SentenceSource(path.name, {"input": str(path)}, lambda: read_sentences(path))
    return SentenceSource(path.name, _file_identity(path), lambda: read_sentences(path, column), path=path)


def _standard_input(*, required: bool) -> SentenceSource:
    if sys.stdin is None or (sys.stdin.isatty() and not required):
        raise InvalidInput("there is nothing to embed; give TEXT, --input FILE, or pipe lines to standard input")
    name = "standard input"
    return SentenceSource(name, {"input": name}, lambda: read_lines(sys.stdin.buffer, name))


def _file_identity(path: Path) -> dict[str, Any]:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    return {"input": str(path.absolute()), "bytes of input": found.st_size, "input modified at (ns)": found.st_mtime_ns}
