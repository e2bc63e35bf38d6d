"""The data of contrastive learning: pairs of similar meaning, and sentences that only look alike."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from sentriton.errors import InvalidInput
from sentriton_server.training.data import Record, Source, distinct_sentences, sentence_key

HALVED_WORDS = 6  # texts of fewer words have no two halves with a meaning each
NOISED_WORDS = 4  # of shorter texts, one word less leaves too little
DELETED_SHARE = 0.2
SWAPPED_SHARE = 0.1
LIKELY_NEGATIVES = 8  # the nearest sentences that are looked at for one of another record
CHUNK_ROWS = 1000


def contrastive_rows(records: Sequence[Record], source: Source, seed: int) -> list[tuple[str, ...]]:
    """Rows for MultipleNegativesRankingLoss: anchor, positive and, with `hard_negatives`, a negative. Raises
    `InvalidInput` for `hard_negatives` of blank sentences.
    """
    pairs = noised_pairs(records, seed) if source.pairs == "noised" else alike_pairs(records)
    pairs *= source.repeat
    if source.hard_negatives and not any(sentence.strip() for sentence in distinct_sentences(records)):
        raise InvalidInput(
            f"data = {source.name!r}: hard_negatives compares its sentences by their letters, and all are blank; give "
            "another data set, or leave hard_negatives out"
        )
    return [*add_hard_negatives(pairs, records)] if source.hard_negatives else [*pairs]


def alike_pairs(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Pairs of similar meaning: each sentence of a group with the next one; a long text alone gives its two halves.

    The halves of one text share its subject more than those of any other (as the neighbouring spans of DeCLUTR,
    Giorgi et al. 2021), so text without labels teaches as well.
    """
    pairs: list[tuple[str, str]] = []
    for sentences, alike, _ in records:
        if not alike:
            continue
        if len(sentences) == 1:
            pairs.extend(_halves(sentences[0]))
        else:
            links = 1 if len(sentences) == 2 else len(sentences)
            pairs.extend(zip(sentences[:links], (*sentences[1:], sentences[0]), strict=False))
    return pairs


def noised_pairs(records: Sequence[Record], seed: int) -> list[tuple[str, str]]:
    """Pairs of a sentence and its copy with missing or exchanged words. They teach the model which words matter.

    Like the deletion and reordering of CLEAR (Wu et al. 2020).
    """
    draw = random.Random(seed)
    sentences = [text for text in distinct_sentences(records) if len(text.split()) >= NOISED_WORDS]
    return [(text, _noised(text.split(), draw)) for text in sentences]


def add_hard_negatives(pairs: Sequence[tuple[str, str]], records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """To each pair the sentence nearest to its first by letters (TF-IDF of 2- and 3-grams) that means something else.

    A sentence of the same record, where that is of similar meaning, is none; a pair without any gets the next best.
    """
    sentences = distinct_sentences(records)
    alike: dict[str, set[str]] = {sentence: {sentence_key(sentence)} for sentence in sentences}
    for record in records:
        if record.alike:
            for sentence in record.sentences:
                alike[sentence].update(map(sentence_key, record.sentences))
    keys = [sentence_key(sentence) for sentence in sentences]
    negative = {
        sentence: next(
            (sentences[place] for place in nearest if keys[place] not in alike[sentence]), sentences[nearest[-1]]
        )
        for sentence, nearest in zip(sentences, _nearest(sentences), strict=True)
    }
    return [(first, second, negative[first]) for first, second in pairs]


def _nearest(sentences: Sequence[str]) -> list[list[int]]:
    """For each sentence the places of those nearest to it, the nearest first, itself among them."""
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True).fit_transform(sentences)
    count = min(LIKELY_NEGATIVES + 10, len(sentences))  # a group of ten paraphrases may come first
    nearest: list[list[int]] = []
    for start in range(0, len(sentences), CHUNK_ROWS):
        scores = (vectors[start : start + CHUNK_ROWS] @ vectors.T).toarray()
        nearest += np.argsort(-scores, axis=1, kind="stable")[:, :count].tolist()
    return nearest


def _noised(words: list[str], draw: random.Random) -> str:
    kept = [word for word in words if draw.random() >= DELETED_SHARE] or words
    for place in range(len(kept) - 1):
        if draw.random() < SWAPPED_SHARE:
            kept[place], kept[place + 1] = kept[place + 1], kept[place]
    return " ".join(kept)


def _halves(text: str) -> list[tuple[str, str]]:
    words = text.split()
    middle = len(words) // 2
    return [(" ".join(words[:middle]), " ".join(words[middle:]))] if len(words) >= HALVED_WORDS else []
