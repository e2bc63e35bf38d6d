"""Benchmarks stay runnable: their options, their workloads, and the figures from their measurements."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientResponseError, web
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer

from benchmarks import gpu, limit, offline, online
from benchmarks.callers import ANSWERS_PER_CALLER, Calls, Target, call_in_turn, joined, rate_and_latencies
from benchmarks.chain import direct, token_batches
from benchmarks.peers import Job
from benchmarks.report import print_report
from benchmarks.targets import PADDED, SENTRITON
from benchmarks.workload import mixture_lengths, mixture_sentences, spread_by_length, with_padding
from sentriton_server.resources import BUNDLED_CHECKPOINT


def calls(ends: list[float], *, took: float = 1.0, begin: float = 10.0, end: float = 20.0, refused: int = 0) -> Calls:
    answered = np.array([(at - took, at) for at in ends]).reshape(-1, 2)
    return Calls(answered, begin, end, refused)


@pytest.mark.parametrize(
    "name",
    "batches cache chain contention first gateway gpu install limit long_rows long_texts offline online "
    "overhead processes scale".split(),
)
def test_every_benchmark_describes_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert f"benchmarks.{name}" in capsys.readouterr().out


def test_a_report_is_json_where_a_figure_is_not_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report"])
    print_report("report", "title", [{"name": "one", "sentences_per_s": math.nan}], save=tmp_path / "report.json")
    for text in ((tmp_path / "report.json").read_text(encoding="utf-8"), capsys.readouterr().out.splitlines()[-1]):
        assert json.loads(text, parse_constant=pytest.fail)["rows"] == [{"name": "one", "sentences_per_s": None}]


@pytest.mark.usefixtures("klue_sentences")
def test_exports_of_another_size_are_not_reused(tmp_path: Path) -> None:
    def make_job(*options: str) -> Job:
        return offline.make_job(offline.parser().parse_args([*options, "--sentences", "1"]), tmp_path)

    assert make_job("--size", "1x64").checkpoint == make_job("--size", "1x64", "--layers", "1").checkpoint
    for options in (["--size", "1x64", "--layers", "2"], ["--size", "base", "--layers", "1"]):
        with pytest.raises(SystemExit, match="has exports of 1 layers of width 64; give the same --size and --layers"):
            make_job(*options)


def test_the_rate_counts_the_answers_that_came_within_the_window() -> None:
    rate, latencies = rate_and_latencies(calls([9.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0], took=0.5))
    assert rate == pytest.approx(5 / 10)
    assert latencies == pytest.approx([0.5] * 5)


@pytest.mark.parametrize(("begin", "end"), [(33.0, 96.5), (63.9, 97.0), (40.0, 127.0)])
def test_the_rate_of_batches_does_not_depend_on_where_the_window_cuts(begin: float, end: float) -> None:
    """64 callers of a server that computes 64 rows at once in 32 s: two rows per second."""
    ends = [32.0 * batch + 0.001 * place for batch in range(1, 6) for place in range(64)]
    rate, latencies = rate_and_latencies(calls(ends, took=32.0, begin=begin, end=end))
    assert rate == pytest.approx(2, rel=0.001)
    assert len(latencies) % 64 == 0


def test_calls_under_way_since_before_the_window_count_when_they_are_answered_in_it() -> None:
    rate, latencies = rate_and_latencies(calls([19.0], took=15.0))
    assert rate == pytest.approx(1 / 9)
    assert latencies == pytest.approx([15.0])


def test_processes_are_joined_where_all_of_them_called() -> None:
    both = joined([calls([11.0, 12.0], begin=10, end=20, refused=1), calls([11.5, 19.5], begin=11, end=19, refused=2)])
    assert (both.begin, both.end, both.refused, len(both.answered)) == (11, 19, 3, 4)
    assert rate_and_latencies(both)[0] == pytest.approx(2 / 1.0)  # 11.5 and 12.0, since 11.0


def test_processes_that_never_called_together_have_no_rate() -> None:
    apart = joined([calls([11.0, 12.0], begin=10, end=13), calls([14.5, 15.0], begin=14, end=17)])
    rate, latencies = rate_and_latencies(apart)
    assert (rate, len(latencies)) == (0, 0)


def test_a_contender_without_an_answer_says_what_to_do() -> None:
    row = online.figures("slow", 8, calls([]))
    assert row["requests_per_s"] is row["p50_ms"] is row["p99_ms"] is None
    assert row["note"] == "no answers in 10 s: raise --most-seconds"


def test_percentiles_wait_for_an_answer_to_every_caller() -> None:
    row = online.figures("slow", 4, calls([11.0, 12.0, 13.0], refused=2))
    assert row["requests_per_s"] == 1.0
    assert row["p50_ms"] is None
    assert row["note"] == "2 refused; 3 answers in 10 s: raise --most-seconds"
    row = online.figures("quick", 3, calls([11.0, 12.0, 13.0]), mean_batch=1.5)
    assert (row["p50_ms"], row["p99_ms"], row["mean_batch"], row["note"]) == (1000.0, 1000.0, 1.5, None)


def test_rows_are_compared_with_the_padded_repository_and_with_a_corpus() -> None:
    rows = [
        online.figures(SENTRITON, 1, calls([11.0, 12.0, 13.0, 14.0])),
        online.figures(PADDED, 1, calls([12.0, 14.0])),
        online.figures("silent", 1, calls([])),
    ]
    online.compare(rows, offline_per_s=1.25)
    assert [row["times_padded"] for row in rows] == [2.0, 1.0, None]
    assert [row["of_offline"] for row in rows] == [0.8, None, None]


def test_mixture_sentences_have_the_lengths_of_the_mixture(klue_sentences: list[str]) -> None:
    tokenizer = Tokenizer.from_file(str(BUNDLED_CHECKPOINT / "tokenizer.json"))
    tokenizer.no_truncation()
    lengths = [len(encoding) for encoding in tokenizer.encode_batch(mixture_sentences(1000))]
    assert lengths == mixture_lengths(1000)
    assert max(lengths) == 512


def test_padding_is_to_the_longest_of_batches_sorted_by_characters() -> None:
    sentences, tokens = ["a" * length for length in (1, 9, 2, 8, 5)], [1, 6, 3, 4, 2]
    # The batches: 6 with 4, 2 with 3, 1 alone.
    assert with_padding(sentences, tokens, 2) == (6 + 6 + 3 + 3 + 1) / 16
    assert with_padding(sentences, tokens, 1) == 1


def test_any_run_of_spread_sentences_has_short_and_long_ones() -> None:
    sentences = ["." * length for length in mixture_lengths(512)]
    spread = spread_by_length(sentences)
    assert sorted(spread) == sorted(sentences)

    def error_of_a_run(order: list[str]) -> float:
        lengths = np.array([len(sentence) for sentence in order + order])
        means = [lengths[start : start + 100].mean() for start in range(len(order))]
        return float(np.std(means) / lengths.mean())

    assert error_of_a_run(spread) < 0.5 * error_of_a_run(sentences)


async def call_http(answer: Callable[[], int], callers: int, seconds: float, most_seconds: float) -> Calls:
    """Callers of an HTTP server whose `answer` gives each call's status."""

    async def handle(request: web.Request) -> web.Response:
        assert await request.read() == b"{}"
        await asyncio.sleep(0.01)
        return web.Response(status=answer())

    application = web.Application()
    application.router.add_post("/embeddings", handle)
    async with TestServer(application) as server:
        target = Target(str(server.make_url("/embeddings")), [b"{}"])
        return await call_in_turn(target, callers, time.monotonic() + 0.05, seconds, most_seconds)


