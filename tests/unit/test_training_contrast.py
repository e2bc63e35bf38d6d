"""The input of contrastive learning: noised sentences, and negatives that look alike."""

from __future__ import annotations

import pytest

from sentriton.errors import InvalidInput
from sentriton_server.training.contrast import add_hard_negatives, contrastive_rows, noised_pairs
from sentriton_server.training.data import Record, Source

HOTEL = "숙소가 지하철역에서 가까워서 아주 편했어요"
FAR_HOTEL = "숙소가 지하철역에서 멀어서 아주 불편했어요"
NEAR_STATION = "역 근처 숙소라서 다니기 좋았습니다"
WEATHER = "내일 오전에 비가 오는지 알려줘"


def test_a_noised_sentence_keeps_words_of_its_own_alone() -> None:
    sentences = [" ".join(f"{letter}{number}" for number in range(10)) for letter in "가나다라마"]
    pairs = noised_pairs([Record((sentence,)) for sentence in [*sentences, "짧은 글"]], seed=1)
    assert [first for first, _ in pairs] == sentences
    assert all(set(second.split()) <= set(first.split()) for first, second in pairs)
    assert any(len(second.split()) < len(first.split()) for first, second in pairs)
    assert pairs == noised_pairs([Record((sentence,)) for sentence in sentences], seed=1)
    assert pairs != noised_pairs([Record((sentence,)) for sentence in sentences], seed=2)


def test_a_hard_negative_looks_alike_and_is_of_another_meaning() -> None:
    records = [
        Record((HOTEL, NEAR_STATION), alike=True),
        Record((HOTEL, FAR_HOTEL), alike=False),
        Record((WEATHER, HOTEL + "!"), alike=False),  # the same sentence but for its punctuation
    ]
    assert add_hard_negatives([(HOTEL, NEAR_STATION)], records) == [(HOTEL, NEAR_STATION, FAR_HOTEL)]


def test_rows_are_what_the_source_asks_for() -> None:
    records = [Record((HOTEL, NEAR_STATION), alike=True), Record((FAR_HOTEL, WEATHER))]
    assert contrastive_rows(records, Source("klue-nli-dev", repeat=2), 0) == [(HOTEL, NEAR_STATION)] * 2
    (row,) = contrastive_rows(records, Source("klue-nli-dev", hard_negatives=True), 0)
    assert row == (HOTEL, NEAR_STATION, FAR_HOTEL)
    noised = contrastive_rows(records, Source("klue-nli-dev", pairs="noised"), 0)
    assert [first for first, _ in noised] == [HOTEL, NEAR_STATION, FAR_HOTEL, WEATHER]


def test_hard_negatives_of_blank_sentences_are_an_error() -> None:
    records = [Record((" ", "\t"), alike=True)]
    assert contrastive_rows(records, Source("chatbot"), 0) == [(" ", "\t")]
    with pytest.raises(InvalidInput, match=r"data = 'chatbot': hard_negatives compares .*, and all are blank; give"):
        contrastive_rows(records, Source("chatbot", hard_negatives=True), 0)
