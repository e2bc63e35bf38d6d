"""Slow or dead: what the server's metrics say of each part on the canary's way."""

from __future__ import annotations

import pytest

from sentriton_server.serving.progress import parse_work, stalled

METRICS = """\
# HELP nv_inference_exec_count Number of model executions performed
nv_inference_exec_count{model="assets",version="1"} 100
sentriton_tokenized_rows_total 7
nv_inference_exec_count{model="embed_batch",version="1"} 3
nv_inference_exec_count{model="encoder",version="1"} 1.5e+3
nv_inference_exec_count{model="pooling",version="1"} 4
sentriton_rows_total{lane="query"} 20
sentriton_rows_total{lane="canary"} 1
"""
WORK = {"tokenizer": 7.0, "embed_tokens": 24.0, "encoder": 1500.0, "pooling": 4.0}


def test_the_work_of_each_part_is_read() -> None:
    assert parse_work(METRICS) == WORK
    assert set(parse_work("").values()) == {0.0}


@pytest.mark.parametrize("part", list(WORK))
def test_a_part_that_did_nothing_is_named(part: str) -> None:
    later = {name: work + (name != part) for name, work in WORK.items()}
    assert stalled(WORK, later) == [part]


def test_parts_that_all_worked_are_not_stalled() -> None:
    assert stalled(WORK, {name: work + 1 for name, work in WORK.items()}) == []


def test_without_metrics_every_part_counts_as_stalled() -> None:
    assert stalled(None, WORK) == stalled(WORK, None) == list(WORK)
