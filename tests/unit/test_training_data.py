"""Readers of the data sets, and the pairs that stay out of training."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentriton.errors import InvalidInput
from sentriton_server.training.contrast import alike_pairs
from sentriton_server.training.data import (
    TRAINING_SETS,
    Record,
    Source,
    TrainingData,
    distinct_sentences,
    read_chatbot,
    read_klue_nli,
    read_nsmc,
    read_parakqc,
    read_scored_pairs,
    scored_pairs,
)

KORSTS_HEADER = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def korsts_row(score: str, sentence1: str, sentence2: str) -> str:
    return f"news\tfile\t2020\t1\t{score}\t{sentence1}\t{sentence2}\n"


def parakqc_group(prefix: str, topic: int = 0) -> str:
    return "".join(f"{topic}\t1\t{prefix} {number}\n" for number in range(10))


def test_korsts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", KORSTS_HEADER + korsts_row("4.0", '"가', "나") + korsts_row("0.5", "다", "라"))
    assert list(read_scored_pairs(path)) == [Record(('"가', "나"), True, 0.8), Record(("다", "라"), False, 0.1)]


def test_klue_nli(tmp_path: Path) -> None:
    rows = [{"premise": "가", "hypothesis": "나", "gold_label": label} for label in ("entailment", "neutral")]
    assert [record.alike for record in read_klue_nli(write(tmp_path / "a.json", json.dumps(rows)))] == [True, False]


def test_chatbot_keeps_quoted_commas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'Q,A,label\n안녕,"네, 안녕하세요.",0\n')
    assert list(read_chatbot(path)) == [Record(("안녕", "네, 안녕하세요."), alike=True)]


def test_nsmc_skips_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "a.xz").write_bytes(lzma.compress("재미있다\n\n지루하다\n".encode()))
    assert distinct_sentences(list(read_nsmc(tmp_path / "a.xz"))) == ["재미있다", "지루하다"]


@pytest.mark.parametrize(
    ("reader", "kind", "text", "message"),
    [
        (read_scored_pairs, "tsv", KORSTS_HEADER + "a\tb\n", "line 2 has 2 columns; the header has 7"),
        (
            read_scored_pairs,
            "tsv",
            KORSTS_HEADER + korsts_row("5.1", "가", "나"),
            "'가' and '나' is 5.1; must be from 0 to 5",
        ),
        (read_scored_pairs, "tsv", KORSTS_HEADER + korsts_row("nan", "가", "나"), "line 2: score is 'nan'"),
        (read_parakqc, "tsv", parakqc_group("가") + "0\t1\n", "line 11: expected 3 tab-separated columns, got 2"),
        (read_parakqc, "tsv", parakqc_group("가") + "0\t1\t나\n", "line 11: a group must be 10 .* got 1 lines of 1"),
        (read_parakqc, "tsv", parakqc_group("가").replace("가 3", "  "), "line 4: the sentence is blank"),
        (read_chatbot, "csv", "Q,A,label\n가,나,0\n가,나\n", "line 3 has 2 columns; the header has 3"),
        (read_chatbot, "csv", "Q,label\n가,0\n", "line 2: 'A' is missing; a row has Q, A"),
        (read_klue_nli, "json", '[{"premise": "가"}]', "object 1: 'hypothesis' is missing"),
    ],
)
def test_a_malformed_row_is_named(
    tmp_path: Path, reader: Callable[[Path], Iterator[Record]], kind: str, text: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(reader(write(tmp_path / f"data.{kind}", text)))


def test_views_of_records() -> None:
    records = [
        Record(("가", "나", "다"), alike=True),
        Record(("라", "마"), alike=True, score=0.9),
        Record(("바",), alike=True),
        Record(("아주 재미있는 영화를 어제 친구와 보았다",), alike=True),
        Record(("사", "가"), score=0.2),
    ]
    assert distinct_sentences(records[:3]) == ["가", "나", "다", "라", "마", "바"]
    assert alike_pairs(records) == [
        ("가", "나"),
        ("나", "다"),
        ("다", "가"),
        ("라", "마"),
        ("아주 재미있는 영화를", "어제 친구와 보았다"),
    ]
    assert scored_pairs(records) == [("라", "마", 0.9), ("사", "가", 0.2)]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    held_out = {"sentence1": "가 4", "sentence2": "본 적 없는 문장.", "labels": {"real-label": 2.5}}
    write(tmp_path / "klue-sts-v1.1_dev.json", json.dumps([held_out]))
    write(tmp_path / "parakqc-v1.tsv", parakqc_group("가") + parakqc_group("나", topic=1))
    write(
        tmp_path / "korsts-train.tsv",
        KORSTS_HEADER + korsts_row("5", "본 적 없는 문장", "다른 문장") + korsts_row("1", "하나", "둘"),
    )
    return tmp_path


def test_a_group_goes_when_one_of_its_sentences_stands_in_klue_sts_dev(data_dir: Path) -> None:
    data = TrainingData(data_dir, seed=0)
    (group,) = data.records([Source("parakqc")])
    assert group.sentences == tuple(f"나 {number}" for number in range(10))
    assert data.left_out == {"parakqc": 1}


def test_punctuation_does_not_hide_a_held_out_sentence(data_dir: Path) -> None:
    records = TrainingData(data_dir, seed=0).records([Source("korsts-train")])
    assert distinct_sentences(records) == ["하나", "둘"]


def test_rows_are_drawn_with_the_seed(data_dir: Path) -> None:
    write(data_dir / "parakqc-v1.tsv", "".join(parakqc_group(f"문장 {index}") for index in range(20)))
    draw = [TrainingData(data_dir, seed=seed).records([Source("parakqc", rows=5)]) for seed in (1, 1, 2)]
    assert len(draw[0]) == 5
    assert draw[0] == draw[1] != draw[2]


def test_sentences_and_scored_pairs_are_repeated(data_dir: Path) -> None:
    data, source = TrainingData(data_dir, seed=0), Source("korsts-train", repeat=3)
    assert data.sentences([source]) == ["하나", "둘"] * 3
    assert data.scored_pairs([source]) == [("하나", "둘", 0.2)] * 3


def test_a_missing_file_is_named(data_dir: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lacks nsmc-reviews\.txt\.xz \(NSMC reviews, .* run `sentriton data nsmc`"):
        TrainingData(data_dir, seed=0).records([Source("nsmc")])


def test_the_training_split_of_a_held_out_benchmark_is_taken_whole(data_dir: Path) -> None:
    row = {"sentence1": "가 4", "sentence2": "다른 문장", "labels": {"real-label": 5.0}}
    write(data_dir / "klue-sts-v1.1_train.json", json.dumps([row]))
    records = TrainingData(data_dir, seed=0).records([Source("klue-sts-train")])
    assert records == [Record(("가 4", "다른 문장"), True, 1.0)]


def test_a_repeated_set_counts_that_often(data_dir: Path) -> None:
    sources = [Source("korsts-train", repeat=2)]
    assert TrainingData(data_dir, seed=0).sentences(sources) == ["하나", "둘", "하나", "둘"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"abc", "is not a complete .xz file"),
        (lzma.compress(b"abc " * 1000)[:-9], "is not a complete .xz file"),
        (lzma.compress("재미있다".encode("cp949")), "contains text that is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named_before_training(content: bytes, words: str, data_dir: Path) -> None:
    (data_dir / "nsmc-reviews.txt.xz").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"nsmc-reviews.txt.xz {words}"):
        TrainingData(data_dir, seed=0).check([TRAINING_SETS["nsmc"]])


def test_text_in_another_encoding_is_named_by_its_line(data_dir: Path) -> None:
    (data_dir / "parakqc-v1.tsv").write_bytes(parakqc_group("가").encode() + parakqc_group("나").encode("cp949"))
    with pytest.raises(InvalidInput, match=r"parakqc-v1\.tsv, line 11 is not UTF-8 .*; convert the file to UTF-8"):
        TrainingData(data_dir, seed=0).check([TRAINING_SETS["parakqc"]])


def test_scores_that_correlate_with_nothing_are_named_before_training(data_dir: Path) -> None:
    write(data_dir / "korsts-dev.tsv", KORSTS_HEADER + 2 * korsts_row("3", "가", "나"))
    with pytest.raises(InvalidInput, match=r"korsts-dev\.tsv: 2 pairs have 1 different scores"):
        TrainingData(data_dir, seed=0).check([])


@pytest.mark.parametrize("pairs", [[("가", "가"), ("나", "나")], [("가", "나"), ("나", "가")]])
def test_pairs_that_every_model_finds_equally_similar_are_named_before_training(
    pairs: list[tuple[str, str]], data_dir: Path
) -> None:
    rows = "".join(korsts_row(str(score), *pair) for score, pair in enumerate(pairs))
    write(data_dir / "korsts-dev.tsv", KORSTS_HEADER + rows)
    with pytest.raises(InvalidInput, match=r"korsts-dev\.tsv: all 2 pairs have equal sentences or are the same pair"):
        TrainingData(data_dir, seed=0).check([])
