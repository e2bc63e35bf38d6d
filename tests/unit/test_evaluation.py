"""Scored pairs from every kind of file, the faults of a row, and the ten figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sentriton.errors import InvalidInput
from sentriton.evaluation import FIGURES, ScoredPair, measure, read_pairs
from sentriton.evaluation.plot import draw_evaluation
from sentriton.files.sources import open_source

ROWS = [
    {"sentence1": '가, "나"', "sentence2": "다", "score": 4.5},
    {"sentence1": "라\t마", "sentence2": "바", "score": 0},
]
PAIRS = [ScoredPair('가, "나"', "다", 4.5), ScoredPair("라\t마", "바", 0.0)]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv_is_quoted(tmp_path: Path) -> None:
    text = 'score,sentence1,sentence2\n4.5,"가, ""나""",다\n0,라\t마,바\n'
    assert read_pairs(write(tmp_path / "a.csv", text)) == PAIRS


def test_korsts_is_not_quoted(tmp_path: Path) -> None:
    header = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"
    text = f'{header}main-news\tf\t2012\t1\t4.500\t"가\t나\n'
    assert read_pairs(write(tmp_path / "a.tsv", text)) == [ScoredPair('"가', "나", 4.5, "main-news")]


def test_klue_json(tmp_path: Path) -> None:
    row = {
        "sentence1": "가",
        "sentence2": "나",
        "source": "airbnb-rtt",
        "labels": {"label": 3.7, "real-label": 3.714, "binary-label": 1},
    }
    path = write(tmp_path / "a.json", json.dumps([row, row], indent=4, ensure_ascii=False))
    assert read_pairs(path) == [ScoredPair("가", "나", 3.714, "airbnb-rtt")] * 2


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    lines = "\n\n".join(json.dumps(row) for row in ROWS)
    assert read_pairs(write(tmp_path / "a.jsonl", lines)) == PAIRS
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read_pairs(str(tmp_path / "a.parquet")) == PAIRS


