"""The column of a table's sentences and its values, for every kind of file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sentriton.arguments import check_unicode
from sentriton.errors import InvalidInput

# The columns that an output adds.
SENTENCE, EMBEDDING = "sentence", "embedding"
USUAL_COLUMNS = (SENTENCE, "text")


class SentenceRow(NamedTuple):
    """A sentence, and all columns of its row by name, including the sentence's."""

    sentence: str
    columns: Mapping[str, Any]


def plain_row(sentence: str) -> SentenceRow:
    return SentenceRow(sentence, {SENTENCE: sentence})


def checked(value: Any, where: str) -> str:
    """Return `value`, a string with a UTF-8 form. Raises `InvalidInput` that names its place (`where`)."""
    if not isinstance(value, str):
        shown = json_text(value)
        shown = shown if len(shown) <= 40 else shown[:40] + "…"
        raise InvalidInput(f"{where} is {shown} and not a string; every sentence must be one")
    check_unicode(where, value)
    return value


def choose_column(names: Sequence[str], column: str | None, name: str, *, carried: bool = False) -> str:
    """`column`, or the only candidate if unset. Raises `InvalidInput` with the file's columns. If the columns are
    `carried` (copied to the output), it also raises for a name that the output needs.
    """
    known = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "") or "none"
    if column is None:
        usual = list(names) if len(names) == 1 else [usual for usual in USUAL_COLUMNS if usual in names]
        if not usual:
            raise InvalidInput(f"{name} has the columns {known}; name the column of the sentences with --column")
        column = usual[0]
    if column not in names:
        raise InvalidInput(f"{name} has no column {column!r}; its columns are {known}")
    if len(set(names)) < len(names):
        for each in names if carried else (column,):
            if names.count(each) > 1:
                raise InvalidInput(f"{name} has {names.count(each)} columns {each!r}; give each its own name")
    if carried and EMBEDDING in names:
        raise InvalidInput(f"{name} has a column {EMBEDDING!r}, which the output adds; rename it")
    return column


def json_text(value: object) -> str:
    """A value as JSON. NaN and infinity become null. A type that JSON lacks, such as a date, becomes its text."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json_text(json.loads(json.dumps(value, default=str), parse_constant=lambda name: None))
