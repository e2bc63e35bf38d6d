"""Similarity functions against those of sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sentence_transformers import util

from sentriton.similarity import PAIRWISE, SIMILARITY, normalize


def embeddings(rows: int, seed: int) -> Any:
    values = np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)
    values[0] = 0
    return values


def assert_scores(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_every_similarity_of_single_vectors_is_there() -> None:
    names = {function.value for function in util.SimilarityFunction if "maxsim" not in function.value}
    assert set(SIMILARITY) == set(PAIRWISE) == names


@pytest.mark.parametrize("name", SIMILARITY)
def test_similarity_equals_sentence_transformers(name: str) -> None:
    first, second = embeddings(4, seed=0), embeddings(3, seed=1)
    assert_scores(SIMILARITY[name](first, second), util.SimilarityFunction.to_similarity_fn(name)(first, second))


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise_similarity_equals_sentence_transformers(name: str) -> None:
    first, second = embeddings(4, seed=0), embeddings(4, seed=1)
    expected = util.SimilarityFunction.to_similarity_pairwise_fn(name)(first, second)
    assert_scores(PAIRWISE[name](first, second), expected)


@pytest.mark.parametrize("name", SIMILARITY)
def test_no_embeddings_have_no_scores(name: str) -> None:
    assert SIMILARITY[name](embeddings(1, seed=0)[:0], embeddings(3, seed=1)).shape == (0, 3)


def test_normalize_scales_rows_to_length_1_and_leaves_zeros() -> None:
    lengths = np.linalg.norm(normalize(embeddings(4, seed=0)), axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 1, 1], rtol=1e-6)
