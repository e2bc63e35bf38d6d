"""Quantized vectors equal those of sentence-transformers. Inputs that are too small raise an error."""

from __future__ import annotations

import logging
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers.util import quantize_embeddings

from sentriton import InvalidInput
from sentriton.keywords import EmbeddingPrecision
from sentriton.quantization import quantize, quantize_tokens

EMBEDDING_PRECISIONS = get_args(EmbeddingPrecision)
SMALLER = [precision for precision in EMBEDDING_PRECISIONS if precision != "float32"]


def embeddings(rows: int, dimension: int = 20) -> NDArray[np.float32]:
    """Random rows; one dimension never changes, and some values are zero."""
    values = np.random.default_rng(rows).normal(size=(rows, dimension)).astype(np.float32)
    values[:, 3] = 0.25
    values[::3, 5] = 0.0
    return values


@pytest.mark.parametrize("rows", [0, 2, 150])
@pytest.mark.parametrize("precision", EMBEDDING_PRECISIONS)
def test_quantize_equals_sentence_transformers(precision: str, rows: int) -> None:
    ours, theirs = quantize(embeddings(rows), precision), quantize_embeddings(embeddings(rows), precision)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("precision", SMALLER)
def test_tokens_share_their_ranges(precision: str) -> None:
    sentences = [embeddings(rows) for rows in (3, 1, 40)]
    theirs = quantize_embeddings([torch.from_numpy(tokens) for tokens in sentences], precision)
    for ours, expected in zip(quantize_tokens(sentences, precision), theirs, strict=True):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("precision", SMALLER)
def test_no_sentence_has_no_tokens(precision: str) -> None:
    assert quantize_tokens([], precision) == []


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_one_embedding_has_no_range(precision: str) -> None:
    with pytest.raises(InvalidInput, match=f"precision is '{precision}'.*more than one sentence"):
        quantize(embeddings(1), precision)


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_one_embedding_has_bits(precision: str) -> None:
    np.testing.assert_array_equal(quantize(embeddings(1), precision), quantize_embeddings(embeddings(1), precision))


def test_rough_ranges_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="sentriton"):
        quantize(embeddings(99), "int8")
        quantize(embeddings(100), "uint8")
    assert [record.message for record in caplog.records] == [
        "int8 ranges from 99 embeddings are rough; embed 100 or more in one call"
    ]
