"""Partial files: complete rows survive, incomplete rows are removed, and the finished file has all written rows."""

from __future__ import annotations

import datetime
import fcntl
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from sentriton.errors import InvalidInput
from sentriton.files.columns import SentenceRow, plain_row
from sentriton.files.outputs import npy_header, open_rows
from sentriton.files.resume import PartialRun
from sentriton.files.sources import open_source

EMBEDDINGS = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
SENTENCES = [f"문장 {number}" for number in range(10)]
ROWS = [plain_row(sentence) for sentence in SENTENCES]
COLUMNS = {"sentence": {str}}
IDENTITY = {"input": "in.txt", "model": "a"}


def read(path: Path) -> NDArray[Any]:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pq.read_table(path).to_pylist()
    assert [row["sentence"] for row in rows] == SENTENCES[: len(rows)]
    return np.array([row["embedding"] for row in rows], np.float32)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_rows_are_kept_between_runs(tmp_path: Path, ending: str) -> None:
    output, partial = tmp_path / f"out{ending}", tmp_path / "out.partial"
    for start, end in [(0, 4), (4, 5), (5, 10)]:
        rows = open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)
        assert rows.rows == start
        rows.append(ROWS[start:end], EMBEDDINGS[start:end])
        rows.close()
        assert not output.exists()
    rows = open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)
    rows.finish(output)
    np.testing.assert_array_equal(read(output), EMBEDDINGS)
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_a_number_that_json_lacks_is_null(tmp_path: Path) -> None:
    columns = {
        "sentence": "문장",
        "score": math.nan,
        "all": [1.5, {"least": -math.inf}],
        "day": datetime.date(2026, 1, 2),
    }
    halved = {"score": math.inf, "other": "\ud800"}
    rows = open_rows(tmp_path / "out.jsonl", tmp_path / "out.partial", 3, EMBEDDINGS.dtype, COLUMNS)
    rows.append([SentenceRow("문장", columns), SentenceRow("문장", halved)], EMBEDDINGS[:2])
    rows.finish(tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in text.splitlines())
    assert (first["score"], first["all"], first["day"]) == (None, [1.5, {"least": None}], "2026-01-02")
    assert (second["score"], second["other"]) == (None, "\ud800")
    np.testing.assert_array_equal(np.array([first["embedding"], second["embedding"]], np.float32), EMBEDDINGS[:2])


@pytest.mark.parametrize("ending", [".npy", ".jsonl"])
def test_a_torn_row_is_cut_wherever_it_is_torn(tmp_path: Path, ending: str) -> None:
    output, partial = tmp_path / f"out{ending}", tmp_path / "out.partial"
    rows = open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)
    rows.append(ROWS[:2], EMBEDDINGS[:2])
    rows.close()
    whole = partial.read_bytes()
    for size in range(len(whole)):
        partial.write_bytes(whole[:size])
        rows = open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)
        assert rows.rows < 2
        rows.append(ROWS[rows.rows : 2], EMBEDDINGS[rows.rows : 2])
        rows.finish(output)
        np.testing.assert_array_equal(read(output), EMBEDDINGS[:2])


def test_a_part_that_was_being_written_does_not_count(tmp_path: Path) -> None:
    output, partial = tmp_path / "out.parquet", tmp_path / "out.partial"
    rows = open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)
    for start in (0, 4):
        rows.append(ROWS[start : start + 4], EMBEDDINGS[start : start + 4])
    (partial / "writing.tmp").write_bytes(b"PAR1 torn")
    assert open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS).rows == 8
    min(partial.glob("rows-*")).unlink()
    with pytest.raises(InvalidInput, match="lacks some of its parts"):
        open_rows(output, partial, 3, EMBEDDINGS.dtype, COLUMNS)


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_no_rows_make_an_empty_file(tmp_path: Path, ending: str) -> None:
    output = tmp_path / f"out{ending}"
    open_rows(output, tmp_path / "out.partial", 3, np.dtype(np.uint8), COLUMNS).finish(output)
    assert len(read(output)) == 0
    if ending == ".npy":
        assert (np.load(output).shape, np.load(output).dtype) == ((0, 3), np.uint8)


def test_the_header_is_as_long_for_any_number_of_rows() -> None:
    assert {len(npy_header(rows, 8192, np.dtype(np.float32))) for rows in (0, 1, 10**6, 10**18)} == {128}


def begin(output: Path, identity: dict[str, Any] = IDENTITY, *, restart: bool = False, resumable: bool = True) -> bool:
    """Run until one row is stored, then stop. Returns whether it found rows of an earlier run."""
    run = PartialRun(output)
    with run:
        run.begin(identity, restart=restart, resumable=resumable)
        resumed = run.rows_path.exists()
        run.rows_path.write_bytes(b"row")
    return resumed


def test_the_same_run_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    assert not begin(output)
    assert begin(output)
    assert not begin(output, restart=True)
    assert not begin(output, resumable=False)


