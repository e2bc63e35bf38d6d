"""Saved results of benchmarks, and the pages made from them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import batches, contention, offline, tables
from benchmarks.peers import PEERS, SENTRITON
from benchmarks.report import print_report, without_files
from benchmarks.workload import hardware


def entry(peer: str, rate: float, cosine: float) -> offline.Entry:
    return offline.Entry(peer, "int8", PEERS[peer].batch_sizes[0], rate, 1000 / rate, cosine)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Ours at 120, a peer at 100 whose vectors are worse, and one at 80 whose vectors are as close."""
    return offline.table(
        [entry("openvino", 100, 0.995), entry("ctranslate2", 80, 0.9997), entry(SENTRITON, 120, 0.9998)]
    )


def test_ours_is_compared_with_the_best_peer_and_with_the_best_that_is_as_close(rows: list[dict[str, Any]]) -> None:
    assert [row["x_best_peer"] for row in rows] == [1.0, 0.8, 1.2]
    assert [row["x_best_as_close"] for row in rows] == [1.0, 1.0, 1.5]


def test_each_value_is_in_the_column_of_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs of other languages may write JSON fields in another order."""
    print_report("clients", "clients", [{"client": "go", "rate": 1}, {"rate": 2, "client": "rust"}])
    assert ["rust", "2"] in [re.findall(r"\w+", line) for line in capsys.readouterr().out.splitlines()]


def test_a_result_is_saved_with_processor_date_and_command(
    tmp_path: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "here/offline.json"
    monkeypatch.setattr(sys, "argv", ["offline", "--size", "base", "--save", str(file), "--rounds", "1"])
    print_report("offline", "RoBERTa-base", rows, save=file)
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert saved["processor"] == hardware()
    assert saved["command"] == "benchmarks.offline --size base --rounds 1"
    assert saved["rows"] == rows
    assert len(saved["date"]) == len("2026-11-26")


def test_files_that_are_written_are_no_part_of_the_command() -> None:
    assert without_files(["--plot", "a.png", "--rounds", "2", "--save", "b.json", "--scratch", "c"]) == [
        "--rounds",
        "2",
    ]


def save(folder: Path, processor: str, date: str, rows: list[dict[str, Any]], benchmark: str = "offline") -> None:
    result = {
        "benchmark": benchmark,
        "title": f"RoBERTa-base, 512 sentences (klue), {processor}",
        "processor": processor,
        "date": date,
        "command": "benchmarks.offline --size base",
        "rows": rows,
    }
    folder.mkdir()
    (folder / "offline.json").write_text(json.dumps(result))


def test_each_processor_has_a_page_and_a_section_with_ratios(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    save(tmp_path / "a", "2 cores of A", "2026-11-01", rows)
    save(tmp_path / "b", "64 cores of B", "2026-11-26", rows)
    pages = tables.pages(tables.read_results(tmp_path))
    assert sorted(pages) == ["README.md", "a/README.md", "b/README.md"]
    assert pages["README.md"].index("## b\n") < pages["README.md"].index("## a\n")  # the newest first
    ratios = "| RoBERTa-base | int8 | 120 | sentence-transformers OpenVINO, batches of 32 | 100 | 1.2 | 1.5 |"
    assert ratios in pages["README.md"]
    assert pages["b/README.md"].startswith("# Results for b\n\nSentriton embeds a corpus at 1.20 times the rate of")
    assert "These results are from `64 cores of B`.\n" in pages["b/README.md"]
    command = "```console\n$ .venv/bin/python -m benchmarks.offline --size base\n```"
    assert f"(2026-11-26, 512 sentences of KLUE-STS):\n\n{command}\n" in pages["b/README.md"]
    assert "note" not in pages["b/README.md"]  # no row has one


def test_a_page_begins_with_the_corpus_rates_by_precision(tmp_path: Path) -> None:
    for name, benchmark, precision in (("a", "limit", "fp32"), ("b", "offline", "int8"), ("c", "offline", "fp32")):
        save(tmp_path / name, "2 cores", "2026-11-27", [{"precision": precision}], benchmark=benchmark)
        (tmp_path / name / "offline.json").rename(tmp_path / f"{name}.json")
    (its,) = tables.read_results(tmp_path).values()
    assert [(result["benchmark"], result["rows"][0]["precision"]) for result in its] == [
        ("offline", "fp32"),
        ("offline", "int8"),
        ("limit", "fp32"),
    ]


def test_values_of_different_units_keep_their_decimals() -> None:
    table = tables.markdown([{"part": "parity", "value": 0.9999976}, {"part": "service", "value": 495694}])
    assert table.splitlines()[2:] == ["| parity | 0.9999976 |", "| service | 495,694 |"]


def test_a_processor_without_a_comparison_says_so(tmp_path: Path) -> None:
    save(tmp_path / "zen3", "2 cores of A", "2026-11-27", [{"callers": "1 thread", "of_list": 0.5}], benchmark="single")
    pages = tables.pages(tables.read_results(tmp_path))
    assert "No comparison of a corpus with other systems ran on this processor.\n" in pages["README.md"]
    assert "[All results for Zen 3](zen3/README.md) are from `2 cores of A`.\n" in pages["README.md"]


def test_a_column_has_one_number_of_decimals_and_its_name_of_the_pages() -> None:
    rows = [{"contender": "a", "rate": 1200, "x": 1}, {"contender": "b", "rate": None, "x": 0.25}]
    assert tables.markdown(rows).splitlines()[2:] == ["| a | 1,200 | 1.00 |", "| b |  | 0.25 |"]
    assert tables.markdown(rows).startswith("| system | rate | x |\n")


def test_every_column_is_explained() -> None:
    explained = (tables.RESULTS.parent / "columns.md").read_text(encoding="utf-8")
    for folder in tables.read_results(tables.RESULTS):
        page = (tables.RESULTS / folder / "README.md").read_text(encoding="utf-8")
        headers = re.findall(r"^\| (.*) \|\n\| ---", page, re.M)
        columns = {column for header in headers for column in header.split(" | ")}
        assert {column for column in columns if f"`{column}`" not in explained} == set()


def test_the_summary_is_that_of_the_newest_processor(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    save(tmp_path / "zen3", "2 cores of A", "2026-11-27", [entry for entry in rows if entry["contender"] == SENTRITON])
    save(tmp_path / "zen5", "64 cores of B", "2026-11-26", rows)
    summary = tables.summary(tables.read_results(tmp_path))
    assert summary.startswith("[64 cores of B, Zen 5](benchmarks/results/zen5/README.md), 2026-11-26:\n")
    assert "| sentence-transformers with OpenVINO, in process |  |  | 100.0 |\n" in summary
    assert "| **Sentriton, over gRPC** |  |  | **120.0** |\n" in summary
    assert summary.endswith("int8: OpenVINO 0.9950, CTranslate2 0.9997, Sentriton 0.9998.\n")


def test_the_pages_of_results_are_current() -> None:
    for name, text in tables.pages(tables.read_results(tables.RESULTS)).items():
        assert (tables.RESULTS / name).read_text(encoding="utf-8") == text, "run: python -m benchmarks.tables"


@pytest.mark.parametrize("session", contention.SESSIONS)
def test_busy_processes_run_in_the_session_that_is_asked_for_and_end(session: str) -> None:
    before = set(psutil.Process().children(recursive=True))
    with contention.busy(2, session):
        started = set(psutil.Process().children(recursive=True)) - before
        sessions = {os.getsid(process.pid) for process in started}
        assert len(started) == 3  # two that compute, and their parent
        assert (sessions == {os.getsid(0)}) == (session == "this")
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_contention_compares_each_contender_with_itself_alone() -> None:
    answers = iter([(100.0, 2.0), (50.0, 1.0), (20.0, 0.5)])
    arguments = contention.parser().parse_args(["--busy", "1"])
    found = contention.rows_of("service", "300", lambda seconds: next(answers), arguments)
    assert [row["of_alone"] for row in found] == [1.0, 0.5, 0.2]
    assert [row["cpu_ms"] for row in found] == [20.0, 20.0, 25.0]
    assert [row["in_session"] for row in found] == [None, "another", "this"]


def test_token_blocks_hold_whole_rows() -> None:
    assert batches.blocks([5, 5, 5], 10) == 2
    assert batches.blocks([30, 4, 4, 2], 10) == 2  # a row that is longer than a block has one of its own
    assert batches.blocks([], 10) == 0


def test_batches_of_whole_blocks_fill_fewer(klue_sentences: list[str]) -> None:
    before = batches.batches(klue_sentences[:512], 1024, 64)
    after = batches.batches(klue_sentences[:512], 1536, 128)
    assert sum(map(sum, before)) == sum(map(sum, after))
    assert sum(batches.blocks(lengths, 768) for lengths in after) < 0.75 * sum(
        batches.blocks(lengths, 768) for lengths in before
    )
