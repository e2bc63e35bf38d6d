"""The tokens of a batch on a slow and on a fast processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sentriton_server.resources import load_model_code

Request = load_model_code("embed_tokens", "request").Request
Scheduler = load_model_code("embed_tokens", "scheduler").Scheduler
BatchSize = load_model_code("embed_tokens", "batch_size").BatchSize


def compute(size: Any, batches: int, tokens_per_s: float, start: float = 100.0) -> float:
    """Run batches of its size, each sent while the previous one is computed. Returns the time."""
    now = start
    size.taken(now)
    for _ in range(batches):
        size.taken(now)
        tokens = size.tokens
        now += tokens / tokens_per_s
        size.came_back(tokens, now)
    size.came_back(0, now)
    return now


def test_a_batch_is_small_until_the_rate_is_known() -> None:
    size = BatchSize(1024, 2048, 1)
    assert size.tokens == 1024
    size.taken(5.0)
    assert size.tokens == 1024


@pytest.mark.parametrize(("tokens_per_s", "tokens"), [(500, 1024), (3400, 1024), (5000, 1500), (50_000, 2048)])
def test_a_batch_takes_what_is_computed_in_a_certain_time(tokens_per_s: float, tokens: int) -> None:
    size = BatchSize(1024, 2048, 1)
    compute(size, 20, tokens_per_s)
    assert size.tokens == pytest.approx(tokens, abs=1)


@pytest.mark.parametrize(
    ("block", "slow", "quick"), [(256, 1024, 2048), (341, 1023, 2046), (768, 768, 1536), (4096, 4096, 4096)]
)
def test_a_batch_has_whole_token_blocks(block: int, slow: int, quick: int) -> None:
    size = BatchSize(1024, 2048, block)
    assert size.tokens == slow
    compute(size, 20, 50_000)
    assert size.tokens == quick


def test_idle_time_does_not_count() -> None:
    size = BatchSize(1024, 4096, 1)
    now = 0.0
    for _ in range(20):
        now = compute(size, 1, 10_000, start=now + 60)
    assert size.tokens == pytest.approx(3000, abs=1)


def test_a_processor_that_slows_down_gets_smaller_batches_within_some_ten() -> None:
    size = BatchSize(1024, 4096, 1)
    now = compute(size, 20, 10_000)
    compute(size, 20, 5_000, start=now)
    assert size.tokens == pytest.approx(1500, rel=0.1)


def test_a_fixed_size_stays() -> None:
    size = BatchSize(8192, 8192, 8192)
    for rate in (10, 1_000_000):
        compute(size, 3, rate)
        assert size.tokens == 8192


def test_batches_that_were_not_computed_say_nothing_about_the_rate() -> None:
    size = BatchSize(1024, 4096, 1)
    for start in range(10):
        size.taken(float(start))
        size.came_back(0, start + 0.001)
    assert size.tokens == 1024


@pytest.mark.parametrize(("computed", "tokens"), [(True, [64, 128, 128]), (False, [64, 64, 64])])
def test_the_scheduler_takes_larger_batches_once_a_quick_processor_computed_some(
    computed: bool, tokens: list[int]
) -> None:
    scheduler = Scheduler(
        batch_tokens=64,
        most_batch_tokens=128,
        batch_rows=16,
        batches_in_flight=2,
        waiting_rows=100,
        on_expired=print,
        is_cancelled=lambda request: False,
        on_cancelled=print,
    )
    rows = np.repeat(np.arange(40, dtype=np.int32), 16)
    scheduler.add(Request(rows, np.ones(len(rows), np.bool_), rows, deadline=float("inf")))
    found = []
    for _ in range(3):
        batch = scheduler.take()
        found.append(sum(batch.lengths()))
        scheduler.done(batch, computed)
    assert found == tokens