def test_callers_call_in_turn_and_count_what_is_refused() -> None:
    statuses = itertools.cycle([200, 200, 503])
    both = asyncio.run(call_http(lambda: next(statuses), callers=4, seconds=0.2, most_seconds=5))
    assert 0.2 <= both.end - both.begin < 5
    assert len(rate_and_latencies(both)[1]) >= 4 * ANSWERS_PER_CALLER
    assert both.refused == pytest.approx(len(both.answered) / 2, abs=4)
    began, ended = both.answered.T
    assert (ended - began >= 0.01).all()
    assert max(np.sum((began <= at) & (at < ended)) for at in began) <= 4


def test_callers_wait_no_longer_than_they_may() -> None:
    refusing = asyncio.run(call_http(lambda: 429, callers=2, seconds=0.1, most_seconds=0.2))
    assert len(refusing.answered) == 0
    assert refusing.refused > 0
    assert 0.2 <= refusing.end - refusing.begin < 2


def test_an_error_of_the_server_ends_the_turn() -> None:
    with pytest.raises(ClientResponseError, match="500"):
        asyncio.run(call_http(lambda: 500, callers=2, seconds=5, most_seconds=60))


def test_limit_gives_rates_and_shares() -> None:
    rows = limit.table(
        {
            ("fp32", "products"): limit.Measured(print, operations=8e9, seconds=1),
            ("fp32", "module"): limit.Measured(print, operations=3e9, tokens=300, seconds=0.5),
            ("fp32", "service"): limit.Measured(print, operations=3e9, tokens=300, seconds=0.75),
        }
    )
    assert [row["gflop_per_s"] for row in rows] == [8, 6, 4]
    assert [row["tokens_per_s"] for row in rows] == [None, 600, 400]
    assert [row["share_of_products"] for row in rows] == [1, 0.75, 0.5]
    assert [row["share_of_module"] for row in rows] == [None, None, 0.667]


