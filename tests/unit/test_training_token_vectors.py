"""Token vectors: tokens of one company lie near each other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sentriton.errors import InvalidInput
from sentriton_server.training.token_vectors import token_vectors


def test_tokens_that_stand_in_the_same_places_are_alike() -> None:
    draw = random.Random(0)
    films, hotels = range(2, 12), range(12, 22)  # two subjects that never share a sentence
    sentences = [draw.choices(subject, k=8) for subject in (films, hotels) for _ in range(200)]
    vectors = token_vectors(sentences, vocab_size=24, dimension=8, seed=0)
    assert vectors.shape == (24, 8)
    assert vectors.dtype == np.float32
    assert not vectors[[0, 1, 22, 23]].any()  # never seen
    np.testing.assert_allclose(np.linalg.norm(vectors[2:22], axis=1), np.sqrt(8), rtol=1e-5)
    cosines = vectors @ vectors.T / 8
    same = cosines[2:12, 2:12].mean() + cosines[12:22, 12:22].mean()
    assert same / 2 > cosines[2:12, 12:22].mean() + 0.1
    np.testing.assert_allclose(vectors, token_vectors(sentences, 24, 8, seed=0), atol=1e-5)


def test_more_dimensions_than_tokens_are_refused() -> None:
    with pytest.raises(InvalidInput, match="hidden = 8: the tokenizer has 4 tokens only"):
        token_vectors([[1, 2, 3]], vocab_size=4, dimension=8, seed=0)
