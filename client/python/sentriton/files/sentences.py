"""Reads sentences from files, one after the other, never a whole file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sentriton.errors import InvalidInput
from sentriton.files.columns import checked, choose_column

INPUT_ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
# A sentence has 512 tokens at most: a longer line is a file of another kind, or a quotation mark that never closes.
MAX_LINE_BYTES = 1 << 20


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


def numbered_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, from 1. Raises `InvalidInput` naming `name` and the line."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise InvalidInput(f"{name}, line {number} is longer than {MAX_LINE_BYTES:,} bytes; is it one of text?")
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{name}, line {number} is not UTF-8 at byte {error.start + 1} of the line (0x{raw[error.start]:02x})"
            ) from error
        # What some editors put before UTF-8.
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _from_json_lines(file: BinaryIO, name: str, column: str | None) -> Iterator[str]:
    for number, line in numbered_lines(file, name):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise InvalidInput(f"{where} is not JSON: {problem}") from error
        if isinstance(value, dict):
            column = choose_column(list(value), column, where)
            where, value = f"{where}, column {column!r}", value[column]
        yield checked(value, where)


def _from_table(file: BinaryIO, name: str, column: str | None, *, tabs: bool) -> Iterator[str]:
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (line for _, line in numbered_lines(file, name))
    quoting: Any = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    rows = csv.reader(lines, delimiter="\t" if tabs else ",", quoting=quoting, strict=True)
    names: list[str] = []
    place = 0
    for number, row in numbered_rows(rows, name):
        if not row:
            continue
        if not names:
            names = row
            place = names.index(choose_column(names, column, name))
        elif len(row) != len(names):
            raise InvalidInput(f"{name}, line {number} has {len(row)} columns; the header has {len(names)}")
        else:
            yield row[place]


def numbered_rows(rows: Any, name: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line that each begins on: a quoted field may hold ends of lines."""
    begins = 1
    try:
        for row in rows:
            yield begins, row
            begins = rows.line_num + 1
    except csv.Error as error:
        raise InvalidInput(f"{name}, the row that begins on line {begins} is malformed: {error}") from error


def count(sentences: Iterable[str]) -> int:
    """How many there are; each is read, and what is wrong with one is raised."""
    return sum(1 for _ in sentences)