def test_a_part_that_fails_or_comes_too_late_is_a_row_and_the_next_has_its_turn() -> None:
    run = gpu.Run(budget_s=60, part_limit_s=60)

    def fail() -> None:
        raise RuntimeError("no such kernel")

    assert not run.part("padded repository", "fp16", fail)
    assert run.part("service", "fp16", lambda: run.add("service", "fp16", 7, "tokens/s"))
    run.budget_s = 0
    assert not run.part("callers", "fp16", fail)
    notes = ["failed: RuntimeError: no such kernel", None, "left out: the budget of 0 s is used up"]
    assert [row["note"] for row in run.rows] == notes


def test_a_part_that_hangs_ends_at_its_limit_and_the_one_around_it_at_its_own() -> None:
    run = gpu.Run(budget_s=60, part_limit_s=0.2)

    def hang() -> None:
        try:
            time.sleep(30)
        except Exception:  # as a library might
            time.sleep(30)

    def service() -> None:
        run.part("callers", "fp16", hang)
        hang()

    started = time.monotonic()
    assert not run.part("service", "fp16", service)
    assert time.monotonic() - started < 5
    assert [row["part"] for row in run.rows] == ["callers", "service"]
    assert all(row["note"].startswith("failed: OverTime: more than") for row in run.rows)


def test_the_modules_batches_have_every_row_once_and_the_most_tokens() -> None:
    rows = [[token] * length for token, length in enumerate([5, 1, 9, 3, 3, 20], start=1)]
    batches = list(token_batches(rows, max_rows=3, max_tokens=12))
    assert [np.bincount(batch.row).tolist() for batch in batches] == [[20], [9], [5, 3, 3], [1]]
    found = [
        ids.tolist() for batch in batches for ids in np.split(batch.input_ids, np.flatnonzero(np.diff(batch.row)) + 1)
    ]
    assert sorted(found) == sorted(rows)


def test_the_module_of_an_export_runs_in_a_loop(repository: Path) -> None:
    direct(repository, ["첫 문장입니다.", "두 번째 문장입니다."], batch_size=2, max_tokens=8)()
