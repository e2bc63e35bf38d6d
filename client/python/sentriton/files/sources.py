"""The source of a run's sentences: arguments, standard input or a file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sentriton.errors import InvalidInput
from sentriton.files.columns import SENTENCE, SentenceRow, checked, plain_row
from sentriton.files.rows import Fills, Reading, Reject, checked_encoding
from sentriton.files.sentences import check_kind, kind_of, read_lines, sentence_rows

_BLOCK_BYTES = 1 << 20
_REMEDY = "is --encoding another?"


@dataclass(frozen=True)
class SentenceSource:
    """A source of rows. `read` returns them, and takes `Reading`'s functions for wrong rows and long lines. `path` is
    a file that can be read twice, if any. `identity` has its name and encoding.
    """

    name: str
    identity: dict[str, Any]
    read: Callable[[Reject | None, Fills | None], Iterator[SentenceRow]]
    path: Path | None = None
    given: int | None = None

    @property
    def resumable(self) -> bool:
        return self.path is not None

    def survey(self, reject: Reject | None = None, fills: Fills | None = None) -> tuple[int | None, Any]:
        """The number of rows (None if unknown) and the types of their columns for `open_rows`. Finds faults in a file
        before the first request.
        """
        if self.path is None:
            return self.given, {SENTENCE: {str}}
        count, types = 0, dict[str, set[type]]()
        for row in self.read(reject, fills):
            count += 1
            for name, value in row.columns.items():
                kinds = types.setdefault(name, set())
                if value is not None:
                    kinds.add(_kind(value))
        if kind_of(self.path) == ".parquet":
            import pyarrow.parquet as pq

            from sentriton.files.parquet import plain_schema

            return count, plain_schema(pq.read_schema(self.path))
        return count, types or {SENTENCE: {str}}

    def content(self) -> dict[str, Any]:
        """Size and sha256 of a file, which this reads: another file may have the same size and time."""
        return {} if self.path is None else _content_of(self.path)

    def check_unchanged(self, content: dict[str, Any]) -> None:
        """Raises `InvalidInput` if the file no longer has this `content`."""
        if self.content() != content:
            raise InvalidInput(f"{self.path} changed during the run; give --restart to embed it again")


def open_source(
    texts: Sequence[str] | None, path: Path | None, column: str | None, encoding: str = "utf-8", *, carried: bool = True
) -> SentenceSource:
    """The source of a command's arguments. Its columns may be `carried` (copied) to the output. Raises `InvalidInput`
    for no source or two.
    """
    if texts and path is not None:
        raise InvalidInput("both TEXT and --input were given; give one of them")
    from_file = path is not None and str(path) != "-"
    if column is not None and not from_file:
        raise InvalidInput(f"--column is {column!r}; it needs --input FILE with columns")
    encoding = checked_encoding(encoding)
    if texts:
        rows = [plain_row(checked(text, f"TEXT {number}")) for number, text in enumerate(texts, start=1)]
        return SentenceSource("arguments", {"input": "arguments"}, lambda reject, fills: iter(rows), given=len(rows))
    if path is None or not from_file:
        return _standard_input(encoding, required=path is not None)
    check_kind(path, column)

    def read(reject: Reject | None, fills: Fills | None) -> Iterator[SentenceRow]:
        return sentence_rows(path, column, Reading(encoding, reject, fills, _REMEDY), carried=carried)

    if not path.is_file():
        return SentenceSource(path.name, {"input": str(path)}, read)
    return SentenceSource(path.name, {"input": str(path.absolute()), "encoding": encoding}, read, path=path)


def _standard_input(encoding: str, *, required: bool) -> SentenceSource:
    if sys.stdin is None or (sys.stdin.isatty() and not required):
        raise InvalidInput("nothing to embed; give TEXT, --input FILE, or pipe lines to standard input")
    name = "standard input"

    def read(reject: Reject | None, fills: Fills | None) -> Iterator[SentenceRow]:
        return read_lines(sys.stdin.buffer, name, Reading(encoding, reject, fills, _REMEDY))

    return SentenceSource(name, {"input": name}, read)


def _kind(value: object) -> type:
    """Its type: for an integer that float64 cannot represent, numpy's, and `object` beyond 64 bits."""
    if type(value) is not int or abs(value) <= 2**53:
        return type(value)
    return np.int64 if -(2**63) <= value < 2**63 else object


def _content_of(path: Path) -> dict[str, Any]:
    size, digest = 0, hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                size += len(block)
                digest.update(block)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    return {"bytes of input": size, "sha256 of input": digest.hexdigest()}
