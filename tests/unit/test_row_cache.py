"""The row cache, without Triton."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sentriton_server.resources import load_model_code

cache = load_model_code("embed_tokens", "cache")
MIB = 1 << 20


def ids_of(*rows: int, length: int = 4) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """`input_ids`, `pooled` and `row` of rows that count from these numbers."""
    input_ids = (np.array(rows)[:, None] + np.arange(length)).ravel()
    return input_ids, np.ones(len(input_ids), np.bool_), np.repeat(np.arange(len(rows)), length)


def embeddings_of(*rows: int, dimension: int = 8) -> NDArray[np.float32]:
    return np.tile(np.array(rows, np.float32)[:, None], dimension)


def here(rows: Any, *wanted: int) -> list[int]:
    found: dict[int, NDArray[np.float32]] = rows.find(*ids_of(*wanted))
    return [wanted[place] for place in found]


@pytest.fixture
def three_rows() -> Any:
    """A cache that has just room for three rows of 4 tokens and 8 values; 1, 2 and 3 are in it."""
    rows = cache.RowCache(MIB)
    rows.keep(*ids_of(1, 2, 3), embeddings_of(1, 2, 3))
    rows.most_bytes = rows.bytes
    return rows


def test_what_was_asked_for_longest_ago_goes_first(three_rows: Any) -> None:
    assert here(three_rows, 1) == [1]
    three_rows.keep(*ids_of(4), embeddings_of(4))
    three_rows.keep(*ids_of(5), embeddings_of(5))
    assert here(three_rows, 1, 2, 3, 4, 5) == [1, 4, 5]
    assert three_rows.bytes == three_rows.most_bytes


def test_a_row_is_found_with_its_own_embedding_wherever_it_stands(three_rows: Any) -> None:
    found = three_rows.find(*ids_of(7, 3, 1))
    assert {place: embedding.tolist() for place, embedding in found.items()} == {1: [3] * 8, 2: [1] * 8}


@pytest.mark.parametrize(
    ("input_ids", "pooled", "same"),
    [
        ([5, 6, 7], [True, True, True], True),
        ([5, 6, 7, 8], [True, True, True, True], False),
        ([5, 6], [True, True], False),
        ([5, 6, 7], [False, True, True], False),
        ([5, 7, 6], [True, True, True], False),
    ],
)
def test_a_row_is_its_ids_and_which_are_pooled(input_ids: list[int], pooled: list[bool], same: bool) -> None:
    rows = cache.RowCache(MIB)
    rows.keep(*ids_of(5, length=3), embeddings_of(1))
    assert len(rows.find(np.array(input_ids), np.array(pooled), np.zeros(len(input_ids), np.int32))) == same


def test_what_is_not_finite_is_left_out() -> None:
    rows = cache.RowCache(MIB)
    embeddings = embeddings_of(1, 2, 3)
    embeddings[1, 5] = np.inf
    rows.keep(*ids_of(1, 2, 3), embeddings)
    assert here(rows, 1, 2, 3) == [1, 3]


def test_an_embedding_stays_what_it_was_first() -> None:
    rows = cache.RowCache(MIB)
    embeddings = embeddings_of(1)
    rows.keep(*ids_of(1), embeddings)
    embeddings[:] = 7  # the caller's memory is used again
    rows.keep(*ids_of(1), embeddings)
    (found,) = rows.find(*ids_of(1)).values()
    assert found.tolist() == [1] * 8


@pytest.mark.parametrize(("length", "dimension"), [(1, 1), (24, 256), (512, 1024)])
def test_it_takes_no_more_memory_than_it_may(length: int, dimension: int) -> None:
    rows = cache.RowCache(4 * MIB)
    embeddings = embeddings_of(1, dimension=dimension)
    tracemalloc.start()
    try:
        for row in range(3 * 4 * MIB // (5 * length + 4 * dimension + 384)):
            rows.keep(*ids_of(row, length=length), embeddings)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert rows.bytes <= rows.most_bytes
    assert 0.6 * rows.most_bytes < held < rows.most_bytes


def test_callers_from_many_threads_get_their_own_rows_and_the_bound_holds() -> None:
    size = cache.RowCache(MIB)
    size.keep(*ids_of(1), embeddings_of(1))
    rows = cache.RowCache(50 * size.bytes)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for wanted in np.random.default_rng(seed).integers(0, 100, size=(300, 8)).tolist():
            found = rows.find(*ids_of(*wanted))
            wrong.extend(wanted[place] for place, embedding in found.items() if embedding[0] != wanted[place])
            rows.keep(*ids_of(*wanted), embeddings_of(*wanted))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert rows.bytes == rows.most_bytes  # each entry counts exactly once
    assert len(here(rows, *range(100))) == 50


@pytest.mark.parametrize("value", ["", "0"])
def test_it_is_off_unless_asked_for(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.SIZE_VARIABLE, raising=False)
    assert cache.cache_of_environment() is None
    monkeypatch.setenv(cache.SIZE_VARIABLE, value)
    assert cache.cache_of_environment() is None


def test_its_variable_says_how_many_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_ROW_CACHE_MIB", "64")
    assert cache.cache_of_environment().most_bytes == 64 * MIB


@pytest.mark.parametrize("value", ["-1", "1.5", "64MiB", "much"])
def test_a_variable_that_is_no_size_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_ROW_CACHE_MIB", value)
    with pytest.raises(ValueError, match=rf"\$SENTRITON_ROW_CACHE_MIB is '{value}'; it must be a whole number of MiB"):
        cache.cache_of_environment()
