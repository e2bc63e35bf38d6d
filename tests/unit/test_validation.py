"""What pooling refuses: each sentence names what was given and what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentriton_server.resources import load_model_code

validation = load_model_code("embed_tokens", "validation")
tokenization = load_model_code("tokenizer", "tokenization")

VOCABULARY, LONGEST = 10, 4


def explain(input_ids: Any, attention_mask: Any) -> str | None:
    return validation.explain_tokens(
        np.array(input_ids, dtype=np.int64),
        np.array(attention_mask, dtype=np.int64),
        vocab_size=VOCABULARY,
        max_seq_length=LONGEST,
    )


@pytest.mark.parametrize(
    ("input_ids", "attention_mask", "given_value", "allowed"),
    [
        ([[1, 2, 3]], [[1, 1]], "attention_mask has shape [1, 2] and input_ids [1, 3]", "the same shape"),
        ([[1, 2]], [[1, 1], [1, 1]], "attention_mask has shape [2, 2] and input_ids [1, 2]", "the same shape"),
        ([[]], [[]], "0 tokens long", "1 to 4"),
        ([[1] * 5], [[1] * 5], "5 tokens long", "1 to 4"),
        ([[1, 2], [3, -1]], [[1, 1], [1, 1]], "-1 in row 1 at position 1", "0 to 9"),
        ([[1, VOCABULARY]], [[1, 1]], "10 in row 0 at position 1", "0 to 9"),
        ([[1, 2**62]], [[1, 0]], f"{2**62} in row 0 at position 1", "0 to 9"),
        ([[1, 2]], [[1, 3]], "attention_mask holds 3 in row 0 at position 1", "0 (padding), 1 (token) and 2"),
        ([[1, 2]], [[-1, 1]], "attention_mask holds -1 in row 0 at position 0", "0 (padding), 1 (token) and 2"),
        ([[1, 2], [1, 2]], [[1, 0], [0, 0]], "all zero in row 1", "at least one token"),
    ],
)
def test_an_invalid_input_is_named_with_what_is_allowed(
    input_ids: Any, attention_mask: Any, given_value: str, allowed: str
) -> None:
    refusal = explain(input_ids, attention_mask)
    assert refusal is not None
    assert given_value in refusal
    assert allowed in refusal
    assert "\n" not in refusal


@st.composite
def valid_tokens(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    length = draw(st.integers(1, LONGEST))
    ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=length, max_size=length)
    mask = st.lists(st.integers(0, 2), min_size=length, max_size=length).filter(any)
    rows = draw(st.lists(st.tuples(ids, mask), min_size=1, max_size=4))
    return [row[0] for row in rows], [row[1] for row in rows]


@given(valid_tokens())
def test_valid_tokens_are_not_refused(tokens: tuple[list[list[int]], list[list[int]]]) -> None:
    assert explain(*tokens) is None


@given(valid_tokens(), st.data())
def test_one_wrong_value_in_valid_tokens_is_found(
    tokens: tuple[list[list[int]], list[list[int]]], data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, 1))
    row = data.draw(st.integers(0, len(tokens[0]) - 1))
    position = data.draw(st.integers(0, len(tokens[0][0]) - 1))
    allowed = (VOCABULARY - 1, 2)[which]
    wrong = data.draw(st.one_of(st.integers(-(2**63), -1), st.integers(allowed + 1, 2**63 - 1)))
    tokens[which][row][position] = wrong
    assert f"{wrong} in row {row} at position {position}" in (explain(*tokens) or "")


def test_another_fingerprint_is_refused_with_both_named() -> None:
    refusal = validation.explain_fingerprint({"fingerprint": "asked"}, "served")
    assert refusal is not None
    assert refusal.startswith("fingerprint mismatch: the request is for model 'asked', this server has 'served'")


@pytest.mark.parametrize("parameters", [{}, {"fingerprint": "served"}, {"priority": 1}], ids=str)
def test_the_served_fingerprint_or_none_is_accepted(parameters: dict[str, Any]) -> None:
    assert validation.explain_fingerprint(parameters, "served") is None


@pytest.mark.parametrize("lane", ["query", "bulk"])
def test_a_lane_is_accepted(lane: str) -> None:
    assert validation.explain_lane(lane, ("query", "bulk")) is None


@pytest.mark.parametrize("lane", ["fast", "", 1])
def test_another_lane_is_refused(lane: Any) -> None:
    refusal = validation.explain_lane(lane, ("query", "bulk"))
    assert refusal == f"lane is {lane!r}; allowed are 'query', 'bulk'"


def test_texts_are_decoded_row_by_row() -> None:
    texts = ["가나", "", "plain"]
    raw = np.array([[text.encode()] for text in texts], dtype=np.object_)
    assert tokenization.decode_texts(raw, 100) == texts


def test_a_text_that_is_not_utf8_is_named_by_row_and_byte() -> None:
    raw = np.array([[b"ok"], [b"ab\xff"]], dtype=np.object_)
    with pytest.raises(tokenization.TextError, match="row 1 is not valid UTF-8: byte 0xff at position 2"):
        tokenization.decode_texts(raw, 100)


def test_texts_of_too_many_bytes_are_refused() -> None:
    raw = np.array([["가".encode()], [b"abc"]], dtype=np.object_)
    assert tokenization.decode_texts(raw, 6) == ["가", "abc"]
    with pytest.raises(tokenization.TextError, match="text has 6 bytes in 2 rows; allowed are 5 a request"):
        tokenization.decode_texts(raw, 5)
