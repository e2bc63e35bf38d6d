"""Reads lines, JSON, and tables with commas or tabs, row by row."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, TypeAlias

from sentriton.errors import InvalidInput

# A longer line is from another kind of file, or has an unclosed quotation mark.
MAX_LINE_BYTES = 1 << 20

Reject: TypeAlias = Callable[[InvalidInput], None]
Fills: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True)
class Reading:
    """How to read rows: the `encoding` of text, and the function for a row's error (None: raise it). `fills` tells
    whether the beginning of a long line determines its embedding (None: never). `remedy` is the end of the error for
    text in another encoding.
    """

    encoding: str = "utf-8"
    reject: Reject | None = None
    fills: Fills | None = None
    remedy: str = "convert the file to UTF-8, such as by iconv -f CP949 -t UTF-8"

    def wrong(self, message: object, cause: Exception | None = None) -> None:
        error = message if isinstance(message, InvalidInput) else InvalidInput(message)
        if self.reject is None:
            raise error from cause
        self.reject(error)


STRICT = Reading()


def checked_encoding(name: str) -> str:
    """Check an encoding, whose lines must end in the byte 0x0A. Raises `InvalidInput`."""
    try:
        # Only the first line of ISO-2022-KR names its characters.
        lines = "한\n한".encode(name, "replace").split(b"\n")
        if len(lines) == 2 and lines[0].decode(name) == lines[1].decode(name):
            return codecs.lookup(name).name
    except (LookupError, ValueError):
        pass
    raise InvalidInput(
        f"--encoding is {name!r}; allowed are encodings such as utf-8, cp949, euc-kr and latin-1; convert a file in "
        "UTF-16 by iconv -f UTF-16 -t UTF-8"
    )


def numbered_lines(
    file: BinaryIO, name: str, reading: Reading = STRICT, *, cut: bool = False, errors: str = "strict"
) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1. A line beyond `MAX_LINE_BYTES` is wrong, or `cut` there if its
    beginning determines its embedding.
    """
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        where, is_long = f"{name}, line {number}", len(raw) > MAX_LINE_BYTES
        rest = raw
        while is_long and rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES)
        if is_long and not cut:
            reading.wrong(f"{where} is longer than {MAX_LINE_BYTES:,} bytes; is it text?")
            continue
        try:
            # A cut line may end in half a character.
            decoder = codecs.getincrementaldecoder(reading.encoding)(errors)
            line = decoder.decode(raw[:MAX_LINE_BYTES], final=not is_long)
        except UnicodeDecodeError as error:
            place = f"at byte {error.start + 1} of the line (0x{raw[error.start]:02x})"
            reading.wrong(f"{where} is not {reading.encoding.upper()} {place}; {reading.remedy}", error)
            continue
        if is_long and not (reading.fills and reading.fills(line)):
            # Spaces or an endless word: the text after them would be lost.
            reading.wrong(
                f"{where} is longer than {MAX_LINE_BYTES:,} bytes, and its beginning has fewer tokens than the "
                "model takes; is it text?"
            )
            continue
        # Without the byte order mark.
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def json_line_values(file: BinaryIO, name: str, reading: Reading = STRICT) -> Iterator[tuple[str, Any]]:
    """Pairs of a position (file and line) and its value, for each line that is not blank."""
    for number, line in numbered_lines(file, name, reading):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            yield where, json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            reading.wrong(f"{where} is not JSON: {problem}", error)


def json_list_values(file: BinaryIO, name: str) -> Iterator[tuple[str, Any]]:
    """Pairs of a position (file and number) and its value, for a JSON list. Raises `InvalidInput`."""
    try:
        values = json.load(file)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{name}, line {error.lineno} is not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # invalid UTF-8, thousands of digits, nested lists
        raise InvalidInput(f"{name} is not JSON: {error}") from error
    if not isinstance(values, list):
        raise InvalidInput(f"{name} is not a list; give a list of objects")
    yield from ((f"{name}, object {number}", value) for number, value in enumerate(values, start=1))


def table_rows(file: BinaryIO, name: str, *, tabs: bool, reading: Reading = STRICT) -> Iterator[tuple[str, list[str]]]:
    """Pairs of a position and its row: first the header of a table, then its rows. CSV follows RFC 4180. In TSV,
    quotation marks are letters. Raises for a wrong header, and for an incomplete line of CSV, which may be part of a
    row.
    """
    header: list[str] = []
    begins, dropped = 1, 0  # lines, since a quoted field may have several

    def drop_line(error: InvalidInput) -> None:
        nonlocal dropped
        if not (tabs and header):
            raise error
        dropped += 1
        reading.wrong(error)

    csv.field_size_limit(MAX_LINE_BYTES)
    # The reader needs all lines, even of a skipped row.
    errors = "surrogateescape" if reading.reject else "strict"
    dropping = replace(reading, reject=drop_line)

    def lines() -> Iterator[str]:
        for number, line in numbered_lines(file, name, dropping, errors=errors):
            if tabs and "\r" in line.rstrip("\r\n"):
                dropping.wrong(f"{name}, line {number} has a CR inside; remove it")
            else:
                yield line

    quoting: Any = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    rows = csv.reader(lines(), delimiter="\t" if tabs else ",", quoting=quoting, strict=True)
    try:
        for row in rows:
            judge = reading if header else STRICT
            header = header or row
            where = f"{name}, line {begins + dropped}"
            begins = rows.line_num + 1
            if row and len(row) != len(header):
                judge.wrong(f"{where} has {len(row)} columns; the header has {len(header)}")
            elif any("\ud800" <= letter <= "\udfff" for field in row if not field.isascii() for letter in field):
                judge.wrong(f"{where} is not {reading.encoding.upper()}; {reading.remedy}")
            elif row:
                yield where, row
    except csv.Error as error:
        raise InvalidInput(f"{name}, the row that begins on line {begins + dropped} is malformed: {error}") from error
