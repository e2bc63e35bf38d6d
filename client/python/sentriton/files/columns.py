"""The column that holds the sentences of a table, and what a value in it must be, for every kind of file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sentriton.errors import InvalidInput

USUAL_COLUMNS = ("sentence", "text")


def checked(value: Any, where: str) -> str:
    """`value`, which must be a string that has a UTF-8 form. Raises `InvalidInput` that says `where` it stands."""
    if not isinstance(value, str):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= 40 else shown[:40] + "…"
        raise InvalidInput(f"{where} is {shown} and not a string; every sentence must be one")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{where} holds half a character ({value[error.start]!a}), which UTF-8 cannot say"
        ) from error
    return value


def choose_column(names: Sequence[str], column: str | None, name: str) -> str:
    """`column`, or the one that is meant where none is named. Raises `InvalidInput` naming the columns there are."""
    known = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "") or "none"
    if column is None:
        usual = list(names) if len(names) == 1 else [usual for usual in USUAL_COLUMNS if usual in names]
        if not usual:
            raise InvalidInput(f"{name} has the columns {known}; say by --column which one holds the sentences")
        column = usual[0]
    if column not in names:
        raise InvalidInput(f"{name} has no column {column!r}; its columns are {known}")
    if names.count(column) > 1:
        raise InvalidInput(f"{name} has {names.count(column)} columns {column!r}; give each its own name")
    return column
