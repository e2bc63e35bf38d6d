"""Reads scored sentence pairs: KLUE-STS JSON, KorSTS TSV, similar tables, or a hub data set.

A row has `sentence1`, `sentence2` and a score: `score`, else `label`, else KLUE's `labels.real-label`. `source` or
`genre` is its kind of text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sentriton.errors import InvalidInput
from sentriton.evaluation.hub import ABSENT, hub_answers
from sentriton.files.columns import checked
from sentriton.files.rows import json_line_values, json_list_values, table_rows
from sentriton.requirements import check_module

ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_SENTENCES = ("sentence1", "sentence2")
_SCORES = ("score", "label", "labels")
_SOURCES = ("source", "genre")
_KNOWN = (*_SENTENCES, *_SCORES, *_SOURCES)

Rows = Iterator[tuple[str, Mapping[str, Any]]]  # the position of a row, and its columns


class ScoredPair(NamedTuple):
    """Two sentences and their human score, on the scale of the file."""

    sentence1: str
    sentence2: str
    score: float
    source: str | None = None


def read_pairs(data: str) -> list[ScoredPair]:
    """All pairs of a .json, .jsonl, .csv, .tsv or .parquet file, or of a hub data set "ID:CONFIG:SPLIT".

    Fields of a .tsv are unquoted, as in KorSTS. An only configuration or split may be left out. ID may be a folder
    that `datasets` reads. Raises `InvalidInput` that names the line or the row.
    """
    path = Path(data)
    name = data.partition(":")[0]
    may_be_data_set = _HUB_ID.fullmatch(name) or (name and Path(name).is_dir())
    if not path.is_file() and (path.suffix.lower() in ENDINGS or not may_be_data_set):
        raise InvalidInput(f"no file {data}; give one, or a hub data set as ID:CONFIG:SPLIT")
    rows = read_rows(path) if path.is_file() else _read_hub(data)
    pairs = [_pair(row, where) for where, row in rows]
    if not pairs:
        raise InvalidInput(f"{data} has no pair")
    return pairs


def _pair(row: Mapping[str, Any], where: str) -> ScoredPair:
    for key in _SENTENCES:
        if key not in row:
            raise InvalidInput(f"{where}: {key!r} is missing; a pair has sentence1, sentence2 and score")
    source = next((row[key] for key in _SOURCES if row.get(key) is not None), None)
    first, second = (checked(row[key], f"{where}: {key}") for key in _SENTENCES)
    return ScoredPair(first, second, _score(row, where), None if source is None else str(source))


def _score(row: Mapping[str, Any], where: str) -> float:
    name = next((name for name in _SCORES if name in row), None)
    if name is None:
        raise InvalidInput(f"{where}: the score is missing; it must be named {', '.join(_SCORES)}")
    value = row[name]
    if isinstance(value, Mapping):
        name, value = f"{name}.real-label", value.get("real-label")
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if isinstance(value, bool) or not math.isfinite(score):
        raise InvalidInput(f"{where}: {name} is {value!r}; it must be a number")
    return score


def read_rows(path: Path) -> Rows:
    """Pairs of a position (line or row) and its row by column names. `InvalidInput` names the position."""
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise InvalidInput(f"{path.name} ends in {path.suffix!r}; a file of pairs must end in {', '.join(ENDINGS)}")
    if kind == ".parquet":
        yield from _read_parquet(path)
        return
    try:
        with path.open("rb") as file:
            if kind in (".csv", ".tsv"):
                rows = table_rows(file, path.name, tabs=kind == ".tsv")
                where, names = next(rows, ("", []))
                if repeated := next((name for name in _KNOWN if names.count(name) > 1), None):
                    raise InvalidInput(
                        f"{where} has {names.count(repeated)} columns {repeated!r}; give each its own name"
                    )
                yield from ((where, dict(zip(names, row, strict=True))) for where, row in rows)
            else:
                values = json_list_values if kind == ".json" else json_line_values
                yield from ((where, _mapping(value, where)) for where, value in values(file, path.name))
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from error


def _mapping(row: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise InvalidInput(f"{where}: expected an object with sentence1, sentence2 and score, got {str(row)[:40]!r}")
    return row


def _read_parquet(path: Path) -> Rows:
    check_module("pyarrow.parquet", "files", f"reading {path.name}")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:  # dates that Python lacks
        raise InvalidInput(f"cannot read {path}: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path.name}, row {number}", row


def _read_hub(data: str) -> Rows:
    name, _, rest = data.partition(":")
    config, _, split = rest.partition(":")
    try:
        from datasets import config as libraries
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"no file {data}, and a hub data set needs the package {error.name}; run: pip install datasets"
        ) from error
    offline = libraries.HF_HUB_OFFLINE
    is_folder = Path(name).is_dir()
    answers = is_folder or (not offline and hub_answers())
    libraries.HF_HUB_OFFLINE = not answers
    try:
        found = load_dataset(name, config or None)
    # Hub, network and data sets may raise anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] if answers else ABSENT.format("data set")
        no = f"{name} is no data set" if is_folder else f"no file {data}, and the hub did not deliver it"
        raise InvalidInput(f"{no}: {reason}") from error
    finally:
        libraries.HF_HUB_OFFLINE = offline
    if not split and len(found) > 1:
        raise InvalidInput(f"{data}: give a split as {name}:{config}:SPLIT; allowed are {', '.join(found)}")
    if split and split not in found:
        raise InvalidInput(f"{data}: no split {split!r}; allowed are {', '.join(found)}")
    for number, row in enumerate(found[split or next(iter(found))], start=1):
        yield f"{data}, row {number}", row
