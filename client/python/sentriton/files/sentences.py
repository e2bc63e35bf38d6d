"""Reads sentences from files, one after the other, never a whole file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sentriton.errors import InvalidInput
from sentriton.files.columns import checked, choose_column
from sentriton.files.rows import json_line_values, numbered_lines, table_rows

INPUT_ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")


def check_kind(path: Path, column: str | None) -> None:
    """Whether sentences can be read from `path` at all. Raises `InvalidInput` that says what is allowed; nothing is
    read.
    """
    try:
        exists, folder = path.exists(), path.is_dir()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    if not exists:
        raise InvalidInput(f"there is no file {path}")
    if folder:
        raise InvalidInput(f"{path} is a folder; give a file that ends in {', '.join(INPUT_ENDINGS)}")
    kind = kind_of(path)
    if kind not in INPUT_ENDINGS:
        raise InvalidInput(
            f"{path.name} ends in {path.suffix!r}; a file of sentences must end in {', '.join(INPUT_ENDINGS)}"
        )
    if kind == ".txt" and column is not None:
        raise InvalidInput(f"--column is {column!r} and {path.name} has lines, not columns; leave it out")
    if kind == ".parquet":
        from sentriton.files.parquet import require_pyarrow

        require_pyarrow(f"reading {path.name}")


def kind_of(path: Path) -> str:
    """Its ending, in small letters. Pipes and devices, such as bash's <(command), have none and give lines."""
    return path.suffix.lower() if path.is_file() else ".txt"


def read_sentences(path: Path, column: str | None = None) -> Iterator[str]:
    """The sentences of a file, in its order.

    .txt: one a line, empty lines too. .jsonl: the field `column` of an object, or a plain string; blank lines do not
    count. .csv: `column` by the header (RFC 4180). .tsv: the same between tabs, where quotation marks are letters as
    any. .parquet: a column of strings. Without `column`: the only one, else "sentence" or "text". Raises `InvalidInput`
    naming file, line and what is allowed.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        from sentriton.files.parquet import read_column

        yield from read_column(path, column)
        return
    try:
        with path.open("rb") as file:
            if kind == ".jsonl":
                yield from _from_json_lines(file, path.name, column)
            elif kind in (".csv", ".tsv"):
                yield from _from_table(file, path.name, column, tabs=kind == ".tsv")
            else:
                yield from read_lines(file, path.name)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def read_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a binary file without their ends. Raises `InvalidInput` naming `name` and the line."""
    for _, line in numbered_lines(file, name):
        yield line.removesuffix("\n").removesuffix("\r")


def _from_json_lines(file: BinaryIO, name: str, column: str | None) -> Iterator[str]:
    for where, value in json_line_values(file, name):
        if isinstance(value, dict):
            column = choose_column(list(value), column, where)
            yield checked(value[column], f"{where}, column {column!r}")
        else:
            yield checked(value, where)


def _from_table(file: BinaryIO, name: str, column: str | None, *, tabs: bool) -> Iterator[str]:
    place = -1
    for _, row in table_rows(file, name, tabs=tabs):
        if place < 0:
            place = row.index(choose_column(row, column, name))
        else:
            yield row[place]


def count(sentences: Iterable[str]) -> int:
    """How many there are; each is read, and what is wrong with one is raised."""
    return sum(1 for _ in sentences)