def test_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output)
    with pytest.raises(InvalidInput, match=r"model was 'a' and is 'b'.*--restart") as error:
        begin(output, {**IDENTITY, "model": "b"})
    assert "input was" not in str(error.value)
    assert begin(output)
    assert not begin(output, {**IDENTITY, "model": "b"}, restart=True)
    (tmp_path / "out.npy.partial.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="its run is unknown"):
        begin(output)


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    with PartialRun(output), pytest.raises(InvalidInput, match="another process is writing"), PartialRun(output):
        pass
    assert list(tmp_path.iterdir()) == []


def test_columns_keep_their_types_in_parquet(tmp_path: Path) -> None:
    """A value of several types is JSON, and a missing value is null."""
    columns = {"text": {str}, "id": {int}, "score": {int, float}, "kept": {bool}, "tags": {list}, "any": {str, int}}
    given: list[dict[str, Any]] = [
        {"text": "a", "id": 1, "score": 1, "kept": True, "tags": ["x", 1], "any": "word"},
        {"text": "b", "score": 0.5, "any": 5},
    ]
    output = tmp_path / "out.parquet"
    rows = open_rows(output, tmp_path / "out.partial", 3, EMBEDDINGS.dtype, columns)
    rows.append([SentenceRow(row["text"], row) for row in given], EMBEDDINGS[:2])
    rows.finish(output)
    table = pq.read_table(output).drop_columns("embedding").to_pylist()
    assert table == [
        {"text": "a", "id": 1, "score": 1.0, "kept": True, "tags": '["x", 1]', "any": "word"},
        {"text": "b", "id": None, "score": 0.5, "kept": None, "tags": None, "any": "5"},
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2**53 + 1, 7, None], [2**53 + 1, 7, None]),
        ([2**53 + 1, 0.5, 7], ["9007199254740993", "0.5", "7"]),
        ([2**53, 0.5], [2.0**53, 0.5]),
        ([2**63, 7], ["9223372036854775808", "7"]),
    ],
)
def test_a_number_in_another_column_stays_what_it_is(tmp_path: Path, values: list[Any], expected: list[Any]) -> None:
    path, output = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    path.write_text("".join(json.dumps({"text": "a", "n": value}) + "\n" for value in values), encoding="utf-8")
    source = open_source(None, path, "text")
    count, columns = source.survey()
    rows = open_rows(output, tmp_path / "out.partial", 3, EMBEDDINGS.dtype, columns)
    rows.append(list(source.read(None, None)), EMBEDDINGS[:count])
    rows.finish(output)
    assert pq.read_table(output)["n"].to_pylist() == expected


def test_half_a_character_in_another_column_does_not_stop_a_run(tmp_path: Path) -> None:
    for ending in (".jsonl", ".parquet"):
        output = tmp_path / f"out{ending}"
        rows = open_rows(output, tmp_path / "out.partial", 3, EMBEDDINGS.dtype, {"sentence": {str}, "note": {str}})
        rows.append([SentenceRow("문장", {"sentence": "문장", "note": "\ud800"})], EMBEDDINGS[:1])
        rows.finish(output)
        assert output.exists()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "c"], pa.string_view()),
        pa.array([b"0" * 16, None, b"1" * 16], pa.uuid()),
        pa.array([{"a": 1}, None, {"a": 3}]),
        pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda column: str(column.type),
)
def test_a_column_of_any_type_goes_from_parquet_to_parquet(tmp_path: Path, column: pa.Array) -> None:
    path, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table({"sentence": SENTENCES[:3], "more": column}), path)
    source = open_source(None, path, None)
    rows = open_rows(output, tmp_path / "out.partial", 3, EMBEDDINGS.dtype, source.survey()[1])
    rows.append(list(source.read(None, None)), EMBEDDINGS[:3])
    rows.finish(output)
    assert pq.read_table(output)["more"].to_pylist() == column.to_pylist()


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pa.array([2**62], pa.timestamp("us")), "date value out of range"),
        (pa.array([2**30], pa.date32()), "must have magnitude"),
        (pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), "duplicate field names"),
    ],
    ids=["time", "date", "structure"],
)
def test_values_that_python_lacks_are_named_before_anything_is_embedded(
    tmp_path: Path, column: pa.Array, why: str
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"sentence": SENTENCES[:1], "when": column}), path)
    with pytest.raises(InvalidInput, match=f"in.parquet, column 'when' has values that cannot be copied .*{why}.*npy"):
        open_source(None, path, None).survey()
    assert open_source(None, path, None, carried=False).survey()[0] == 1


def test_a_value_that_cannot_be_written_again_is_named(tmp_path: Path) -> None:
    columns = pa.schema([("sentence", pa.string()), ("day", pa.date32())])
    rows = open_rows(tmp_path / "out.parquet", tmp_path / "out.partial", 3, EMBEDDINGS.dtype, columns)
    with pytest.raises(InvalidInput, match=r"a column of type date32\[day\] cannot be written .*\.jsonl"):
        rows.append([SentenceRow("x", {"sentence": "x", "day": datetime.timedelta(1)})], EMBEDDINGS[:1])


def test_a_file_that_the_last_run_removes_meanwhile_gives_no_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, flock = tmp_path / "out.npy", fcntl.flock

    def after_the_last_run_has_ended(file: Any, operation: int) -> None:
        (tmp_path / "out.npy.partial.json").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", after_the_last_run_has_ended)
    with pytest.raises(InvalidInput, match="another process is writing"), PartialRun(output):
        pass
    monkeypatch.undo()
    assert not begin(output)
