"""Error messages for invalid requests: each names the given and the allowed value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentriton_server.resources import load_model_code

validation = load_model_code("embed_tokens", "validation")
tokenization = load_model_code("embed_text", "tokenization")

VOCABULARY, LONGEST, MOST_ROWS = 10, 4, 3


def explain(input_ids: Any, row: Any) -> str | None:
    return validation.explain_tokens(
        np.array(input_ids, dtype=np.int32),
        np.array(row, dtype=np.int32),
        np.ones(len(row), np.bool_),
        vocab_size=VOCABULARY,
        max_seq_length=LONGEST,
        max_rows=MOST_ROWS,
    )


@pytest.mark.parametrize(
    ("input_ids", "row", "given_value", "allowed"),
    [
        ([1, 2, 3], [0, 0], "input_ids has 3 elements, row 2 and pooled 2", "one for every token"),
        ([], [], "input_ids has 0 elements", "at least one token"),
        ([1, 2, 3], [0, 2, 2], "row is 2 at token 1 with 0 before it", "0, 1, 2 and so on"),
        ([1, 2, 3], [0, 1, 0], "row is 0 at token 2 with 1 before it", "0, 1, 2 and so on"),
        ([1, 2], [1, 2], "row is 1 at token 0 with no token before it", "0, 1, 2 and so on"),
        ([1], [-1], "row is -1 at token 0 with no token before it", "0, 1, 2 and so on"),
        ([1, 1], [0, 2**31 - 1], f"row is {2**31 - 1} at token 1", "0, 1, 2 and so on"),
        ([1] * 4, [0, 1, 2, 3], "4 rows", "allowed are 3"),
        ([1] * 6, [0] + [1] * 5, "row 1 of input_ids is 5 tokens long", "1 to 4"),
        ([1, 2, 3, -1], [0, 0, 1, 1], "-1 in row 1 at position 1", "0 to 9"),
        ([1, VOCABULARY], [0, 0], "10 in row 0 at position 1", "0 to 9"),
    ],
)
def test_an_invalid_input_is_named_with_what_is_allowed(
    input_ids: Any, row: Any, given_value: str, allowed: str
) -> None:
    refusal = explain(input_ids, row)
    assert refusal is not None
    assert given_value in refusal
    assert allowed in refusal
    assert "\n" not in refusal


@st.composite
def valid_tokens(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=LONGEST)
    rows = draw(st.lists(ids, min_size=1, max_size=MOST_ROWS))
    return [token for row in rows for token in row], [at for at, row in enumerate(rows) for _ in row]


@given(valid_tokens())
def test_valid_tokens_are_not_refused(tokens: tuple[list[int], list[int]]) -> None:
    assert explain(*tokens) is None


@given(valid_tokens(), st.data())
def test_one_wrong_id_in_valid_tokens_is_found(tokens: tuple[list[int], list[int]], data: st.DataObject) -> None:
    input_ids, row = tokens
    at = data.draw(st.integers(0, len(input_ids) - 1))
    wrong = data.draw(st.one_of(st.integers(-(2**31), -1), st.integers(VOCABULARY, 2**31 - 1)))
    input_ids[at] = wrong
    assert f"{wrong} in row {row[at]} at position {at - row.index(row[at])}" in (explain(*tokens) or "")


@given(valid_tokens(), st.data())
def test_one_wrong_row_number_in_valid_tokens_is_found(
    tokens: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    _, row = tokens
    at = data.draw(st.integers(0, len(row) - 1))
    allowed = (row[at - 1], row[at - 1] + 1) if at else (0,)
    wrong = data.draw(st.integers(-(2**31), 2**31 - 1).filter(lambda number: number not in allowed))
    row[at] = wrong
    assert f"row is {wrong} at token {at}" in (explain(*tokens) or "")


@pytest.mark.parametrize(("row", "refused"), [([0] * 4, False), ([0] * 9, False), ([0] * 4 + [1], True)], ids=str)
def test_token_embeddings_of_many_rows_are_bounded(row: list[int], refused: bool) -> None:
    refusal = validation.explain_size(np.array(row), most_tokens=4)
    assert (refusal is not None) == refused
    assert not refused or "5 tokens; allowed are 4" in str(refusal)


@pytest.mark.parametrize(("pooled", "refused"), [([1, 0, 1], None), ([1, 1, 0], "row 1 has no token that is pooled")])
def test_a_row_without_a_pooled_token_has_no_maximum(pooled: list[int], refused: str | None) -> None:
    found = validation.explain_pooled(np.array([0, 0, 1]), np.array(pooled, np.bool_))
    assert (found is None) == (refused is None)
    assert refused is None or refused in str(found)


@pytest.mark.parametrize(
    ("parameters", "key", "opens"),
    [
        ({"canary_key": "k"}, "k", True),
        ({"canary_key": "other"}, "k", False),
        ({"canary_key": "한국어"}, "k", False),
        ({"canary_key": 1}, "k", False),
        ({}, "k", False),
        ({"canary_key": ""}, "", False),
        ({}, "", False),
    ],
    ids=str,
)
def test_the_canary_lane_opens_to_its_key_alone(parameters: dict[str, Any], key: str, opens: bool) -> None:
    assert validation.has_canary_key(parameters, key) is opens


def test_another_fingerprint_is_refused_with_both_named() -> None:
    refusal = validation.explain_fingerprint({"fingerprint": "asked"}, "served")
    assert refusal is not None
    assert refusal.startswith("fingerprint mismatch: the request is for model 'asked', this server has 'served'")


def test_a_long_value_is_cut() -> None:
    """gRPC libraries drop a message of 16 KiB, and often one of 8 KiB, and tell another error."""
    long = "긴" * 10_000
    for refusal in (
        validation.explain_fingerprint({"fingerprint": long}, "served"),
        validation.explain_lane(long, ("query", "bulk")),
    ):
        assert refusal is not None
        assert f"{'긴' * 99}…" in refusal
        assert len(refusal) < 1000


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
    with pytest.raises(tokenization.TextError, match="text has 6 bytes in 2 rows; allowed are 5 per request"):
        tokenization.decode_texts(raw, 5)


def test_a_text_of_too_many_bytes_is_named() -> None:
    raw = np.array([[b"ab"], ["가나".encode()], [b"abc"]], dtype=np.object_)
    with pytest.raises(tokenization.TextError, match=r"^text in row 1 has 6 bytes; allowed are 5 per request"):
        tokenization.decode_texts(raw, 5)


def test_a_request_without_rows_is_refused() -> None:
    with pytest.raises(tokenization.TextError, match="text has no rows"):
        tokenization.decode_texts(np.array([], dtype=np.object_), 5)
