"""The division of sentences into requests, and the packing of their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentriton.errors import InvalidInput
from sentriton.requests import cut, plan_requests
from sentriton.tokenization import TextTokenizer, pack_rows


@given(st.lists(st.integers(1, 600), max_size=60), st.integers(1, 20), st.integers(1, 2000))
def test_every_row_travels_once_within_both_limits(lengths: list[int], max_rows: int, max_tokens: int) -> None:
    falling = sorted(lengths, reverse=True)
    runs = list(cut(falling, max_rows, max_tokens))
    assert [place for run in runs for place in run] == list(range(len(falling)))
    tokens = [sum(falling[place] for place in run) for run in runs]
    for run, size in zip(runs, tokens, strict=True):
        assert 1 <= len(run) <= max_rows
        assert len(run) == 1 or size <= max_tokens
    # No row that fits this request is left for the next one.
    for run, following, size in zip(runs, runs[1:], tokens, strict=False):
        assert len(run) == max_rows or size + falling[following.start] > max_tokens


def test_a_plan_holds_every_sentence_once_longest_first(text_tokenizer: TextTokenizer) -> None:
    texts = ["fox " * (1 + 7 * number % 9) for number in range(1300)]
    plan = list(plan_requests(texts, text_tokenizer, max_rows=32))
    assert sorted(index for rows in plan for index in rows.indices) == list(range(len(texts)))
    lengths = [np.bincount(rows.tokens.row).tolist() for rows in plan]
    assert [len(each) for each in lengths] == [len(rows.indices) for rows in plan]
    assert lengths[0][0] == max(map(max, lengths))
    assert lengths[-1][-1] == min(map(min, lengths))
    alike = sum(len(each) * max(each) - sum(each) for each in lengths)
    assert alike < 0.05 * sum(map(sum, lengths))


def test_a_plan_is_made_as_it_is_taken(text_tokenizer: TextTokenizer) -> None:
    tokenized: list[str] = []

    class Counting:
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            tokenized.extend(texts)
            return text_tokenizer.tokenize(texts)

    plan = plan_requests(["fox"] * 5000, Counting(), max_rows=8)
    next(plan)
    assert len(tokenized) < 100, "the server waits for the first request"
    list(plan)
    assert len(tokenized) == 5000


def test_a_text_without_a_token_is_named() -> None:
    class Silent:
        def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
            return [[5] * len(text) for text in texts]

    with pytest.raises(InvalidInput, match=r"sentences\[1\] is '', which has no token for this model's tokenizer"):
        list(plan_requests(["fox", "", "a"], Silent(), max_rows=8))


def test_rows_are_packed_one_behind_the_other() -> None:
    packed = pack_rows([[5, 6, 7], [8]])
    assert packed.input_ids.tolist() == [5, 6, 7, 8]
    assert packed.row.tolist() == [0, 0, 0, 1]
    assert packed.pooled.all()
    assert packed.input_ids.dtype == packed.row.dtype == np.int32
    assert packed.pooled.dtype == np.bool_


@pytest.mark.parametrize(("not_pooled", "expected"), [(2, [0, 0, 1, 0]), (9, [0, 0, 0, 0])])
def test_the_prompt_is_attended_and_not_pooled(not_pooled: int, expected: list[int]) -> None:
    assert pack_rows([[5, 6, 7], [8]], not_pooled=not_pooled).pooled.tolist() == expected
