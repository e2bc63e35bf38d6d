"""Reads rows with sentences from files, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sentriton.errors import InvalidInput
from sentriton.files.columns import SentenceRow, checked, choose_column, plain_row
from sentriton.files.rows import STRICT, Reading, json_line_values, numbered_lines, table_rows
from sentriton.requirements import check_module

INPUT_ENDINGS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")


def check_kind(path: Path, column: str | None) -> None:
    """Raises `InvalidInput` if sentences cannot be read from `path`, without reading it."""
    try:
        exists, folder = path.exists(), path.is_dir()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    if not exists:
        raise InvalidInput(f"no file {path}; give a file that exists")
    if folder:
        raise InvalidInput(f"{path} is a folder; give a file that ends in {', '.join(INPUT_ENDINGS)}")
    kind = kind_of(path)
    if kind not in INPUT_ENDINGS:
        raise InvalidInput(
            f"{path.name} ends in {path.suffix!r}; a file of sentences must end in {', '.join(INPUT_ENDINGS)}"
        )
    if kind == ".txt" and column is not None:
        raise InvalidInput(f"--column is {column!r}, but {path.name} has no columns; leave it out")
    if kind == ".parquet":
        check_module("pyarrow.parquet", "files", f"reading {path.name}")


def kind_of(path: Path) -> str:
    """The ending of a file name, in lower case. Pipes and devices, such as bash's <(command), count as .txt."""
    return path.suffix.lower() if path.is_file() else ".txt"


def sentence_rows(
    path: Path, column: str | None = None, reading: Reading = STRICT, *, carried: bool = True
) -> Iterator[SentenceRow]:
    """The rows of a file, in order.

    .txt: one per line, empty lines too. .jsonl: the field `column` of an object, or a string; blank lines do not
    count. .csv: `column` by the header (RFC 4180). .tsv: the same with tabs, unquoted. .parquet: a column of
    strings, and the others if `carried`. Without `column`: the only one, else "sentence" or "text".
    """
    kind = kind_of(path)
    if kind == ".parquet":
        from sentriton.files.parquet import parquet_rows

        yield from parquet_rows(path, column, reading, carried=carried)
        return
    try:
        with path.open("rb") as file:
            if kind == ".jsonl":
                yield from _from_json_lines(file, path.name, column, reading, carried)
            elif kind in (".csv", ".tsv"):
                yield from _from_table(file, path.name, column, reading, carried, tabs=kind == ".tsv")
            else:
                yield from read_lines(file, path.name, reading)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error


def read_lines(file: BinaryIO, name: str, reading: Reading = STRICT) -> Iterator[SentenceRow]:
    """The lines of a binary file without their ends. Raises `InvalidInput` for lines that end in CR only."""
    for number, line in numbered_lines(file, name, reading, cut=True):
        if number == 1 and "\r" in line[:-1] and "\n" not in line:
            raise InvalidInput(f"{name} has lines that end in CR only; convert it with tr '\\r' '\\n'")
        yield plain_row(line.removesuffix("\n").removesuffix("\r"))


def _from_json_lines(
    file: BinaryIO, name: str, column: str | None, reading: Reading, carried: bool
) -> Iterator[SentenceRow]:
    is_known = False
    for where, value in json_line_values(file, name, reading):
        if isinstance(value, dict) and not is_known:
            # If the first object lacks the field, --column is wrong, not the row.
            column, is_known = choose_column(list(value), column, where, carried=carried), True
        try:
            if isinstance(value, dict):
                choose_column(list(value), column, where, carried=carried)
                yield SentenceRow(checked(value[column], f"{where}, column {column!r}"), value)
            else:
                yield plain_row(checked(value, where))
        except InvalidInput as error:
            reading.wrong(error)


def _from_table(
    file: BinaryIO, name: str, column: str | None, reading: Reading, carried: bool, *, tabs: bool
) -> Iterator[SentenceRow]:
    rows = table_rows(file, name, tabs=tabs, reading=reading)
    _, header = next(rows, ("", []))
    if header:
        place = header.index(choose_column(header, column, name, carried=carried))
        for _, row in rows:
            yield SentenceRow(row[place], dict(zip(header, row, strict=True)))
