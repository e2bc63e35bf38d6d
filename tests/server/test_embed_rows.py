"""`sentriton embed` on files against a real server: other columns, and invalid rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentriton import SentenceEncoder
from tests.commands import run
from tests.server.conftest import RunningServer
from tests.server.test_embed_files import TEXTS, read_embeddings


def test_other_columns_travel_to_json_lines(server: RunningServer, encoder: SentenceEncoder, tmp_path: Path) -> None:
    given = [{"id": 1, "body": TEXTS[0], "tags": ["뉴스"]}, {"id": 2, "body": TEXTS[1], "date": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    arguments = ["embed", "--input", tmp_path / "in.jsonl", "--column", "body", "--url", server.url]
    written = run(*arguments, "--output", tmp_path / "out.jsonl")
    assert written.returncode == 0, written.stderr
    for lines in ((tmp_path / "out.jsonl").read_text(encoding="utf-8"), run(*arguments).stdout):
        rows = [json.loads(line) for line in lines.splitlines()]
        embeddings = [row.pop("embedding") for row in rows]
        assert rows == given
        np.testing.assert_allclose(embeddings, encoder.encode(TEXTS[:2]), atol=1e-5)


def test_parquet_keeps_the_types_of_the_other_columns(server: RunningServer, tmp_path: Path) -> None:
    when = pa.array([0, 1_700_000_000_000_000_001], pa.timestamp("ns"))
    columns = {"text": TEXTS[:2], "n": pa.array([1, None], pa.int8()), "tags": [["a"], []], "when": when}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    result = run("embed", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet", "--url", server.url)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["text", "n", "tags", "when", "embedding"]
    assert table.schema.field("n").type == pa.int8()
    assert table["tags"].to_pylist() == [["a"], []]
    # Nanoseconds are text, since a Python object has none.
    assert table["when"].to_pylist()[1] == "2023-11-14 22:13:20.000000001"


@pytest.mark.parametrize("ending", [".npy", ".jsonl"])
def test_wrong_rows_are_skipped_and_listed(
    server: RunningServer, encoder: SentenceEncoder, tmp_path: Path, ending: str
) -> None:
    content = '{"id": 1, "text": "하나"}\n{"id": 2, "text": null}\n{"id": 3, "text": "둘"}\n{"id": 4\n'
    (tmp_path / "in.jsonl").write_bytes(content.encode("cp949") + b'"\xff"\n')
    output = tmp_path / f"out{ending}"
    arguments = ["embed", "--input", tmp_path / "in.jsonl", "--output", output, "--url", server.url]
    failed = run(*arguments, "--encoding", "cp949")
    assert failed.returncode == 1
    assert "line 2, column 'text' is null" in failed.stderr
    skipping = run(*arguments, "--encoding", "cp949", "--on-error", "skip")
    assert skipping.returncode == 0, skipping.stderr
    assert f"; skipped 3 rows, which {output}.skipped.txt lists" in skipping.stdout
    lines = (tmp_path / f"out{ending}.skipped.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" is ")[0] for line in lines] == [
        "in.jsonl, line 2, column 'text'",
        "in.jsonl, line 4",
        "in.jsonl, line 5",
    ]
    np.testing.assert_allclose(read_embeddings(output), encoder.encode(["하나", "둘"]), atol=1e-5)
    again = run(*arguments, "--overwrite", "--on-error", "ask")
    assert (again.returncode, "allowed are fail, skip" in again.stderr) == (1, True)


def test_a_run_that_fails_leaves_the_list_of_the_output_that_stays(server: RunningServer, tmp_path: Path) -> None:
    path, output, listed = tmp_path / "in.csv", tmp_path / "out.npy", tmp_path / "out.npy.skipped.txt"
    arguments = ["embed", "--input", path, "--output", output, "--on-error", "skip", "--url", server.url]
    path.write_text("id,text\n1\n2,a\n", encoding="utf-8")
    assert run(*arguments).returncode == 0
    before = listed.read_text(encoding="utf-8")
    assert before == "in.csv, line 2 has 1 columns; the header has 2\n"
    path.write_text('id,text\n1,a\n2\n3,"never closed\n', encoding="utf-8")
    failed = run(*arguments, "--overwrite")
    assert (failed.returncode, "line 4 is malformed" in failed.stderr) == (1, True)
    assert listed.read_text(encoding="utf-8") == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.csv", output.name, listed.name]
    path.write_text("id,text\n1,a\n", encoding="utf-8")
    assert run(*arguments, "--overwrite").returncode == 0
    assert not listed.exists()
