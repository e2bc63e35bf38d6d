"""Reads lines and rows from files of text, one after the other: UTF-8, JSON, and tables between commas or tabs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from sentriton.errors import InvalidInput

# A sentence has 512 tokens at most: a longer line is a file of another kind, or a quotation mark that never closes.
MAX_LINE_BYTES = 1 << 20


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


def json_line_values(file: BinaryIO, name: str) -> Iterator[tuple[str, Any]]:
    """The value of each line that is not blank, behind where it stands. Raises `InvalidInput` for what is not JSON."""
    for number, line in numbered_lines(file, name):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise InvalidInput(f"{where} is not JSON: {problem}") from error
        yield where, value


def json_list_values(file: BinaryIO, name: str) -> Iterator[tuple[str, Any]]:
    """The values of a JSON list, each behind the line that it begins on, which `json.load` does not tell. Raises
    `InvalidInput` for what is no list, or not JSON.
    """
    text = "\n".join(line.rstrip("\r\n") for _, line in numbered_lines(file, name))
    decoder = json.JSONDecoder()
    place = _skip_blanks(text, 0)
    if text[place : place + 1] != "[":
        raise InvalidInput(f"{name}, line {_line(text, place)}: a list of objects must begin here, with '['")
    place = _skip_blanks(text, place + 1)
    while text[place : place + 1] != "]":
        where = f"{name}, line {_line(text, place)}"
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise InvalidInput(f"{name}, line {error.lineno} is not JSON: {error.msg}") from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
            raise InvalidInput(f"{where} is not JSON: {error}") from error
        yield where, value
        place = _skip_blanks(text, place)
        if text[place : place + 1] == ",":
            place = _skip_blanks(text, place + 1)
        elif text[place : place + 1] != "]":
            raise InvalidInput(f"{name}, line {_line(text, place)}: ',' or ']' must follow here")


def table_rows(file: BinaryIO, name: str, *, tabs: bool) -> Iterator[tuple[str, list[str]]]:
    """The header of a table, then its rows, each behind where it stands. Between commas by RFC 4180; between tabs,
    quotation marks are letters as any. Raises `InvalidInput` for a row of another length than the header's.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    lines = (line for _, line in numbered_lines(file, name))
    quoting: Any = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    rows = csv.reader(lines, delimiter="\t" if tabs else ",", quoting=quoting, strict=True)
    header: list[str] = []
    begins = 1  # of a row: a quoted field may hold ends of lines
    try:
        for row in rows:
            header = header or row
            where = f"{name}, line {begins}"
            if row and len(row) != len(header):
                raise InvalidInput(f"{where} has {len(row)} columns; the header has {len(header)}")
            if row:
                yield where, row
            begins = rows.line_num + 1
    except csv.Error as error:
        raise InvalidInput(f"{name}, the row that begins on line {begins} is malformed: {error}") from error


def _skip_blanks(text: str, place: int) -> int:
    while text[place : place + 1].isspace():
        place += 1
    return place


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