def test_a_hub_data_set_by_id_and_split(tmp_path: Path) -> None:
    """A folder in place of the hub, as `datasets` allows."""
    for split, rows in (("train", ROWS), ("validation", ROWS[:1])):
        write(tmp_path / f"{split}.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert read_pairs(f"{tmp_path}::validation") == PAIRS[:1]
    with pytest.raises(InvalidInput, match=r"give a split as .*:SPLIT; allowed are train, validation"):
        read_pairs(str(tmp_path))
    with pytest.raises(InvalidInput, match=r"no split 'test'; allowed are train, validation"):
        read_pairs(f"{tmp_path}::test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "sentence1,sentence2,score\n가,나,1\n가,나\n", r"a\.csv, line 3 has 2 columns; the header has 3"),
        ("a.csv", "sentence1,sentence2,score\n가,나,x\n", r"a\.csv, line 2: score is 'x'; it must be a number"),
        ("a.csv", "sentence1,sentence2,score\n가,나,nan\n", r"line 2: score is 'nan'; it must be a number"),
        ("a.tsv", "sentence1\tsentence2\n가\t나\n", r"line 2: the score is missing; it must be named score, label"),
        ("a.csv", "first,second,score\n가,나,1\n", r"line 2: 'sentence1' is missing"),
        ("a.tsv", "sentence1\tsentence2\tscore\tscore\n가\t나\t1\t2\n", r"line 1 has 2 columns 'score'"),
        ("a.csv", "sentence1,sentence2,score\n", r"has no pair"),
        (
            "a.jsonl",
            '{"sentence1": "가", "sentence2": 7, "score": 1}',
            r"line 1: sentence2 is 7 and not a string; every sentence must",
        ),
        ("a.jsonl", "\n[1]\n", r"line 2: expected an object with sentence1"),
        ("a.jsonl", "\n{\n", r"line 2 is not JSON"),
        ("a.jsonl", "[" * 100_000, r"line 1 is not JSON"),
        ("a.json", '[{"score": ' + "[" * 100_000, r"a\.json is not JSON"),
        ("a.json", "{}", r"a\.json is not a list; give a list of objects"),
        ("a.json", '[\n {"sentence1": "가"},\n {"sentence1": "가"}\n]', r"object 1: 'sentence2' is missing"),
        ("a.json", '[\n {"sentence1": "가",\n }\n]', r"line 3 is not JSON"),
        ("a.json", '[{"sentence1": "가", "sentence2": "나", "score": 1}\n x]', r"line 2 is not JSON"),
        ("a.json", '[{"sentence1": "가", "sentence2": "나", "labels": {}}]', r"labels\.real-label is None"),
        ("a.json", '[{"sentence1": "가", "sentence2": "나", "score": 1}', r"line 1 is not JSON"),
        ("a.xlsx", "x", r"ends in '\.xlsx'; a file of pairs must end in \.json, \.jsonl, \.csv, \.tsv, \.parquet"),
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_pairs(write(tmp_path / name, text))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"no file nowhere/pairs\.csv"):
        read_pairs("nowhere/pairs.csv")


def test_figures_of_embeddings_that_rank_as_people_did() -> None:
    angles = np.array([0.0, 0.3, 0.9, 1.5])
    first = np.tile([1.0, 0.0], (4, 1))
    second = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    figures = measure(first, second, [5, 4, 2, 0])
    assert tuple(figures) == FIGURES
    assert all(figures[name] == pytest.approx(1) for name in FIGURES if name.startswith("spearman"))
    assert figures["pearson_cosine"] == pytest.approx(float(np.corrcoef(np.cos(angles), [5, 4, 2, 0])[0, 1]))
    assert figures["pearson_max"] == max(figures[f"pearson_{name}"] for name in ("cosine", "manhattan", "euclidean"))
    turned = measure(first, second, [0, 2, 4, 5])
    assert turned["spearman_cosine"] == pytest.approx(-1)


def test_what_cannot_correlate_is_refused() -> None:
    embeddings = np.eye(3)
    with pytest.raises(InvalidInput, match="3 pairs have 1 different scores"):
        measure(embeddings, embeddings, [1, 1, 1])
    with pytest.raises(InvalidInput, match="all 3 pairs the same cosine similarity"):
        measure(embeddings, embeddings, [1, 2, 3])
    with np.errstate(all="ignore"), pytest.raises(InvalidInput, match="an infinite manhattan similarity"):
        measure(np.float32([[1, 1], [1, 3], [3, 1]]), np.float32([[3e38, 3e38], [1, 2], [3, 4]]), [1, 2, 3])


def test_the_plot_shows_every_pair_and_source(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    pairs = [ScoredPair("가", "나", float(draw.uniform(0, 5)), f"source {row % 11}") for row in range(60)]
    similarities = np.array([pair.score / 5 for pair in pairs]) + draw.normal(0, 0.1, len(pairs))
    draw_evaluation(pairs, similarities, "model", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > pixels.shape[0] > 500
    # Nine colours: eight sources, and the rest in one.
    colours = np.unique(pixels.reshape(-1, 3).astype(int), axis=0)
    assert np.sum(np.ptp(colours, axis=1) > 80) > 9


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_another_encoding_has_a_remedy_that_the_command_offers(tmp_path: Path, name: str) -> None:
    """`evaluate` has no --encoding."""
    rows = {"a.csv": "sentence1,sentence2,score\n가,나,1\n", "a.tsv": "sentence1\tsentence2\tscore\n가\t나\t1\n"}
    (tmp_path / name).write_bytes(rows.get(name, '\n{"sentence1": "가"}').encode("cp949"))
    with pytest.raises(InvalidInput, match=r"line 2 is not UTF-8 .*; convert the file to UTF-8, such as by iconv"):
        read_pairs(str(tmp_path / name))


def test_another_encoding_is_a_flag_of_embed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("가".encode("cp949"))
    with pytest.raises(InvalidInput, match=r"line 1 is not UTF-8 .*; is --encoding another\?"):
        list(open_source(None, tmp_path / "a.txt", None).read(None, None))
